//! What a guest may reach: what is granted and wanted, and nothing else.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use etcd_snapshot::{CheckOptions, Facts};
use holdfast_runtime::{
    AddressRange, Allow, CallErrorKind, Grants, HttpOptions, HttpPattern, HttpProxy, Limits, Plugin,
    PluginHost, PluginOptions, SecretText, VerifyRun,
};
use serde_json::{Value, json};

use crate::harness::{Setup, hostile, reach, refusal, replaced, run, subject};
use crate::servers::{Answer, Authority, Proxy, Server};

pub(crate) static FACTS: LazyLock<Facts> =
    LazyLock::new(|| etcd_snapshot::inspect(&subject(), &CheckOptions::default()).facts);

/// Long enough for a busy machine, short enough for a test that would hang.
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) struct Reach {
    setup: Setup,
    _host: PluginHost,
    plugin: Arc<Plugin>,
}

async fn reaching(setup: Setup) -> Reach {
    let setup = setup.with("reach.wasm", &reach());
    let host = setup.loaded().await;
    let plugin = host.registry().plugin("reach").expect("it loads");
    Reach { setup, _host: host, plugin }
}

pub(crate) async fn reaching_under(limits: Limits) -> Reach {
    let limits = Limits { timeout: PATIENCE, cpu: PATIENCE, ..limits };
    reaching(Setup::new().options("reach", PluginOptions { limits, ..PluginOptions::default() })).await
}

impl Reach {
    pub(crate) async fn call(&self, config: Value, grants: &Grants) -> VerifyRun {
        self.plugin.verify_inspected(subject(), &FACTS, Vec::new(), &config, grants).await
    }

    /// The answer, or the guest's own words about its failure.
    pub(crate) async fn ask(&self, config: Value, grants: &Grants) -> String {
        match self.call(config, grants).await.result {
            Ok(report) => report.summary,
            Err(error) => format!("{}: {}", error.code, error.message),
        }
    }
}

pub(crate) fn to(patterns: &[&str]) -> Grants {
    to_addresses(patterns, &[])
}

pub(crate) fn to_addresses(patterns: &[&str], addresses: &[&str]) -> Grants {
    let allow = Allow {
        http: patterns.iter().map(|text| HttpPattern::parse(text).expect("a pattern")).collect(),
        http_addresses: addresses.iter().map(|text| AddressRange::parse(text).expect("a range")).collect(),
        ..Allow::default()
    };
    Grants::new(allow, [].into())
}

fn secret(name: &str, value: &str) -> Grants {
    let allow = Allow { secrets: [name.to_owned()].into(), ..Allow::default() };
    Grants::new(allow, [(name.to_owned(), SecretText::new(value))].into())
}

