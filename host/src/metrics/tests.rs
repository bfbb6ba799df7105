use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::catalog::{Measured, RECORD_FORMAT, Record, StepRecord, Trigger};
use crate::session::SessionId;

fn measured(name: &str, attributes: &[(&str, &str)]) -> Measured {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Measured {
        name: name.to_owned(),
        value: 1.5,
        unit: "things".to_owned(),
        attributes: attributes.collect(),
    }
}

fn record(measurements: Vec<Measured>) -> Record {
    let time = Timestamp::from_second(1_790_000_000).unwrap();
    let step = StepRecord {
        chain: "sanity".to_owned(),
        step: "hostile".to_owned(),
        plugin_version: Some("1".to_owned()),
        plugin_sha256: Some("ab".to_owned()),
        outcome: Outcome::Passed,
        counts: true,
        skipped: false,
        drill: false,
        summary: String::new(),
        error: None,
        findings: Vec::new(),
        measurements,
        memo: None,
        used: None,
        elapsed_ms: 0,
    };
    Record {
        format: RECORD_FORMAT.to_owned(),
        backup: "20261121T030000Z-1".parse().unwrap(),
        session: SessionId::random(),
        trigger: Trigger::Backup,
        started: time,
        ended: time,
        outcome: Outcome::Passed,
        steps: vec![step],
    }
}

fn exposed(measurements: Vec<Measured>) -> String {
    let metrics = Metrics::default();
    metrics.lock().measurements = Measurements::of(&record(measurements));
    expose(&metrics, Format::Text, Instant::now())
}

/// Series by their name and labels; fails when one is there twice, which Prometheus refuses.
fn series(text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(all.insert(series.to_owned(), value.to_owned()).is_none(), "twice: {series}");
    }
    all
}

#[test]
fn a_plugin_cannot_make_more_series_than_a_hundred_nor_two_of_the_same_name() {
    let many = (0..256).map(|number| measured("n", &[("id", &format!("{number}"))])).collect();
    let text = exposed(many);
    let told = series(&text).keys().filter(|name| name.starts_with("holdfast_plugin_measurement{")).count();
    assert_eq!(told, MEASUREMENTS);
    assert!(text.contains(
        r#"holdfast_plugin_measurements_dropped{plugin="hostile",sha256="ab",chain="sanity",step="1"} 156"#
    ));

    let text = exposed(vec![measured("n", &[]), measured("n", &[])]);
    assert!(text.contains(r#"step="1"} 1"#), "{text}");
    series(&text);
}

#[test]
fn labels_are_bounded_and_escaped() {
    let long = "é".repeat(500);
    let text = exposed(vec![measured(
        "n\"} 1\nholdfast_backups_total{x=\"\\",
        &[("a-b", "1"), ("a_b", "2"), ("plugin", "other"), ("", "3"), ("long", &long), ("9", "4")],
    )]);
    let all = series(&text);
    let line = all.keys().find(|name| name.starts_with("holdfast_plugin_measurement{")).unwrap();
    assert!(line.contains(r#"measurement="n\"} 1\nholdfast_backups_total{x=\"\\""#), "{line}");
    assert!(line.contains(r#"attribute_a_b="1""#) && !line.contains(r#"="2""#), "{line}");
    assert!(line.contains(r#"attribute_plugin="other""#) && line.contains(r#"plugin="hostile""#), "{line}");
    assert!(line.contains(&format!("\"{}\"", "é".repeat(64))), "{line}");

    let many: Vec<(String, String)> = (0..32).map(|number| (format!("a{number}"), "x".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        exposed(vec![measured("n", &many)]).matches("attribute_").count(),
        ATTRIBUTES + 1,
        "one is in a help text"
    );
}

#[test]
fn a_newer_proof_replaces_all_measurements() {
    let metrics = Metrics::default();
    metrics.lock().measurements = Measurements::of(&record(vec![measured("old", &[])]));
    metrics.lock().measurements = Measurements::of(&record(Vec::new()));
    let text = expose(&metrics, Format::Text, Instant::now());
    assert!(!text.contains("hostile"), "{text}");
}

#[test]
fn both_texts_have_all_families_under_their_right_names() {
    let metrics = Metrics::default();
    let open = expose(&metrics, Format::OpenMetrics, Instant::now());
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert!(
        open.contains("# TYPE holdfast_backups counter\nholdfast_backups_total{outcome=\"passed\"} 0"),
        "{open}"
    );
    let older = expose(&metrics, Format::Text, Instant::now());
    assert!(!older.contains("# EOF") && older.ends_with('\n'));
    let told: Vec<&str> =
        older.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(told, known);
    let families: BTreeSet<&str> = known.iter().copied().collect();
    assert_eq!(families.len(), known.len(), "a name is there twice");
}

#[test]
fn names_follow_the_practice() {
    for family in FAMILIES {
        let name = family.name;
        assert!(name.starts_with("holdfast_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(family.kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\', '"']), "{name}");
    }
}

/// `docs/metrics.md` has one row for each family, which says what the exposition says.
#[test]
fn the_page_lists_every_family() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `holdfast_")).collect();
    let expected: Vec<String> = FAMILIES
        .iter()
        .map(|family| {
            let kind = if family.kind == Kind::Counter { "counter" } else { "gauge" };
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help)
        })
        .collect();
    assert_eq!(rows, expected, "the table should be:\n{}\n", expected.join("\n"));
}

#[test]
fn an_agent_that_does_not_look_at_its_schedule_is_stuck() {
    let metrics = Metrics::default();
    metrics.beat(None);
    let now = Instant::now();
    assert_eq!(metrics.stuck(now), None);
    assert!(metrics.stuck(now + STUCK + Duration::from_secs(1)).is_some());
}
