//! Who we are to S3, and the way there, as the environment says it: static keys, profiles, web identities, an instance's role;
//! proxies with passwords. All with the real binary against a real S3 server; what a cloud has beside it (token service, instance
//! metadata) answers on loopback as the real one does.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast_tests::proxy::{self, Proxy};
use holdfast_tests::relay::{Fault, Relay, Request};
use holdfast_tests::s3::{ACCESS_KEY, REGION, SECRET_KEY, Server};
use holdfast_tests::service::{Call, Service};
use holdfast_tests::site::finish;
use holdfast_tests::{Cluster, Output, Site, objects};

const BUCKET: &str = "etcd-backups";
const SESSION_TOKEN: &str = "token-of-the-session";
/// A key that the server does not know, or no more.
const OLD_KEY: &str = "AKIAOLD";
const LIST: [&str; 3] = ["list", "--store", "remote"];

/// A machine whose configuration names no keys for its bucket.
fn without_keys(cluster: &Cluster, endpoint: &str) -> Site {
    Site::of(cluster)
        .remote(endpoint, BUCKET, false)
        .unset("store.remote.s3", "access_key_id_file")
        .unset("store.remote.s3", "secret_access_key_file")
}

/// A command that knows nothing of the tester's own clouds and proxies.
fn command(site: &Site, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = site.command(arguments);
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name.to_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    // Neither are there files of an account that is tried next.
    let none = site.path("none").display().to_string();
    command.env("AWS_CONFIG_FILE", &none).env("AWS_SHARED_CREDENTIALS_FILE", none);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(environment.iter().copied());
    command
}

fn run(site: &Site, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let output = finish(&mut command(site, arguments, environment));
    for secret in [SECRET_KEY, SESSION_TOKEN, proxy::PASSWORD] {
        let told = output.stderr.contains(secret) || output.stdout.contains(secret);
        assert!(!told, "a secret is told by {output}");
    }
    output
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path of a test is text")
}

/// Every request was signed with this key, and carried this token.
fn all_signed_with(relay: &Relay, key: &str, token: Option<&str>) {
    let requests = relay.requests();
    assert!(!requests.is_empty(), "nothing was asked of the server");
    for request in requests {
        let signed = request.header("authorization").unwrap_or_default();
        assert!(signed.contains(&format!("Credential={key}/")), "{request:?}");
        assert_eq!(request.header("x-amz-security-token"), token, "{request:?}");
    }
}

#[test]
fn keys_of_the_environment_and_of_a_profile() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let cluster = Cluster::builder().start();
    let direct = |_: &Request| Fault::None;

    let relay = Relay::to(server.port(), direct);
    let site = without_keys(&cluster, &relay.endpoint());
    let none = run(&site, &["backup"], &[]);
    none.exits(2).explains(&["there are no credentials", "environment"]);
    assert!(relay.requests().is_empty(), "something was asked without credentials");
    let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    run(&site, &["backup"], &keys).exits(0);
    all_signed_with(&relay, ACCESS_KEY, None);

    // The profile that is configured, not the default one, and its region.
    let relay = Relay::to(server.port(), direct);
    let site = without_keys(&cluster, &relay.endpoint())
        .set("store.remote.s3", "profile", "\"backups\"")
        .unset("store.remote.s3", "region");
    let (config, credentials) = (site.path("aws-config"), site.path("aws-credentials"));
    fs::write(&config, format!("[default]\nregion = nowhere\n[profile backups]\nregion = {REGION}\n"))
        .unwrap();
    let other = "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = x\n";
    let backups =
        format!("[backups]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    fs::write(&credentials, format!("{other}{backups}")).unwrap();
    let files = [("AWS_CONFIG_FILE", text(&config)), ("AWS_SHARED_CREDENTIALS_FILE", text(&credentials))];
    run(&site, &LIST, &files).exits(0);
    all_signed_with(&relay, ACCESS_KEY, None);
    let requests = relay.requests();
    let signed = requests[0].header("authorization").unwrap_or_default();
    assert!(signed.contains(&format!("/{REGION}/s3/")), "{signed}");
}

