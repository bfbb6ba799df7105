//! Requests to a WebDAV server, and what their answers mean.

use std::time::Duration;

use holdfast_plugin::http::stream::{self, Download};
use holdfast_plugin::http::{Method, Request, Response};
use holdfast_plugin::store::StoreError;
use percent_encoding::percent_decode_str;

use crate::multistatus::{self, Entry};

/// RFC 4918: the resource is locked.
const LOCKED: u16 = 423;
/// Pauses before another look at what is locked: together a second and a half.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// What a server says besides a listing: a few lines, most often of HTML.
const WORDS_BYTES: usize = 64 << 10;

/// How long a lock holds whose owner has died: a few requests take less.
const LOCK_TIMEOUT: &str = "Second-30";
const LOCK_INFO: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
    <D:locktype><D:write/></D:locktype><D:owner>holdfast</D:owner></D:lockinfo>";

/// A lock that is ours.
pub(crate) struct Lock {
    /// As the server wrote it, angle brackets included.
    token: String,
    /// There was nothing to lock, and the server has made an empty file.
    pub(crate) made: bool,
}

/// A folder on a WebDAV server.
pub(crate) struct Server {
    /// `https://nas.example.org`
    origin: String,
    /// `/dav/etcd/`, as it stands in URLs.
    folder: String,
    authorization: Option<String>,
}

/// How a `MOVE` ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It is there now.
    Done,
    /// Something was there already.
    Exists,
    /// The folder that it goes to is not there, or something else forbids it.
    NoFolder(StoreError),
}

impl Server {
    pub(crate) fn new(origin: String, folder: String, authorization: Option<String>) -> Server {
        Server { origin, folder, authorization }
    }

    /// Paths are made of what needs no encoding.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin, self.folder)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        let request = Request::new(Method::new(method), self.url(path)).at_most(WORDS_BYTES);
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// A request without a body, and that says so: some servers refuse a `MKCOL` that might have one.
    fn bare(&self, method: &str, path: &str) -> Request {
        self.request(method, path).header("content-length", "0")
    }

    /// Sends a request, again when the server says that somebody is at work there: servers lock a file for the time of one request, also
    /// one that has just been given up.
    fn send(request: &Request) -> Result<Response, StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = request.send()?;
            if answer.status() != LOCKED || pause > LONGEST_PAUSE {
                return Ok(answer);
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
    }

    /// Asks for what is known of a path, and of what lies right in it when `depth` is 1. None: there is nothing.
    fn find(&self, path: &str, depth: u8) -> Result<Option<Download>, StoreError> {
        let request = self
            .request("PROPFIND", path)
            .header("depth", depth.to_string())
            .header("content-type", "application/xml; charset=utf-8")
            .header("content-length", multistatus::REQUEST.len().to_string())
            .body(multistatus::REQUEST);
        let answer = stream::download(&request)?;
        match answer.status() {
            207 => Ok(Some(answer)),
            404 | 410 => Ok(None),
            405 | 501 => Err(StoreError::config(format!(
                "the server does not know PROPFIND there (it answers {}): is this a WebDAV folder?",
                answer.status()
            ))),
            _ => Err(StoreError::answered(&answer.whole(WORDS_BYTES)?)),
        }
    }

    /// What is known of one file or folder.
    pub(crate) fn look(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        let Some(mut answer) = self.find(path, 0)? else { return Ok(None) };
        let mut found = None;
        multistatus::read(&mut answer, &mut |entry| {
            found.get_or_insert(entry);
            Ok(())
        })?;
        found.map(Some).ok_or_else(|| {
            StoreError::unavailable(format!("the server's answer about `{path}` tells of nothing"))
        })
    }

    /// Everything right in a folder, by its name, and what time it is at the server. `folder` is empty or ends in a slash. None:
    /// there is no such folder.
    pub(crate) fn children(&self, folder: &str) -> Result<Option<Children>, StoreError> {
        let Some(mut answer) = self.find(folder, 1)? else { return Ok(None) };
        let now = answer.header("date").and_then(multistatus::milliseconds);
        let mut entries = Vec::new();
        multistatus::read(&mut answer, &mut |entry| {
            let relative = self.relative(&entry.href)?;
            let Some(name) = relative.strip_prefix(folder) else {
                // The folder itself, where the server leaves out its slash.
                return if format!("{relative}/") == folder {
                    Ok(())
                } else {
                    Err(elsewhere(folder, &relative))
                };
            };
            let name = name.strip_suffix('/').unwrap_or(name);
            if name.contains('/') {
                return Err(elsewhere(folder, &relative));
            }
            if !name.is_empty() {
                entries.push((name.to_owned(), entry));
            }
            Ok(())
        })?;
        Ok(Some(Children { entries, now }))
    }

    /// A path below the folder, from what a server calls it: a URL, or the path of one.
    fn relative(&self, href: &str) -> Result<String, StoreError> {
        let path = match href.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => href,
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (path, folder) = (decoded(path), decoded(&self.folder));
        match path.strip_prefix(&folder) {
            Some(relative) => Ok(relative.to_owned()),
            None if format!("{path}/") == folder => Ok(String::new()),
            None => Err(elsewhere(&folder, &path)),
        }
    }

