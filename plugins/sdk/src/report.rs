//! What a verifier answers: an outcome, one line, what it found and what it measured.

use std::collections::BTreeMap;
use std::fmt;

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Everything asked for was checked and holds.
    Passed,
    /// Something asked for was checked and does not hold.
    Failed,
    /// It could not be checked.
    Inconclusive,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Should be looked at; does not fail the verification.
    Warning,
    /// A reason to fail.
    Error,
}

impl Severity {
    /// The severity's name in the agent's interface.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }

    /// The severity of this name. An unknown word must not make something look smaller than it was meant.
    pub fn named(name: &str) -> Severity {
        match name {
            "info" => Severity::Info,
            "warning" => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Stable and short, lower case with dashes, e.g. `prefix-missing`. Programs and alerts go by it.
    pub code: String,
    /// One sentence for a person. Never a secret's value.
    pub message: String,
    /// The key it is about, if any.
    pub key: Option<Vec<u8>>,
    /// Details for programs.
    pub attributes: Vec<(String, String)>,
}

impl Finding {
    /// A finding of any severity.
    pub fn new(severity: Severity, code: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { severity, code: code.into(), message: message.into(), key: None, attributes: Vec::new() }
    }

    /// Worth knowing.
    pub fn info(code: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding::new(Severity::Info, code, message)
    }

    /// Should be looked at; does not fail the verification.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, code, message)
    }

    /// A reason to fail.
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding::new(Severity::Error, code, message)
    }

    /// Names the key it is about.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Finding {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Adds a detail for programs.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "texts and numbers alike read better without `&`")]
    pub fn attribute(mut self, name: impl Into<String>, value: impl ToString) -> Finding {
        self.attributes.push((name.into(), value.to_string()));
        self
    }
}

/// A number that the agent keeps as a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What was measured, e.g. `objects`.
    pub name: String,
    /// How much.
    pub value: f64,
    /// In what, e.g. `keys`, `bytes`, `seconds`.
    pub unit: String,
    /// Which of several, e.g. `kind` = `Secret`. Few and stable: each combination becomes a time series.
    pub attributes: Vec<(String, String)>,
}

impl Measurement {
    /// A number with its unit. Counts beyond 2^53 lose their last digits, as in every metric.
    pub fn new(name: impl Into<String>, value: impl Number, unit: impl Into<String>) -> Measurement {
        Measurement { name: name.into(), value: value.to_f64(), unit: unit.into(), attributes: Vec::new() }
    }

    /// Says which of several this one is.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "texts and numbers alike read better without `&`")]
    pub fn attribute(mut self, name: impl Into<String>, value: impl ToString) -> Measurement {
        self.attributes.push((name.into(), value.to_string()));
        self
    }
}

/// The number types that can be measured; implemented for the usual ones.
pub trait Number {
    /// The number as metrics hold it.
    fn to_f64(self) -> f64;
}

macro_rules! numbers {
    ($($kind:ty),*) => { $(impl Number for $kind { fn to_f64(self) -> f64 { self as f64 } })* };
}
numbers!(u64, i64, usize);

macro_rules! small_numbers {
    ($($kind:ty),*) => { $(impl Number for $kind { fn to_f64(self) -> f64 { f64::from(self) } })* };
}
small_numbers!(u8, u16, u32, i32, f32, f64);

/// What a verifier hands back.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The verdict.
    pub outcome: Outcome,
    /// One line that stands alone, as in a notification.
    pub summary: String,
    /// What was found. An agent keeps a limited number: name the first ones and count the rest ([`Findings`]).
    pub findings: Vec<Finding>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
    /// Details for programs.
    pub attributes: Vec<(String, String)>,
    /// What is to be known when a newer backup is judged.
    pub memo: Option<String>,
}

impl Report {
    /// A report with this outcome.
    pub fn new(outcome: Outcome, summary: impl Into<String>) -> Report {
        Report {
            outcome,
            summary: summary.into(),
            findings: Vec::new(),
            measurements: Vec::new(),
            attributes: Vec::new(),
            memo: None,
        }
    }

    /// Everything asked for was checked and holds.
    pub fn passed(summary: impl Into<String>) -> Report {
        Report::new(Outcome::Passed, summary)
    }

    /// Something asked for was checked and does not hold.
    pub fn failed(summary: impl Into<String>) -> Report {
        Report::new(Outcome::Failed, summary)
    }

    /// It could not be checked.
    pub fn inconclusive(summary: impl Into<String>) -> Report {
        Report::new(Outcome::Inconclusive, summary)
    }

