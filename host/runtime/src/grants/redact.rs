//! Blots secrets out of what a guest writes.
//!
//! A guest that was given a secret may repeat it: in a log line, in an error that it passes on, in a report. Whatever of its words
//! is kept or shown goes through here first. So do the forms that a secret has on the wire, which libraries like to show with a
//! request that failed: quoted as in JSON, percent-encoded, and in base64, alone or, as in a Basic header, behind a user's name.
//!
//! This is against accidents: a guest that wants to hide a value in its words can write it backwards, and all it can reach with
//! that is whoever reads the log.

use std::borrow::Cow;
use std::ops::Range;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memchr;
use memchr::memmem::Finder;
use zeroize::Zeroizing;

/// Of a secret of several lines (a key), lines of at least this length are blotted out by themselves too.
const LINE_BYTES: usize = 8;
/// The fewest bytes of a secret's beginning that are taken for it at the end of a text that was cut.
const BEGINNING_BYTES: usize = 4;
/// The fewest characters of base64 that are taken for a secret. Fewer stand in other words by chance.
const BASE64_CHARACTERS: usize = 6;

/// The secrets of one call.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    needles: Vec<Needle>,
}

/// One form of a secret.
#[derive(Clone)]
struct Needle {
    value: Zeroizing<Vec<u8>>,
    shown: String,
    /// Whether the character before it, or behind it, tells a part of the secret too.
    shared: Shared,
}

/// What of a secret in base64 stands in characters that tell of its neighbours as well.
#[derive(Clone, Copy, Default)]
struct Shared {
    before: bool,
    behind: bool,
}

