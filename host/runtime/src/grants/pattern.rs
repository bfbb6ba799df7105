//! Where HTTP requests may go: `scheme://host:port`, and how a request's own words for its target are read.
//!
//! Both are read by the same strict rules, so that no spelling of a host means one thing here and another to whoever
//! connects: no user, no numbers that a resolver would take for an address, no zones, no second trailing dot.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// RFC 1035: a whole name, and one label of it.
const NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

/// How the connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn parse(text: &str) -> Option<Scheme> {
        match text {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => None,
        }
    }

    pub(crate) fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    /// A name in lower case, without a trailing dot.
    Name(String),
    /// An address, written as such.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => formatter.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(formatter, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Target {
    /// `authority` is `host` or `host:port`, as a guest wrote it.
    pub(crate) fn parse(scheme: Scheme, authority: &str) -> Result<Target, &'static str> {
        let (host, port) = split_authority(authority)?;
        Ok(Target { scheme, host: host_of(host)?, port: port.unwrap_or(scheme.port()) })
    }

    /// What a `Host` header says, and a proxy is told.
    pub(crate) fn authority(&self) -> String {
        if self.port == self.scheme.port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme.name(), self.authority())
    }
}

/// Which hosts a pattern is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hosts {
    /// Any; a plugin may want that, an operator cannot grant it.
    Any,
    /// All names below this one.
    Below(String),
    One(Host),
}

impl Hosts {
    fn include(&self, host: &Host) -> bool {
        match (self, host) {
            (Hosts::Any, _) => true,
            (Hosts::Below(parent), Host::Name(name)) => name
                .strip_suffix(parent.as_str())
                .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
            (Hosts::Below(_), Host::Address(_)) => false,
            (Hosts::One(one), host) => one == host,
        }
    }

    fn cover(&self, other: &Hosts) -> bool {
        match other {
            Hosts::Any => *self == Hosts::Any,
            Hosts::Below(parent) => match self {
                Hosts::Below(above) => above == parent || self.include(&Host::Name(parent.clone())),
                Hosts::Any => true,
                Hosts::One(_) => false,
            },
            Hosts::One(host) => self.include(host),
        }
    }
}

/// A pattern for the targets of HTTP requests: `https://hooks.slack.com`, `https://*.example.org`, `http://10.0.0.7:9093`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpPattern {
    /// None: either.
    scheme: Option<Scheme>,
    hosts: Hosts,
    /// None: any.
    port: Option<u16>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PatternError {
    reason: String,
    hint: Option<String>,
}

