//! What is wrong with a configuration, and how that is shown: the line, a mark under the place, and what to do.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::{Serialize, Serializer};

/// A place in the file, in bytes.
pub type Span = Range<usize>;

/// How much a [`Diagnostic`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but is likely not what was meant.
    Warning,
}

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where. `None` when it is about what is not there at all.
    pub span: Option<Span>,
    /// Said beside the mark.
    pub label: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), span: None, label: None, hint: None }
    }

    /// A warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// At this place.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = span.into();
        self
    }

    /// With a word beside the mark.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With a next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a next step, when there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = self.hint.or(hint);
        self
    }
}

/// The file that diagnostics point into.
#[derive(Clone)]
pub struct Source {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// What it says; secrets written into it by mistake are blotted out, byte for byte so that places stay.
    text: String,
    /// Where each value stands, by its dotted name.
    pub(super) places: BTreeMap<String, Span>,
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    pub(super) fn new(path: PathBuf, text: &str) -> Self {
        Self { path, text: blot(text), places: BTreeMap::new() }
    }

    /// Where a value stands, such as `cluster.tls.ca` or `backup.pack.recipients_files[1]`. `None` when the file does not say it.
    pub fn place(&self, name: &str) -> Option<Span> {
        self.places.get(name).cloned()
    }

    /// Line and column of an offset, both counted from 1, the column in characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The diagnostic as it is shown to people.
    pub fn render(&self, diagnostic: &Diagnostic, colour: bool) -> String {
        let path = self.path.to_string_lossy();
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(&*diagnostic.message).elements(None::<Origin<'_>>);
        match &diagnostic.span {
            Some(span) => {
                let mark =
                    AnnotationKind::Primary.span(self.visible(span)).label(diagnostic.label.as_deref());
                group = group.element(Snippet::source(&*self.text).path(path.as_ref()).annotation(mark));
            }
            None => group = group.element(Origin::path(path.as_ref())),
        }
        if let Some(hint) = &diagnostic.hint {
            group = group.element(Level::HELP.with_name("hint").message(&**hint));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }

    /// The diagnostic as programs read it.
    pub fn describe<'a>(&self, diagnostic: &'a Diagnostic) -> Described<'a> {
        let start = diagnostic.span.as_ref().map(|span| self.position(span.start));
        Described {
            severity: diagnostic.severity,
            message: &diagnostic.message,
            line: start.map(|(line, _)| line),
            column: start.map(|(_, column)| column),
            label: diagnostic.label.as_deref(),
            hint: diagnostic.hint.as_deref(),
        }
    }

    /// The span, within the text, and only the first line of one that covers several: a mark beside ten
    /// lines of a table says less than one under its first.
    fn visible(&self, span: &Span) -> Span {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = span.end.clamp(start, self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        if let Some(newline) = self.text[start..end].find('\n') {
            end = start + newline.max(1);
        }
        start..end
    }
}

/// A diagnostic for programs.
#[derive(Debug, Serialize)]
pub struct Described<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: &'a str,
    /// Counted from 1.
    pub line: Option<usize>,
    /// In characters, from 1.
    pub column: Option<usize>,
    /// What stands at that place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'a str>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'a str>,
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, Clone)]
pub struct Invalid {
    /// The file.
    pub source: Source,
    /// Errors and warnings in the order of the file. At least one is an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl Invalid {
    /// All of it as shown to people.
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(self.source.render(diagnostic, colour).trim_end());
            text.push_str("\n\n");
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }

    fn summary(&self) -> String {
        let errors = self.diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
        let plural = if errors == 1 { "error" } else { "errors" };
        format!("configuration `{}` has {errors} {plural}", self.source.path.display())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.summary())
    }
}

impl std::error::Error for Invalid {}

impl Serialize for Invalid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.diagnostics.iter().map(|one| self.source.describe(one)))
    }
}

/// Words in a key that make its value a secret, unless the key ends in `_file`, `_files` or `_env`.
const SECRET_WORDS: [&str; 5] = ["password", "passphrase", "secret", "token", "api_key"];

/// Replaces by asterisks what looks like a secret, so that a diagnostic may show any line of the file. Works on
/// the bare text: a file with errors in it is shown as well.
fn blot(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in secret_values(text) {
        bytes[span].fill(b'*');
    }
    // Only whole runs between ASCII delimiters are replaced, so this stays UTF-8.
    String::from_utf8(bytes)
        .unwrap_or_else(|_| text.chars().map(|c| if c == '\n' { c } else { '*' }).collect())
}

