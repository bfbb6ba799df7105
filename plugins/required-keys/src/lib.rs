//! Verifier `required-keys`: the keys that must be in a snapshot are there, in the numbers expected, with the values
//! expected.
//!
//! It knows nothing of what the keys are for; what the operator lists is what it asks. A value is compared inside the
//! sandbox and appears in no message: a finding names the key and the condition that does not hold.

mod config;

pub use config::{Condition, Config, Level, Rule, Subject, ValueRule};

use holdfast_plugin::{
    Context, Error, Finding, Findings, Measurement, Outcome, Query, Report, Severity, SnapshotView, Verifier,
    export_verifier, printable,
};

/// The verifier.
pub struct RequiredKeys;

impl Verifier for RequiredKeys {
    const NAME: &'static str = "required-keys";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str =
        "Checks that keys and prefixes are in the snapshot, in the numbers and with the values expected";
    type Config = Config;

    fn verify(snapshot: &SnapshotView<'_>, _context: &Context, config: Config) -> Result<Report, Error> {
        if config.rules.is_empty() {
            return Err(Error::config("`rules`: no rule is given, so nothing would be checked"));
        }
        let mut findings = Findings::new(config.max_findings as usize);
        let mut measurements = Vec::new();
        let mut tally = Tally { rules: config.rules.len(), ..Tally::default() };
        for rule in &config.rules {
            let mut broken = Broken { rule, findings: &mut findings, first: None };
            match &rule.subject {
                Subject::Key { key, absent } => check_key(snapshot, key, *absent, &mut broken)?,
                Subject::Prefix { prefix, least, most } => {
                    measurements.extend(check_prefix(snapshot, prefix, *least, *most, &mut broken)?);
                }
            }
            tally.add(rule.severity, broken.first);
        }
        let mut report = findings.into_report(tally.summary());
        report.measurements = measurements;
        debug_assert_eq!(report.outcome == Outcome::Failed, tally.failed > 0);
        Ok(report.measure("rules", tally.rules, "rules").measure(
            "rules-broken",
            tally.failed + tally.warned,
            "rules",
        ))
    }
}

export_verifier!(RequiredKeys);

fn check_key(
    snapshot: &SnapshotView<'_>,
    key: &str,
    absent: bool,
    broken: &mut Broken<'_>,
) -> Result<(), Error> {
    let Some(value_rule) = &broken.rule.value else {
        match (snapshot.contains(key)?, absent) {
            (false, false) => broken.push("key-missing", format!("key `{key}` is missing"), key),
            (true, true) => broken.push("key-unwanted", format!("key `{key}` must not be there"), key),
            _ => {}
        }
        return Ok(());
    };
    match snapshot.get(key)? {
        None => broken.push("key-missing", format!("key `{key}` is missing"), key),
        Some(row) => check_value(key.as_bytes(), &row.value, value_rule, broken),
    }
    Ok(())
}

fn check_prefix(
    snapshot: &SnapshotView<'_>,
    prefix: &str,
    least: u64,
    most: Option<u64>,
    broken: &mut Broken<'_>,
) -> Result<[Measurement; 2], Error> {
    let query = Query::prefix(prefix);
    let totals = snapshot.totals(&query)?;
    let found = totals.keys;
    if found == 0 && least > 0 {
        broken.push_prefix("prefix-missing", format!("no key begins with `{prefix}`"), prefix);
    } else if found < least {
        let message = format!("{} with `{prefix}`, fewer than {least}", keys_begin(found));
        broken.push_prefix("too-few-keys", message, prefix);
    } else if let Some(most) = most.filter(|most| found > *most) {
        let message = match most {
            0 => format!("{} with `{prefix}`, but none may", keys_begin(found)),
            _ => format!("{} with `{prefix}`, more than {most}", keys_begin(found)),
        };
        broken.push_prefix("too-many-keys", message, prefix);
    }
    if let Some(value_rule) = &broken.rule.value {
        let mut rows = snapshot.rows(&query.columns(holdfast_plugin::Columns::KEYS_AND_VALUES))?;
        while let Some(row) = rows.next_row()? {
            check_value(row.key, row.value, value_rule, broken);
        }
    }
    let measurement = |name: &str, value: u64, unit: &str| {
        Measurement::new(name, value, unit).attribute("rule", broken.rule.name.as_deref().unwrap_or(prefix))
    };
    Ok([measurement("keys", found, "keys"), measurement("value-bytes", totals.value_bytes, "bytes")])
}

fn check_value(key: &[u8], value: &[u8], value_rule: &ValueRule, broken: &mut Broken<'_>) {
    for condition in value_rule.conditions.iter().filter(|condition| !condition.holds(value)) {
        let message = format!("the value of `{}` {}", printable(key), condition.reason());
        let finding = broken.finding("value-mismatch", message).key(key);
        broken.add(finding.attribute("condition", condition.name()));
    }
}

fn keys_begin(count: u64) -> String {
    if count == 1 { "1 key begins".to_owned() } else { format!("{count} keys begin") }
}

/// What one rule finds broken.
struct Broken<'a> {
    rule: &'a Rule,
    findings: &'a mut Findings,
    /// The first message, for the summary.
    first: Option<String>,
}

impl Broken<'_> {
    fn push(&mut self, code: &str, message: String, key: &str) {
        let finding = self.finding(code, message).key(key);
        self.add(finding);
    }

    fn push_prefix(&mut self, code: &str, message: String, prefix: &str) {
        let finding = self.finding(code, message).attribute("prefix", prefix);
        self.add(finding);
    }

    fn finding(&self, code: &str, message: String) -> Finding {
        let severity = match self.rule.severity {
            Level::Warn => Severity::Warning,
            Level::Fail => Severity::Error,
        };
        let message = match &self.rule.name {
            Some(name) => format!("{name}: {message}"),
            None => message,
        };
        let finding = Finding::new(severity, code, message);
        match &self.rule.name {
            Some(name) => finding.attribute("rule", name),
            None => finding,
        }
    }

    fn add(&mut self, finding: Finding) {
        self.first.get_or_insert_with(|| finding.message.clone());
        self.findings.push(finding);
    }
}

/// How many rules hold.
#[derive(Default)]
struct Tally {
    rules: usize,
    failed: usize,
    warned: usize,
    first_failed: Option<String>,
    first_warned: Option<String>,
}

impl Tally {
    fn add(&mut self, level: Level, first_broken: Option<String>) {
        let Some(message) = first_broken else { return };
        let (count, first) = match level {
            Level::Fail => (&mut self.failed, &mut self.first_failed),
            Level::Warn => (&mut self.warned, &mut self.first_warned),
        };
        *count += 1;
        first.get_or_insert(message);
    }

    /// One line that says how it stands, and names the first thing to look at.
    fn summary(&self) -> String {
        let broken = self.failed + self.warned;
        let first = self.first_failed.as_ref().or(self.first_warned.as_ref());
        let Some(first) = first else {
            return if self.rules == 1 {
                "the rule holds".to_owned()
            } else {
                format!("all {} rules hold", self.rules)
            };
        };
        let verb = if broken == 1 { "does" } else { "do" };
        let only = if self.failed == 0 { " (warning only)" } else { "" };
        format!("{broken} of {} rules {verb} not hold{only}: {first}", self.rules)
    }
}
