//! What an S3 service, or the way to it, said: sorted by what can be done about it, in words, and never with a secret.
//!
//! Codes: Amazon S3 API reference, "Error responses"; those of other servers where they differ. Answers to HEAD carry
//! no code, only a status.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::store::RemoteError;

/// Longest piece of a server's own words in a message: some answer with a web page.
const MAX_DETAIL_CHARACTERS: usize = 300;

/// A signature is good for so long before and after the server's time.
const MAX_SKEW_SECONDS: u64 = 15 * 60;

/// What is wrong, as far as somebody would act differently on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No such object.
    NotFound,
    /// No such bucket.
    NoBucket,
    /// No such multipart upload.
    NoUpload,
    /// A condition of ours does not hold.
    Precondition,
    /// Another writer is at the same object.
    Conflict,
    /// The range lies behind the object's end.
    Range,
    /// Known, but not allowed.
    Denied,
    /// The access key is not known.
    UnknownKey,
    /// The secret key is wrong.
    Signature,
    /// The credentials were good once.
    Expired,
    /// There are no credentials.
    NoCredentials,
    /// The clocks differ too much.
    Skew,
    /// Too many requests.
    Throttled,
    /// The server failed.
    Server,
    /// What arrived is not what was sent.
    Corrupted,
    /// No room, or a quota.
    Full,
    /// The bucket lies in another region.
    Region,
    /// The server does not know this operation.
    NotImplemented,
    /// The object is locked.
    Locked,
    /// The object is archived.
    Archived,
    /// The encryption key.
    Key,
    /// Nothing came, or went, for too long.
    Stalled,
    /// The connection broke, or could not be made.
    Connection,
    /// The name of the host.
    Name,
    /// The proxy on the way lets nobody through without a password.
    Proxy,
    /// The TLS handshake.
    Tls,
    /// The request could not even be made.
    Request,
    /// Anything else that the server refused.
    Refused,
}

/// One failed request.
#[derive(Debug, Clone)]
pub(super) struct S3Error {
    pub(super) kind: Kind,
    /// In words; what the server said is part of it.
    reason: String,
}

impl S3Error {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    /// Nothing moved for so long.
    pub(super) fn stalled(limit: Duration) -> Self {
        Self::new(Kind::Stalled, format!("the server did not answer within {} s", limit.as_secs()))
    }

