//! The text that a scrape gets: `OpenMetrics` for who asks for it, Prometheus' older text for all others.

use std::fmt::{self, Write as _};
use std::time::Instant;

use holdfast_runtime::{CallOutcome, CallTotals, Condition};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::families::{self, Definition, FAMILIES, Kind};
use super::measurements::Series;
use super::{Metrics, Newest, RunOutcome, State, StoreState};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' text format, version 0.0.4.
    Text,
}

impl Format {
    /// What an `Accept` header asks for.
    pub fn of(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// What is said of it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics as they are now.
pub fn expose(metrics: &Metrics, format: Format, now: Instant) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Sampled(sample(metrics, now))));
    let mut open = String::new();
    // Writing to memory does not fail.
    let _ = text::encode(&mut open, &registry);
    match format {
        Format::OpenMetrics => open,
        Format::Text => older(&open),
    }
}

/// The same in the older text, in which a counter's family is called as its series are, and no end is marked.
fn older(open: &str) -> String {
    let mut older = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        let head = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        let Some((name, help)) = head else {
            if line != "# EOF" {
                let _ = writeln!(older, "{line}");
            }
            continue;
        };
        let kind = lines.next_if(|next| next.starts_with("# TYPE ")).and_then(|next| next.rsplit(' ').next());
        let kind = kind.unwrap_or("untyped");
        let suffix = if kind == "counter" { "_total" } else { "" };
        let _ = writeln!(older, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
    }
    older
}

