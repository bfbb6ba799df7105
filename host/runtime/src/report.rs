//! What a verifier answers, once the host has bounded it and made it safe to show.

use etcd_snapshot::{Outcome, Severity};
use serde::Serialize;

use crate::error::{CallError, CallErrorKind};
use crate::grants::Redactor;
use crate::text;

/// A verifier's answer. Every text in it is bounded and free of control characters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The verdict.
    pub outcome: Outcome,
    /// One line.
    pub summary: String,
    /// What was found, in the plugin's order.
    pub findings: Vec<PluginFinding>,
    /// Findings beyond [`crate::Limits::findings`]: counted, not kept.
    pub suppressed_findings: u64,
    /// Numbers to keep as metrics. All are finite.
    pub measurements: Vec<Measurement>,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
    /// What the plugin wants to be told when it judges a newer backup. Only it reads this: any text, not safe to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
}

/// One thing that a verifier found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PluginFinding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable and short: lower case, digits and dashes.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The key that it is about.
    pub key: Option<Vec<u8>>,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
}

/// A number that a verifier measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// What was measured.
    pub name: String,
    /// A finite number.
    pub value: f64,
    /// In which unit; may be empty.
    pub unit: String,
    /// Further facts by name.
    pub attributes: Vec<(String, String)>,
}

/// One line that sums up.
const SUMMARY_BYTES: usize = 1 << 10;
/// A sentence of a finding.
const MESSAGE_BYTES: usize = 2 << 10;
/// A code, a name, a unit.
const NAME_BYTES: usize = 128;
/// A key in a finding. Kubernetes' longest are some 500 bytes.
const KEY_BYTES: usize = 4 << 10;
/// Measurements of one report: each becomes a metric.
const MEASUREMENTS: usize = 256;
/// What a plugin remembers with a report; it is kept in a record beside the backup.
pub(crate) const MEMO_BYTES: usize = 256 << 10;
/// The attribute that holds it.
pub(crate) const MEMO: &str = "memo";
/// Attributes of one thing, and the length of a value.
const ATTRIBUTES: usize = 32;
const ATTRIBUTE_BYTES: usize = 1 << 10;

/// A report as it came from a guest: any length, any character, any number.
pub(crate) struct Raw {
    pub(crate) outcome: Outcome,
    pub(crate) summary: String,
    pub(crate) findings: Vec<RawFinding>,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) memo: Option<String>,
}

/// A finding as it came from a guest.
pub(crate) struct RawFinding {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Raw {
    /// Takes out secrets, which the guest may have been given.
    pub(crate) fn redacted(self, redactor: &Redactor) -> Raw {
        if !redactor.has_secrets() {
            return self;
        }
        let text = |text| redactor.text(text);
        let pairs = |pairs: Vec<(String, String)>| -> Vec<(String, String)> {
            pairs.into_iter().map(|(name, value)| (text(name), text(value))).collect()
        };
        let findings = self.findings.into_iter().map(|finding| RawFinding {
            severity: finding.severity,
            code: text(finding.code),
            message: text(finding.message),
            key: finding.key.map(|key| redactor.bytes(&key).into_owned()),
            attributes: pairs(finding.attributes),
        });
        let measurements = self.measurements.into_iter().map(|measurement| Measurement {
            name: text(measurement.name),
            value: measurement.value,
            unit: text(measurement.unit),
            attributes: pairs(measurement.attributes),
        });
        Raw {
            outcome: self.outcome,
            summary: text(self.summary),
            findings: findings.collect(),
            measurements: measurements.collect(),
            attributes: pairs(self.attributes),
            memo: self.memo.map(text),
        }
    }

