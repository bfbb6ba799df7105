//! A server, or a way to it, that fails: what is asked comes about all the same, or it is told why not.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast_tests::relay::{Fault, Relay, Request};
use holdfast_tests::s3::{ACCESS_KEY, SECRET_KEY, Server};

use super::{
    BUCKET, LARGE, Options, Site, content, list_all, options, path, read_small, store, stream, told, uploads,
};
use crate::store::Store;

/// A fault for the first so many requests of each kind: by method, and what the query asks for.
fn at_first(count: usize, fault: Fault) -> impl Fn(&Request) -> Fault {
    let seen: Mutex<HashMap<String, usize>> = Mutex::default();
    move |request| {
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let names: Vec<&str> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
        let part = query.split('&').find(|pair| pair.starts_with("partNumber=")).unwrap_or_default();
        let range = request.header("range").unwrap_or_default();
        let kind = format!("{} {names:?} {part} {range}", request.method);
        let mut seen = seen.lock().unwrap();
        let seen = seen.entry(kind).or_default();
        *seen += 1;
        if *seen <= count { fault.clone() } else { Fault::None }
    }
}

/// Small and large objects go there and come back, whatever happens once or twice to each request.
async fn comes_about(site: &Site, options: Options) {
    let store = store(options);
    store.probe().await.unwrap();
    for (name, length) in [("small", 100), ("large", LARGE)] {
        let content = content(length);
        assert_eq!(store.put(&path(name), stream(&content)).await.unwrap(), length, "{name}");
        assert_eq!(read_small(&store, &path(name), length).await.unwrap(), content, "{name}");
    }
    assert_eq!(list_all(&store, "").await.unwrap().len(), 2);
    store.delete(&path("small")).await.unwrap();
    assert_eq!(list_all(&store, "").await.unwrap().len(), 1);
    assert_eq!(uploads(&site.direct()).await, 0, "an upload is left");
}

#[tokio::test]
async fn servers_that_fail_or_ask_to_slow_down_are_asked_again() {
    for fault in [
        Fault::error(500, "InternalError"),
        Fault::error(503, "SlowDown"),
        Fault::Answer(502, "<html>a proxy's page</html>".to_owned()),
        Fault::error(400, "BadDigest"),
    ] {
        // Only what has a body is said to have arrived damaged.
        let bodies_only = matches!(fault, Fault::Answer(400, _));
        let pick = at_first(1, fault);
        let pick = move |request: &Request| {
            if bodies_only && request.method != "PUT" { Fault::None } else { pick(request) }
        };
        let Some(site) = Site::new(pick) else { return };
        comes_about(&site, site.options()).await;
    }
}

#[tokio::test]
async fn connections_that_break_midway_are_made_anew() {
    for fault in [Fault::CutRequest(70_000), Fault::CutAnswer(1), Fault::CutAnswer(60_000)] {
        let Some(site) = Site::new(at_first(2, fault)) else { return };
        comes_about(&site, site.options()).await;
    }
}

/// Without the mark in its metadata, the second try of a commit would take the first one's object for another's.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_known_as_ours() {
    let lost = |request: &Request| request.is_completion() || request.is_whole();
    let pick = at_first(1, Fault::LoseAnswer);
    let Some(site) = Site::new(move |request| if lost(request) { pick(request) } else { Fault::None }) else {
        return;
    };
    comes_about(&site, site.options()).await;
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let pick = at_first(1, Fault::CutAnswer(1_000_000));
    let Some(site) = Site::new(move |request| if request.is_range() { pick(request) } else { Fault::None })
    else {
        return;
    };
    let content = content(LARGE);
    site.direct().put(&path("large"), stream(&content)).await.unwrap();
    let store = store(site.options());
    assert_eq!(read_small(&store, &path("large"), LARGE).await.unwrap(), content);
    let ranges: Vec<Request> = site.relay.requests().into_iter().filter(Request::is_range).collect();
    // What came before the cut is not asked for again, and all is of one object.
    let resumed = |request: &&Request| {
        let start = request.header("range").unwrap().trim_start_matches("bytes=").split('-').next().unwrap();
        start.parse::<u64>().unwrap() % store.bucket.options.part_bytes != 0
    };
    assert!(ranges.iter().any(|request| resumed(&request)), "{ranges:?}");
    for request in ranges.iter().filter(resumed) {
        assert!(request.header("if-match").is_some(), "{request:?}");
    }
}

