//! The XML by which a server tells of files and folders (RFC 4918, section 14.16), read as it comes.
//!
//! Only what is asked for is kept, and each text only up to a bound: a server is not trusted with this plugin's memory.

use std::io::{self, BufRead, BufReader, Read};

use holdfast_plugin::http::stream::Download;
use holdfast_plugin::store::{Object, StoreError};
use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

/// What a server is asked for.
pub(crate) const REQUEST: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<propfind xmlns=\"DAV:\"><prop><resourcetype/><getcontentlength/><getlastmodified/><getetag/></prop></propfind>\n";

const DAV: &[u8] = b"DAV:";
/// A URL of the longest path, each byte encoded, and then some.
const TEXT_BYTES: usize = 8 << 10;
/// Elements within elements.
const DEPTH: usize = 32;

/// One file or folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its URL, or the path of it, encoded.
    pub(crate) href: String,
    pub(crate) is_folder: bool,
    pub(crate) size_bytes: Option<u64>,
    /// Milliseconds since 1970.
    pub(crate) modified: Option<i64>,
    pub(crate) tag: String,
}

impl Entry {
    pub(crate) fn object(&self, path: String) -> Object {
        Object {
            path,
            size_bytes: self.size_bytes.unwrap_or_default(),
            modified: self.modified,
            tag: self.tag.clone(),
            locked_until: None,
        }
    }
}