impl Redactor {
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = (&'a str, &'a str)>) -> Redactor {
        let mut needles: Vec<Needle> = Vec::new();
        for (name, value) in secrets {
            let mut add = |value: &[u8], shared: Shared| {
                let known = |needle: &Needle| needle.value.as_slice() == value;
                if !value.is_empty() && !needles.iter().any(known) {
                    let value = Zeroizing::new(value.to_vec());
                    needles.push(Needle { value, shown: format!("[secret {name}]"), shared });
                }
            };
            add(value.as_bytes(), Shared::default());
            for line in value.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES) {
                add(line.as_bytes(), Shared::default());
            }
            // As it stands in JSON, for a guest that shows the request that failed.
            let quoted = Zeroizing::new(serde_json::to_string(value).unwrap_or_default());
            add(quoted.trim_matches('"').as_bytes(), Shared::default());
            // As forms write a space; the rest of their encoding is undone where a text is read.
            add(Zeroizing::new(value.replace(' ', "+")).as_bytes(), Shared::default());
            for before in 0..3 {
                let (standard, shared) = in_base64(&STANDARD_NO_PAD, value, before);
                add(&standard, shared);
                add(&in_base64(&URL_SAFE_NO_PAD, value, before).0, shared);
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
        if !self.has_secrets() {
            return Cow::Borrowed(bytes);
        }
        // As it reads first: of a value that is encoded as a whole, the padding goes with it.
        let clean = Decoded::of(bytes)
            .and_then(|read| self.blotted(bytes, &read.bytes, |at| read.places[at]))
            .map_or(Cow::Borrowed(bytes), Cow::Owned);
        let again = self.blotted(&clean, &clean, |at| at);
        again.map_or(clean, Cow::Owned)
    }

    /// As [`Self::bytes`], for text that was cut at its end, perhaps within a secret.
    pub(crate) fn cut_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut clean = self.bytes(bytes);
        let mut keep = self.end_of_whole(&clean).unwrap_or(clean.len());
        if let Some(read) = Decoded::of(&clean) {
            keep = self.end_of_whole(read.whole()).map_or(keep, |at| keep.min(read.places[at]));
        }
        if keep < clean.len() {
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

    /// The text without what is a secret in `read`, which is how the text reads; `place` tells where in the text a byte of that
    /// begins. None when there is none.
    fn blotted(&self, text: &[u8], read: &[u8], place: impl Fn(usize) -> usize) -> Option<Vec<u8>> {
        let mut spots: Vec<(Range<usize>, &str)> = Vec::new();
        for needle in &self.needles {
            let found = Finder::new(needle.value.as_slice());
            spots.extend(found.find_iter(read).map(|at| (needle.spot(read, at), needle.shown.as_str())));
        }
        if spots.is_empty() {
            return None;
        }
        // Of those that begin together the longest first; it gives its name to all that overlap with it.
        spots.sort_by_key(|(spot, _)| (spot.start, std::cmp::Reverse(spot.end)));
        let mut clean = Vec::with_capacity(text.len());
        let mut until = 0;
        for (spot, shown) in spots {
            if spot.start >= until {
                clean.extend_from_slice(&text[place(until)..place(spot.start)]);
                clean.extend_from_slice(shown.as_bytes());
            }
            until = until.max(spot.end);
        }
        clean.extend_from_slice(&text[place(until)..]);
        Some(clean)
    }

    /// Where the beginning of a secret stands at the end of a text.
    fn end_of_whole(&self, text: &[u8]) -> Option<usize> {
        let longest = self.needles.iter().filter_map(|needle| {
            let most = needle.value.len().min(text.len());
            (BEGINNING_BYTES..=most).rev().find(|&length| text.ends_with(&needle.value[..length]))
        });
        longest.max().map(|length| text.len() - length)
    }
}

impl Needle {
    /// What of `text` goes with the needle that stands at `at`.
    fn spot(&self, text: &[u8], at: usize) -> Range<usize> {
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
        let mut spot = at..at + self.value.len();
        if self.shared.before && text[..spot.start].last().is_some_and(is_base64) {
            spot.start -= 1;
        }
        if self.shared.behind && text.get(spot.end).is_some_and(is_base64) {
            spot.end += 1;
            // Padding tells how long it is.
            spot.end += text[spot.end..].iter().take(2).take_while(|byte| **byte == b'=').count();
        }
        spot
    }
}

/// The characters of base64 that tell of a value and of nothing else, when so many bytes (0 to 2, in threes) stand before it, and
/// what its neighbours tell. Too few of them are none.
fn in_base64(engine: &impl base64::Engine, value: &str, before: usize) -> (Zeroizing<Vec<u8>>, Shared) {
    let bytes = before + value.len();
    let mut whole = Zeroizing::new(vec![0; before]);
    whole.extend_from_slice(value.as_bytes());
    let mut encoded = Zeroizing::new(engine.encode(whole.as_slice()).into_bytes());
    // Six bits a character.
    encoded.truncate(bytes * 8 / 6);
    let begins = (before * 8).div_ceil(6).min(encoded.len());
    let alone = encoded.split_off(begins);
    let shared = Shared { before: before > 0, behind: !bytes.is_multiple_of(3) };
    if alone.len() < BASE64_CHARACTERS {
        return (Zeroizing::default(), shared);
    }
    (Zeroizing::new(alone), shared)
}

/// A text as it reads once percent-encoding is undone.
struct Decoded {
    bytes: Vec<u8>,
    /// Where in the text each byte begins, and at last where the text ends.
    places: Vec<usize>,
}

impl Decoded {
    /// None when nothing in it is encoded.
    fn of(text: &[u8]) -> Option<Decoded> {
        memchr(b'%', text)?;
        let mut decoded = Decoded { bytes: Vec::with_capacity(text.len()), places: Vec::new() };
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let digit = |behind: usize| text.get(at + behind).copied().and_then(hexadecimal);
            let (byte, length) = match (byte, digit(1), digit(2)) {
                (b'%', Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (byte, 1),
            };
            decoded.bytes.push(byte);
            decoded.places.push(at);
            at += length;
        }
        decoded.places.push(at);
        Some(decoded)
    }

    /// Without a byte of which only the beginning is there.
    fn whole(&self) -> &[u8] {
        match self.bytes.as_slice() {
            [whole @ .., b'%'] => whole,
            [whole @ .., b'%', digit] if hexadecimal(*digit).is_some() => whole,
            whole => whole,
        }
    }
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
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

    #[test]
    fn secrets_in_base64_are_known_wherever_they_stand() {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE};

        // With bytes that the two alphabets write differently, and of each length in threes.
        for secret in ["hunter2?>~\u{7f}\u{3ff}x", "hunter2?>~\u{7f}\u{3ff}xy", "hunter2?>~\u{7f}\u{3ff}xyz"]
        {
            let redactor = redactor(&[("token", secret)]);
            for user in ["", "u", "me", "you", "user", "with-a-name"] {
                for rest in ["", "\n", "; more"] {
                    let credentials = format!("{user}:{secret}{rest}");
                    for encoded in [
                        STANDARD.encode(&credentials),
                        URL_SAFE.encode(&credentials),
                        STANDARD_NO_PAD.encode(&credentials),
                        URL_SAFE_NO_PAD.encode(&credentials),
                    ] {
                        let shown = redactor.text(format!("authorization: Basic {encoded}, again {encoded}"));
                        assert_eq!(shown.matches("[secret token]").count(), 2, "{credentials:?}: {shown}");
                        // Nothing of the secret can be read from what is left.
                        let left = shown.replace("[secret token]", " ");
                        for part in left.split([' ', ',']).filter(|part| part.len() > 3) {
                            let told = STANDARD_NO_PAD.decode(&part[..part.len() & !3]).unwrap_or_default();
                            assert!(
                                !String::from_utf8_lossy(&told).contains("hun"),
                                "{credentials:?}: {shown}"
                            );
                        }
                    }
                }
            }
            for alone in [STANDARD.encode(secret), URL_SAFE.encode(secret), STANDARD_NO_PAD.encode(secret)] {
                assert_eq!(redactor.text(alone), "[secret token]");
            }
        }
    }

    #[test]
    fn the_base64_of_a_short_secret_is_not_looked_for_and_the_secret_is() {
        let redactor = redactor(&[("pin", "1234")]);
        assert_eq!(redactor.text("1234 and MTIzNA".to_owned()), "[secret pin] and MTIzNA");
        assert_eq!(redactor.text("five letters: aGVsbG8=".to_owned()), "five letters: aGVsbG8=");
        let redactor = self::redactor(&[("five", "hello")]);
        assert_eq!(redactor.text("five letters: aGVsbG8=".to_owned()), "five letters: [secret five]");
    }

    #[test]
    fn a_secret_that_is_percent_encoded_in_any_way_is_known() {
        let redactor = redactor(&[("word", "p&s w/ö%rd"), ("token", "hunter2hunter2")]);
        for (encoded, shown) in [
            ("?p=p%26s%20w%2F%C3%B6%25rd&x=1", "?p=[secret word]&x=1"),
            ("?p=p%26s%20w/%c3%b6%25rd", "?p=[secret word]"),
            ("?p=p%26s+w%2F%C3%B6%25rd", "?p=[secret word]"),
            ("%70%26%73%20%77%2f%c3%b6%25%72%64", "[secret word]"),
            ("100% of hunter2%68unter2 is 5%2", "100% of [secret token] is 5%2"),
            ("100%, %zz, %2, %", "100%, %zz, %2, %"),
            // Encoded once more, as in a link within a link.
            ("Basic%20dTpodW50ZXIyaHVudGVyMg%3D%3D", "Basic%20dT[secret token]"),
        ] {
            assert_eq!(redactor.text(encoded.to_owned()), shown);
        }
        assert_eq!(*redactor.cut_bytes(b"?p=p%26s%20w%2"), *b"?p=");
        assert_eq!(*redactor.cut_bytes(b"?p=p%26"), *b"?p=p%26");
    }

    #[test]
    fn secrets_that_overlap_leave_nothing_of_either() {
        let redactor = redactor(&[("one", "abcdefgh"), ("two", "ghijklmn")]);
        assert_eq!(redactor.text("x abcdefghijklmn y".to_owned()), "x [secret one] y");
    }
}
