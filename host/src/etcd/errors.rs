//! What can go wrong between us and a member, in words a person can act on.
//!
//! A gRPC library folds every failure below it into one opaque "transport error". Our own connector (`connector`) keeps
//! the cause of the last one, so that a refused port, an expired certificate and a wrong password each say what they are.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError};

use super::certificates::{Certificate, readable};
use super::endpoint::EndpointError;
use super::tls::TlsFileError;

/// A request to one endpoint that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.render())]
pub struct EtcdError {
    /// The endpoint, as configured.
    pub endpoint: String,
    /// What was asked of it.
    pub attempt: Attempt,
    /// Why that failed.
    pub cause: Cause,
}

/// What was asked of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Reading the settings.
    Configure,
    /// Opening a connection for its certificate alone.
    Handshake,
    /// `Auth/Authenticate`.
    LogIn,
    /// `Maintenance/Status`.
    Status,
    /// `Cluster/MemberList`.
    Members,
    /// A linearizable `KV/Range`, which needs the quorum.
    Read,
    /// `Maintenance/HashKV`.
    HashKv,
    /// `Maintenance/Snapshot`.
    Snapshot,
}

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Configure => "reading its settings",
            Self::Handshake => "reading its certificate",
            Self::LogIn => "logging in",
            Self::Status => "asking for its status",
            Self::Members => "asking for its member list",
            Self::Read => "reading through the quorum",
            Self::HashKv => "asking for its hash",
            Self::Snapshot => "streaming the snapshot",
        })
    }
}

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The configuration names no endpoint.
    #[error("no endpoint is configured")]
    NoEndpoints,
    /// The endpoint's text cannot be one.
    #[error("{0}")]
    BadEndpoint(EndpointError),
    /// A certificate or key file cannot be used.
    #[error("{0}")]
    TlsFile(TlsFileError),
    /// The host has no address.
    #[error("the name `{host}` cannot be resolved: {reason}")]
    UnknownHost {
        /// The host asked for.
        host: String,
        /// The resolver's answer.
        reason: String,
    },
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// The socket file of a `unix` endpoint is not there.
    #[error("the socket does not exist")]
    NoSocket,
    /// The network, or the file system for a socket, said no.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// No connection within the dial timeout.
    #[error("no connection within {0:?}")]
    DialTimeout(Duration),
    /// Connected, but the TLS handshake did not end within the dial timeout.
    #[error("connected, but no TLS handshake within {0:?}")]
    HandshakeTimeout(Duration),
    /// The server's certificate is past its time.
    #[error("the server's certificate expired{}", .0.map(|time| format!(" on {}", readable(time))).unwrap_or_default())]
    ServerCertificateExpired(Option<Timestamp>),
    /// The server's certificate is before its time.
    #[error("the server's certificate is not valid before {}", .0.map_or_else(|| "a later time".to_owned(), readable))]
    ServerCertificateNotYetValid(Option<Timestamp>),
    /// The server's certificate leads to no authority that we trust.
    #[error("the server's certificate is signed by an authority that is not trusted here")]
    UnknownAuthority,
    /// The server's certificate is for other names.
    #[error("the server's certificate is not for `{expected}`{}", for_names(.presented))]
    WrongName {
        /// The name it should carry.
        expected: String,
        /// The names it carries.
        presented: Vec<String>,
    },
    /// The server wants a client certificate and got none.
    #[error("the server asks for a client certificate and none is configured")]
    ClientCertificateRequired,
    /// The server did not take our client certificate.
    #[error("the server refused the client certificate `{path}`: {reason}")]
    ClientCertificateRefused {
        /// Its file.
        path: String,
        /// The server's alert, or what the certificate itself tells.
        reason: String,
    },
    /// `https` where no TLS is spoken.
    #[error("the server does not speak TLS on this port")]
    NotTls,
    /// `http` where TLS is spoken.
    #[error("the server speaks TLS on this port")]
    WantsTls,
    /// The server hung up before it said anything: what a port does that speaks TLS, or does not.
    #[error("the server closed the connection at once")]
    ClosedAtOnce,
    /// Something answers that is no etcd client port.
    #[error("what answers there is not an etcd client port: {0}")]
    NotEtcd(String),
    /// Any other TLS failure.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// The connection broke. `received` counts the bytes of the snapshot so far.
    #[error("the connection was lost{}: {reason}", after_bytes(*.received))]
    Lost {
        /// Snapshot bytes that had come.
        received: Option<u64>,
        /// What broke it.
        reason: String,
    },
    /// No answer within the request timeout.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The snapshot stream stood still.
    #[error("nothing came for {after:?}{}", after_bytes(Some(*.received)))]
    Stalled {
        /// The time without a byte.
        after: Duration,
        /// Snapshot bytes that had come.
        received: u64,
    },
    /// Wrong user name or password.
    #[error("wrong user name or password for `{username}`")]
    WrongPassword {
        /// The user tried.
        username: String,
    },
    /// The cluster has authentication on, and no user is configured.
    #[error("the cluster asks for a user name and password, and none are configured")]
    CredentialsRequired,
    /// The server knows no such user. Without a user name etcd takes the common name of the client certificate for it.
    #[error("{}", unknown_user(.username.as_deref(), .common_name.as_deref()))]
    UnknownUser {
        /// The user configured, if one is.
        username: Option<String>,
        /// The common name of the client certificate shown.
        common_name: Option<String>,
    },
    /// The user may not do this.
    #[error("permission denied{}", .username.as_ref().map(|name| format!(" for user `{name}`")).unwrap_or_default())]
    PermissionDenied {
        /// The user, when one is configured.
        username: Option<String>,
    },
    /// The member has not got that far.
    #[error("the member has not reached that revision yet")]
    FutureRevision,
    /// The member has compacted the revision away.
    #[error("the member has compacted that revision away")]
    Compacted,
    /// A learner does not answer this.
    #[error("the member is a learner and does not answer this")]
    Learner,
    /// The member knows of no leader.
    #[error("the member has no leader")]
    NoLeader,
    /// The server shuts down, or is overloaded, or says otherwise that later may be better.
    #[error("the server is not available: {0}")]
    Unavailable(String),
    /// The stream broke the rules of gRPC.
    #[error("the answer is not what etcd sends: {0}")]
    Protocol(String),
    /// Any other error that the server gave.
    #[error("the server answered `{0}`")]
    Server(String),
}