/// Values at one moment, family by family.
#[derive(Debug)]
struct Sampled(Vec<(&'static Definition, Vec<Series>)>);

impl Collector for Sampled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (family, series) in &self.0 {
            let (name, kind) = match family.kind {
                // The encoder adds it again to each series.
                Kind::Counter => (family.name.trim_end_matches("_total"), MetricType::Counter),
                Kind::Gauge => (family.name, MetricType::Gauge),
            };
            let help = family.help;
            let mut metrics = encoder.encode_descriptor(name, help, None, kind)?;
            if family.labels.is_empty() {
                // One series at most, and no empty braces behind its name.
                if let Some((_, value)) = series.first() {
                    encode(family.kind, *value, metrics)?;
                }
                continue;
            }
            for (labels, value) in series {
                encode(family.kind, *value, metrics.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode(kind: Kind, value: f64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(value).encode(encoder),
    }
}

/// Labels, in the order of a family's.
fn labelled(family: &Definition, values: &[&str]) -> Vec<(String, String)> {
    debug_assert_eq!(family.labels.len(), values.len(), "the labels of {}", family.name);
    let pairs = family.labels.iter().zip(values);
    pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Collects series; whatever has none is told with its name alone.
struct Samples(Vec<(&'static Definition, Vec<Series>)>);

impl Samples {
    fn new() -> Self {
        Self(FAMILIES.iter().map(|family| (*family, Vec::new())).collect())
    }

    fn all(&mut self, family: &'static Definition, series: impl IntoIterator<Item = Series>) {
        let found = self.0.iter_mut().find(|(known, _)| std::ptr::eq(*known, family));
        if let Some((_, all)) = found {
            all.extend(series);
        }
    }

    fn add(&mut self, family: &'static Definition, labels: &[&str], value: f64) {
        self.all(family, [(labelled(family, labels), value)]);
    }

    fn time(&mut self, family: &'static Definition, labels: &[&str], time: Option<Timestamp>) {
        if let Some(time) = time {
            self.add(family, labels, time.as_millisecond() as f64 / 1000.0);
        }
    }
}

fn sample(metrics: &Metrics, now: Instant) -> Vec<(&'static Definition, Vec<Series>)> {
    let mut samples = Samples::new();
    let state = metrics.lock();
    of_agent(&mut samples, &state);
    for (name, store) in &state.stores {
        of_store(&mut samples, name, store);
    }
    of_plugins(&mut samples, metrics, &state, now);
    samples.all(&families::MEASUREMENT, state.measurements.series.iter().cloned());
    samples.all(&families::MEASUREMENTS_DROPPED, state.measurements.dropped.iter().cloned());
    samples.0
}

fn of_agent(samples: &mut Samples, state: &State) {
    samples.add(&families::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), &state.in_force.cluster], 1.0);
    for outcome in RunOutcome::ALL {
        let count = state.runs.get(&outcome).copied().unwrap_or_default();
        samples.add(&families::BACKUPS, &[outcome.name()], count as f64);
    }
    samples.add(&families::RUNNING, &[], f64::from(u8::from(state.running)));
    samples.time(&families::LAST_SUCCESS, &[], state.last_success);
    samples.time(&families::LAST_PROVED, &[], state.last_proved);
    samples.time(&families::NEXT_RUN, &[], state.next_run);
    for (result, count) in ["refused", "taken"].into_iter().zip(state.reloads) {
        samples.add(&families::CONFIG_RELOADS, &[result], count as f64);
    }
    if let Some(newest) = &state.newest {
        of_newest(samples, newest);
    }
}

fn of_newest(samples: &mut Samples, newest: &Newest) {
    samples.add(&families::DURATION, &[], newest.duration.as_secs_f64());
    for (stage, duration) in &newest.stages {
        samples.add(&families::STAGE_DURATION, &[stage], duration.as_secs_f64());
    }
    samples.add(&families::PLAIN_BYTES, &[], newest.plain_bytes as f64);
    samples.add(&families::STORED_BYTES, &[], newest.stored_bytes as f64);
    samples.add(&families::REVISION, &[], newest.revision as f64);
    samples.add(&families::LIVE_KEYS, &[], newest.live_keys as f64);
}

fn of_store(samples: &mut Samples, name: &str, store: &StoreState) {
    let labels = &[name];
    if let Some(up) = store.up {
        samples.add(&families::STORE_UP, labels, f64::from(u8::from(up)));
    }
    samples.add(&families::STORE_MISSED, labels, store.missed as f64);
    samples.time(&families::STORE_LAST_SUCCESS, labels, store.last_success);
    if let Some(survey) = &store.survey {
        samples.add(&families::STORE_BACKUPS, labels, survey.backups as f64);
        samples.add(&families::STORE_BYTES, labels, survey.stored_bytes as f64);
    }
    samples.add(&families::REMOVED, labels, store.removed as f64);
    samples.add(&families::FREED, labels, store.freed_bytes as f64);
    samples.add(&families::PRUNE_ERRORS, labels, store.prune_errors as f64);
}

/// The states that a plugin can be in.
const STATES: [&str; 5] = ["live", "compiling", "stale", "rejected", "missing"];

fn of_plugins(samples: &mut Samples, metrics: &Metrics, state: &State, now: Instant) {
    let registry = state.in_force.registry();
    for plugin in registry.plugins() {
        let (name, sha256) = (plugin.name(), plugin.sha256());
        samples.add(&families::PLUGIN_INFO, &[name, sha256, plugin.version()], 1.0);
        let limit = plugin.limits().memory_bytes;
        samples.add(&families::PLUGIN_MEMORY_LIMIT, &[name, sha256], limit as f64);
    }
    let states = registry.states();
    let missing = state.in_force.wanted.iter().filter(|name| !states.contains_key(*name));
    let known = states.iter().map(|(name, state)| (name.as_str(), state_name(state.condition)));
    for (name, state) in known.chain(missing.map(|name| (name.as_str(), "missing"))) {
        for other in STATES {
            samples.add(&families::PLUGIN_STATE, &[name, other], f64::from(u8::from(state == other)));
        }
    }
    let is_live = |name: &str, sha256: &str| {
        let live = states.get(name).and_then(|state| state.live.as_ref());
        live.is_some_and(|live| live.sha256 == sha256)
    };
    let view = metrics.ledger.view(now, is_live);
    for (name, files) in &view.files {
        let results = [("loaded", files.loaded), ("rejected", files.rejected), ("unloaded", files.unloaded)];
        for (result, count) in results {
            samples.add(&families::PLUGIN_RELOADS, &[name, result], count as f64);
        }
    }
    for ((name, sha256), totals) in &view.calls {
        of_calls(samples, name, sha256, totals);
    }
}

fn state_name(condition: Condition) -> &'static str {
    match condition {
        Condition::Live => "live",
        Condition::Compiling => "compiling",
        Condition::Stale => "stale",
        Condition::Rejected => "rejected",
    }
}

fn of_calls(samples: &mut Samples, name: &str, sha256: &str, totals: &CallTotals) {
    for outcome in CallOutcome::ALL {
        let count = totals.calls.get(&outcome).copied().unwrap_or_default();
        samples.add(&families::PLUGIN_CALLS, &[name, sha256, &outcome.to_string()], count as f64);
    }
    let used = &totals.used;
    let values = [
        (&families::PLUGIN_SECONDS, used.elapsed.as_secs_f64()),
        (&families::PLUGIN_CPU, used.cpu.as_secs_f64()),
        (&families::PLUGIN_MEMORY, used.peak_memory_bytes as f64),
        (&families::PLUGIN_ROWS, used.rows as f64),
        (&families::PLUGIN_BYTES, used.bytes as f64),
        (&families::PLUGIN_HOST_CALLS, used.host_calls as f64),
        (&families::PLUGIN_DENIALS, used.denied as f64),
        (&families::PLUGIN_HTTP, used.http_requests as f64),
        (&families::PLUGIN_HTTP_SENT, used.http_sent_bytes as f64),
        (&families::PLUGIN_HTTP_RECEIVED, used.http_received_bytes as f64),
        (&families::PLUGIN_DROPPED, used.log_lines_dropped as f64),
    ];
    for (family, value) in values {
        samples.add(family, &[name, sha256], value);
    }
}