pub(crate) fn store(name: &str) -> Grants {
    Grants::new(Allow { state: [name.to_owned()].into(), ..Allow::default() }, [].into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_to_what_is_granted_and_to_nothing_else() {
    let (server, other) = (Server::start(Answer::ok()).await, Server::start(Answer::ok()).await);
    let reach = reaching_under(Limits::default()).await;
    let granted = to(&[&format!("http://{}", server.authority())]);
    let ask = |authority: String| json!({ "do": "request", "authority": authority, "path": "/a?b=c" });

    let run = reach.call(ask(server.authority()), &granted).await;
    assert_eq!(run.result.expect("an answer").summary, "200 5");
    assert_eq!((run.stats.http_requests, run.stats.http_received_bytes, run.stats.denied), (1, 5, 0));
    let head = server.heads().remove(0).to_lowercase();
    assert!(head.starts_with("get /a?b=c http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", server.authority())), "{head}");

    let run = reach.call(ask(other.authority()), &granted).await;
    assert_eq!(run.result.expect_err("no answer").message, "ErrorCode::HttpRequestDenied");
    assert_eq!(run.stats.denied, 1);
    let denial = &run.denied[0];
    assert_eq!((denial.grant, denial.times), ("http", 1));
    assert_eq!(denial.asked, format!("http to `http://{}`", other.authority()));
    assert!(denial.hint.as_ref().expect("a hint").contains(&format!("\"http://{}\"", other.authority())));

    // Nothing at all is granted.
    assert_eq!(
        reach.ask(ask(server.authority()), &Grants::default()).await,
        "http: ErrorCode::HttpRequestDenied"
    );
    assert_eq!((server.heads().len(), other.heads().len()), (1, 0), "no other request left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_an_address_leads_around_the_grant() {
    let server = Server::start(Answer::ok()).await;
    let port = server.address.port();
    let reach = reaching_under(Limits::default()).await;
    let granted =
        to(&[&format!("http://127.0.0.1:{}", if port == 1 { 2 } else { 1 }), "http://allowed.example"]);
    for authority in [
        format!("127.0.0.1:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f000001:{port}"),
        format!("0x7f.0.0.1:{port}"),
        format!("0177.0.0.1:{port}"),
        format!("127.1:{port}"),
        format!("127.0.0.1.:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::ffff:7f00:1]:{port}"),
        format!("[64:ff9b::7f00:1]:{port}"),
        format!("[2002:7f00:1::]:{port}"),
        format!("LOCALHOST:{port}"),
        format!("localhost.:{port}"),
        format!("allowed.example@127.0.0.1:{port}"),
        format!("allowed.example:80@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}@allowed.example"),
        "allowed.example:81".to_owned(),
        "allowed.example.evil.example".to_owned(),
    ] {
        let config = json!({ "do": "request", "authority": authority });
        let run = reach.call(config, &granted).await;
        let error = run.result.expect_err(&authority);
        let refused = ["HttpRequestDenied", "HttpRequestUriInvalid", "authority"];
        assert!(refused.iter().any(|words| error.message.contains(words)), "{authority}: {error}");
        if error.message != "authority" {
            assert_eq!(run.stats.denied, 1, "{authority}");
        }
    }
    let config = json!({ "do": "request", "authority": "allowed.example", "scheme": "https" });
    assert_eq!(reach.ask(config, &granted).await, "http: ErrorCode::HttpRequestDenied", "another scheme");
    let config = json!({ "do": "request", "authority": "allowed.example", "scheme": "gopher" });
    assert!(reach.ask(config, &granted).await.contains("HttpProtocolError"));
    let config = json!({ "do": "request", "authority": "allowed.example", "method": "CONNECT" });
    assert!(reach.ask(config, &granted).await.contains("HttpRequestMethodInvalid"), "no tunnels");
    assert!(server.heads().is_empty(), "nothing left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_to_this_machine_is_refused_unless_its_address_is_listed() {
    let server = Server::start(Answer::ok()).await;
    let authority = format!("localhost:{}", server.address.port());
    let reach = reaching_under(Limits::default()).await;
    let config = json!({ "do": "request", "authority": authority });
    let pattern = format!("http://{authority}");

    let run = reach.call(config.clone(), &to(&[&pattern])).await;
    assert_eq!(run.result.expect_err("no answer").message, "ErrorCode::DestinationIpProhibited");
    let denial = &run.denied[0];
    assert!(denial.reason.contains("a loopback address"), "{denial}");
    assert!(denial.hint.as_ref().expect("a hint").contains("http_addresses = [\""), "{denial:?}");
    assert!(server.heads().is_empty());

    let listed = to_addresses(&[&pattern], &["127.0.0.0/8"]);
    assert_eq!(reach.ask(config.clone(), &listed).await, "200 5");
    // The address alone grants nothing.
    assert!(reach.ask(config, &to_addresses(&[], &["127.0.0.0/8"])).await.contains("HttpRequestDenied"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_an_answer_and_its_target_is_judged_anew() {
    let inside = Server::start(Answer::ok()).await;
    let server =
        Server::start(Answer::redirect(&format!("http://{}/latest/meta-data", inside.authority()))).await;
    let reach = reaching_under(Limits::default()).await;
    let config = json!({ "do": "follow", "authority": server.authority() });
    let first = format!("http://{}", server.authority());
    let run = reach.call(config.clone(), &to(&[&first])).await;
    assert_eq!(run.result.expect_err("no answer").message, "ErrorCode::HttpRequestDenied");
    assert!(inside.heads().is_empty(), "nobody followed");
    let both = to(&[&first, &format!("http://{}", inside.authority())]);
    assert_eq!(reach.ask(config, &both).await, "200 5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_costs_the_guest_its_time_alone() {
    for answer in [Answer::Silence, Answer::HeadOnly] {
        let server = Server::start(answer.clone()).await;
        let granted = to(&[&format!("http://{}", server.authority())]);
        // The guest's own patience ends first, and it is told.
        let reach = reaching_under(Limits::default()).await;
        let config = json!({ "do": "request", "authority": server.authority(), "patience-ms": 200 });
        let told = reach.ask(config, &granted).await;
        assert!(
            ["ConnectionReadTimeout", "connection read timeout"].iter().any(|it| told.contains(it)),
            "{told}"
        );
        // The guest has all the time in the world, its call has not.
        let limits = Limits { timeout: Duration::from_millis(400), ..Limits::default() };
        let setup = Setup::new().options("reach", PluginOptions { limits, ..PluginOptions::default() });
        let reach = reaching(setup).await;
        let config = json!({ "do": "request", "authority": server.authority() });
        let error = reach.call(config, &granted).await.result.expect_err("no answer");
        assert_eq!((error.kind, error.code.as_str()), (CallErrorKind::Timeout, "wall-clock"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_heads_and_requests_are_bounded() {
    let limits = Limits {
        http_requests: 3,
        http_request_bytes: 100_000,
        http_response_bytes: 1 << 20,
        ..Limits::default()
    };
    let reach = reaching_under(limits).await;
    let server = Server::start(Answer::Endless).await;
    let granted = to(&[&format!("http://{}", server.authority())]);
    let run = reach.call(json!({ "do": "request", "authority": server.authority() }), &granted).await;
    let error = run.result.expect_err("no end");
    assert!(error.message.contains("response body size exceeds limit"), "{error}");

    let server = Server::start(Answer::Silence).await;
    let granted = to(&[&format!("http://{}", server.authority())]);
    let config = json!({ "do": "request", "authority": server.authority(), "body-bytes": 10_000_000 });
    let message = reach.ask(config, &granted).await;
    assert!(message.contains("HttpRequestBodySize"), "{message}");

    let server = Server::start(Answer::ok()).await;
    let granted = to(&[&format!("http://{}", server.authority())]);
    let config = json!({ "do": "many-requests", "n": 4, "authority": server.authority() });
    let run = reach.call(config, &granted).await;
    assert!(run.result.expect_err("too many").message.contains("ConnectionLimitReached"));
    assert_eq!((run.stats.denied, server.heads().len()), (1, 3));

    let config =
        json!({ "do": "request", "authority": server.authority(), "headers": 100, "header-bytes": 10_000 });
    let error = reach.call(config, &granted).await.result.expect_err("too much of a head");
    assert_eq!(error.kind, CallErrorKind::Trap, "{error}");
    assert!(error.message.contains("total size of fields"), "{error}");
    let config = json!({ "do": "request", "authority": server.authority(), "path": format!("/{}", "x".repeat(20_000)) });
    assert!(reach.ask(config, &granted).await.contains("HttpRequestUriTooLong"));

    let heads = format!("HTTP/1.1 200 OK\r\n{}\r\n", format!("x: {}\r\n", "y".repeat(8000)).repeat(20));
    let server = Server::start(Answer::Bytes(heads)).await;
    let granted = to(&[&format!("http://{}", server.authority())]);
    let message = reach.ask(json!({ "do": "request", "authority": server.authority() }), &granted).await;
    assert!(message.contains("HttpProtocolError"), "{message}");

    let server =
        Server::start(Answer::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut".into())).await;
    let granted = to(&[&format!("http://{}", server.authority())]);
    let message = reach.ask(json!({ "do": "request", "authority": server.authority() }), &granted).await;
    assert!(message.contains("after 3 bytes: "), "a cut answer is not taken for a whole one: {message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_breaks_after_a_refusal_is_denied() {
    let reach = reaching_under(Limits::default()).await;
    let config = json!({ "do": "denied-and-panic", "authority": "metadata.google.internal" });
    let error = reach.call(config, &Grants::default()).await.result.expect_err("it panics");
    assert_eq!((error.kind, error.code.as_str()), (CallErrorKind::Denied, "http"));
    assert!(
        error.message.contains("http to `http://metadata.google.internal`: it is not granted"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_asked_where_there_is_one() {
    let proxy = Server::start(Answer::ok()).await;
    let options = HttpOptions {
        proxy: Some(HttpProxy::parse(&format!("http://{}", proxy.authority())).expect("a proxy")),
        ..HttpOptions::default()
    };
    let reach = reaching(Setup::new().http(options)).await;
    let granted = to(&["http://a.example:8080", "https://b.example"]);
    let config = json!({ "do": "request", "authority": "A.example:8080", "path": "/x" });
    assert_eq!(reach.ask(config, &granted).await, "200 5");
    let config = json!({ "do": "request", "authority": "b.example", "scheme": "https" });
    // It answers like a proxy, and then in the clear.
    assert!(reach.ask(config, &granted).await.contains("Tls"));
    let config = json!({ "do": "request", "authority": "c.example" });
    assert!(reach.ask(config, &granted).await.contains("HttpRequestDenied"), "the grant counts all the same");
    let heads = proxy.heads();
    assert!(heads[0].starts_with("GET http://a.example:8080/x HTTP/1.1\r\n"), "{heads:?}");
    assert!(
        heads[1].starts_with("CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n"),
        "{heads:?}"
    );
    assert_eq!(heads.len(), 2);
}

/// A folder with a file of authorities in it.
struct Trusted {
    folder: tempfile::TempDir,
}

impl Trusted {
    fn in_file(authority: &Authority) -> Trusted {
        let trusted = Trusted { folder: tempfile::tempdir().expect("a temporary folder") };
        trusted.renew(authority);
        trusted
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.crt")
    }

    fn renew(&self, authority: &Authority) {
        std::fs::write(self.file(), authority.pem()).expect("written");
    }

    fn options(&self) -> HttpOptions {
        HttpOptions { ca: Some(self.file()), ..HttpOptions::default() }
    }
}

fn over_tls(server: &Server) -> (Value, Grants) {
    let authority = format!("localhost:{}", server.address.port());
    let granted = to_addresses(&[&format!("https://{authority}")], &["127.0.0.0/8"]);
    (json!({ "do": "request", "scheme": "https", "authority": authority, "path": "/a" }), granted)
}

const REFUSED_CERTIFICATE: &str = "http: ErrorCode::TlsCertificateError";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_goes_to_who_has_a_certificate_of_a_trusted_authority() {
    let (own, other) = (Authority::new(), Authority::new());
    let server = Server::with_tls(Answer::ok(), own.issue(&["localhost", "127.0.0.1"])).await;
    let (config, granted) = over_tls(&server);
    let trusted = Trusted::in_file(&own);
    let reach = reaching(Setup::new().http(trusted.options())).await;
    let run = reach.call(config.clone(), &granted).await;
    assert_eq!(run.result.expect("an answer").summary, "200 5");
    assert_eq!((run.stats.http_requests, run.stats.http_received_bytes, run.stats.denied), (1, 5, 0));
    let head = server.heads().remove(0).to_lowercase();
    assert!(head.starts_with("get /a http/1.1\r\n") && head.contains("host: localhost:"), "{head}");

    // By its address, which the certificate names too.
    let authority = server.authority();
    let by_address = json!({ "do": "request", "scheme": "https", "authority": authority });
    let to_address = to(&[&format!("https://{authority}")]);
    assert_eq!(reach.ask(by_address.clone(), &to_address).await, "200 5");

    // The file is read at each connection: another authority counts from now on, and the first no more.
    trusted.renew(&other);
    assert_eq!(reach.ask(config.clone(), &granted).await, REFUSED_CERTIFICATE);
    trusted.renew(&own);
    assert_eq!(reach.ask(config.clone(), &granted).await, "200 5");
    std::fs::remove_file(trusted.file()).expect("removed");
    assert_eq!(reach.ask(config.clone(), &granted).await, "http: ErrorCode::ConfigurationError");

    // The system's authorities alone.
    let reach = reaching(Setup::new()).await;
    assert_eq!(reach.ask(config, &granted).await, REFUSED_CERTIFICATE);
    assert_eq!(server.heads().len(), 3, "nothing was asked of a server that is not trusted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name_or_of_another_time_is_refused() {
    let authority = Authority::new();
    let trusted = Trusted::in_file(&authority);
    let reach = reaching(Setup::new().http(trusted.options())).await;
    for certificate in [authority.issue(&["elsewhere.example"]), authority.issue_until(&["localhost"], 2024)]
    {
        let server = Server::with_tls(Answer::ok(), certificate).await;
        let (config, granted) = over_tls(&server);
        assert_eq!(reach.ask(config, &granted).await, REFUSED_CERTIFICATE);
        assert!(server.heads().is_empty());
    }
    // And one that speaks no TLS at all.
    let server = Server::start(Answer::ok()).await;
    let (config, granted) = over_tls(&server);
    let limits = Limits { timeout: Duration::from_secs(2), ..Limits::default() };
    let setup = Setup::new().http(trusted.options());
    let setup = setup.options("reach", PluginOptions { limits, ..PluginOptions::default() });
    let run = reaching(setup).await.call(config, &granted).await;
    assert!(
        run.result.is_err() && server.heads().is_empty(),
        "nothing is said in the clear: {:?}",
        run.stats
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_goes_through_a_proxy_unread() {
    let (own, other) = (Authority::new(), Authority::new());
    // A name that nobody here can resolve: that is the proxy's business.
    let server = Server::with_tls(Answer::ok(), own.issue(&["cmdb.internal.example"])).await;
    let proxy = Proxy::start(server.address).await;
    let granted = to(&["https://cmdb.internal.example"]);
    let config = json!({ "do": "request", "scheme": "https", "authority": "cmdb.internal.example", "path": "/secret" });
    let through = |trusted: &Trusted| HttpOptions {
        proxy: Some(HttpProxy::parse(&format!("http://{}", proxy.address)).expect("a proxy")),
        ..trusted.options()
    };
    let trusted = Trusted::in_file(&own);
    let reach = reaching(Setup::new().http(through(&trusted))).await;
    assert_eq!(reach.ask(config.clone(), &granted).await, "200 5");
    assert_eq!(
        proxy.heads(),
        ["CONNECT cmdb.internal.example:443 HTTP/1.1\r\nHost: cmdb.internal.example:443\r\n\r\n"]
    );
    assert!(server.heads()[0].starts_with("GET /secret HTTP/1.1\r\n"));

    // Who sits behind the proxy must be the one all the same.
    let distrusted = Trusted::in_file(&other);
    let reach = reaching(Setup::new().http(through(&distrusted))).await;
    assert_eq!(reach.ask(config, &granted).await, REFUSED_CERTIFICATE);
    assert_eq!(server.heads().len(), 1);

    // A host that is reached without the proxy is reached without it.
    let direct = Server::with_tls(Answer::ok(), own.issue(&["localhost"])).await;
    let options = HttpOptions { no_proxy: vec!["localhost".into()], ..through(&trusted) };
    let reach = reaching(Setup::new().http(options)).await;
    let (config, granted) = over_tls(&direct);
    assert_eq!(reach.ask(config, &granted).await, "200 5");
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_given_by_name_where_it_is_granted() {
    let reach = reaching_under(Limits::default()).await;
    let granted = secret("token", "hunter2hunter2");
    let ask = |name: &str| json!({ "do": "secret", "name": name });
    assert_eq!(reach.ask(ask("token"), &granted).await, "14 bytes");
    assert_eq!(reach.ask(ask("other"), &granted).await, "denied: the secret `other` is not granted");
    assert_eq!(reach.ask(ask("unset"), &granted).await, "denied: the secret `unset` is not granted");
    let run = reach.call(ask("token"), &Grants::default()).await;
    assert_eq!(run.result.expect_err("denied").code, "denied");
    assert_eq!((run.stats.denied, run.denied[0].grant), (1, "secrets"));
    // The operator grants what the plugin never asked for.
    let run = reach.call(ask("other"), &secret("other", "x")).await;
    assert_eq!(run.result.expect_err("denied").code, "denied");
}

/// What was logged while `work` ran.
async fn logged<T>(work: impl Future<Output = T>) -> (T, String) {
    use tracing::instrument::WithSubscriber as _;
    let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
    let writer = Arc::clone(&lines);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || Lines(Arc::clone(&writer)))
        .finish();
    let done = work.with_subscriber(subscriber).await;
    let text = String::from_utf8_lossy(&lines.lock().expect("no panic")).into_owned();
    (done, text)
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_a_guest_repeats_is_shown_nowhere() {
    const VALUE: &str = "hunter2hunter2";
    let reach = reaching_under(Limits::default()).await;
    let granted = secret("token", VALUE);
    for how in ["log", "error", "panic", "report"] {
        let call = reach.call(json!({ "do": "tell", "how": how }), &granted);
        let (run, log) = logged(call).await;
        let shown = format!("{run:?} {}", serde_json::to_string(&run).expect("JSON"));
        assert!(!shown.contains(VALUE), "{how}: {shown}");
        assert!(!log.contains(VALUE), "{how}: {log}");
        match how {
            "log" => {
                assert_eq!(log.matches("the token is [secret token]").count(), 3, "{log}");
                assert_eq!(run.stderr, "the token is [secret token]\n");
            }
            "error" => assert_eq!(run.result.expect_err("an error").message, "401 for [secret token]"),
            "panic" => assert!(run.result.expect_err("a trap").message.contains("cannot use [secret token]")),
            _ => {
                let report = run.result.expect("a report");
                assert_eq!(report.summary, "used [secret token]");
                assert_eq!(report.memo.as_deref(), Some("[secret token]"));
                assert_eq!(report.findings[0].key.as_deref(), Some(&b"[secret token]"[..]));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_outlasts_the_call_and_belongs_to_the_plugin() {
    let reach = reaching_under(Limits::default()).await;
    let granted = store("seen");
    let ask = |op: &str, key: &str, value: &str| json!({ "do": "state", "store": "seen", "op": op, "key": key, "value": value });
    assert_eq!(reach.ask(ask("get", "a", ""), &granted).await, "none");
    assert_eq!(reach.ask(ask("set", "a", "1"), &granted).await, "set");
    assert_eq!(reach.ask(ask("set", "b/../c", "2"), &granted).await, "set");
    assert_eq!(reach.ask(ask("get", "a", ""), &granted).await, "1");
    assert_eq!(reach.ask(ask("keys", "", ""), &granted).await, "a b/../c");
    assert_eq!(reach.ask(ask("delete", "a", ""), &granted).await, "deleted");
    assert_eq!(reach.ask(ask("keys", "", ""), &granted).await, "b/../c");
    let too_large = reach.ask(ask("set", "d", &"x".repeat(20_000)), &granted).await;
    assert_eq!(too_large, "limit: a value has at most 16384 bytes");

    let run = reach.call(ask("get", "a", ""), &Grants::default()).await;
    assert_eq!(run.result.expect_err("denied").code, "denied");
    assert_eq!(run.denied[0].grant, "state");
    let elsewhere = json!({ "do": "state", "store": "../seen", "op": "set", "key": "a", "value": "x" });
    assert!(reach.ask(elsewhere, &store("../seen")).await.starts_with("denied"));

    let folder = reach.setup.folder().with_file_name("state").join("reach");
    let mode = |path: &std::path::Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("seen.json"))), (0o700, 0o600));
    std::fs::write(folder.join("seen.json"), "rubbish").expect("written");
    let damaged = reach.ask(ask("get", "a", ""), &granted).await;
    assert!(damaged.starts_with("storage: ") && !damaged.contains("/seen.json"), "{damaged}");
}

/// Two calls that write at the same time lose nothing of each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_overlap_share_a_store() {
    let reach = reaching_under(Limits::default()).await;
    let granted = store("seen");
    let set = |key: usize| {
        let config =
            json!({ "do": "state", "store": "seen", "op": "set", "key": key.to_string(), "value": "x" });
        reach.call(config, &granted)
    };
    let all = tokio::join!(set(0), set(1), set(2), set(3), set(4), set(5));
    assert!(all.0.result.is_ok() && all.5.result.is_ok());
    let keys = json!({ "do": "state", "store": "seen", "op": "keys" });
    assert_eq!(reach.ask(keys, &granted).await, "0 1 2 3 4 5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_of_the_host_package_are_served_side_by_side() {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(text(&hostile()).contains("holdfast:host/log@0.1.0"));
    assert!(text(&reach()).contains("holdfast:host/secrets@0.1.1"));
    let setup = Setup::new().with("hostile.wasm", &hostile()).with("reach.wasm", &reach());
    let host = setup.loaded().await;
    for (name, config) in
        [("hostile", json!({ "do": "log" })), ("reach", json!({ "do": "state", "store": "x" }))]
    {
        let plugin = host.registry().plugin(name).expect("it loads");
        let run = run(&plugin, config).await;
        assert!(run.result.is_ok() || run.stats.denied == 1, "{name}: {run:?}");
    }
    // Built for versions that are not out yet.
    for (from, to, words) in [
        (
            "holdfast:host/secrets@0.1.1",
            "holdfast:host/secrets@0.2.0",
            "was built for `holdfast:host@0.2.0`; this agent serves 0.1.1: update the agent",
        ),
        (
            "holdfast:host/secrets@0.1.1",
            "holdfast:host/weather@0.1.2",
            "which this agent does not know in `holdfast:host`: it was built for a newer agent",
        ),
    ] {
        let newer = replaced(reach(), &[(from, to)]);
        let setup = Setup::new().with("reach.wasm", &newer);
        let reason = refusal(&setup.host().scan().await);
        assert!(reason.contains(words), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_in_what_a_plugin_wants_is_refused() {
    let setup = Setup::new().with("reach.wasm", &replaced(reach(), &[("http = [\"*\"]", "http = [\"x\"]")]));
    let reason = refusal(&setup.host().scan().await);
    assert!(reason.contains("wants http to `x`, which does not say whether it is http or https"), "{reason}");
}
