//! What plugins measured, as time series: few enough of each, with labels that Prometheus takes, and none twice. Plugins are
//! not trusted, and one series too many costs whoever keeps them.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Measured, Record, StepRecord};

/// Measurements of one step that are told.
pub const MEASUREMENTS: usize = 100;
/// Attributes of one measurement that become labels.
pub const ATTRIBUTES: usize = 8;
/// Characters of an attribute's name.
const NAME_CHARACTERS: usize = 32;
/// Bytes of a label's value.
const VALUE_BYTES: usize = 128;

/// A series' labels, by name, and its value.
pub(super) type Series = (Vec<(String, String)>, f64);

/// What was measured in one proof.
#[derive(Debug, Default)]
pub(super) struct Measurements {
    pub(super) series: Vec<Series>,
    /// For each step that measured something.
    pub(super) dropped: Vec<Series>,
}

impl Measurements {
    /// Those of a record. They replace all that were before, so that what a plugin does not measure any more goes.
    pub(super) fn of(record: &Record) -> Self {
        let mut measurements = Self::default();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for step in &record.steps {
            let place = places.entry(&step.chain).or_default();
            *place += 1;
            if !step.measurements.is_empty() {
                measurements.add(step, *place);
            }
        }
        measurements
    }

    fn add(&mut self, step: &StepRecord, place: usize) {
        let base = [
            ("plugin", step.step.clone()),
            ("sha256", step.plugin_sha256.clone().unwrap_or_default()),
            ("chain", step.chain.clone()),
            ("step", place.to_string()),
        ];
        let base = base.map(|(name, value)| (name.to_owned(), value));
        let mut seen = BTreeSet::new();
        for measured in &step.measurements {
            let labels = labels(measured);
            if seen.len() < MEASUREMENTS && seen.insert(labels.clone()) {
                self.series.push((base.iter().cloned().chain(labels).collect(), measured.value));
            }
        }
        let dropped = step.measurements.len() - seen.len();
        self.dropped.push((base.to_vec(), dropped as f64));
    }
}

fn labels(measured: &Measured) -> Vec<(String, String)> {
    let mut labels =
        vec![("measurement".to_owned(), value(&measured.name)), ("unit".to_owned(), value(&measured.unit))];
    let mut names = BTreeSet::new();
    for (name, text) in &measured.attributes {
        let name = format!("attribute_{}", label_name(name));
        // Two names that differ only in what a label cannot have are one, and the first is told.
        if names.len() < ATTRIBUTES && names.insert(name.clone()) {
            labels.push((name, value(text)));
        }
    }
    labels
}

fn label_name(name: &str) -> String {
    let one = |character: char| {
        if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '_' }
    };
    name.chars().take(NAME_CHARACTERS).map(one).collect()
}

/// Cut between characters. That it has no control characters was seen to when the report was taken.
fn value(text: &str) -> String {
    text[..text.floor_char_boundary(VALUE_BYTES)].to_owned()
}