    /// From the SDK's error.
    pub(super) fn from_sdk<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match error {
            SdkError::ServiceError(service) => {
                let raw = service.raw();
                let (code, message) = (service.err().code(), service.err().message());
                let header = |name| raw.headers().get(name);
                answered(raw.status().as_u16(), code, message, &header)
            }
            SdkError::ResponseError(response) => {
                let status = response.raw().status().as_u16();
                let why = innermost(error);
                if (200..300).contains(&status) {
                    Self::new(Kind::Connection, format!("the answer broke off: {why}"))
                } else {
                    answered(status, None, Some(&why), &|name| response.raw().headers().get(name))
                }
            }
            SdkError::TimeoutError(_) => Self::new(Kind::Stalled, "the server did not answer in time"),
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(connector) => sent_in_vain(connector),
                None => sent_in_vain(error),
            },
            other => not_made(other),
        }
    }

    /// From a body that broke off on its way to us.
    pub(super) fn broken_body(error: &(dyn Error + 'static)) -> Self {
        Self::new(Kind::Connection, format!("the connection broke: {}", innermost(error)))
    }

    /// Whether the same request may succeed soon.
    pub(super) fn is_transient(&self) -> bool {
        use Kind::{Conflict, Connection, Corrupted, Server, Stalled, Throttled};
        matches!(self.kind, Server | Throttled | Stalled | Connection | Corrupted | Conflict)
    }

    /// Whether another client, with credentials and certificates read anew, may fare better.
    pub(super) fn wants_new_client(&self) -> bool {
        use Kind::{Expired, NoCredentials, Signature, Tls, UnknownKey};
        matches!(self.kind, Expired | UnknownKey | Signature | NoCredentials | Tls)
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self.kind {
            Kind::NoBucket => {
                "make the bucket, or name another `bucket` in the store's table; holdfast makes none"
            }
            Kind::Denied => {
                "give the user or role the permissions on this bucket and prefix that README.md lists under \"S3\""
            }
            Kind::UnknownKey => "check `access_key_id` and that the endpoint is the one it belongs to",
            Kind::Signature => "check the secret access key: it does not belong to this access key id",
            Kind::Expired => {
                "renew the credentials; files named in the store's table and the sources of the SDK's chain are read again by themselves"
            }
            Kind::NoCredentials => {
                "name `access_key_id_file` and `secret_access_key_file` in the store's table, or give credentials by environment, profile, web identity or instance role"
            }
            Kind::Skew => "set this machine's clock: run an NTP client, and see `timedatectl`",
            Kind::Throttled => "lower `parallel` in the store's table, or ask the provider for a higher rate",
            Kind::Full => "free space there, raise the quota, or let retention keep less",
            Kind::Region => "set `region` in the store's table to the bucket's own",
            Kind::NotImplemented => {
                "this server lacks the operation; `conditional_writes = \"auto\"` and `checksums = \"when_required\"` ask for less"
            }
            Kind::Archived => {
                "bring the object back from its archive class first, or choose another `storage_class`"
            }
            Kind::Key => "check the encryption key of the store's table, and that the user may use it",
            Kind::Stalled | Kind::Connection => {
                "check that the endpoint is up and reachable from here, with the proxy of `HTTPS_PROXY` if one is set"
            }
            Kind::Name => {
                "check `endpoint`, `region` and `bucket` of the store's table; `path_style = true` keeps the bucket out of the host name"
            }
            Kind::Proxy => {
                "put user and password into the proxy's URL, `http://USER:PASSWORD@HOST:PORT` in `HTTPS_PROXY` or `HTTP_PROXY`, or leave the host out with `NO_PROXY`"
            }
            Kind::Tls => {
                "name the authority that signed the server's certificate as `ca` in the store's table; certificates are always checked"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl Error for S3Error {}

impl From<S3Error> for RemoteError {
    fn from(error: S3Error) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self { transient: error.is_transient(), hint, reason: error.reason }
    }
}

impl From<S3Error> for io::Error {
    fn from(error: S3Error) -> Self {
        let kind = match error.kind {
            Kind::Stalled => io::ErrorKind::TimedOut,
            Kind::Connection => io::ErrorKind::ConnectionReset,
            Kind::Full => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The server answered, with an error.
fn answered<'a>(
    status: u16,
    code: Option<&str>,
    message: Option<&str>,
    header: &dyn Fn(&'static str) -> Option<&'a str>,
) -> S3Error {
    let mut kind = code.and_then(kind_of_code).unwrap_or_else(|| kind_of_status(status));
    // An answer to HEAD has no code: that the clocks differ is then told by its date alone.
    if kind == Kind::Denied && code.is_none() && header("date").is_some_and(is_far_from_now) {
        kind = Kind::Skew;
    }
    let said = message.filter(|message| !message.trim().is_empty()).map(short);
    let mut reason = match kind {
        Kind::NotFound => "there is no such object".to_owned(),
        Kind::NoBucket => "there is no such bucket".to_owned(),
        Kind::Precondition => {
            "the server says that something is there already, and shows nothing: perhaps the marker of what was removed".to_owned()
        }
        Kind::NoUpload => "the server knows nothing of this upload any more".to_owned(),
        Kind::Denied => "access is denied".to_owned(),
        Kind::UnknownKey => "the server does not know this access key".to_owned(),
        Kind::Signature => "the signature is wrong".to_owned(),
        Kind::Expired => "the credentials have expired".to_owned(),
        Kind::Skew => skew(header("date")),
        Kind::Throttled => "the server asks to slow down".to_owned(),
        Kind::Server => "the server failed".to_owned(),
        Kind::Corrupted => "what arrived is not what was sent".to_owned(),
        Kind::Full => "there is no room left".to_owned(),
        Kind::Region => match header("x-amz-bucket-region") {
            Some(region) => format!("the bucket lies in the region `{}`", short(region)),
            None => "the bucket lies in another region".to_owned(),
        },
        Kind::NotImplemented => "the server cannot do this".to_owned(),
        Kind::Proxy => "the proxy asks for a user and a password".to_owned(),
        Kind::Archived => "the object lies in an archive class".to_owned(),
        Kind::Key => "the encryption key cannot be used".to_owned(),
        _ => "the server refused".to_owned(),
    };
    let facts: Vec<String> = [
        Some(format!("HTTP {status}")),
        code.map(|code| format!("`{}`", short(code))),
        header("x-amz-request-id").map(|id| format!("request {}", short(id))),
    ]
    .into_iter()
    .flatten()
    .collect();
    reason = format!("{reason} ({})", facts.join(", "));
    if let Some(said) = said {
        reason = format!("{reason}: {said}");
    }
    S3Error { kind, reason }
}

fn kind_of_code(code: &str) -> Option<Kind> {
    Some(match code {
        "NoSuchKey" | "NotFound" | "NoSuchVersion" => Kind::NotFound,
        "NoSuchBucket" => Kind::NoBucket,
        "NoSuchUpload" => Kind::NoUpload,
        "PreconditionFailed" => Kind::Precondition,
        "ConditionalRequestConflict" | "OperationAborted" => Kind::Conflict,
        "InvalidRange" => Kind::Range,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden" => Kind::Denied,
        "InvalidAccessKeyId" | "XAdminUserNotFound" => Kind::UnknownKey,
        "SignatureDoesNotMatch" => Kind::Signature,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken" => Kind::Expired,
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => Kind::Skew,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "ServiceUnavailable"
        | "Busy" => Kind::Throttled,
        "InternalError" | "InternalFailure" | "RequestTimeout" | "RequestTimeoutException" => Kind::Server,
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody" => Kind::Corrupted,
        "QuotaExceeded"
        | "InsufficientStorage"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "StorageFull"
        | "EntityTooLarge" => Kind::Full,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Kind::Region,
        "NotImplemented" | "MethodNotAllowed" => Kind::NotImplemented,
        "ObjectLocked" => Kind::Locked,
        "InvalidObjectState" => Kind::Archived,
        _ if code.starts_with("KMS.") || code == "InvalidEncryptionAlgorithmError" => Kind::Key,
        _ => return None,
    })
}

fn kind_of_status(status: u16) -> Kind {
    match status {
        301 | 307 => Kind::Region,
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        407 => Kind::Proxy,
        405 | 501 => Kind::NotImplemented,
        409 => Kind::Conflict,
        412 => Kind::Precondition,
        413 | 507 => Kind::Full,
        416 => Kind::Range,
        429 | 503 => Kind::Throttled,
        408 | 500..=599 => Kind::Server,
        _ => Kind::Refused,
    }
}

/// By how many seconds this machine's clock is ahead of the server's, by an answer's `Date`.
fn seconds_ahead(date: &str) -> Option<i64> {
    let server = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(jiff::Timestamp::now().duration_since(server.timestamp()).as_secs())
}

fn is_far_from_now(date: &str) -> bool {
    seconds_ahead(date).is_some_and(|ahead| ahead.unsigned_abs() > MAX_SKEW_SECONDS)
}

/// How far apart the clocks are, by the answer's `Date`.
fn skew(date: Option<&str>) -> String {
    let Some(ahead) = date.and_then(seconds_ahead) else {
        return "this machine's clock and the server's are too far apart".to_owned();
    };
    let word = if ahead < 0 { "behind" } else { "ahead of" };
    format!("this machine's clock is {} s {word} the server's, too far for a signature", ahead.abs())
}

/// No answer came.
fn sent_in_vain(error: &(dyn Error + 'static)) -> S3Error {
    for cause in causes(error) {
        if let Some(error) = cause.downcast_ref::<CredentialsError>() {
            return no_credentials(error);
        }
    }
    let words = causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ").to_lowercase();
    let why = innermost(error);
    if words.contains("dns error") || words.contains("failed to lookup address") {
        return S3Error::new(Kind::Name, format!("the host's name cannot be resolved: {why}"));
    }
    if let Some(reason) = tls_words(&words) {
        return S3Error::new(Kind::Tls, format!("the TLS handshake failed: {reason}"));
    }
    if words.contains("timed out") || words.contains("timeout") {
        return S3Error::new(Kind::Stalled, format!("no connection in time: {why}"));
    }
    S3Error::new(Kind::Connection, format!("no answer came: {why}"))
}

/// The request was not sent at all.
fn not_made(error: &(dyn Error + 'static)) -> S3Error {
    match causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>()) {
        Some(error) => no_credentials(error),
        None => S3Error::new(Kind::Request, format!("the request cannot be made: {}", innermost(error))),
    }
}

fn no_credentials(error: &CredentialsError) -> S3Error {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => S3Error::new(
            Kind::NoCredentials,
            "there are no credentials: none in the environment, a profile, a web identity, a container or an instance role",
        ),
        other => {
            S3Error::new(Kind::NoCredentials, format!("the credentials cannot be had: {}", innermost(other)))
        }
    }
}

/// What is wrong with the handshake, if anything is. By the words of rustls: the SDK's connector hides its error's type.
fn tls_words(words: &str) -> Option<String> {
    let certificate = words.split("invalid peer certificate: ").nth(1);
    Some(match certificate {
        Some(why) if why.starts_with("unknownissuer") => {
            "the server's certificate is signed by an authority that is not trusted here".to_owned()
        }
        Some(why) if why.contains("expired") => "the server's certificate has expired".to_owned(),
        Some(why) if why.contains("not valid for name") || why.starts_with("notvalidforname") => {
            "the server's certificate is for another name".to_owned()
        }
        Some(why) => short(why),
        None if words.contains("corrupt message") => "the server does not speak TLS".to_owned(),
        None if words.contains("received fatal alert") => short(words),
        None => return None,
    })
}

/// An error and its causes, the outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The last cause, which says the most, without `(os error 111)`.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let last = causes(error).last().unwrap_or(error);
    let text = last.to_string();
    short(text.split(" (os error").next().unwrap_or(&text))
}

/// A piece of foreign text: one line, of bounded length.
fn short(text: &str) -> String {
    let line = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = line.take(MAX_DETAIL_CHARACTERS).collect();
    if text.trim().chars().count() > MAX_DETAIL_CHARACTERS {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: Option<&str>, message: &str) -> S3Error {
        answered(status, code, Some(message), &|_| None)
    }

    #[test]
    fn answers_are_told_apart() {
        for (status, code, kind) in [
            (404, Some("NoSuchBucket"), Kind::NoBucket),
            (404, None, Kind::NotFound),
            (400, Some("ExpiredToken"), Kind::Expired),
            (403, Some("RequestTimeTooSkewed"), Kind::Skew),
            (403, Some("SignatureDoesNotMatch"), Kind::Signature),
            (403, None, Kind::Denied),
            (503, Some("SlowDown"), Kind::Throttled),
            (503, None, Kind::Throttled),
            (500, Some("InternalError"), Kind::Server),
            (502, None, Kind::Server),
            (507, None, Kind::Full),
            (400, Some("SomethingNew"), Kind::Refused),
            (400, Some("KMS.DisabledException"), Kind::Key),
        ] {
            assert_eq!(answer(status, code, "x").kind, kind, "{status} {code:?}");
        }
    }

    #[test]
    fn what_can_be_tried_again_is_known() {
        assert!(answer(503, Some("SlowDown"), "").is_transient());
        assert!(answer(500, None, "").is_transient());
        assert!(!answer(403, None, "").is_transient());
        assert!(answer(400, Some("ExpiredToken"), "").wants_new_client());
    }

    #[test]
    fn a_web_page_for_an_answer_stays_short() {
        let error = answer(502, None, &"<html>\n".repeat(1000));
        assert!(error.to_string().chars().count() < 400, "{error}");
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn clocks_apart_are_measured() {
        let header = |name| (name == "date").then_some("Fri, 01 Jan 2010 00:00:00 GMT");
        let error = answered(403, Some("RequestTimeTooSkewed"), None, &header);
        assert!(error.to_string().contains("s ahead of the server's"), "{error}");
    }
}
