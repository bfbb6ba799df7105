//! The only place that writes to standard output and standard error.
//!
//! Data goes to standard output, as text or as JSON; notes, warnings and errors go to standard error. A reader that goes
//! away (`| head`) is no failure: what is under way goes on in silence and its exit code tells the outcome. Any other
//! failure to write is kept and told at the end by [`Printer::finish`], so that the callers need not ask after each line.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Mutex;

use serde::Serialize;

/// What is gathered before it is written, where there is much: standard output itself writes line by line.
const STREAM_BYTES: usize = 64 * 1024;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
    /// `holdfast get` alone: objects of Kubernetes as YAML.
    Yaml,
    /// `holdfast get` alone: the bytes as they are.
    Raw,
}

/// Writes what commands have to say.
#[derive(Debug)]
pub struct Printer {
    output: Output,
    quiet: bool,
    /// The first failure of standard output; nothing is written after it.
    failure: Mutex<Option<io::Error>>,
}

impl Printer {
    /// `quiet` silences notes; data, warnings and errors are printed all the same.
    pub fn new(output: Output, quiet: bool) -> Self {
        Self { output, quiet, failure: Mutex::new(None) }
    }

    /// What the user asked for.
    pub fn output(&self) -> Output {
        self.output
    }

    /// Whether data is printed as JSON.
    pub fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Whether notes are silenced.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// One line of text on standard output.
    pub fn line(&self, text: impl Display) {
        self.write(|out| writeln!(out, "{text}"));
    }

    /// A blank line on standard output.
    pub fn blank(&self) {
        self.write(|out| writeln!(out));
    }

    /// Text on standard output as it is, without a line end added.
    pub fn text(&self, text: &str) {
        self.write(|out| out.write_all(text.as_bytes()));
    }

    /// Much on standard output, or bytes that are no text.
    pub fn stream(&self, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        self.write(|out| {
            let mut out = io::BufWriter::with_capacity(STREAM_BYTES, out);
            print(&mut out)?;
            out.flush()
        });
    }

    /// One JSON document on standard output.
    pub fn json(&self, value: &impl Serialize) {
        self.write(|out| {
            let mut out = io::BufWriter::with_capacity(STREAM_BYTES, out);
            serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
            writeln!(out)?;
            out.flush()
        });
    }

    /// The value as JSON when that is asked for, or else what `text` prints.
    pub fn show(&self, value: &impl Serialize, text: impl FnOnce(&Self)) {
        match self.output {
            Output::Json => self.json(value),
            Output::Text | Output::Yaml | Output::Raw => text(self),
        }
    }

    /// An aligned table on standard output.
    pub fn table(&self, table: &Table) {
        self.text(&table.render());
    }

    /// Something worth knowing, on standard error. Silenced by `--quiet`.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            self.message(format_args!("{text}"));
        }
    }

    /// Something to look at, on standard error.
    pub fn warn(&self, text: impl Display) {
        self.message(format_args!("warning: {text}"));
    }

    /// A line on standard error as it is.
    pub fn message(&self, text: impl Display) {
        message(text);
    }

    /// Whether colours may be used on standard error.
    pub fn colour(&self) -> bool {
        colour()
    }

    /// Ends the output. Fails when some of it could not be written, unless its reader went away.
    pub fn finish(&self) -> io::Result<()> {
        self.write(|out| out.flush());
        match self.failure.lock() {
            Ok(mut failure) => match failure.take() {
                Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
                _ => Ok(()),
            },
            Err(_) => Ok(()),
        }
    }

    fn write(&self, write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) {
        let Ok(mut failure) = self.failure.lock() else { return };
        if failure.is_none() {
            *failure = write(&mut io::stdout().lock()).err();
        }
    }
}

/// A line on standard error, for those who have no printer yet. There is nowhere left to tell of a failure.
pub fn message(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether colours may be used on standard error: it is a terminal and `NO_COLOR` is not set.
pub fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where the text of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// For names.
    Left,
    /// For numbers.
    Right,
}

/// Rows of text under a heading, columns aligned.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    heading: bool,
}

impl Table {
    /// A table with these columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let columns = columns.into_iter().map(|(name, align)| (name.to_owned(), align)).collect();
        Self { columns, rows: Vec::new(), heading: true }
    }

    /// A list of names and values, without a heading.
    pub fn facts() -> Self {
        Self { heading: false, ..Self::new([("", Align::Left), ("", Align::Left)]) }
    }

    /// Adds a row. Cells beyond the columns are dropped, missing ones are blank.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Adds a row of a [`Self::facts`] table.
    pub fn fact(&mut self, name: &str, value: impl Display) {
        self.row([name.to_owned(), value.to_string()]);
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, each line ended. What a cell holds may come from a hostile file, so a row stays one line and does nothing to
    /// the terminal.
    pub fn render(&self) -> String {
        let heading: Vec<String> = self.columns.iter().map(|(name, _)| name.to_uppercase()).collect();
        let lines: Vec<&Vec<String>> =
            self.heading.then_some(&heading).into_iter().chain(self.rows.iter()).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let cells = line.iter().zip(&self.columns).zip(&widths).map(|((cell, (_, align)), width)| {
                let cell: String = cell.chars().map(shown).collect();
                match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// The character that stands for this one: itself, unless it is a control or turns the direction of text.
fn shown(character: char) -> char {
    match character {
        '\n' | '\r' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        other if other.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_does_nothing_to_the_terminal() {
        let mut table = Table::facts();
        table.fact("member", "a\u{1b}[2J\u{202e}b");
        assert_eq!(table.render(), "member  a\u{fffd}[2J\u{fffd}b\n");
    }

    #[test]
    fn table_is_aligned() {
        let mut table = Table::new([("name", Align::Left), ("keys", Align::Right)]);
        table.row(["short", "7"]);
        table.row(["ünïcode name", "1234"]);
        table.row(["only\na name"]);
        assert_eq!(
            table.render(),
            "NAME          KEYS\nshort            7\nünïcode name  1234\nonly a name\n"
        );
    }

    #[test]
    fn facts_have_no_heading() {
        let mut table = Table::facts();
        table.fact("revision", 42);
        table.fact("id", "x");
        assert_eq!(table.render(), "revision  42\nid        x\n");
    }
}