    /// Adds a finding. The outcome stays what it was: an error found in a report that passed is the author's to avoid.
    #[must_use]
    pub fn finding(mut self, finding: Finding) -> Report {
        self.findings.push(finding);
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn measure(self, name: impl Into<String>, value: impl Number, unit: impl Into<String>) -> Report {
        self.measurement(Measurement::new(name, value, unit))
    }

    /// Adds a number that has attributes.
    #[must_use]
    pub fn measurement(mut self, measurement: Measurement) -> Report {
        self.measurements.push(measurement);
        self
    }

    /// Remembers a text of at most 256 KiB: once this backup is proved, the same plugin is told when it judges a newer one
    /// ([`crate::Context::previous`]). It is kept beside the backup, so it must hold no value.
    #[must_use]
    pub fn remember(mut self, memo: impl Into<String>) -> Report {
        self.memo = Some(memo.into());
        self
    }

    /// Adds a detail for programs.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "texts and numbers alike read better without `&`")]
    pub fn attribute(mut self, name: impl Into<String>, value: impl ToString) -> Report {
        self.attributes.push((name.into(), value.to_string()));
        self
    }
}

/// Findings gathered along the way, with a limit on how many of a code are named, and the outcome that follows.
///
/// A damaged or emptied snapshot can break a rule a million times. The first few of each code are named, the rest are
/// counted, and one finding of code `more-findings` says how many there were.
#[derive(Debug, Clone)]
pub struct Findings {
    kept: Vec<Finding>,
    limit: usize,
    seen: BTreeMap<(String, Severity), usize>,
    undecided: bool,
}

impl Findings {
    /// Names at most `limit` findings of each code.
    pub fn new(limit: usize) -> Findings {
        Findings { kept: Vec::new(), limit, seen: BTreeMap::new(), undecided: false }
    }

    /// Adds a finding; one of [`Severity::Error`] makes the outcome [`Outcome::Failed`].
    pub fn push(&mut self, finding: Finding) {
        let seen = self.seen.entry((finding.code.clone(), finding.severity)).or_default();
        *seen += 1;
        if *seen <= self.limit {
            self.kept.push(finding);
        }
    }

    /// Adds a finding about something that could not be checked: the outcome is [`Outcome::Inconclusive`] unless an
    /// error makes it [`Outcome::Failed`]. It weighs no more than a warning itself: nothing wrong has been seen.
    pub fn push_undecided(&mut self, mut finding: Finding) {
        self.undecided = true;
        finding.severity = finding.severity.min(Severity::Warning);
        self.push(finding);
    }

    /// How many findings of this code there were, named or not.
    pub fn count(&self, code: &str) -> usize {
        self.seen.iter().filter(|((known, _), _)| known == code).map(|(_, seen)| seen).sum()
    }

    /// How many findings of this severity there were, named or not.
    pub fn count_of(&self, severity: Severity) -> usize {
        self.seen.iter().filter(|((_, known), _)| *known == severity).map(|(_, seen)| seen).sum()
    }

    /// The message of the first finding among the gravest, warnings at least: the one that a summary should name.
    pub fn first(&self) -> Option<&str> {
        let grave = self.kept.iter().filter(|finding| finding.severity > Severity::Info);
        // Of equals, `max_by_key` takes the last.
        grave.rev().max_by_key(|finding| finding.severity).map(|finding| finding.message.as_str())
    }

    /// The outcome that follows from what was found so far.
    pub fn outcome(&self) -> Outcome {
        if self.count_of(Severity::Error) > 0 {
            Outcome::Failed
        } else if self.undecided {
            Outcome::Inconclusive
        } else {
            Outcome::Passed
        }
    }

    /// A report of what was found, errors first, under the outcome that follows from it.
    pub fn into_report(mut self, summary: impl Into<String>) -> Report {
        let mut report = Report::new(self.outcome(), summary);
        // Stable, so that findings of one severity keep the order in which they were made.
        self.kept.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        report.findings = self.kept;
        for ((code, severity), seen) in self.seen {
            if seen > self.limit {
                let more = seen - self.limit;
                report.findings.push(
                    Finding::new(
                        severity,
                        "more-findings",
                        format!("{more} more of `{code}` are not listed"),
                    )
                    .attribute("of", code)
                    .attribute("count", more),
                );
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, Findings, Measurement, Outcome, Report, Severity};

    #[test]
    fn a_report_is_built_in_one_expression() {
        let report = Report::passed("all is well")
            .finding(Finding::info("seen", "a key").key("/a").attribute("n", 3))
            .measure("keys", 3_u64, "keys")
            .measurement(Measurement::new("objects", 2_usize, "objects").attribute("kind", "Secret"))
            .attribute("prefix", "/");
        assert_eq!(report.outcome, Outcome::Passed);
        assert_eq!(report.findings[0].key.as_deref(), Some(&b"/a"[..]));
        assert_eq!(report.measurements.len(), 2);
        assert!((report.measurements[0].value - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_outcome_follows_from_the_findings() {
        let mut findings = Findings::new(10);
        assert_eq!(findings.outcome(), Outcome::Passed);
        findings.push(Finding::warning("odd", "odd"));
        assert_eq!(findings.outcome(), Outcome::Passed);
        findings.push_undecided(Finding::error("sealed", "cannot be read"));
        assert_eq!(findings.outcome(), Outcome::Inconclusive);
        findings.push(Finding::error("gone", "gone"));
        assert_eq!(findings.outcome(), Outcome::Failed);
        assert_eq!(findings.first(), Some("gone"));
        let report = findings.into_report("gone");
        assert_eq!(report.findings[0].code, "gone");
    }

    #[test]
    fn findings_beyond_the_limit_are_counted() {
        let mut findings = Findings::new(2);
        for index in 0..5 {
            findings.push(Finding::error("gone", format!("key {index} is gone")));
        }
        findings.push(Finding::warning("odd", "odd"));
        assert_eq!(findings.count("gone"), 5);
        assert_eq!(findings.count_of(Severity::Error), 5);
        let report = findings.into_report("5 keys are gone");
        assert_eq!(report.findings.len(), 4);
        let last = &report.findings[3];
        assert_eq!((last.code.as_str(), last.severity), ("more-findings", Severity::Error));
        assert_eq!(last.message, "3 more of `gone` are not listed");
    }
}