/// Whoever renews the keys of a profile writes its file: a backup under way goes on with the new ones.
#[test]
fn a_profile_that_is_renewed_midway() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let cluster = Cluster::builder().start();
    // Several parts of 5 MiB, packed.
    cluster.fill(objects::ballast(12 << 20, 64 << 10));
    let directory = holdfast_tests::cluster::temporary_directory();
    let credentials = directory.path().join("aws-credentials");
    let profile =
        |key: &str| format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_KEY}\n");
    fs::write(&credentials, profile(ACCESS_KEY)).unwrap();
    let renewed = (credentials.clone(), profile("AKIARENEWED"), profile(ACCESS_KEY));
    // When the second part comes, its key has ended; the file has another by then, which ends as soon as it is seen.
    let seen = AtomicUsize::new(0);
    let relay = Relay::to(server.port(), move |request| {
        let (file, middle, last) = &renewed;
        let signed = request.header("authorization").unwrap_or_default();
        if signed.contains("AKIARENEWED") {
            fs::write(file, last).unwrap();
            return Fault::error(400, "ExpiredToken");
        }
        if request.is_part() && seen.fetch_add(1, Ordering::SeqCst) == 1 {
            fs::write(file, middle).unwrap();
            return Fault::error(400, "ExpiredToken");
        }
        Fault::None
    });
    let site = without_keys(&cluster, &relay.endpoint());
    let file = [("AWS_SHARED_CREDENTIALS_FILE", text(&credentials))];
    run(&site, &["backup"], &file).exits(0);
    let met = relay
        .requests()
        .iter()
        .any(|it| it.header("authorization").is_some_and(|it| it.contains("AKIARENEWED")));
    assert!(met, "the renewed file was not read");
    run(&site, &["verify", "latest"], &file).exits(0);
}

/// A bucket of a server that knows temporary credentials, and has nothing in it. versitygw refuses every session token.
fn empty_bucket() -> Fault {
    let listing = format!(
        "<ListBucketResult><Name>{BUCKET}</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
    );
    Fault::Answer(200, listing)
}

#[test]
fn a_web_identity_is_exchanged_for_keys() {
    let cluster = Cluster::builder().start();
    let relay = Relay::to(0, |_| empty_bucket());
    let site = without_keys(&cluster, &relay.endpoint());
    let token_file = site.path("web-identity");
    fs::write(&token_file, "signed-by-the-cluster").unwrap();
    let sts = Service::start(|call: &Call| {
        let asked = |text: &str| call.body.contains(text);
        if !(asked("Action=AssumeRoleWithWebIdentity") && asked("WebIdentityToken=signed-by-the-cluster")) {
            return (400, String::new());
        }
        let answer = format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
             <Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>\
             <SessionToken>{SESSION_TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
             <AssumedRoleUser><AssumedRoleId>AROA:backup</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/backup/x</Arn></AssumedRoleUser>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        );
        (200, answer)
    });
    let role = "arn:aws:iam::123456789012:role/backup";
    let endpoint = sts.endpoint();
    let environment = [
        ("AWS_ROLE_ARN", role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", text(&token_file)),
        ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
    ];
    run(&site, &LIST, &environment).exits(0);
    all_signed_with(&relay, ACCESS_KEY, Some(SESSION_TOKEN));
    let calls = sts.calls();
    assert!(!calls.is_empty() && calls.iter().all(|call| call.body.contains("role%2Fbackup")), "{calls:?}");

    fs::write(&token_file, "forged").unwrap();
    run(&site, &["backup"], &environment).exits(2).explains(&["credentials"]);
}

/// An instance's metadata, version 2: a token first, then the role, then its keys. The first `old` times they have ended already, as the
/// server will say.
fn instance(old: usize) -> Service {
    let given = AtomicUsize::new(0);
    Service::start(move |call: &Call| {
        let Request { method, target, .. } = &call.request;
        if method == "PUT" && target == "/latest/api/token" {
            return (200, "token-of-the-instance".to_owned());
        }
        if call.request.header("x-aws-ec2-metadata-token") != Some("token-of-the-instance") {
            return (401, String::new());
        }
        match target.trim_end_matches('/') {
            "/latest/meta-data/iam/security-credentials" => (200, "backup-role".to_owned()),
            "/latest/meta-data/iam/security-credentials/backup-role" => {
                let key = if given.fetch_add(1, Ordering::SeqCst) < old { OLD_KEY } else { ACCESS_KEY };
                let answer = format!(
                    "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"AccessKeyId\":\"{key}\",\
                     \"SecretAccessKey\":\"{SECRET_KEY}\",\"Token\":\"{SESSION_TOKEN}\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}"
                );
                (200, answer)
            }
            _ => (404, String::new()),
        }
    })
}

#[test]
fn an_instances_role_gives_keys_and_new_ones_when_they_end() {
    let cluster = Cluster::builder().start();
    let relay = Relay::to(0, |request| {
        let signed = request.header("authorization").unwrap_or_default();
        if signed.contains(OLD_KEY) { Fault::error(400, "ExpiredToken") } else { empty_bucket() }
    });
    let site = without_keys(&cluster, &relay.endpoint().replace("127.0.0.1", "localhost"));
    // The server is asked directly as the environment says, metadata always: a proxy has none of this machine's. This one lets
    // nobody through.
    let proxy = Proxy::to(0);
    let shut = proxy.url_without_password();
    let metadata = instance(1);
    let endpoint = metadata.endpoint();
    let environment = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()),
        ("HTTP_PROXY", shut.as_str()),
        ("NO_PROXY", "localhost"),
    ];
    run(&site, &LIST, &environment).exits(0);
    assert_eq!(proxy.asked(), [""; 0], "the proxy was asked");
    let requests = relay.requests();
    let old = requests
        .iter()
        .filter(|it| it.header("authorization").is_some_and(|it| it.contains(OLD_KEY)))
        .count();
    assert!(old >= 1 && old < requests.len(), "{old} of {} requests with the old key", requests.len());
    let last = requests.last().expect("something was asked");
    assert_eq!(last.header("x-amz-security-token"), Some(SESSION_TOKEN), "{last:?}");

    let away =
        [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")];
    run(&site, &["backup"], &away).exits(2).explains(&["credentials"]);
}

