//! Endpoints: what may be written in the configuration, and where it leads.

use std::fmt;
use std::path::PathBuf;

/// etcd's port for clients, for the hints.
const CLIENT_PORT: u16 = 2379;

/// One place where a member listens for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    address: Address,
    secure: bool,
}

/// Where the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A host, without the brackets of an IPv6 address, and a port.
    Tcp { host: String, port: u16 },
    /// The path of a socket.
    Unix(PathBuf),
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an endpoint: {reason}")]
pub struct EndpointError {
    text: String,
    reason: String,
    hint: String,
}

impl EndpointError {
    /// What to write instead.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl Endpoint {
    /// Reads an endpoint as etcd users write it.
    ///
    /// # Errors
    /// No scheme, an unknown one, no host, a port that is none, or something after the port.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let refuse = |reason: &str, hint: String| EndpointError {
            text: text.to_owned(),
            reason: reason.to_owned(),
            hint,
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            let host = if text.is_empty() { "host:2379" } else { text };
            return Err(refuse(
                "it has no scheme",
                format!("write `https://{host}`, or `http://{host}` when the cluster has no TLS"),
            ));
        };
        let (secure, unix) = match scheme {
            "http" => (false, false),
            "https" => (true, false),
            "unix" => (false, true),
            "unixs" => (true, true),
            _ => {
                let hint = "use `https://`, `http://`, `unix://` or `unixs://`".to_owned();
                return Err(refuse(&format!("its scheme `{scheme}` is unknown"), hint));
            }
        };
        let address = if unix {
            if rest.is_empty() {
                return Err(refuse("it has no path", format!("write `{scheme}:///path/of/socket`")));
            }
            Address::Unix(PathBuf::from(rest))
        } else {
            tcp_address(rest).map_err(|(reason, hint)| refuse(&reason, hint.replace("{scheme}", scheme)))?
        };
        Ok(Self { text: text.trim_end_matches('/').to_owned(), address, secure })
    }

    /// As configured, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether TLS is spoken here.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The name that the server's certificate is checked against, unless another is configured.
    pub(super) fn host(&self) -> &str {
        match &self.address {
            Address::Tcp { host, .. } => host,
            // etcd names its socket files like `localhost:2379`, and its certificates carry `localhost`.
            Address::Unix(_) => "localhost",
        }
    }

    /// The `scheme://authority` that requests carry.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => format!("{scheme}://[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{scheme}://{host}:{port}"),
            Address::Unix(_) => format!("{scheme}://localhost"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Reads `host:port` with an optional slash behind it. The error is a reason and a hint, with `{scheme}` left open.
fn tcp_address(rest: &str) -> Result<Address, (String, String)> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err((
            "it carries a user name".to_owned(),
            "set `username` and `password_file` in `[cluster]` instead".to_owned(),
        ));
    }
    if let Some(end) = rest.find(['/', '?', '#']) {
        let host = &rest[..end];
        return Err((
            format!("`{}` after the port is not allowed", &rest[end..]),
            format!("write `{{scheme}}://{host}`"),
        ));
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']').ok_or_else(|| {
                ("its `[` is never closed".to_owned(), "write `{scheme}://[::1]:2379`".to_owned())
            })?;
            (host, after.strip_prefix(':'))
        }
        None if rest.matches(':').count() > 1 => {
            return Err((
                "an IPv6 address needs brackets".to_owned(),
                format!("write `{{scheme}}://[{rest}]:{CLIENT_PORT}`"),
            ));
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.is_empty() {
        return Err(("it has no host".to_owned(), format!("write `{{scheme}}://host:{CLIENT_PORT}`")));
    }
    if host.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err((
            "its host has a blank in it".to_owned(),
            "write each endpoint as a string of its own".to_owned(),
        ));
    }
    let hint = format!("write `{{scheme}}://{host}:{CLIENT_PORT}`");
    let port = port.ok_or_else(|| ("it has no port".to_owned(), hint.clone()))?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Address::Tcp { host: host.to_owned(), port }),
        _ => Err((format!("`{port}` is not a port"), hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> (String, u16) {
        match Endpoint::parse(text).unwrap().address {
            Address::Tcp { host, port } => (host, port),
            Address::Unix(path) => panic!("{text} is the socket {}", path.display()),
        }
    }

    #[test]
    fn hosts_and_ports() {
        assert_eq!(tcp("https://etcd-0.example:2379"), ("etcd-0.example".to_owned(), 2379));
        assert_eq!(tcp("http://127.0.0.1:1/"), ("127.0.0.1".to_owned(), 1));
        assert_eq!(tcp("https://[fd00::1]:2379"), ("fd00::1".to_owned(), 2379));
        let endpoint = Endpoint::parse("https://[fd00::1]:2379/").unwrap();
        assert_eq!(endpoint.as_str(), "https://[fd00::1]:2379");
        assert_eq!(endpoint.origin(), "https://[fd00::1]:2379");
        assert!(endpoint.is_secure());
    }

    #[test]
    fn sockets() {
        let endpoint = Endpoint::parse("unix:///run/etcd.sock").unwrap();
        assert_eq!(endpoint.address, Address::Unix(PathBuf::from("/run/etcd.sock")));
        assert_eq!(endpoint.origin(), "http://localhost");
        assert_eq!(
            Endpoint::parse("unixs://localhost:2379").unwrap().address,
            Address::Unix(PathBuf::from("localhost:2379"))
        );
    }

    #[test]
    fn what_is_wrong_and_what_to_write() {
        let cases = [
            ("10.0.0.1:2379", "it has no scheme", "write `https://10.0.0.1:2379`, or"),
            ("", "it has no scheme", "write `https://host:2379`"),
            ("tcp://a:1", "its scheme `tcp` is unknown", "use `https://`"),
            ("https://a", "it has no port", "write `https://a:2379`"),
            ("https://a:", "`` is not a port", "write `https://a:2379`"),
            ("https://a:99999", "`99999` is not a port", "write `https://a:2379`"),
            ("https://:2379", "it has no host", "write `https://host:2379`"),
            ("https://::1:2379", "an IPv6 address needs brackets", "write `https://[::1:2379]:2379`"),
            ("https://[::1:2379", "its `[` is never closed", "write `https://[::1]:2379`"),
            ("https://a:2379/v3", "`/v3` after the port is not allowed", "write `https://a:2379`"),
            ("https://root:pw@a:2379", "it carries a user name", "set `username`"),
            ("https://a b:2379", "its host has a blank in it", "write each endpoint"),
            ("unix://", "it has no path", "write `unix:///path/of/socket`"),
        ];
        for (text, reason, hint) in cases {
            let error = Endpoint::parse(text).unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
            assert!(error.hint().starts_with(hint), "{text}: {}", error.hint());
        }
    }
}