impl EtcdError {
    pub(super) fn new(endpoint: &str, attempt: Attempt, cause: Cause) -> Self {
        Self { endpoint: endpoint.to_owned(), attempt, cause }
    }

    fn render(&self) -> String {
        match &self.cause {
            // These name the thing themselves.
            Cause::NoEndpoints | Cause::BadEndpoint(_) => self.cause.to_string(),
            _ => format!("endpoint `{}`: {}", self.endpoint, self.reason()),
        }
    }

    /// The message without the endpoint: what is the same for all of them can then be told once.
    pub fn reason(&self) -> String {
        if self.cause.is_connection() {
            self.cause.to_string()
        } else {
            format!("{} failed: {}", self.attempt, self.cause)
        }
    }

    /// Whether the same request may succeed later, or at another member.
    pub fn is_transient(&self) -> bool {
        matches!(
            &self.cause,
            Cause::UnknownHost { .. }
                | Cause::Refused
                | Cause::NoSocket
                | Cause::Unreachable(_)
                | Cause::DialTimeout(_)
                | Cause::HandshakeTimeout(_)
                | Cause::ClosedAtOnce
                | Cause::Lost { .. }
                | Cause::Timeout(_)
                | Cause::Stalled { .. }
                | Cause::FutureRevision
                | Cause::NoLeader
                | Cause::Unavailable(_)
                | Cause::Protocol(_)
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let endpoint = &self.endpoint;
        Some(match &self.cause {
            Cause::NoEndpoints => "set `endpoints` in `[cluster]`".to_owned(),
            Cause::BadEndpoint(error) => error.hint().to_owned(),
            Cause::TlsFile(_) => "check `tls` in `[cluster]`, and that this user may read the files".to_owned(),
            Cause::UnknownHost { .. } => "check the host in `endpoints`, and the resolver of this machine".to_owned(),
            Cause::Refused | Cause::NoSocket => {
                "check that etcd runs there and that the port is its client port (2379 by default)".to_owned()
            }
            Cause::Unreachable(_) | Cause::DialTimeout(_) => {
                "check the address and the firewalls between; `dial_timeout` sets how long is waited".to_owned()
            }
            Cause::HandshakeTimeout(_) | Cause::Timeout(_) => {
                "the member may hang or be overloaded: look at its log; `request_timeout` and `dial_timeout` set how \
                 long is waited"
                    .to_owned()
            }
            Cause::ServerCertificateExpired(_) => "renew the member's server certificate".to_owned(),
            Cause::ServerCertificateNotYetValid(_) => "compare the clocks of this machine and of the member".to_owned(),
            Cause::UnknownAuthority => {
                "set `ca` in `tls` to the certificate of the authority that signed the server's certificate".to_owned()
            }
            Cause::WrongName { presented, .. } => match presented.iter().find(|name| name.starts_with("DnsName")).or(presented.first()) {
                Some(name) => format!(
                    "use one of these names in `endpoints`, or set `server_name` in `tls`, e.g. `server_name = \"{}\"`",
                    bare_name(name)
                ),
                None => "set `server_name` in `tls` to the name the certificate carries".to_owned(),
            },
            Cause::ClientCertificateRequired => "set `cert` and `key` in `tls`".to_owned(),
            Cause::ClientCertificateRefused { .. } => {
                "use a client certificate that is valid now and signed by the authority etcd was given with \
                 `--trusted-ca-file`"
                    .to_owned()
            }
            Cause::NotTls => format!("write `{}`", endpoint.replacen("https://", "http://", 1)),
            Cause::WantsTls => format!("write `{}`", endpoint.replacen("http://", "https://", 1)),
            Cause::ClosedAtOnce if endpoint.starts_with("https://") => {
                format!("when etcd has no TLS there, write `{}`", endpoint.replacen("https://", "http://", 1))
            }
            Cause::ClosedAtOnce => {
                format!("when etcd has TLS there, write `{}`", endpoint.replacen("http://", "https://", 1))
            }
            Cause::NotEtcd(_) => {
                "use the client port (`--listen-client-urls`, 2379 by default), not the peer or metrics port".to_owned()
            }
            Cause::WrongPassword { .. } => {
                "check `username` and `password_file` (or `password_env`) in `[cluster]`".to_owned()
            }
            Cause::UnknownUser { username: Some(username), .. } => format!(
                "check `username` in `[cluster]`, or add the user: `etcdctl user add {username}` and `etcdctl user \
                 grant-role {username} root`"
            ),
            Cause::CredentialsRequired | Cause::UnknownUser { username: None, .. } => {
                "set `username` and `password_file` (or `password_env`) in `[cluster]`".to_owned()
            }
            Cause::PermissionDenied { username } => format!(
                "a backup needs the `root` role: `etcdctl user grant-role {} root`",
                username.as_deref().unwrap_or("USER")
            ),
            Cause::Stalled { .. } => {
                "the member may hang: look at its log; `stall_timeout` in `[backup]` sets how long is waited".to_owned()
            }
            Cause::Lost { .. } | Cause::Unavailable(_) => "look at the member's log; it may be restarting".to_owned(),
            Cause::NoLeader => "look at the other members: the cluster may have lost its quorum".to_owned(),
            Cause::Tls(_)
            | Cause::FutureRevision
            | Cause::Compacted
            | Cause::Learner
            | Cause::Protocol(_)
            | Cause::Server(_) => return None,
        })
    }
}

impl Cause {
    /// A failure of the connection itself, whatever was asked over it.
    fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::TlsFile(_)
                | Self::UnknownHost { .. }
                | Self::Refused
                | Self::NoSocket
                | Self::Unreachable(_)
                | Self::DialTimeout(_)
                | Self::HandshakeTimeout(_)
                | Self::ServerCertificateExpired(_)
                | Self::ServerCertificateNotYetValid(_)
                | Self::UnknownAuthority
                | Self::WrongName { .. }
                | Self::ClientCertificateRequired
                | Self::ClientCertificateRefused { .. }
                | Self::NotTls
                | Self::WantsTls
                | Self::ClosedAtOnce
                | Self::NotEtcd(_)
                | Self::Tls(_)
        )
    }

    /// Whether TLS failed: such a cause is not replaced by the broken pipe that follows it.
    pub(super) fn is_tls(&self) -> bool {
        self.is_connection()
            && !matches!(
                self,
                Self::Refused
                    | Self::NoSocket
                    | Self::Unreachable(_)
                    | Self::DialTimeout(_)
                    | Self::ClosedAtOnce
            )
    }

    /// Reads a TLS failure. `client` is the path and the facts of the client certificate shown.
    pub(super) fn from_rustls(
        error: &rustls::Error,
        server_name: &str,
        client: Option<(&str, &Certificate)>,
    ) -> Self {
        match error {
            rustls::Error::InvalidCertificate(invalid) => from_certificate_error(invalid, server_name),
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => Self::NotTls,
            rustls::Error::AlertReceived(alert) => from_alert(*alert, client),
            other => Self::Tls(other.to_string()),
        }
    }

    /// Reads the error that etcd answered with.
    pub(super) fn from_server(status: &tonic::Status, username: Option<&str>) -> Self {
        use tonic::Code;
        // etcd's own texts, api/v3rpc/rpctypes/error.go; the codes alone do not tell them apart.
        let message = status.message().trim();
        match message {
            "etcdserver: authentication failed, invalid user ID or password" => {
                Self::WrongPassword { username: username.unwrap_or_default().to_owned() }
            }
            "etcdserver: user name is empty" | "etcdserver: invalid auth token" if username.is_none() => {
                Self::CredentialsRequired
            }
            "etcdserver: user name not found" => {
                Self::UnknownUser { username: username.map(str::to_owned), common_name: None }
            }
            "etcdserver: permission denied" => {
                Self::PermissionDenied { username: username.map(str::to_owned) }
            }
            "etcdserver: mvcc: required revision is a future revision" => Self::FutureRevision,
            "etcdserver: mvcc: required revision has been compacted" => Self::Compacted,
            "etcdserver: rpc not supported for learner" => Self::Learner,
            "etcdserver: no leader" => Self::NoLeader,
            _ => match status.code() {
                Code::PermissionDenied => Self::PermissionDenied { username: username.map(str::to_owned) },
                Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted => {
                    Self::Unavailable(message.to_owned())
                }
                Code::Unimplemented if !message.contains("etcdserver") => Self::NotEtcd(message.to_owned()),
                _ => Self::Server(if message.is_empty() {
                    status.code().to_string()
                } else {
                    message.to_owned()
                }),
            },
        }
    }
}