/// Reads an answer as it comes. `each` is told of every file and folder in it.
pub(crate) fn read(
    answer: &mut Download,
    each: &mut dyn FnMut(Entry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    parse(BufReader::with_capacity(64 << 10, Incoming { answer, left: Vec::new(), at: 0 }), each)
}

/// An answer as the reader wants it.
struct Incoming<'a> {
    answer: &'a mut Download,
    left: Vec<u8>,
    at: usize,
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.left.len() {
            self.left = self.answer.read().map_err(io::Error::other)?;
            self.at = 0;
        }
        let count = buffer.len().min(self.left.len() - self.at);
        buffer[..count].copy_from_slice(&self.left[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// What is said of one file or folder so far.
#[derive(Default)]
struct Response {
    entry: Entry,
    /// Of the `propstat` that is read: properties count once it is known that they are there.
    found: Entry,
    status: String,
}

fn parse(
    source: impl BufRead,
    each: &mut dyn FnMut(Entry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut reader = NsReader::from_reader(source);
    reader.config_mut().trim_text(true);
    let mut buffer = Vec::new();
    // The names of the elements that are open; empty for those of others.
    let mut open: Vec<String> = Vec::new();
    let mut response = Response::default();
    let mut seen_root = false;
    loop {
        let (namespace, event) =
            reader.read_resolved_event_into(&mut buffer).map_err(|error| malformed(&error.to_string()))?;
        let name = |local: &[u8]| match namespace {
            ResolveResult::Bound(bound) if bound.as_ref() == DAV => {
                String::from_utf8_lossy(local).into_owned()
            }
            _ => String::new(),
        };
        match event {
            Event::Start(start) => {
                let name = name(start.local_name().as_ref());
                seen_root |= name == "multistatus" && open.is_empty();
                begin(&name, &mut response);
                open.push(name);
                if open.len() > DEPTH {
                    return Err(malformed("its elements are nested too deeply"));
                }
            }
            Event::Empty(start) => {
                let name = name(start.local_name().as_ref());
                seen_root |= name == "multistatus" && open.is_empty();
                begin(&name, &mut response);
            }
            Event::End(_) => {
                if let Some(name) = open.pop()
                    && let Some(entry) = end(&name, &mut response)
                {
                    each(entry)?;
                }
            }
            Event::Text(text) => {
                let text = text.unescape().map_err(|error| malformed(&error.to_string()))?;
                words(&text, &open, &mut response)?;
            }
            Event::CData(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                words(&text, &open, &mut response)?;
            }
            Event::Eof if open.is_empty() && seen_root => return Ok(()),
            Event::Eof => return Err(malformed("it ends early, or is no listing")),
            _ => {}
        }
        buffer.clear();
    }
}

fn begin(name: &str, response: &mut Response) {
    match name {
        "response" => *response = Response::default(),
        "propstat" => {
            response.found = Entry::default();
            response.status.clear();
        }
        "collection" => response.found.is_folder = true,
        _ => {}
    }
}

fn end(name: &str, response: &mut Response) -> Option<Entry> {
    match name {
        "propstat" => {
            // `HTTP/1.1 200 OK`; what was asked for and is not there comes with 404.
            let is_there = response.status.split(' ').nth(1).is_none_or(|code| code == "200");
            let found = std::mem::take(&mut response.found);
            if is_there {
                response.entry.is_folder |= found.is_folder;
                response.entry.size_bytes = response.entry.size_bytes.or(found.size_bytes);
                response.entry.modified = response.entry.modified.or(found.modified);
                if response.entry.tag.is_empty() {
                    response.entry.tag = found.tag;
                }
            }
            None
        }
        "response" => {
            let entry = std::mem::take(response).entry;
            (!entry.href.is_empty()).then_some(entry)
        }
        _ => None,
    }
}

fn words(text: &str, open: &[String], response: &mut Response) -> Result<(), StoreError> {
    let Some((last, above)) = open.split_last() else { return Ok(()) };
    let parent = above.last().map_or("", String::as_str);
    if !matches!(last.as_str(), "href" | "status" | "getcontentlength" | "getlastmodified" | "getetag") {
        return Ok(());
    }
    if text.len() > TEXT_BYTES || response.entry.href.len() > TEXT_BYTES {
        return Err(malformed("one of its texts is too long"));
    }
    match (parent, last.as_str()) {
        ("response", "href") => response.entry.href.push_str(text),
        ("propstat", "status") => text.trim().clone_into(&mut response.status),
        ("prop", "getcontentlength") => response.found.size_bytes = text.trim().parse().ok(),
        ("prop", "getlastmodified") => response.found.modified = milliseconds(text),
        ("prop", "getetag") => text.trim().clone_into(&mut response.found.tag),
        _ => {}
    }
    Ok(())
}

/// An HTTP date in milliseconds since 1970.
pub(crate) fn milliseconds(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date.trim()).ok()?;
    let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

fn malformed(why: &str) -> StoreError {
    // A connection that broke looks like this as well.
    StoreError::unavailable(format!("the server's listing cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        parse(text.as_bytes(), &mut |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    #[test]
    fn prefixes_do_not_matter_and_missing_properties_are_missing() {
        let text = r#"<?xml version="1.0"?>
            <d:multistatus xmlns:d="DAV:" xmlns:x="urn:other">
              <d:response><d:href>/dav/a%20b/</d:href>
                <d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>
                <d:propstat><d:prop><d:getcontentlength>9</d:getcontentlength></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat>
              </d:response>
              <d:response><d:href><![CDATA[/dav/c&d]]></d:href>
                <d:propstat><d:prop><x:getcontentlength>5</x:getcontentlength><d:getcontentlength>7</d:getcontentlength>
                  <d:getetag>&quot;a&amp;b&quot;</d:getetag>
                  <d:getlastmodified>Sun, 22 Nov 2026 03:00:00 GMT</d:getlastmodified></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>
              </d:response>
            </d:multistatus>"#;
        let found = entries(text).expect("it is sound");
        assert_eq!(found[0], Entry { href: "/dav/a%20b/".into(), is_folder: true, ..Entry::default() });
        let file = Entry {
            href: "/dav/c&d".into(),
            is_folder: false,
            size_bytes: Some(7),
            modified: Some(1_795_316_400_000),
            tag: "\"a&b\"".into(),
        };
        assert_eq!(found[1..], [file]);
    }

    #[test]
    fn what_is_cut_or_no_listing_is_an_error() {
        let whole = r#"<multistatus xmlns="DAV:"><response><href>/a</href></response></multistatus>"#;
        assert_eq!(entries(whole).expect("it is sound").len(), 1);
        for cut in 0..whole.len() {
            assert!(entries(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for wrong in ["<html><body>Welcome</body></html>", "", "{}", &"<a>".repeat(40)] {
            assert!(entries(wrong).is_err(), "{wrong}");
        }
        let long = format!(
            "<multistatus xmlns=\"DAV:\"><response><href>{}</href></response></multistatus>",
            "x".repeat(9000)
        );
        assert!(entries(&long).is_err());
        let bomb = r#"<!DOCTYPE a [<!ENTITY b "bbbb">]><multistatus xmlns="DAV:"><response><href>&b;</href></response></multistatus>"#;
        assert!(entries(bomb).is_err(), "no entity is expanded but those of XML itself");
    }
}
