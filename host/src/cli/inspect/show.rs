//! How the details are printed for people.

use std::time::Duration;

use crate::details::{Details, Groups, KeyFacts};
use crate::printer::{Align, Printer, Table};
use crate::units::{counted, format_duration, format_size};

pub(super) fn details(printer: &Printer, details: &Details) {
    groups(printer, "prefix", &details.prefixes);
    groups(printer, "kind", &details.kinds);
    keys(printer, "largest", &details.largest);
    keys(printer, "most rewritten", &details.most_rewritten);
    let space = details.space;
    let mut facts = Table::facts();
    facts.fact("live records", format_size(space.live_bytes));
    facts.fact(
        "history",
        format_args!(
            "{} in {}: what a compaction now would make free",
            format_size(space.history_bytes),
            counted(space.history_records, "record")
        ),
    );
    facts.fact(
        "free pages",
        format_args!("{}: what a defragmentation now would free", format_size(space.free_bytes)),
    );
    let leases = &details.leases;
    let granted = leases.granted.iter().map(|granted| {
        let time = Duration::from_secs(u64::try_from(granted.ttl_seconds).unwrap_or(0));
        format!("{} of {}", granted.leases, format_duration(time))
    });
    let mut granted: Vec<String> = granted.collect();
    if leases.others > 0 {
        granted.push(format!("{} of other times", leases.others));
    }
    let granted = if granted.is_empty() { String::new() } else { format!(": {}", granted.join(", ")) };
    facts.fact(
        "leases",
        format_args!("{} with {}{granted}", counted(leases.count, "lease"), counted(leases.keys, "key")),
    );
    printer.blank();
    printer.table(&facts);
}

fn groups(printer: &Printer, what: &str, groups: &Groups) {
    if groups.largest.is_empty() {
        return;
    }
    let columns =
        [(what, Align::Left), ("count", Align::Right), ("keys", Align::Right), ("values", Align::Right)];
    let mut table = Table::new(columns);
    for group in &groups.largest {
        let name = if group.name.is_empty() { "(no slash)" } else { &group.name };
        let holding = group.holding;
        table.row([
            name.to_owned(),
            holding.keys.to_string(),
            format_size(holding.key_bytes),
            format_size(holding.value_bytes),
        ]);
    }
    if groups.others > 0 {
        let rest = groups.rest;
        table.row([
            format!("({} more)", groups.others),
            rest.keys.to_string(),
            format_size(rest.key_bytes),
            format_size(rest.value_bytes),
        ]);
    }
    printer.blank();
    printer.table(&table);
}

fn keys(printer: &Printer, what: &str, keys: &[KeyFacts]) {
    if keys.is_empty() {
        return;
    }
    let columns =
        [(what, Align::Left), ("value", Align::Right), ("changes", Align::Right), ("revision", Align::Right)];
    let mut table = Table::new(columns);
    for key in keys {
        table.row([
            key.key.clone(),
            format_size(key.value_bytes),
            key.version.to_string(),
            key.mod_revision.to_string(),
        ]);
    }
    printer.blank();
    printer.table(&table);
}
