//! The store on a real S3 server, and on one that is made to fail.

mod catalog;
mod faults;
mod locks;
mod network;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use holdfast_tests::relay::{Fault, Relay};
use holdfast_tests::s3::{REGION, SECRET_KEY, Server};
use holdfast_tests::wait::LIMIT;
use jiff::Timestamp;
use tempfile::TempDir;

use super::{
    Algorithm, Checksums, ConditionalWrites, Credentials, Encryption, Keys, MIN_PART_BYTES, Options, S3Store,
};
use crate::secret::SecretSource;
use crate::store::{ByteStream, ObjectPath, Store, StoreError, body, contract, list_all, read_small};

const BUCKET: &str = "backups";

/// Options for a server, with limits that let a test be short: no test's outcome hangs on them.
fn options(endpoint: &str, keys: &Path) -> Options {
    let (id, secret) = Server::keys_in(keys);
    Options {
        bucket: BUCKET.to_owned(),
        prefix: "prod/eu".to_owned(),
        region: Some(REGION.to_owned()),
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        ca: None,
        credentials: Credentials::Keys(Keys {
            access_key_id: SecretSource::File(id),
            secret_access_key: SecretSource::File(secret),
            session_token: None,
        }),
        encryption: Encryption::Default,
        storage_class: None,
        tags: Vec::new(),
        lock: None,
        checksums: Checksums::WhenSupported(Algorithm::Crc32c),
        conditional_writes: ConditionalWrites::Auto,
        part_bytes: MIN_PART_BYTES,
        parallel: 4,
        attempts: 6,
        connect_timeout: Duration::from_secs(20),
        request_timeout: Duration::from_mins(1),
        stall_timeout: Duration::from_mins(1),
        stale_after: Duration::from_hours(24),
    }
}

fn store(options: Options) -> S3Store {
    S3Store::new(options, Timestamp::now)
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).unwrap()
}

/// Bytes that differ from one another, so that what is swapped is seen.
fn content(length: u64) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// The same, as a stream of uneven chunks.
fn stream(content: &[u8]) -> ByteStream {
    let chunks: Vec<_> = content.chunks(700_001).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Box::pin(futures::stream::iter(chunks))
}

/// Three parts, the last one short.
const LARGE: u64 = 2 * MIN_PART_BYTES + 12_345;

/// A server, and a store whose way there leads through a relay.
struct Site {
    server: Server,
    relay: Relay,
    keys: TempDir,
}

impl Site {
    fn new(pick: impl Fn(&holdfast_tests::relay::Request) -> Fault + Send + Sync + 'static) -> Option<Site> {
        let server = Server::start()?;
        server.bucket(BUCKET);
        let relay = Relay::to(server.port(), pick);
        Some(Site { server, relay, keys: tempfile::tempdir().unwrap() })
    }

    fn options(&self) -> Options {
        options(&self.relay.endpoint(), self.keys.path())
    }

    /// A store that nothing stands in the way of.
    fn direct(&self) -> S3Store {
        store(options(&self.server.endpoint(), self.keys.path()))
    }
}

/// An error with its causes and its hint.
fn told(error: &StoreError) -> String {
    let text = crate::config::probe::with_causes(error);
    assert!(!text.contains(SECRET_KEY), "a secret is told: {text}");
    format!("{text}\nhint: {}", error.hint().unwrap_or_default())
}

async fn uploads(store: &S3Store) -> usize {
    let bucket = &store.bucket;
    let listed = bucket.call(|client| client.list_multipart_uploads().bucket(BUCKET).send()).await;
    listed.unwrap().uploads().len()
}

#[tokio::test]
async fn keeps_the_contract() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    contract::check(&store(options(&server.endpoint(), keys.path()))).await;
}

#[tokio::test]
async fn keeps_the_contract_with_tls_and_sha256_and_proved_conditions() {
    let Some(server) = Server::start_with_tls() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let options = Options {
        ca: Some(server.ca()),
        checksums: Checksums::WhenSupported(Algorithm::Sha256),
        conditional_writes: ConditionalWrites::Required,
        prefix: String::new(),
        ..options(&server.endpoint(), keys.path())
    };
    contract::check(&store(options)).await;
}

