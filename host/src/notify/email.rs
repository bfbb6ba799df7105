//! Notifications by email, over SMTP.
//!
//! The connection is encrypted, at once or after STARTTLS, and the server's certificate is checked; a password never goes over one that
//! is not. Messages about one problem form one thread.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls as LettreTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::delivery::{Receipt, Undelivered};
use super::event::one_line;
use super::{Event, Status};
use crate::pipeline::store::with_causes;
use crate::secret::{Secret, SecretSource};

/// The longest subject, in characters: mail programs show no more.
const SUBJECT_CHARACTERS: usize = 160;

/// How much of a server's words is kept.
const ANSWER_BYTES: usize = 500;

/// `[notify.NAME.email]`
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The server's name, which its certificate must have.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// The authorities that sign its certificate; those of the system if not set.
    pub ca: Option<PathBuf>,
    /// Whom to log in as, and where the password is.
    pub login: Option<Login>,
    /// Who writes.
    pub from: Mailbox,
    /// Who reads. At least one.
    pub to: Vec<Mailbox>,
    /// How long the server may take for each answer.
    pub timeout: Duration,
}

/// A user of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// Where the password is.
    pub password: SecretSource,
}

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte.
    Implicit,
    /// After STARTTLS; a server that does not offer it is refused.
    StartTls,
    /// Not at all.
    None,
}

/// Sends one event.
pub async fn send(options: &Options, event: &Event) -> Result<Receipt, Undelivered> {
    let message = message(options, event).map_err(|error| {
        Undelivered::never("email/message", format!("the message cannot be written: {error}"))
    })?;
    let password = match &options.login {
        Some(login) => Some(
            login
                .password
                .read()
                .map_err(|error| Undelivered::later("secret", with_causes(&error)).hint(error.hint()))?,
        ),
        None => None,
    };
    let transport = transport(options, password.as_ref()).await?;
    match transport.send(message).await {
        Ok(response) => {
            let said = response.message().collect::<Vec<_>>().join(" ");
            let count = options.to.len();
            let readers = if count == 1 { "1 reader".to_owned() } else { format!("{count} readers") };
            Ok(Receipt {
                summary: format!("`{}` took it for {readers}", options.server),
                attributes: vec![("answer".to_owned(), one_line(&said, ANSWER_BYTES))],
            })
        }
        Err(error) => Err(undelivered(&options.server, &error, password.as_ref())),
    }
}