/// Values of keys with a telling name, age identities, secret keys of minisign, and passwords within URLs.
fn secret_values(text: &str) -> Vec<Span> {
    const SECRET_KEYS: [&str; 3] = ["AGE-SECRET-KEY-1", "RWRTY0Iy", "RWQAAEIy"];
    let mut spans = Vec::new();
    for (start, head) in SECRET_KEYS.iter().flat_map(|head| text.match_indices(head)) {
        let body = start + head.len();
        let ends = |c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c);
        let length = text[body..].find(ends).unwrap_or(text.len() - body);
        spans.push(body..body + length);
    }
    for (start, _) in text.match_indices("://") {
        let host = start + 3;
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '/' | ',');
        let end = text[host..].find(ends).map_or(text.len(), |length| host + length);
        if let Some((user, password)) =
            text[host..end].rsplit_once('@').and_then(|(login, _)| login.split_once(':'))
        {
            let start = host + user.len() + 1;
            spans.push(start..start + password.len());
        }
    }
    let mut from = 0;
    while let Some(equals) = text[from..].find('=').map(|offset| from + offset) {
        from = equals + 1;
        let key = text[..equals].trim_end().trim_end_matches(['"', '\'']);
        let start = key
            .rfind(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c))
            .map_or(0, |at| at + key[at..].chars().next().map_or(1, char::len_utf8));
        if is_secret(&key[start..]) {
            let value = value_at(text, equals + 1);
            from = value.end.max(from);
            spans.push(value);
        }
    }
    spans
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    // `secrets` in an `allow` holds names.
    SECRET_WORDS.iter().any(|word| key.contains(word))
        && key != "secrets"
        && !["_file", "_files", "_env"].iter().any(|end| key.ends_with(end))
}

/// The inside of the string that follows, or else all up to the end of the line.
fn value_at(text: &str, from: usize) -> Span {
    let line_end = text[from..].find('\n').map_or(text.len(), |length| from + length);
    let start = from + (text[from..line_end].len() - text[from..line_end].trim_start().len());
    for (quote, limit) in [("\"\"\"", text.len()), ("'''", text.len()), ("\"", line_end), ("'", line_end)] {
        if text[start..].starts_with(quote) {
            let inside = start + quote.len();
            let end = text[inside..limit.max(inside)].find(quote).map_or(limit, |length| inside + length);
            return inside..end.max(inside);
        }
    }
    start..line_end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blotted_out() {
        for (text, shown) in [
            ("password = \"hunter2\" # x", "password = \"*******\" # x"),
            ("x = { api-token='ab', b = 1 }", "x = { api-token='**', b = 1 }"),
            ("allow = { secrets = [\"name\"] }", "allow = { secrets = [\"name\"] }"),
            ("\"secret\" = '''a\nb'''\nc = 1", "\"secret\" = '''***'''\nc = 1"),
            ("Password=oops\nb=1", "Password=****\nb=1"),
            ("password = \"never closed\nb = 1", "password = \"************\nb = 1"),
            ("password =", "password ="),
            ("password_file = \"/etc/p\"", "password_file = \"/etc/p\""),
            ("password_env = \"P\"", "password_env = \"P\""),
            ("r = [\"AGE-SECRET-KEY-1QQPZ\"]", "r = [\"AGE-SECRET-KEY-1****\"]"),
            ("k = [\"RWQAAEIyAb+/=\"]", "k = [\"RWQAAEIy*****\"]"),
            ("e = [\"https://root:pä@a:1\", 'http://b:2']", "e = [\"https://root:***@a:1\", 'http://b:2']"),
            ("ü = \"x\"", "ü = \"x\""),
        ] {
            assert_eq!(blot(text), shown);
            assert_eq!(blot(text).len(), text.len());
        }
    }

    #[test]
    fn positions_count_characters() {
        let source = Source::new("a.toml".into(), "a = 1\nü = 2\n");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(6), (2, 1));
        assert_eq!(source.position(9), (2, 3));
        assert_eq!(source.position(7), (2, 1), "within a character");
        assert_eq!(source.position(999), (3, 1));
    }
}