#[tokio::test]
async fn keeps_the_contract_without_checksums_and_conditions() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let options = Options {
        checksums: Checksums::WhenRequired,
        conditional_writes: ConditionalWrites::Off,
        ..options(&server.endpoint(), keys.path())
    };
    contract::check(&store(options)).await;
}

#[tokio::test]
async fn when_required_sends_no_checksum_and_no_trailer() {
    let Some(site) = Site::new(|_| Fault::None) else { return };
    let (small, large) = (content(1000), content(LARGE));
    for (name, checksums) in [
        ("bare", Checksums::WhenRequired),
        ("crc", Checksums::WhenSupported(Algorithm::Crc32c)),
        ("sha", Checksums::WhenSupported(Algorithm::Sha256)),
    ] {
        let store = store(Options { checksums, ..site.options() });
        let before = site.relay.requests().len();
        store.put(&path(&format!("{name}/small")), stream(&small)).await.unwrap();
        store.put(&path(&format!("{name}/large")), stream(&large)).await.unwrap();
        assert_eq!(read_small(&store, &path(&format!("{name}/large")), LARGE).await.unwrap(), large);
        let requests = site.relay.requests().split_off(before);
        assert!(requests.iter().filter(|request| request.is_part()).count() == 3, "{requests:?}");
        for request in &requests {
            // Never: what older servers take for the object's own bytes.
            let encoding = request.header("content-encoding").unwrap_or_default();
            assert!(!encoding.contains("aws-chunked"), "{request:?}");
            assert!(request.header("x-amz-trailer").is_none(), "{request:?}");
            let sums = request.headers.iter().filter(|(name, _)| name.contains("checksum")).count();
            if checksums == Checksums::WhenRequired {
                assert_eq!(sums, 0, "{request:?}");
            } else if request.is_part() || request.is_whole() {
                let header = if name == "crc" { "x-amz-checksum-crc32c" } else { "x-amz-checksum-sha256" };
                assert!(request.header(header).is_some(), "{request:?}");
            }
            if request.is_part() || request.is_whole() {
                // The signature covers the bytes: a server that takes others breaks it.
                let signed = request.header("x-amz-content-sha256").unwrap();
                assert!(
                    signed.len() == 64 && signed.bytes().all(|byte| byte.is_ascii_hexdigit()),
                    "{request:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_the_options_ask_of_the_server_is_sent() {
    let Some(site) = Site::new(|_| Fault::None) else { return };
    let key = site.keys.path().join("customer");
    std::fs::write(&key, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n").unwrap();
    let tags = vec![("team".to_owned(), "a b&c".to_owned())];
    let kms = Encryption::Kms { key_id: Some("key".to_owned()) };
    let plain = Options { storage_class: Some("STANDARD_IA".to_owned()), tags, ..site.options() };
    let customer = Encryption::Customer { key: SecretSource::File(key) };
    for (encryption, header, value) in [
        (Encryption::S3, "x-amz-server-side-encryption", "AES256"),
        (kms, "x-amz-server-side-encryption-aws-kms-key-id", "key"),
        (customer, "x-amz-server-side-encryption-customer-key-md5", "hRasmdxgYDKV3nvbahU1MA=="),
    ] {
        let store = store(Options { encryption, attempts: 1, ..plain.clone() });
        let before = site.relay.requests().len();
        // Whether the server encrypts is its own business: it may well refuse.
        let _ = store.put(&path("asked/small"), body(b"x".to_vec())).await;
        let _ = store.put(&path("asked/large"), stream(&content(LARGE))).await;
        let requests = site.relay.requests().split_off(before);
        let written = requests.iter().filter(|request| {
            request.is_whole() || (request.method == "POST" && request.target.contains("uploads"))
        });
        let mut seen = 0;
        for request in written {
            seen += 1;
            assert_eq!(request.header(header), Some(value), "{request:?}");
            assert_eq!(request.header("x-amz-storage-class"), Some("STANDARD_IA"), "{request:?}");
            assert_eq!(request.header("x-amz-tagging"), Some("team=a%20b%26c"), "{request:?}");
        }
        assert!(seen > 0, "nothing was written: {requests:?}");
    }
}

/// Without it the server could not even tell how long the object is.
#[tokio::test]
async fn the_customers_key_goes_with_every_request_about_an_object() {
    let Some(site) = Site::new(|_| Fault::None) else { return };
    let key = site.keys.path().join("customer");
    std::fs::write(&key, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n").unwrap();
    let encryption = Encryption::Customer { key: SecretSource::File(key) };
    let store = store(Options { encryption, attempts: 1, ..site.options() });
    let content = content(LARGE);
    // versitygw keeps no object encrypted, and takes the key for a header like any other.
    store.put(&path("sealed"), stream(&content)).await.unwrap();
    assert_eq!(read_small(&store, &path("sealed"), LARGE).await.unwrap(), content);
    assert!(store.head(&path("sealed")).await.unwrap().is_some());
    let requests = site.relay.requests();
    let mut kinds = std::collections::BTreeSet::new();
    for request in requests.iter().filter(|request| request.target.contains("sealed")) {
        kinds.insert((request.method.clone(), request.is_part(), request.is_completion()));
        for (header, value) in [
            ("algorithm", "AES256"),
            ("key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
            ("key-md5", "hRasmdxgYDKV3nvbahU1MA=="),
        ] {
            let name = format!("x-amz-server-side-encryption-customer-{header}");
            assert_eq!(request.header(&name), Some(value), "{} {}", request.method, request.target);
        }
    }
    // Begun, a part, completed, read, looked at.
    assert_eq!(kinds.len(), 5, "{kinds:?}");
}

#[tokio::test]
async fn tags_lie_beside_the_object() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let tags = vec![("team".to_owned(), "a b+c/é".to_owned()), ("kind".to_owned(), "etcd".to_owned())];
    let store = store(Options { tags, ..options(&server.endpoint(), keys.path()) });
    for (name, length) in [("small", 100), ("large", LARGE)] {
        store.put(&path(name), stream(&content(length))).await.unwrap();
        let key = store.bucket.key(&path(name));
        let asked = store.bucket.call(|client| client.get_object_tagging().bucket(BUCKET).key(&key).send());
        let asked = asked.await.unwrap();
        let mut found: Vec<_> = asked.tag_set().iter().map(|tag| (tag.key(), tag.value())).collect();
        found.sort_unstable();
        assert_eq!(found, [("kind", "etcd"), ("team", "a b+c/é")], "{name}");
    }
}

#[tokio::test]
async fn two_writers_never_both_win() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let new = || store(options(&server.endpoint(), keys.path()));
    for (round, length) in [(0, 100), (1, LARGE), (2, 100), (3, LARGE)] {
        let target = path(&format!("race/{round}"));
        let (one, other) = (new(), new());
        let (first, second) = (content(length), content(length + 1));
        let both = futures::join!(one.put(&target, stream(&first)), other.put(&target, stream(&second)));
        let winner = match &both {
            (Ok(_), Err(StoreError::Exists { .. })) => &first,
            (Err(StoreError::Exists { .. }), Ok(_)) => &second,
            other => panic!("round {round}: {other:?}"),
        };
        assert_eq!(&read_small(&one, &target, LARGE + 1).await.unwrap(), winner, "round {round}");
        assert_eq!(uploads(&one).await, 0, "the loser's upload is left");
    }
}

#[tokio::test]
async fn what_is_given_up_is_aborted() {
    use futures::StreamExt;
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let store = store(options(&server.endpoint(), keys.path()));
    let torn = stream(&content(LARGE)).chain(futures::stream::iter([Err(std::io::Error::other("torn"))]));
    assert!(store.put(&path("torn"), Box::pin(torn)).await.is_err());
    assert_eq!(uploads(&store).await, 0);
    // Dropped once the server has the upload, with parts on their way: the abort then runs by itself.
    let stuck = stream(&content(LARGE)).chain(futures::stream::pending());
    let target = path("dropped");
    let mut put = store.put(&target, Box::pin(stuck));
    let begun = async { while uploads(&store).await == 0 {} };
    tokio::select! {
        ended = &mut put => panic!("it ended: {ended:?}"),
        begun = tokio::time::timeout(LIMIT, begun) => begun.expect("the upload is begun"),
    }
    drop(put);
    let aborted = async {
        while uploads(&store).await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, aborted).await.expect("the upload is aborted");
    assert!(store.head(&target).await.unwrap().is_none());
}

#[tokio::test]
async fn sweep_takes_old_uploads_and_delete_those_of_its_path() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    let options = options(&server.endpoint(), keys.path());
    let now = store(options.clone());
    let later = S3Store::new(options, || Timestamp::now() + jiff::SignedDuration::from_hours(48));
    for name in ["data/one", "data/one-more"] {
        now.bucket.begin_upload(&now.bucket.key(&path(name)), "mark").await.unwrap();
    }
    // Somebody else's, in the same bucket.
    now.bucket.begin_upload("elsewhere/three", "mark").await.unwrap();
    assert_eq!(now.sweep().await.unwrap(), 0, "an upload under way was taken away");
    now.delete(&path("data/one")).await.unwrap();
    assert_eq!(uploads(&now).await, 2);
    assert_eq!(later.sweep().await.unwrap(), 1);
    assert_eq!(uploads(&now).await, 1, "an upload of somebody else's was taken away");
}

#[tokio::test]
async fn parts_grow_so_that_the_largest_object_fits() {
    let keys = tempfile::tempdir().unwrap();
    let mut options = options("http://127.0.0.1:1", keys.path());
    options.part_bytes = 8 << 20;
    let store = store(options);
    let largest: u64 = (1..=10_000).map(|number| super::upload::part_bytes(&store.bucket, number)).sum();
    assert!(largest > 5 << 40, "{largest}");
    assert!(super::upload::part_bytes(&store.bucket, 10_000) <= 5 << 30, "S3 takes parts of up to 5 GiB");
}

/// Whatever the length of the stream: more than 10,000 parts of the first size, too.
#[tokio::test]
async fn parts_that_grow_take_no_more_memory_until_one_alone_does() {
    use super::upload::{part_bytes, weight};
    let keys = tempfile::tempdir().unwrap();
    for parallel in [1, 2, 3, 4, 16, 64] {
        let part = 8 << 20;
        let options = Options { part_bytes: part, parallel, ..options("http://127.0.0.1:1", keys.path()) };
        let bucket = &store(options).bucket;
        for number in 1..=10_000 {
            // As many as there is room for are on their way: this one, and those right before it.
            let (mut room, mut bytes) = (parallel as u64, 0);
            for before in (1..=number).rev() {
                let needed = u64::from(weight(bucket, before));
                if needed > room {
                    break;
                }
                room -= needed;
                bytes += part_bytes(bucket, before);
            }
            let most = (parallel as u64 * part).max(part_bytes(bucket, number));
            assert!(bytes <= most, "{bytes} with part {number} of {parallel} at once");
        }
        // An etcd of the largest size that there is, never compressed at all.
        let largest: u64 = (1..=1000).map(|number| part_bytes(bucket, number)).sum();
        assert!(largest >= 8_000 << 20 && weight(bucket, 1000) == 1);
    }
}

#[tokio::test]
async fn a_probe_leaves_nothing() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let keys = tempfile::tempdir().unwrap();
    for conditional_writes in [ConditionalWrites::Auto, ConditionalWrites::Required] {
        let store = store(Options { conditional_writes, ..options(&server.endpoint(), keys.path()) });
        store.probe().await.unwrap();
        assert_eq!(uploads(&store).await, 0);
        assert!(list_all(&store, "").await.unwrap().is_empty());
    }
}