#[test]
fn through_a_proxy_that_alone_knows_the_way() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let cluster = Cluster::builder().start();
    let proxy = Proxy::to(server.port());
    let (url, shut) = (proxy.url(), proxy.url_without_password());
    // No name server knows this one.
    let site = Site::of(&cluster).remote("http://s3.holdfast.invalid", BUCKET, false);
    run(&site, &["backup"], &[]).exits(2).explains(&["cannot be resolved"]);
    run(&site, &["backup"], &[("HTTP_PROXY", &url)]).exits(0);
    run(&site, &["verify", "latest"], &[("http_proxy", &url)]).exits(0);
    let asked = proxy.asked();
    assert!(!asked.is_empty(), "the proxy was not asked");
    assert!(asked.iter().all(|it| it.contains("http://s3.holdfast.invalid/")), "{asked:?}");
    // Who is left out goes directly, and nowhere.
    let except = [("HTTP_PROXY", url.as_str()), ("NO_PROXY", "example.org,.holdfast.invalid")];
    run(&site, &LIST, &except).says(&["cannot be resolved"]);
    assert_eq!(proxy.asked().len(), asked.len(), "the proxy was asked all the same");
    // One that lets nobody through says so.
    run(&site, &["backup"], &[("HTTP_PROXY", &shut)]).exits(2).explains(&["proxy"]);
}

#[test]
fn through_a_proxys_tunnel_tls_is_the_servers_own() {
    let Some(server) = Server::start_with_tls() else { return };
    server.bucket(BUCKET);
    let cluster = Cluster::builder().start();
    let proxy = Proxy::to(server.port());
    let url = proxy.url();
    // The port is another than the server's: the proxy leads there.
    let ca = holdfast_tests::site::quoted_path(&server.ca());
    let site =
        Site::of(&cluster).remote("https://127.0.0.1:1", BUCKET, false).set("store.remote.s3", "ca", &ca);
    run(&site, &["backup"], &[("HTTPS_PROXY", &url)]).exits(0);
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|it| it == "CONNECT 127.0.0.1:1"), "{asked:?}");
    // Another authority's certificate is refused, tunnel or not.
    let other = holdfast_tests::Authority::new(&site.path("other"));
    let ca = holdfast_tests::site::quoted_path(&other.certificate());
    let site = site.set("store.remote.s3", "ca", &ca);
    run(&site, &["backup"], &[("HTTPS_PROXY", &url)]).exits(2).explains(&["not trusted here"]);
}
