//! Verifier `drift`: nothing has gone since the last proved backup.
//!
//! Every check of a single snapshot passes when half of it was deleted an hour before. This one remembers, with each proof, how
//! much there was of what, and compares with what the newest older backup that was proved remembers. It remembers numbers and
//! the names of namespaces and resources, no value and no other name.

mod census;
mod config;

pub use config::Config;

use std::collections::BTreeSet;

use census::{Census, Sum};
use holdfast_plugin::{
    Context, Error, Finding, Findings, Previous, Report, SnapshotView, Verifier, export_verifier,
};

/// The verifier.
pub struct Drift;

impl Verifier for Drift {
    const NAME: &'static str = "drift";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str =
        "Checks that nothing has gone since the last proved backup, in the whole or in any part";
    const REMEMBERS: bool = true;
    type Config = Config;

    fn verify(snapshot: &SnapshotView<'_>, context: &Context, config: Config) -> Result<Report, Error> {
        let now = Census::take(snapshot, &config.registry, &config.ignore)?;
        let report = match context.previous() {
            Err(reason) => {
                Report::inconclusive(format!("it is not known what the backups before had: {reason}"))
            }
            // The first backup has nothing to fall behind, and were it not proved, no later one could be.
            Ok(None) => {
                Report::passed("no earlier proof remembers anything; from now on this one is compared with")
            }
            Ok(Some(previous)) => match Census::recall(previous.memo) {
                Some(then) if then.registry == now.registry && then.ignore == now.ignore => {
                    compare(&then, &now, previous, &config)
                }
                _ => {
                    let message =
                        format!("what backup `{}` remembers was counted in another way", previous.backup_id);
                    Report::passed(format!("{message}; from now on this one is compared with"))
                        .finding(Finding::warning("not-comparable", message))
                }
            },
        };
        Ok(report
            .measure("keys", now.whole.0, "keys")
            .measure("bytes", now.whole.1, "bytes")
            .remember(now.memo()))
    }
}

export_verifier!(Drift);

/// What is compared: the same groups of both snapshots.
struct Comparison<'a> {
    config: &'a Config,
    findings: Findings,
    judged: u64,
}

fn compare(then: &Census, now: &Census, previous: Previous<'_>, config: &Config) -> Report {
    let mut comparison =
        Comparison { config, findings: Findings::new(config.max_findings as usize), judged: 0 };
    let vanished = comparison.namespaces(then, now);
    let mut told: BTreeSet<&str> = BTreeSet::new();
    comparison.group("whole-fell", "the whole", then.whole, now.whole);
    for (resource, sum) in &then.resources {
        let found = now.resources.get(resource).copied().unwrap_or_default();
        if comparison.group("resource-fell", &format!("resource `{resource}`"), *sum, found) {
            told.insert(resource);
        }
    }
    for (prefix, sum) in &then.others {
        let found = now.others.get(prefix).copied().unwrap_or_default();
        comparison.group("prefix-fell", &format!("prefix `{prefix}`"), *sum, found);
    }
    let by_namespace = now.by_namespace();
    for (namespace, sum) in then.by_namespace() {
        if vanished.contains(namespace) || config.may_vanish(namespace) {
            continue;
        }
        let found = by_namespace.get(namespace).copied().unwrap_or_default();
        if !comparison.group("namespace-fell", &format!("namespace `{namespace}`"), sum, found) {
            comparison.within(then, now, namespace, &told);
        }
    }
    let errors = comparison.findings.first().map(str::to_owned);
    let since = format!("since backup `{}`", previous.backup_id);
    let summary = match errors {
        None => format!("nothing has gone {since}: {} groups compared", comparison.judged),
        Some(first) => format!("less is there than {since}; first: {first}"),
    };
    let judged = comparison.judged;
    let report = comparison.findings.into_report(summary).measure("groups-compared", judged, "groups");
    report.attribute("compared-with", previous.backup_id)
}

impl Comparison<'_> {
    /// Names the namespaces that are gone.
    fn namespaces<'a>(&mut self, then: &'a Census, now: &'a Census) -> BTreeSet<&'a str> {
        let mut vanished = BTreeSet::new();
        for namespace in then.namespaces.difference(&now.namespaces) {
            if self.config.may_vanish(namespace) {
                continue;
            }
            let keys = then.by_namespace().get(namespace.as_str()).map_or(0, |sum| sum.0);
            let message = format!("namespace `{namespace}` has vanished; it had {keys} keys");
            self.findings.push(
                Finding::error("namespace-vanished", message)
                    .key(format!("{}/namespaces/{namespace}", self.config.registry.trim_end_matches('/')))
                    .attribute("namespace", namespace),
            );
            vanished.insert(namespace.as_str());
        }
        vanished
    }

    /// Resources within a namespace that as a whole did not fall. A resource that fell everywhere is told already.
    fn within(&mut self, then: &Census, now: &Census, namespace: &str, told: &BTreeSet<&str>) {
        let (Some(then), Some(now)) = (&then.within, &now.within) else { return };
        for (resource, sum) in then.get(namespace).into_iter().flatten() {
            if told.contains(resource.as_str()) {
                continue;
            }
            let found =
                now.get(namespace).and_then(|resources| resources.get(resource)).copied().unwrap_or_default();
            let name = format!("resource `{resource}` in namespace `{namespace}`");
            self.group("resource-in-namespace-fell", &name, *sum, found);
        }
    }

    /// True: the group fell beyond a limit, and was told.
    fn group(&mut self, code: &str, name: &str, then: Sum, now: Sum) -> bool {
        if then.0 < self.config.least_keys {
            return false;
        }
        self.judged += 1;
        let keys = fell(then.0, now.0, self.config.keys_fall_percent);
        let bytes = fell(then.1, now.1, self.config.bytes_fall_percent);
        let message = match (keys, bytes) {
            (true, _) => format!("{name} fell from {} to {} keys", then.0, now.0),
            (false, true) => format!("{name} fell from {} to {} bytes", then.1, now.1),
            (false, false) => return false,
        };
        self.findings.push(
            Finding::error(code, message)
                .attribute("keys-then", then.0)
                .attribute("keys-now", now.0)
                .attribute("bytes-then", then.1)
                .attribute("bytes-now", now.1),
        );
        true
    }
}

/// Whether more than so many percent are gone.
fn fell(then: u64, now: u64, percent: u64) -> bool {
    u128::from(then.saturating_sub(now)) * 100 > u128::from(then) * u128::from(percent)
}