fn from_certificate_error(error: &CertificateError, server_name: &str) -> Cause {
    let time = |unix: rustls::pki_types::UnixTime| Timestamp::from_second(unix.as_secs().cast_signed()).ok();
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            Cause::ServerCertificateExpired(time(*not_after))
        }
        CertificateError::Expired => Cause::ServerCertificateExpired(None),
        CertificateError::NotValidYetContext { not_before, .. } => {
            Cause::ServerCertificateNotYetValid(time(*not_before))
        }
        CertificateError::NotValidYet => Cause::ServerCertificateNotYetValid(None),
        // The second: an authority of the same name is trusted, but another key signed.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Cause::UnknownAuthority,
        CertificateError::NotValidForNameContext { presented, .. } => {
            Cause::WrongName { expected: server_name.to_owned(), presented: presented.clone() }
        }
        CertificateError::NotValidForName => {
            Cause::WrongName { expected: server_name.to_owned(), presented: Vec::new() }
        }
        other => Cause::Tls(format!("the server's certificate is not acceptable: {other}")),
    }
}

/// A server gives its reason as one byte: what it means depends on whether a certificate was shown.
fn from_alert(alert: AlertDescription, client: Option<(&str, &Certificate)>) -> Cause {
    use AlertDescription as Alert;
    let about_the_client = matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::NoCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
    );
    match client {
        None if about_the_client => Cause::ClientCertificateRequired,
        Some((path, certificate)) if about_the_client => {
            let now = Timestamp::now();
            let reason = if certificate.not_after < now {
                format!("it expired on {}", readable(certificate.not_after))
            } else if certificate.not_before > now {
                format!("it is not valid before {}", readable(certificate.not_before))
            } else {
                match alert {
                    Alert::UnknownCA => "the server does not know its authority".to_owned(),
                    Alert::BadCertificate => {
                        format!("the server calls it bad; it was issued by `{}`", certificate.issuer)
                    }
                    other => format!("the server's alert is `{other:?}`"),
                }
            };
            Cause::ClientCertificateRefused { path: path.to_owned(), reason }
        }
        _ => Cause::Tls(format!("the server's alert is `{alert:?}`")),
    }
}