async fn transport(
    options: &Options,
    password: Option<&Secret>,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, Undelivered> {
    let tls = match options.tls {
        Tls::None => LettreTls::None,
        Tls::Implicit => LettreTls::Wrapper(parameters(options).await?),
        Tls::StartTls => LettreTls::Required(parameters(options).await?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&options.server)
        .port(options.port)
        .timeout(Some(options.timeout))
        .tls(tls);
    if let (Some(login), Some(password)) = (&options.login, password) {
        builder = builder.credentials(Credentials::new(login.username.clone(), password.expose().to_owned()));
    }
    Ok(builder.build())
}

async fn parameters(options: &Options) -> Result<TlsParameters, Undelivered> {
    let unusable = |why: String| Undelivered::later("email/tls", why);
    let mut builder = TlsParameters::builder(options.server.clone());
    if let Some(path) = &options.ca {
        let pem = tokio::fs::read(path).await.map_err(|error: io::Error| {
            unusable(format!("the authorities in `{}` cannot be read: {error}", path.display()))
        })?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| unusable(format!("`{}` holds no authority: {error}", path.display())))?;
        // Those that are named, and no others.
        builder =
            builder.certificate_store(smtp::client::CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().map_err(|error| unusable(format!("TLS cannot be set up: {}", with_causes(&error))))
}

/// An answer of 5xx is the server's last word on this message; everything else may pass.
fn undelivered(server: &str, error: &smtp::Error, password: Option<&Secret>) -> Undelivered {
    let said = one_line(&with_causes(error), ANSWER_BYTES);
    // A server may repeat what it was sent.
    let said = match password {
        Some(password) => said.replace(password.expose(), "[secret]"),
        None => said,
    };
    let message = format!("`{server}` did not take it: {said}");
    if error.is_permanent() {
        let status = error.status().map(|code| code.to_string()).unwrap_or_default();
        let hint = match status.as_str() {
            "530" | "534" | "535" | "538" => Some("look at `username` and the password".to_owned()),
            _ => None,
        };
        return Undelivered::never(&format!("email/{status}"), message).hint(hint);
    }
    let (code, hint) = if error.is_tls() {
        (
            "email/tls",
            Some(
                "the server's certificate must be for its name in `server`, and signed by `ca` or by an authority of the system",
            ),
        )
    } else if error.is_timeout() {
        ("email/timeout", None)
    } else if error.is_client() {
        (
            "email/server",
            Some("the server does not offer what is asked of it: look at `tls`, `port` and `username`"),
        )
    } else {
        ("email/unavailable", None)
    };
    Undelivered::later(code, message).hint(hint.map(str::to_owned))
}

fn message(options: &Options, event: &Event) -> Result<Message, lettre::error::Error> {
    let domain = options.from.email.domain();
    let mut builder = Message::builder()
        .from(options.from.clone())
        .subject(subject(event))
        .date(SystemTime::from(event.time))
        .message_id(Some(format!("<{}@{domain}>", event.id)))
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")).to_owned())
        .header(ContentType::TEXT_PLAIN);
    for reader in &options.to {
        builder = builder.to(reader.clone());
    }
    // No machine that is away on holiday answers it.
    builder = builder.raw_header(raw("Auto-Submitted", "auto-generated"));
    builder = builder.raw_header(raw("X-Holdfast-Event", event.kind.name()));
    if let Some(problem) = event.status.problem() {
        let thread = thread_id(problem, domain);
        builder = builder.references(thread.clone()).in_reply_to(thread);
    }
    builder.body(body(event))
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// The same for all messages about one problem: no message has this id, but programs gather those that answer it.
fn thread_id(problem: &str, domain: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = crate::pack::hex(&Sha256::digest(problem));
    format!("<{}.problem@{domain}>", digest.get(..32).unwrap_or(&digest))
}

fn subject(event: &Event) -> String {
    let test = if event.attributes.get("test").is_some_and(|test| test == "true") { "[test] " } else { "" };
    let word = match (&event.status, event.severity()) {
        (Status::Resolved { .. }, _) => "resolved",
        (_, etcd_snapshot::Severity::Error) => "error",
        (_, etcd_snapshot::Severity::Warning) => "warning",
        (_, etcd_snapshot::Severity::Info) => "info",
    };
    let text = format!("{test}[holdfast {word}] {}: {}", event.cluster, event.summary);
    match text.char_indices().nth(SUBJECT_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn body(event: &Event) -> String {
    let mut lines = vec![event.summary.clone(), String::new()];
    for (name, title) in [("error", "What happened"), ("hint", "What to do")] {
        if let Some(text) = event.attributes.get(name) {
            lines.extend([format!("{title}:"), format!("  {text}"), String::new()]);
        }
    }
    lines.push(format!("event     {}", event.kind));
    lines.push(format!("severity  {}", event.severity()));
    lines.push(format!("cluster   {}", event.cluster));
    lines.push(format!("time      {}", event.time));
    for (name, value) in event.facts() {
        if !matches!(name.as_str(), "error" | "hint") {
            lines.push(format!("{name:<9} {value}"));
        }
    }
    for step in event.details["steps"].as_array().into_iter().flatten() {
        let text = |name: &str| step[name].as_str().unwrap_or_default();
        lines.push(format!("  {}/{}: {}: {}", text("chain"), text("step"), text("outcome"), text("summary")));
    }
    lines.push(String::new());
    lines.join("\r\n")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::Kind;
    use super::*;

    fn options() -> Options {
        Options {
            server: "mail.example.org".to_owned(),
            port: 587,
            tls: Tls::StartTls,
            ca: None,
            login: None,
            from: "Holdfast <holdfast@example.org>".parse().expect("an address"),
            to: vec!["oncall@example.org".parse().expect("an address")],
            timeout: Duration::from_secs(1),
        }
    }

    fn text(event: &Event) -> String {
        let message = message(&options(), event).expect("a message");
        String::from_utf8_lossy(&message.formatted()).into_owned()
    }

    #[test]
    fn messages_about_one_problem_are_one_thread() {
        let event = |kind| Event::new(kind, "prod", Timestamp::UNIX_EPOCH, "the disk is full");
        let first = text(&event(Kind::BackupFailed).firing("backup"));
        let last = text(&event(Kind::BackupResolved).resolved("backup"));
        let thread = |text: &str| {
            let line = text.lines().find(|line| line.starts_with("In-Reply-To:"));
            line.unwrap_or_else(|| panic!("no thread in {text}")).to_owned()
        };
        assert_eq!(thread(&first), thread(&last));
        assert!(first.contains("Subject: [holdfast error] prod: the disk is full"), "{first}");
        assert!(first.contains("Auto-Submitted: auto-generated"), "{first}");
        assert!(last.contains("[holdfast resolved]"), "{last}");
    }

    #[test]
    fn no_text_of_an_event_becomes_a_header() {
        let event = Event::new(
            Kind::BackupFailed,
            "prod",
            Timestamp::UNIX_EPOCH,
            "x\r\nBcc: everyone@example.org\r\n\r\nhello",
        );
        let text = text(&event);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        assert!(!head.lines().any(|line| line.starts_with("Bcc:")), "{text}");
    }
}