/// Of each range, the connection ends right before its first byte, behind it, in the middle, before its last byte: at every boundary
/// between two ranges, and on both sides of it.
#[tokio::test]
async fn a_download_goes_on_at_every_boundary_of_its_ranges() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let content = content(LARGE);
    let direct = store(options(&server.endpoint(), keys.path()));
    direct.put(&path("large"), stream(&content)).await.unwrap();
    let part = direct.bucket.options.part_bytes;
    let ranges = [0..part, part..2 * part, 2 * part..LARGE];
    for cut in [Some(0), Some(1), Some(6_000), None] {
        let tried = move |request: &Request| {
            // `bytes=0-99`
            let range = request.header("range")?.trim_start_matches("bytes=");
            let (start, end) = range.split_once('-')?;
            let length = end.parse::<u64>().ok()? + 1 - start.parse::<u64>().ok()?;
            // As asked for at first, not what was left of it.
            (start.parse::<u64>().ok()? % part == 0).then(|| cut.unwrap_or(length - 1))
        };
        let seen: Mutex<HashMap<String, usize>> = Mutex::default();
        let relay = Relay::to(server.port(), move |request| {
            let Some(bytes) = tried(request) else { return Fault::None };
            let range = request.header("range").unwrap_or_default().to_owned();
            let mut seen = seen.lock().unwrap();
            let seen = seen.entry(range).or_default();
            *seen += 1;
            if *seen == 1 { Fault::CutBody(bytes) } else { Fault::None }
        });
        let store = store(options(&relay.endpoint(), keys.path()));
        assert_eq!(read_small(&store, &path("large"), LARGE).await.unwrap(), content, "{cut:?}");
        let asked: Vec<String> = relay
            .requests()
            .iter()
            .filter_map(|request| request.header("range").map(str::to_owned))
            .collect();
        for range in &ranges {
            let came = cut.unwrap_or(range.end.min(LARGE) - range.start - 1);
            let resumed = format!("bytes={}-{}", range.start + came, range.end - 1);
            assert!(asked.contains(&resumed), "{cut:?}: {resumed} is missing in {asked:?}");
        }
        // Once from the start, once from where it broke off, and nothing else.
        assert_eq!(asked.len(), 2 * ranges.len(), "{cut:?}: {asked:?}");
    }
}

#[tokio::test]
async fn a_bucket_that_vanishes_midway_is_told() {
    let Some(server) = Server::start() else { return };
    let folder = server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let vanish = {
        let folder = folder.clone();
        move |request: &Request, place: &str| {
            if request.target.contains(place) || request.header("range").is_some_and(|it| it.contains(place))
            {
                // In one step; at the next request it is gone already.
                let _ = std::fs::rename(&folder, folder.with_extension("gone"));
            }
            Fault::None
        }
    };
    // On the way there, with the first part in it.
    let gone = vanish.clone();
    let relay = Relay::to(server.port(), move |request| gone(request, "partNumber=2"));
    let there = store(Options { attempts: 2, ..options(&relay.endpoint(), keys.path()) });
    let error = told(&there.put(&path("large"), stream(&content(LARGE))).await.unwrap_err());
    assert!(error.contains("no such bucket") || error.contains("nothing of this upload"), "{error}");

    // On the way back.
    std::fs::remove_dir_all(folder.with_extension("gone")).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let direct = store(options(&server.endpoint(), keys.path()));
    direct.put(&path("large"), stream(&content(LARGE))).await.unwrap();
    let second = format!("bytes={}-", super::MIN_PART_BYTES);
    let relay = Relay::to(server.port(), move |request| vanish(request, &second));
    let back = store(Options { attempts: 2, parallel: 1, ..options(&relay.endpoint(), keys.path()) });
    let error = told(&read_small(&back, &path("large"), LARGE).await.unwrap_err());
    assert!(error.contains("no such"), "{error}");
}