    /// Makes a folder. `folder` ends in a slash. False: it is there already.
    pub(crate) fn make(&self, folder: &str) -> Result<bool, StoreError> {
        let answer = Self::send(&self.bare("MKCOL", folder))?;
        match answer.status() {
            201 => Ok(true),
            // Nothing may be there with that name; most often that is the folder itself.
            405 => Ok(false),
            404 | 409 => Err(StoreError::missing_place(format!(
                "the folder above `{}` is not there",
                self.url(folder)
            ))),
            _ => Err(StoreError::answered(&answer)),
        }
    }

    /// Makes the folders that a path lies in.
    pub(crate) fn make_above(&self, path: &str) -> Result<(), StoreError> {
        for (at, _) in path.match_indices('/') {
            self.make(&path[..=at])?;
        }
        Ok(())
    }

    /// Moves a file, never onto another.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<Moved, StoreError> {
        let request = self.bare("MOVE", from).header("destination", self.url(to)).header("overwrite", "F");
        let answer = Self::send(&request)?;
        match answer.status() {
            201 => Ok(Moved::Done),
            412 => Ok(Moved::Exists),
            // Which of these a server takes for a missing folder is its own choice.
            403 | 404 | 405 | 409 | 500 => Ok(Moved::NoFolder(StoreError::answered(&answer))),
            200 | 204 => Err(StoreError::new(
                "server",
                format!("the server has replaced `{to}`, though it was told not to (`Overwrite: F`)"),
            )),
            _ => Err(StoreError::answered(&answer)),
        }
    }

    /// Removes a file. One that is not there is no error.
    pub(crate) fn delete(&self, path: &str) -> Result<(), StoreError> {
        let answer = Self::send(&self.bare("DELETE", path))?;
        match answer.status() {
            200..300 | 404 | 410 => Ok(()),
            _ => Err(StoreError::answered(&answer)),
        }
    }

    /// Locks a folder and all that lies in it against others. None: the server does not, or somebody else has.
    pub(crate) fn lock(&self, folder: &str) -> Result<Option<Lock>, StoreError> {
        let request = self
            .request("LOCK", folder)
            .header("depth", "infinity")
            .header("timeout", LOCK_TIMEOUT)
            .header("content-type", "application/xml; charset=utf-8")
            .header("content-length", LOCK_INFO.len().to_string())
            .body(LOCK_INFO);
        let answer = request.send()?;
        let token = answer.header("lock-token").map(str::trim).filter(|token| token.starts_with('<'));
        Ok(match (answer.status(), token) {
            (status @ (200 | 201), Some(token)) => {
                Some(Lock { token: token.to_owned(), made: status == 201 })
            }
            _ => None,
        })
    }

    /// Gives a lock back.
    pub(crate) fn unlock(&self, folder: &str, lock: &Lock) -> Result<(), StoreError> {
        let answer = self.bare("UNLOCK", folder).header("lock-token", &lock.token).send()?;
        if answer.status() == 204 { Ok(()) } else { Err(StoreError::answered(&answer)) }
    }

    /// Removes what is locked. False: the lock has ended, or does not suffice.
    pub(crate) fn delete_locked(&self, path: &str, lock: &Lock) -> Result<bool, StoreError> {
        let request = self.bare("DELETE", path).header("if", format!("({})", lock.token));
        Ok(matches!(request.send()?.status(), 200 | 204 | 404))
    }

    /// Whether a folder cannot be made because somebody has locked where it would lie.
    pub(crate) fn is_kept_out(&self, folder: &str) -> Result<bool, StoreError> {
        Ok(self.bare("MKCOL", folder).send()?.status() == LOCKED)
    }

    /// That the folder itself is not there.
    pub(crate) fn missing(&self) -> StoreError {
        StoreError::missing_place(format!("`{}` is not there", self.url("")))
    }
}

/// What lies in a folder.
pub(crate) struct Children {
    pub(crate) entries: Vec<(String, Entry)>,
    /// The server's clock, in milliseconds since 1970.
    pub(crate) now: Option<i64>,
}

fn elsewhere(asked: &str, told: &str) -> StoreError {
    StoreError::config(format!(
        "the server was asked for `{asked}` and tells of `{}`: is `url` its own address, and not one that leads to it?",
        holdfast_plugin::printable(told.as_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_call_its_files_in_several_ways() {
        let server = Server::new("https://nas.example.org".into(), "/a%20b/etcd/".into(), None);
        for (href, relative) in [
            ("/a%20b/etcd/data/x.age", "data/x.age"),
            ("https://nas.example.org/a%20b/etcd/data/", "data/"),
            ("http://inner:8080/a%20b/%65tcd/x", "x"),
            ("/a%20b/etcd", ""),
            ("/a b/etcd/", ""),
        ] {
            assert_eq!(server.relative(href).as_deref(), Ok(relative), "{href}");
        }
        for other in ["/other/x", "/a%20b/etcd-2/x", "x", "https://nas.example.org"] {
            assert_eq!(server.relative(other).expect_err("it lies elsewhere").code, "config", "{other}");
        }
    }
}
