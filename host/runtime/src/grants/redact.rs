//! Blots secrets out of what a guest writes.
//!
//! A guest that was given a secret may repeat it: in a log line, in an error that it passes on, in a report. Whatever of its words
//! is kept or shown goes through here first. This is against accidents: a guest that wants to hide a value in its words can encode
//! it, and all it can reach with that is whoever reads the log.

use std::borrow::Cow;

use memchr::memmem::Finder;
use zeroize::Zeroizing;

/// Of a secret of several lines (a key), lines of at least this length are blotted out by themselves too.
const LINE_BYTES: usize = 8;
/// The fewest bytes of a secret's beginning that are taken for it at the end of a text that was cut.
const BEGINNING_BYTES: usize = 4;

/// The secrets of one call.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    needles: Vec<Needle>,
}

#[derive(Clone)]
struct Needle {
    value: Zeroizing<Vec<u8>>,
    shown: String,
}

impl Redactor {
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = (&'a str, &'a str)>) -> Redactor {
        let mut needles = Vec::new();
        for (name, value) in secrets {
            let shown = format!("[secret {name}]");
            let lines = value.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES);
            // As it stands in JSON, for a guest that shows the request that failed.
            let quoted = serde_json::to_string(value).unwrap_or_default();
            let escaped = quoted.trim_matches('"');
            for part in std::iter::once(value).chain(lines).chain(std::iter::once(escaped)) {
                let known = |needle: &Needle| needle.value.as_slice() == part.as_bytes();
                if !part.is_empty() && !needles.iter().any(known) {
                    let value = Zeroizing::new(part.as_bytes().to_vec());
                    needles.push(Needle { value, shown: shown.clone() });
                }
            }
        }
        // The longest first, so that a secret that holds another is blotted out whole.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.value.len()));
        Redactor { needles }
    }

    /// Whether there is anything to blot out.
    pub(crate) fn has_secrets(&self) -> bool {
        !self.needles.is_empty()
    }

    /// The bytes without any secret.
    pub(crate) fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut clean = Cow::Borrowed(bytes);
        for needle in &self.needles {
            let finder = Finder::new(needle.value.as_slice());
            if finder.find(&clean).is_none() {
                continue;
            }
            let mut replaced = Vec::with_capacity(clean.len());
            let mut from = 0;
            for at in finder.find_iter(&clean) {
                replaced.extend_from_slice(&clean[from..at]);
                replaced.extend_from_slice(needle.shown.as_bytes());
                from = at + needle.value.len();
            }
            replaced.extend_from_slice(&clean[from..]);
            clean = Cow::Owned(replaced);
        }
        clean
    }

    /// As [`Self::bytes`], for text that was cut at its end, perhaps within a secret.
    pub(crate) fn cut_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut clean = self.bytes(bytes);
        let longest = self.needles.iter().filter_map(|needle| {
            let most = needle.value.len().min(clean.len());
            (BEGINNING_BYTES..=most).rev().find(|&length| clean.ends_with(&needle.value[..length]))
        });
        if let Some(length) = longest.max() {
            let keep = clean.len() - length;
            clean.to_mut().truncate(keep);
        }
        clean
    }

    /// The text without any secret.
    pub(crate) fn text(&self, text: String) -> String {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[(&'static str, &'static str)]) -> Redactor {
        Redactor::new(secrets.iter().copied())
    }

    #[test]
    fn a_secret_becomes_its_name() {
        let redactor = redactor(&[("token", "hunter2"), ("url", "https://h.example/hunter2/x")]);
        let shown = redactor.text("GET https://h.example/hunter2/x with hunter2, hunter2".to_owned());
        assert_eq!(shown, "GET [secret url] with [secret token], [secret token]");
        assert_eq!(redactor.text("nothing".to_owned()), "nothing");
        assert_eq!(*redactor.bytes(b"\xffhunter2\xff"), *b"\xff[secret token]\xff");
    }

    #[test]
    fn lines_and_quoted_forms_of_a_secret_count_too() {
        let redactor = redactor(&[("key", "-----BEGIN\nMIIEvQIBADAN\nx\n"), ("word", "pass\"word")]);
        assert_eq!(redactor.text("MIIEvQIBADAN".to_owned()), "[secret key]");
        assert_eq!(redactor.text(r#"{"p":"pass\"word"}"#.to_owned()), r#"{"p":"[secret word]"}"#);
        assert_eq!(redactor.text("x".to_owned()), "x");
    }

    #[test]
    fn a_secret_that_was_cut_is_taken_away() {
        let redactor = redactor(&[("token", "hunter2hunter2")]);
        assert_eq!(*redactor.cut_bytes(b"it is hunter2hun"), *b"it is ");
        assert_eq!(*redactor.cut_bytes(b"it is hun"), *b"it is hun");
    }
}
