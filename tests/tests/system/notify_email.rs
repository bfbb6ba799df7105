//! Notifications by email, at a real SMTP server.

use std::fs;

use holdfast_tests::Site;
use holdfast_tests::mail::{MailServer, Speaks};
use holdfast_tests::site::{quoted, quoted_path};

/// A machine that tells `oncall@example.org` through this server.
fn site(server: &MailServer, tls: &str) -> Site {
    // Nothing is asked of the cluster.
    let site = Site::with_endpoints(&["http://127.0.0.1:2379"]);
    let password = site.path("mail-password");
    fs::write(&password, format!("{}\n", MailServer::PASSWORD)).expect("a file can be written");
    let table = "notify.mail.email";
    site.set(table, "server", "\"localhost\"")
        .set(table, "port", &server.port().to_string())
        .set(table, "tls", &quoted(tls))
        .set(table, "ca", &quoted_path(&server.ca()))
        .set(table, "username", &quoted(MailServer::USERNAME))
        .set(table, "password_file", &quoted_path(&password))
        .set(table, "from", "\"Holdfast <holdfast@example.org>\"")
        .set(table, "to", "[\"oncall@example.org\", \"Second <second@example.org>\"]")
}

#[test]
fn mail_goes_encrypted_with_a_login_and_forms_a_thread() {
    for (speaks, tls) in [(Speaks::StartTls, "starttls"), (Speaks::Implicit, "implicit")] {
        let Some(server) = MailServer::start(speaks) else { return };
        let site = site(&server, tls);
        site.holdfast(&["config", "check"]).exits(0);
        let sent = site.holdfast(&["notify", "test", "mail"]);
        assert!(sent.exits(0).stdout.contains("delivered: `backup.failed`"), "{sent}");
        site.holdfast(&["notify", "test", "mail", "--event", "backup.resolved"]).exits(0);
        let mails = server.wait_for(2);
        let envelope = &mails[0].envelope;
        assert_eq!(envelope["from"], "holdfast@example.org");
        assert_eq!(envelope["to"], serde_json::json!(["oncall@example.org", "second@example.org"]));
        assert_eq!(envelope["tls"], true, "{tls}");
        assert_eq!(envelope["login"], MailServer::USERNAME);
        let header = |index: usize, name: &str| {
            let found = mails[index].text.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no `{name}` in {}", mails[index].text)).trim().to_owned()
        };
        assert_eq!(header(0, "In-Reply-To:"), header(1, "In-Reply-To:"));
        assert_ne!(header(0, "Message-ID:"), header(1, "Message-ID:"));
        assert!(header(0, "Subject:").contains("[test] [holdfast error]"), "{}", mails[0].text);
        assert!(mails[1].text.contains("[holdfast resolved]"), "{}", mails[1].text);
        assert!(mails[0].text.contains("X-Holdfast-Event: backup.failed"), "{}", mails[0].text);
        assert!(!mails[0].text.contains(MailServer::PASSWORD));
    }
}

#[test]
fn what_goes_wrong_is_told_and_no_password_with_it() {
    let Some(server) = MailServer::start(Speaks::StartTls) else { return };
    let good = || site(&server, "starttls");
    let test = |site: &Site, parts: &[&str]| {
        let output = site.holdfast(&["notify", "test", "mail"]);
        output.exits(1);
        for part in parts {
            assert!(output.stdout.contains(part), "`{part}` is missing in {output}");
        }
        assert!(!output.to_string().contains(MailServer::PASSWORD), "{output}");
    };
    // The server repeats the password that it was given.
    let wrong = good();
    fs::write(wrong.path("mail-password"), "hunter2hunter2").expect("a file can be written");
    let output = wrong.holdfast(&["notify", "test", "mail"]);
    output.exits(1);
    assert!(output.stdout.contains("535") && output.stdout.contains("would not try again"), "{output}");
    assert!(output.stdout.contains("[secret]") && !output.to_string().contains("hunter2"), "{output}");
    // Readers that are refused, for now and for good.
    test(&good().set("notify.mail.email", "to", "\"nobody@example.org\""), &["550", "would not try again"]);
    test(&good().set("notify.mail.email", "to", "\"later@example.org\""), &["451", "would try again"]);
    // A certificate of another authority, and one for another name.
    let Some(other) = MailServer::start(Speaks::StartTls) else { return };
    test(
        &good().set("notify.mail.email", "ca", &quoted_path(&other.ca())),
        &["certificate", "would try again"],
    );
    // A connection that is not encrypted gets no login, however the server is.
    let Some(plain) = MailServer::start(Speaks::Plain) else { return };
    let stripped = site(&plain, "starttls");
    test(&stripped, &["would try again"]);
    assert!(plain.mails().is_empty());
    let refused = good().set("notify.mail.email", "tls", "\"none\"");
    refused.holdfast(&["notify", "test", "mail"]).exits(2).says(&["not encrypted"]);
    // Without a login it may go in the open: a relay on this machine.
    let open = site(&plain, "none")
        .unset("notify.mail.email", "username")
        .unset("notify.mail.email", "password_file");
    open.holdfast(&["notify", "test", "mail"]).exits(0);
    assert_eq!(plain.wait_for(1)[0].envelope["tls"], false);
    // Nobody is there.
    let away = good().set("notify.mail.email", "port", "1");
    test(&away, &["refused", "would try again"]);
    assert!(server.mails().is_empty());
}
