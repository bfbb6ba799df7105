//! Verifier `kubernetes`: a Kubernetes cluster is whole in a snapshot.
//!
//! One pass over what the API server keeps: every object must decode and lie where it says that it lies, the namespaces
//! and kinds that the operator lists must be there, and Secrets can be asked to be encrypted at rest. What is encrypted
//! cannot be looked into; it is counted by its key and said so, never taken for broken.

mod census;
mod config;

pub use config::{Config, KindRule, Strictness};

use census::{Census, RuleCount};
use holdfast_plugin::{
    Context, Error, Finding, Findings, Measurement, Outcome, Report, Severity, SnapshotView, Verifier,
    export_verifier, printable,
};

/// Each kind becomes a time series of its own, and custom resources can bring any number of kinds.
const MAX_MEASURED_KINDS: usize = 100;

/// The verifier.
pub struct Kubernetes;

impl Verifier for Kubernetes {
    const NAME: &'static str = "kubernetes";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Checks that a Kubernetes cluster is whole: objects decode, namespaces and kinds are there, Secrets are encrypted";
    type Config = Config;

    fn verify(snapshot: &SnapshotView<'_>, _context: &Context, config: Config) -> Result<Report, Error> {
        let mut findings = Findings::new(config.max_findings as usize);
        let census = Census::take(snapshot, &config, &mut findings)?;
        check_not_empty(&census, &config, &mut findings);
        check_namespaces(&census, &config, &mut findings);
        for (rule, count) in config.kinds.iter().zip(&census.by_rule) {
            check_kind(rule, count, &census, &mut findings);
        }
        check_orphans(&census, &config, &mut findings);
        tell_encrypted(&census, &mut findings);
        let summary = summary(&census, &config, &findings);
        let mut report = findings.into_report(summary);
        report.measurements = measurements(&census);
        Ok(report)
    }
}

export_verifier!(Kubernetes);

/// A snapshot without any object has nothing that could be broken, and is not whole for that.
fn check_not_empty(census: &Census, config: &Config, findings: &mut Findings) {
    if census.objects() == 0 {
        let message = format!("no Kubernetes object lies under `{}`", config.prefix);
        findings.push(Finding::error("no-objects", message).attribute("prefix", &config.prefix));
    }
}

fn check_namespaces(census: &Census, config: &Config, findings: &mut Findings) {
    for namespace in config.namespaces.iter().filter(|name| !census.namespaces.contains(*name)) {
        let message = match census.by_namespace.get(namespace) {
            Some(left) => {
                format!(
                    "namespace `{namespace}` is missing, though {} of its objects are there",
                    left.objects
                )
            }
            None => format!("namespace `{namespace}` is missing"),
        };
        findings.push(Finding::error("namespace-missing", message).attribute("namespace", namespace));
    }
}

fn check_kind(rule: &KindRule, count: &RuleCount, census: &Census, findings: &mut Findings) {
    let subject = rule.subject();
    let finding = |code: &str, message: String| {
        Finding::new(rule.severity, code, message)
            .attribute("kind", &rule.kind)
            .attribute("found", count.found)
    };
    if count.found >= rule.least {
        if let Some(most) = rule.most.filter(|most| count.found > *most) {
            findings.push(finding("kind-too-many", format!("{} {subject}, more than {most}", count.found)));
        }
        return;
    }
    let too_few = match count.found {
        0 => format!("no {subject} is there{}", spelling(rule, census)),
        found => format!("{found} {subject}, fewer than {}", rule.least),
    };
    if count.found + count.perhaps >= rule.least {
        // The missing ones may be among those that cannot be read: a false alarm costs trust too.
        let message = format!("{too_few}, but {} encrypted custom resources may be some", count.perhaps);
        findings.push_undecided(finding("kind-undecided", message));
    } else {
        findings.push(finding(if count.found == 0 { "kind-missing" } else { "kind-too-few" }, too_few));
    }
}

/// A kind is easily written as its resource is, in lower case or in the plural.
fn spelling(rule: &KindRule, census: &Census) -> String {
    let asked = rule.kind.to_ascii_lowercase();
    let meant = census.kinds.keys().map(|(_, kind)| kind).find(|kind| {
        **kind != rule.kind
            && (kind.to_ascii_lowercase() == asked || holdfast_plugin::kubernetes::resource_of(kind) == asked)
    });
    meant.map(|kind| format!("; did you mean `{kind}`?")).unwrap_or_default()
}