/// The relay's answer carries the date of another year: the client signs with that from then on, and the real server refuses it, with
/// the right one.
#[tokio::test]
async fn a_server_whose_clock_differs_is_followed() {
    let first = at_first(1, Fault::error(403, "RequestTimeTooSkewed"));
    let asked = AtomicUsize::new(0);
    let pick = move |request: &Request| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 { first(request) } else { Fault::None }
    };
    let Some(site) = Site::new(pick) else { return };
    let store = store(site.options());
    // An answer to HEAD says nothing but its status and its date.
    store.head(&path("x")).await.unwrap_err();
    let requests = site.relay.requests();
    let dates: Vec<_> = requests.iter().filter_map(|request| request.header("x-amz-date")).collect();
    assert_eq!(dates.len(), 2, "{requests:?}");
    assert!(!dates[0].starts_with("2010") && dates[1].starts_with("2010"), "{dates:?}");
    store.put(&path("x"), super::body(b"x".to_vec())).await.unwrap();
}

#[tokio::test]
async fn a_server_that_falls_silent_is_asked_again() {
    let pick = at_first(1, Fault::Silence);
    let part = move |request: &Request| {
        if request.is_part() || request.is_range() { pick(request) } else { Fault::None }
    };
    let Some(site) = Site::new(part) else { return };
    comes_about(
        &site,
        Options {
            stall_timeout: Duration::from_secs(4),
            request_timeout: Duration::from_secs(8),
            ..site.options()
        },
    )
    .await;
}

#[tokio::test]
async fn credentials_that_expire_midway_are_read_anew() {
    let keys = tempfile::tempdir().unwrap();
    let id = keys.path().join("access-key-id");
    let parts = AtomicUsize::new(0);
    let renewed = id.clone();
    let pick = move |request: &Request| {
        let old = request.header("authorization").is_some_and(|text| text.contains("AKIAOLD"));
        // The server would know no such key; until the first part it is good here.
        if !old {
            return Fault::None;
        }
        if parts.fetch_add(1, Ordering::SeqCst) >= 1 {
            std::fs::write(&renewed, ACCESS_KEY).unwrap();
        }
        Fault::error(400, "ExpiredToken")
    };
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let relay = Relay::to(server.port(), pick);
    let store = store(options(&relay.endpoint(), keys.path()));
    let content = content(LARGE);
    let (first, rest) = content.split_at(LARGE as usize / 2);
    // The key changes to an expired one while the upload is under way.
    let (early, old) = (stream(first), id.clone());
    let change = futures::stream::once(async move {
        std::fs::write(old, "AKIAOLD").unwrap();
        Ok(bytes::Bytes::new())
    });
    let late = stream(rest);
    let body = futures::StreamExt::chain(futures::StreamExt::chain(early, change), late);
    store.put(&path("large"), Box::pin(body)).await.unwrap();
    assert_eq!(read_small(&store, &path("large"), LARGE).await.unwrap(), content);
    let refused = relay
        .requests()
        .iter()
        .filter(|request| request.header("authorization").is_some_and(|text| text.contains("AKIAOLD")))
        .count();
    assert!(refused >= 1, "no request met the expired key");
}