impl PatternError {
    fn new(reason: impl Into<String>) -> PatternError {
        PatternError { reason: reason.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> PatternError {
        self.hint = Some(hint.into());
        self
    }

    /// What to do, where we know.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl HttpPattern {
    /// Reads what an operator grants.
    ///
    /// # Errors
    /// The end of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<HttpPattern, PatternError> {
        if text == "*" || text.ends_with("://*") {
            return Err(PatternError::new("is for every host").hint(
                "name the hosts: `https://hooks.example.org`, or all below one: `https://*.example.org`",
            ));
        }
        HttpPattern::parse_wanted(text)
    }

    /// Reads what a plugin wants, which may be a host of the operator's choosing: `*`, `https://*`.
    pub(crate) fn parse_wanted(text: &str) -> Result<HttpPattern, PatternError> {
        if text == "*" {
            return Ok(HttpPattern { scheme: None, hosts: Hosts::Any, port: None });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(PatternError::new("does not say whether it is http or https")
                .hint(format!("write `https://{text}`")));
        };
        let Some(scheme) = Scheme::parse(scheme) else {
            return Err(PatternError::new(format!(
                "begins with `{scheme}://`; it is `http://` or `https://`"
            )));
        };
        if rest.contains('@') {
            return Err(PatternError::new("holds a user or a password")
                .hint("name the host alone, and give the plugin a secret"));
        }
        if let Some(end) = rest.find(['/', '?', '#']) {
            let host = rest.get(..end).unwrap_or_default();
            return Err(PatternError::new("has a path, but a grant is for a whole host")
                .hint(format!("write `{}://{host}`", scheme.name())));
        }
        if rest == "*" {
            return Ok(HttpPattern { scheme: Some(scheme), hosts: Hosts::Any, port: None });
        }
        let (host, port) = split_authority(rest).map_err(PatternError::new)?;
        let hosts = match host.strip_prefix("*.") {
            Some(parent) => match host_of(parent).map_err(PatternError::new)? {
                Host::Name(parent) if parent.contains('.') => Hosts::Below(parent),
                Host::Name(_) => {
                    return Err(PatternError::new("is for too many hosts: a whole top-level domain"));
                }
                Host::Address(_) => return Err(PatternError::new("has a `*` before an address")),
            },
            None => Hosts::One(host_of(host).map_err(PatternError::new)?),
        };
        Ok(HttpPattern { scheme: Some(scheme), hosts, port: Some(port.unwrap_or(scheme.port())) })
    }

    /// Whether a request may go there.
    pub(crate) fn allows(&self, target: &Target) -> bool {
        self.scheme.is_none_or(|scheme| scheme == target.scheme)
            && self.port.is_none_or(|port| port == target.port)
            && self.hosts.include(&target.host)
    }

    /// What this pattern and another one have in common, where one lies within the other.
    pub(crate) fn and(&self, other: &HttpPattern) -> Option<HttpPattern> {
        if other.covers(self) {
            Some(self.clone())
        } else if self.covers(other) {
            Some(other.clone())
        } else {
            None
        }
    }

    fn covers(&self, other: &HttpPattern) -> bool {
        self.scheme.is_none_or(|scheme| other.scheme == Some(scheme))
            && self.port.is_none_or(|port| other.port == Some(port))
            && self.hosts.cover(&other.hosts)
    }
}

impl fmt::Display for HttpPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(scheme) = self.scheme else { return formatter.write_str("*") };
        write!(formatter, "{}://", scheme.name())?;
        match &self.hosts {
            Hosts::Any => formatter.write_str("*")?,
            Hosts::Below(parent) => write!(formatter, "*.{parent}")?,
            Hosts::One(host) => write!(formatter, "{host}")?,
        }
        match self.port {
            Some(port) if port != scheme.port() => write!(formatter, ":{port}"),
            _ => Ok(()),
        }
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`; the host still in its brackets.
fn split_authority(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    if text.is_empty() {
        return Err("names no host");
    }
    if text.contains('@') {
        return Err("holds a user or a password");
    }
    let (host, port) = match text.rfind(']') {
        Some(end) => {
            let (host, rest) = text.split_at(end + 1);
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err("has something behind the brackets"),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    Ok((host, port.map(port_of).transpose()?))
}

fn port_of(text: &str) -> Result<u16, &'static str> {
    let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or("has a port that is none: it is 1 to 65535")
}

fn host_of(text: &str) -> Result<Host, &'static str> {
    if let Some(inside) = text.strip_prefix('[') {
        let address = inside.strip_suffix(']').and_then(|inside| inside.parse::<Ipv6Addr>().ok());
        return address
            .map(|address| Host::Address(IpAddr::V6(address)))
            .ok_or("has brackets without an IPv6 address in them");
    }
    // The dot of the root: the same name.
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    if name.len() > NAME_BYTES || name.is_empty() {
        return Err("has no host, or one that is too long");
    }
    if !name.is_ascii() {
        return Err("has a name that is not ASCII: write it in its `xn--` form");
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !name.split('.').all(is_label) {
        return Err("has a name that is none: letters, digits and dashes between dots");
    }
    // What ends in a number a resolver may read as an address: `127.1`, `2130706433`, `0x7f000001`, `0177.0.0.1`.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal =
        last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has a number for a name: write an address as four decimal numbers");
    }
    Ok(Host::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, scheme: Scheme, authority: &str) -> bool {
        let pattern = HttpPattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern} {error}"));
        Target::parse(scheme, authority).is_ok_and(|target| pattern.allows(&target))
    }

    #[test]
    fn other_spellings_of_a_host_are_that_host_or_none() {
        let slack = "https://hooks.slack.com";
        for same in ["hooks.slack.com", "HOOKS.Slack.COM", "hooks.slack.com.", "hooks.slack.com:443"] {
            assert!(allows(slack, Scheme::Https, same), "{same}");
        }
        for other in [
            "hooks.slack.com:80",
            "hooks.slack.com:0443",
            "hooks.slack.com:+443",
            "hooks.slack.com:",
            "hooks.slack.com..",
            "hooks.slack.com:443:443",
            "slack.com",
            "xhooks.slack.com",
            "hooks.slack.com.evil.example",
            "hooks.slack.com@evil.example",
            "evil.example@hooks.slack.com",
            "user:pass@hooks.slack.com",
            "hooks.slack.com%2eevil.example",
            "hooks.slack.com\\evil.example",
            "hooks.slack.com/evil",
            "hooks。slack。com",
            " hooks.slack.com",
            "",
        ] {
            assert!(!allows(slack, Scheme::Https, other), "{other}");
        }
        assert!(!allows(slack, Scheme::Http, "hooks.slack.com"));
        assert!(!allows(slack, Scheme::Http, "hooks.slack.com:443"), "not in the clear");
    }

    #[test]
    fn a_wildcard_is_for_names_below_and_not_for_the_name() {
        let pattern = "https://*.example.org:8443";
        assert!(allows(pattern, Scheme::Https, "a.example.org:8443"));
        assert!(allows(pattern, Scheme::Https, "a.b.example.org:8443"));
        for other in ["example.org:8443", ".example.org:8443", "aexample.org:8443", "a.example.org"] {
            assert!(!allows(pattern, Scheme::Https, other), "{other}");
        }
    }

    #[test]
    fn addresses_are_taken_in_one_spelling_only() {
        let pattern = "http://127.0.0.1:8080";
        assert!(allows(pattern, Scheme::Http, "127.0.0.1:8080"));
        for other in [
            "2130706433:8080",
            "0x7f000001:8080",
            "0x7f.0.0.1:8080",
            "017700000001:8080",
            "0177.0.0.1:8080",
            "127.1:8080",
            "127.0.1:8080",
            "127.0.0.01:8080",
            "127.0.0.2:8080",
            "[::ffff:127.0.0.1]:8080",
            "[::ffff:7f00:1]:8080",
            "[::127.0.0.1]:8080",
            "[::1]:8080",
            "localhost:8080",
            "127.0.0.1",
            "①②⑦.0.0.1:8080",
        ] {
            assert!(!allows(pattern, Scheme::Http, other), "{other}");
        }
        assert!(allows("http://[::1]:9093", Scheme::Http, "[0:0::1]:9093"), "the same address");
        assert!(!allows("http://[fe80::1]:9093", Scheme::Http, "[fe80::1%25eth0]:9093"), "no zones");
    }

    #[test]
    fn a_bad_pattern_is_told_with_a_better_one() {
        for (text, reason, hint) in [
            ("hooks.slack.com", "does not say whether it is http", Some("write `https://hooks.slack.com`")),
            ("https://a.example/path", "has a path", Some("write `https://a.example`")),
            ("https://a.example/", "has a path", Some("write `https://a.example`")),
            ("ftp://a.example", "begins with `ftp://`", None),
            (
                "https://me:secret@a.example",
                "holds a user",
                Some("name the host alone, and give the plugin a secret"),
            ),
            ("*", "is for every host", None),
            ("https://*", "is for every host", None),
            ("https://*.com", "a whole top-level domain", None),
            ("https://*.10.0.0.1", "a `*` before an address", None),
            ("https://a.*.example", "a name that is none", None),
            ("https://", "names no host", None),
            ("https://a.example:99999", "a port that is none", None),
            ("https://2130706433", "a number for a name", None),
        ] {
            let error = HttpPattern::parse(text).expect_err(text);
            assert!(error.to_string().contains(reason), "{text}: {error}");
            if hint.is_some() {
                assert_eq!(error.advice(), hint, "{text}");
            }
            assert!(!error.to_string().contains("secret"), "nothing of a password is repeated");
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_is_written() {
        for text in ["https://a.example", "http://a.example:8080", "https://*.a.example", "http://[::1]:9093"]
        {
            assert_eq!(HttpPattern::parse(text).expect("a pattern").to_string(), text);
        }
        assert_eq!(
            HttpPattern::parse("https://A.example:443").expect("a pattern").to_string(),
            "https://a.example"
        );
    }
}