    /// Cuts, counts and cleans.
    pub(crate) fn bounded(self, findings_limit: u32) -> Report {
        let limit = findings_limit as usize;
        let suppressed_findings = self.findings.len().saturating_sub(limit) as u64;
        Report {
            outcome: self.outcome,
            summary: text::one_line(&self.summary, SUMMARY_BYTES),
            findings: self.findings.into_iter().take(limit).map(RawFinding::bounded).collect(),
            suppressed_findings,
            measurements: self
                .measurements
                .into_iter()
                .filter(|measurement| measurement.value.is_finite())
                .take(MEASUREMENTS)
                .map(bounded_measurement)
                .collect(),
            attributes: bounded_attributes(self.attributes),
            memo: self.memo,
        }
    }
}

impl RawFinding {
    fn bounded(self) -> PluginFinding {
        PluginFinding {
            severity: match self.severity.as_str() {
                "info" => Severity::Info,
                "warning" => Severity::Warning,
                // An unknown word must not make a finding look smaller than it was meant.
                _ => Severity::Error,
            },
            code: code(&self.code),
            message: text::one_line(&self.message, MESSAGE_BYTES),
            key: self.key.map(|mut key| {
                key.truncate(KEY_BYTES);
                key
            }),
            attributes: bounded_attributes(self.attributes),
        }
    }
}

fn bounded_measurement(measurement: Measurement) -> Measurement {
    Measurement {
        name: text::one_line(&measurement.name, NAME_BYTES),
        value: measurement.value,
        unit: text::one_line(&measurement.unit, NAME_BYTES),
        attributes: bounded_attributes(measurement.attributes),
    }
}

/// At most a few, each name and value cut and cleaned.
pub(crate) fn bounded_attributes(attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    attributes
        .into_iter()
        .take(ATTRIBUTES)
        .map(|(name, value)| (text::one_line(&name, NAME_BYTES), text::one_line(&value, ATTRIBUTE_BYTES)))
        .collect()
}

/// A code that programs may rely on: lower case, digits and dashes, never empty.
pub(crate) fn code(code: &str) -> String {
    let code: String = code
        .chars()
        .take(NAME_BYTES)
        .map(|character| match character {
            'a'..='z' | '0'..='9' => character,
            'A'..='Z' => character.to_ascii_lowercase(),
            _ => '-',
        })
        .collect();
    let code = code.trim_matches('-');
    if code.is_empty() { "unnamed".to_owned() } else { code.to_owned() }
}

/// A guest's own word that it could not do its work, safe to show.
pub(crate) fn own_error(own_code: String, message: String, redactor: &Redactor) -> CallError {
    let message = text::one_line(&redactor.text(message), MESSAGE_BYTES);
    CallError::new(CallErrorKind::Error, &code(&redactor.text(own_code)), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: &str) -> RawFinding {
        RawFinding {
            severity: severity.into(),
            code: "Prefix Missing\n".into(),
            message: "a\x1b[31mb\n".repeat(10_000),
            key: Some(vec![0; 1 << 20]),
            attributes: vec![("n".repeat(1000), "v".repeat(10_000)); 1000],
        }
    }

    #[test]
    fn a_report_is_bounded_in_every_part() {
        let measurement =
            |value| Measurement { name: "x".into(), value, unit: "s".into(), attributes: vec![] };
        let report = Raw {
            outcome: Outcome::Passed,
            summary: "s".repeat(1 << 20),
            findings: (0..100).map(|_| finding("info")).collect(),
            measurements: [f64::NAN, f64::INFINITY, 1.5].map(measurement).into(),
            attributes: vec![],
            memo: None,
        }
        .bounded(10);
        assert_eq!((report.findings.len(), report.suppressed_findings), (10, 90));
        assert!(report.summary.len() <= SUMMARY_BYTES + 3);
        assert_eq!(report.measurements.len(), 1);
        let first = &report.findings[0];
        assert_eq!(first.code, "prefix-missing");
        assert!(first.message.len() <= MESSAGE_BYTES + 12 && !first.message.contains(['\x1b', '\n']));
        assert_eq!(first.key.as_ref().map(Vec::len), Some(KEY_BYTES));
        assert_eq!(first.attributes.len(), ATTRIBUTES);
    }

    #[test]
    fn an_unknown_severity_counts_as_error() {
        assert_eq!(finding("catastrophe").bounded().severity, Severity::Error);
        assert_eq!(finding("warning").bounded().severity, Severity::Warning);
    }
}
