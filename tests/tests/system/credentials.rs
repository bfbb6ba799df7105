//! TLS and passwords that do not fit: one clear message, nothing written.

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::{Authority, Cluster, Output, Site, Validity};

/// A backup that cannot be made, and leaves nothing.
fn refused(site: &Site) -> Output {
    let output = site.holdfast(&["backup"]);
    output.exits(2);
    site.has_no_leftovers();
    assert_eq!(site.backups().len(), 0, "{output}");
    assert!(!site.leaks(&output.stderr), "a secret was printed: {output}");
    output
}

#[test]
fn credentials_that_do_not_fit() {
    let cluster = Cluster::builder().tls(true).auth(true).start();
    let own = cluster.authority().expect("TLS is on");
    let client = cluster.client().expect("TLS is on").clone();
    let endpoint = cluster.endpoints().remove(0);
    let directory = temporary_directory();
    let stranger = Authority::new(&directory.path().join("stranger"));

    // The server's certificate is signed by somebody the operator does not trust.
    let site = Site::of(&cluster).tls(&stranger.certificate(), &client.certificate, &client.key);
    refused(&site).explains(&[&endpoint, "certificate"]);

    // The operator's certificate is signed by somebody the server does not trust.
    let foreign = stranger.issue("foreign", Validity::Valid);
    let site = Site::of(&cluster).tls(&own.certificate(), &foreign.certificate, &foreign.key);
    refused(&site).explains(&[&endpoint, "certificate"]);

    // The operator's certificate ended yesterday.
    let expired = own.issue("expired", Validity::Expired);
    let site = Site::of(&cluster).tls(&own.certificate(), &expired.certificate, &expired.key);
    refused(&site).explains(&["expired"]);

    // No certificate at all, where the server asks for one.
    let ca = holdfast_tests::site::quoted_path(&own.certificate());
    let site = Site::of(&cluster).set("cluster", "tls", &format!("{{ ca = {ca} }}"));
    refused(&site).explains(&[&endpoint]);

    // A key that belongs to another certificate.
    let site = Site::of(&cluster).tls(&own.certificate(), &client.certificate, &expired.key);
    refused(&site).explains(&["key"]);

    // A file that is not there.
    let missing = directory.path().join("missing.crt");
    let site = Site::of(&cluster).tls(&own.certificate(), &missing, &client.key);
    refused(&site).explains(&["missing.crt"]);

    // A wrong password, and none.
    let site = Site::of(&cluster).password("guess");
    refused(&site).explains(&["root", "password"]);
    let plain =
        Site::with_endpoints(&cluster.endpoints()).tls(&own.certificate(), &client.certificate, &client.key);
    refused(&plain).explains(&["username"]);

    // With everything right it works: the cluster was not the reason.
    Site::of(&cluster).backup();
}

#[test]
fn a_server_whose_certificate_has_expired() {
    let cluster = Cluster::builder().tls(true).server_certificate(Validity::Expired).start();
    let endpoint = cluster.endpoints().remove(0);
    refused(&Site::of(&cluster)).explains(&[&endpoint, "expired"]);
}

#[test]
fn certificates_that_end_soon_are_told_before_they_do() {
    let cluster = Cluster::builder().tls(true).server_certificate(Validity::EndsIn(5)).start();
    let site = Site::of(&cluster);
    site.holdfast(&["backup"]).exits(0).says(&["certificate", "days"]);
    let site = Site::of(&cluster).set("preflight", "certificate", "\"stop\"");
    refused(&site).explains(&["certificate"]);
    let site = Site::of(&cluster).set("preflight", "certificate", "\"stop\"").set(
        "preflight",
        "certificate_days",
        "3",
    );
    site.backup();
}

#[test]
fn endpoints_where_nobody_answers() {
    let port = holdfast_tests::cluster::free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    refused(&Site::with_endpoints(&[&endpoint])).explains(&[&endpoint]);

    // Plain words to a server that speaks TLS, and the other way round.
    let cluster = Cluster::builder().tls(true).start();
    let plain = cluster.endpoints().remove(0).replace("https", "http");
    refused(&Site::with_endpoints(&[&plain])).explains(&[&plain]);
    let open = Cluster::builder().start();
    let secure = open.endpoints().remove(0).replace("http", "https");
    let client = cluster.client().expect("TLS is on");
    let ca = cluster.authority().expect("TLS is on").certificate();
    refused(&Site::with_endpoints(&[&secure]).tls(&ca, &client.certificate, &client.key))
        .explains(&[&secure]);
}

#[test]
fn endpoints_of_two_clusters_are_not_taken_for_one() {
    let (one, other) = (Cluster::builder().start(), Cluster::builder().start());
    let endpoints = [one.endpoints(), other.endpoints()].concat();
    refused(&Site::with_endpoints(&endpoints)).explains(&["cluster"]);
}

#[test]
fn a_store_holds_one_cluster() {
    let (one, other) = (Cluster::builder().start(), Cluster::builder().start());
    let site = Site::of(&one);
    site.backup();
    let intruder = Site::of(&other).set(
        "store.local.directory",
        "path",
        &holdfast_tests::site::quoted_path(&site.store()),
    );
    intruder.holdfast(&["backup"]).exits(2).explains(&["cluster"]);
    assert_eq!(site.manifests().len(), 1);
    site.has_no_leftovers();
}