fn check_orphans(census: &Census, config: &Config, findings: &mut Findings) {
    let Some(severity) = config.orphans.severity() else { return };
    // Those that must exist are told of already.
    let orphaned = census.by_namespace.iter().filter(|(namespace, _)| {
        !census.namespaces.contains(*namespace) && !config.namespaces.contains(namespace)
    });
    for (namespace, left) in orphaned {
        let objects = if left.objects == 1 { "object lies" } else { "objects lie" };
        let message = format!(
            "{} {objects} in namespace `{namespace}`, which does not exist, such as `{}`",
            left.objects,
            printable(&left.example)
        );
        let finding = Finding::new(severity, "namespace-orphaned", message).key(&left.example);
        findings.push(finding.attribute("namespace", namespace).attribute("objects", left.objects));
    }
}

/// What could not be looked into is said, so that nobody takes "all decode" for more than it is.
fn tell_encrypted(census: &Census, findings: &mut Findings) {
    for ((group, resource), count) in &census.encrypted {
        let resource = match group {
            Some(group) => format!("{resource}.{group}"),
            None => resource.clone(),
        };
        let message =
            format!("{} `{resource}` are encrypted at rest and were not looked into", count.objects);
        let finding = Finding::info("encrypted", message);
        findings.push(finding.attribute("resource", resource).attribute("objects", count.objects));
    }
}

/// One line that says how it stands, and names the first thing to look at.
fn summary(census: &Census, config: &Config, findings: &Findings) -> String {
    let sealed: u64 = census.encrypted.values().map(|count| count.objects).sum();
    let mut line = format!(
        "{} objects of {} kinds in {} namespaces",
        census.objects(),
        census.kinds.len(),
        census.namespaces.len()
    );
    if sealed > 0 {
        line = format!("{line}, {sealed} of them encrypted");
    }
    let (errors, warnings) = (findings.count_of(Severity::Error), findings.count_of(Severity::Warning));
    match findings.outcome() {
        Outcome::Passed if config.decode => {
            line.push_str(if sealed > 0 { "; all others decode" } else { "; all decode" });
        }
        Outcome::Passed => {}
        Outcome::Failed => line = format!("{line}; {}", count(errors, "problem")),
        Outcome::Inconclusive => line.push_str("; not everything could be checked"),
    }
    if warnings > 0 {
        line = format!("{line}, {}", count(warnings, "warning"));
    }
    match findings.first() {
        Some(first) => format!("{line}: {first}"),
        None => line,
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn measurements(census: &Census) -> Vec<Measurement> {
    let mut measurements = vec![
        Measurement::new("keys", census.keys, "keys"),
        Measurement::new("bytes", census.bytes, "bytes"),
        Measurement::new("namespaces", census.namespaces.len(), "namespaces"),
        Measurement::new("secrets-encrypted", census.sealed_secrets, "objects"),
        Measurement::new("secrets-not-encrypted", census.plain_secrets, "objects"),
    ];
    let mut kinds: Vec<_> = census.kinds.iter().collect();
    // The largest first, and those of the same size by name, so that the same snapshot gives the same series.
    kinds.sort_by(|a, b| b.1.objects.cmp(&a.1.objects).then(a.0.cmp(b.0)));
    for ((group, kind), count) in kinds.iter().take(MAX_MEASURED_KINDS) {
        let named = |name, value: u64, unit| {
            Measurement::new(name, value, unit).attribute("group", group).attribute("kind", kind)
        };
        measurements.push(named("objects", count.objects, "objects"));
        measurements.push(named("object-bytes", count.bytes, "bytes"));
    }
    let others = kinds.iter().skip(MAX_MEASURED_KINDS);
    let (objects, bytes) =
        others.fold((0, 0), |sum, (_, count)| (sum.0 + count.objects, sum.1 + count.bytes));
    if objects > 0 {
        let named = |name, value: u64, unit| Measurement::new(name, value, unit).attribute("kind", "(other)");
        measurements.push(named("objects", objects, "objects"));
        measurements.push(named("object-bytes", bytes, "bytes"));
    }
    for ((group, resource), count) in &census.encrypted {
        let measurement = Measurement::new("objects-encrypted", count.objects, "objects");
        let group = group.as_deref().unwrap_or_default();
        measurements.push(measurement.attribute("group", group).attribute("resource", resource));
    }
    measurements
}