fn unknown_user(username: Option<&str>, common_name: Option<&str>) -> String {
    match (username, common_name) {
        (Some(username), _) => format!("the cluster has no user `{username}`"),
        (None, Some(name)) => format!(
            "the cluster has authentication on and no user name is configured; etcd then takes the client \
             certificate's common name `{name}` for it, and there is no such user"
        ),
        (None, None) => {
            "the cluster has authentication on and no user name is configured; etcd then takes the client \
             certificate's common name for it, and there is no such user"
                .to_owned()
        }
    }
}

fn for_names(names: &[String]) -> String {
    const SHOWN: usize = 5;
    if names.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", bare_name(name))).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!(", but for {}{more}", shown.join(", "))
}

/// webpki shows a name as `DnsName("etcd-0")` or `IpAddress(127.0.0.1)`.
fn bare_name(name: &str) -> &str {
    let inside = name.split_once('(').map_or(name, |(_, rest)| rest.strip_suffix(')').unwrap_or(rest));
    inside.trim_matches('"')
}

fn after_bytes(received: Option<u64>) -> String {
    match received {
        Some(0) => " before the first byte".to_owned(),
        Some(bytes) => format!(" after {bytes} bytes"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: Cause) -> EtcdError {
        EtcdError::new("https://etcd-0:2379", Attempt::Status, cause)
    }

    #[test]
    fn messages_name_the_endpoint_and_the_reason() {
        let refused = error(Cause::Refused);
        assert_eq!(refused.to_string(), "endpoint `https://etcd-0:2379`: connection refused");
        assert!(refused.is_transient());
        let timeout = error(Cause::Timeout(Duration::from_secs(5)));
        assert_eq!(
            timeout.to_string(),
            "endpoint `https://etcd-0:2379`: asking for its status failed: no answer within 5s"
        );
        let lost = error(Cause::Lost { received: Some(4096), reason: "closed by the server".to_owned() });
        assert!(lost.to_string().ends_with("the connection was lost after 4096 bytes: closed by the server"));
    }

    #[test]
    fn an_expired_certificate_tells_its_date() {
        let cause = from_certificate_error(
            &CertificateError::ExpiredContext {
                time: rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_hours(25)),
                not_after: rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_hours(24)),
            },
            "etcd-0",
        );
        assert_eq!(cause.to_string(), "the server's certificate expired on 1970-01-02 00:00:00 UTC");
        assert!(!error(cause).is_transient());
    }

    #[test]
    fn a_wrong_name_tells_the_right_ones() {
        let cause = Cause::WrongName {
            expected: "10.0.0.1".to_owned(),
            presented: vec!["DnsName(\"etcd-0\")".to_owned(), "IpAddress(10.0.0.2)".to_owned()],
        };
        assert_eq!(
            cause.to_string(),
            "the server's certificate is not for `10.0.0.1`, but for `etcd-0`, `10.0.0.2`"
        );
        assert!(error(cause).hint().unwrap().contains("server_name = \"etcd-0\""));
    }

    #[test]
    fn an_alert_depends_on_what_was_shown() {
        assert!(matches!(
            from_alert(AlertDescription::BadCertificate, None),
            Cause::ClientCertificateRequired
        ));
        let expired = Certificate {
            subject: "CN=a".to_owned(),
            issuer: "CN=ca".to_owned(),
            not_before: Timestamp::UNIX_EPOCH,
            not_after: Timestamp::from_second(86_400).unwrap(),
        };
        let cause = from_alert(AlertDescription::BadCertificate, Some(("/pki/a.crt", &expired)));
        assert_eq!(
            cause.to_string(),
            "the server refused the client certificate `/pki/a.crt`: it expired on 1970-01-02 00:00:00 UTC"
        );
        assert!(matches!(from_alert(AlertDescription::InternalError, None), Cause::Tls(_)));
    }

    #[test]
    fn an_authority_of_the_same_name_is_not_trusted_for_it() {
        let cause = from_certificate_error(&CertificateError::BadSignature, "etcd-0");
        assert!(cause.to_string().contains("signed by an authority that is not trusted here"), "{cause}");
        assert!(error(cause).hint().unwrap().contains("`ca`"));
    }

    #[test]
    fn a_certificate_whose_name_is_no_user_asks_for_a_user_name() {
        let status = tonic::Status::failed_precondition("etcdserver: user name not found");
        let cause = Cause::from_server(&status, None);
        assert!(cause.to_string().contains("authentication on"), "{cause}");
        let named = error(Cause::UnknownUser { username: None, common_name: Some("backup".to_owned()) });
        assert!(named.to_string().contains("common name `backup`"), "{named}");
        assert!(named.hint().unwrap().contains("set `username` and `password_file`"));
        assert!(!named.is_transient());
        let removed = Cause::from_server(&status, Some("holdfast"));
        assert_eq!(removed.to_string(), "the cluster has no user `holdfast`");
        assert!(!error(removed).is_transient());
    }

    #[test]
    fn etcd_answers() {
        let read =
            |message: &str, username| Cause::from_server(&tonic::Status::invalid_argument(message), username);
        assert!(matches!(
            read("etcdserver: authentication failed, invalid user ID or password", Some("root")),
            Cause::WrongPassword { username } if username == "root"
        ));
        assert!(matches!(read("etcdserver: user name is empty", None), Cause::CredentialsRequired));
        assert!(matches!(
            read("etcdserver: mvcc: required revision is a future revision", None),
            Cause::FutureRevision
        ));
    }
}