#[tokio::test]
async fn refusals_are_told_in_words_with_a_next_step() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let sound = Options { attempts: 2, ..options(&server.endpoint(), keys.path()) };
    let probe = async |options: Options| told(&store(options).probe().await.unwrap_err());

    let wrong = probe(Options { bucket: "absent".to_owned(), ..sound.clone() }).await;
    assert!(wrong.contains("there is no such bucket") && wrong.contains("make the bucket"), "{wrong}");

    let nobody = Options { endpoint: Some("http://127.0.0.1:1".to_owned()), ..sound.clone() };
    let nobody = probe(nobody).await;
    assert!(
        nobody.to_lowercase().contains("connection refused") && nobody.contains("HTTPS_PROXY"),
        "{nobody}"
    );

    let name = Options { endpoint: Some("http://holdfast.invalid".to_owned()), ..sound.clone() };
    let name = probe(name).await;
    assert!(name.contains("cannot be resolved") && name.contains("check `endpoint`"), "{name}");

    let not_tls = Options { endpoint: Some(server.endpoint().replace("http:", "https:")), ..sound.clone() };
    let not_tls = probe(not_tls).await;
    assert!(not_tls.contains("TLS"), "{not_tls}");

    std::fs::write(keys.path().join("secret-access-key"), "not the secret").unwrap();
    let secret = probe(sound.clone()).await;
    assert!(secret.contains("signature is wrong") && secret.contains("secret access key"), "{secret}");
    std::fs::write(keys.path().join("secret-access-key"), SECRET_KEY).unwrap();

    std::fs::write(keys.path().join("access-key-id"), "AKIAUNKNOWN").unwrap();
    let unknown = probe(sound.clone()).await;
    assert!(unknown.contains("does not know this access key"), "{unknown}");

    std::fs::remove_file(keys.path().join("access-key-id")).unwrap();
    let missing = probe(sound).await;
    assert!(missing.contains("credentials cannot be had"), "{missing}");
}

#[tokio::test]
async fn an_unknown_authority_is_told() {
    let Some(server) = Server::start_with_tls() else { return };
    let other = tempfile::tempdir().unwrap();
    let authority = holdfast_tests::Authority::new(other.path());
    let keys = tempfile::tempdir().unwrap();
    let options = Options {
        ca: Some(authority.certificate()),
        attempts: 2,
        ..options(&server.endpoint(), keys.path())
    };
    let error = told(&store(options).probe().await.unwrap_err());
    assert!(error.contains("an authority that is not trusted here") && error.contains("`ca`"), "{error}");
}

#[tokio::test]
async fn what_the_server_says_to_every_request_is_told() {
    for (status, code, said, hint) in [
        (403, "AccessDenied", "access is denied", "README.md"),
        (403, "RequestTimeTooSkewed", "ahead of the server's", "NTP"),
        (400, "ExpiredToken", "credentials have expired", "renew the credentials"),
        (503, "SlowDown", "asks to slow down", "parallel"),
        (507, "InsufficientStorage", "no room left", "free space"),
        (301, "PermanentRedirect", "another region", "`region`"),
    ] {
        let Some(site) = Site::new(move |_| Fault::error(status, code)) else { return };
        let store = store(Options { attempts: 2, ..site.options() });
        let error = told(&store.probe().await.unwrap_err());
        assert!(error.contains(said) && error.contains(hint), "{code}: {error}");
    }
}

#[tokio::test]
async fn a_bucket_that_fills_up_is_told_and_leaves_nothing() {
    let full = |request: &Request| {
        let third = request.is_part() && request.target.contains("partNumber=3");
        if third { Fault::error(507, "InsufficientStorage") } else { Fault::None }
    };
    let Some(site) = Site::new(full) else { return };
    let store = store(site.options());
    let error = store.put(&path("large"), stream(&content(LARGE))).await.unwrap_err();
    assert!(matches!(error, crate::store::StoreError::Full { .. }), "{error:?}");
    assert!(store.head(&path("large")).await.unwrap().is_none());
    assert_eq!(uploads(&store).await, 0);
}

/// A server without conditions is asked first, and it is not taken for broken.
#[tokio::test]
async fn a_server_without_conditions_is_asked_beforehand() {
    let pick = |request: &Request| {
        if request.header("if-none-match").is_some() {
            Fault::error(501, "NotImplemented")
        } else {
            Fault::None
        }
    };
    let Some(site) = Site::new(pick) else { return };
    comes_about(&site, site.options()).await;
    let strict = Options { conditional_writes: super::ConditionalWrites::Required, ..site.options() };
    let error = told(&store(strict).probe().await.unwrap_err());
    assert!(error.contains("cannot do this"), "{error}");
}
