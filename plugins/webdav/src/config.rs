//! Which server, and with what right.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_plugin::secrets;
use holdfast_plugin::store::StoreError;
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::server::Server;

/// The store's config.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The folder that keeps the backups: `https://nas.example.org/dav/etcd`. It is made when it is not there; the folder above it must
    /// be there. It belongs to this repository alone.
    url: String,
    /// Whom to log in as. Without one, nobody is.
    username: Option<String>,
    /// The name of the secret that holds the password, or the app's token.
    password_secret: Option<String>,
}

impl Config {
    /// The server, with the password as it is now.
    pub(crate) fn server(&self) -> Result<Server, StoreError> {
        let (origin, folder) = split(&self.url)?;
        let authorization = match (&self.username, &self.password_secret) {
            (Some(username), Some(secret)) => {
                // RFC 7617: what stands before the first colon is the name.
                if username.contains(':') {
                    return Err(StoreError::config("`username` holds a colon, which no user's name can"));
                }
                let password = secrets::get(secret)?;
                let password = password.trim_end_matches(['\r', '\n']);
                Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(StoreError::config("there is a `username` and no `password_secret`"));
            }
            (None, Some(_)) => {
                return Err(StoreError::config("there is a `password_secret` and no `username`"));
            }
        };
        Ok(Server::new(origin, folder, authorization))
    }
}

/// The server's part of a URL, and the folder's, which begins and ends with a slash.
fn split(url: &str) -> Result<(String, String), StoreError> {
    let malformed = |why: &str| StoreError::config(format!("`url` {why}: it is `https://host/folder`"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("has no scheme"))?;
    if !matches!(scheme, "http" | "https") {
        return Err(malformed("is neither `http` nor `https`"));
    }
    if rest.contains(['?', '#']) {
        return Err(malformed("has a query or a fragment"));
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() {
        return Err(malformed("has no host"));
    }
    if host.contains('@') {
        return Err(malformed("holds a user or a password, which go into `username` and a secret"));
    }
    let path = path.trim_matches('/');
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| malformed("is no UTF-8"))?;
    if decoded.split('/').any(|segment| segment == ".." || segment == ".") {
        return Err(malformed("climbs"));
    }
    let folder = if path.is_empty() { "/".to_owned() } else { format!("/{path}/") };
    Ok((format!("{scheme}://{host}"), folder))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_url_is_a_server_and_a_folder() {
        for (url, origin, folder) in [
            ("https://nas.example.org/dav/etcd", "https://nas.example.org", "/dav/etcd/"),
            ("http://[::1]:8080//dav//", "http://[::1]:8080", "/dav/"),
            ("https://nas.example.org", "https://nas.example.org", "/"),
            ("https://nas.example.org/a%20b/", "https://nas.example.org", "/a%20b/"),
        ] {
            assert_eq!(split(url), Ok((origin.to_owned(), folder.to_owned())), "{url}");
        }
        for wrong in [
            "nas/dav",
            "ftp://nas/dav",
            "https:///dav",
            "https://u:hunter2@nas/dav",
            "https://nas/dav?x",
            "https://nas/%2e%2e/x",
        ] {
            let error = split(wrong).expect_err("it is refused");
            assert!(error.code == "config" && !error.message.contains("hunter2"), "{wrong}: {error}");
        }
    }
}
