//! Ten thousand flipped bits: as they are, each is found; behind a hash that was made again, each is found that changes a
//! live key, its metadata or the shape of its history, as far as a file alone can tell.
//!
//! Whether a flip changes anything is said by a reader of this test's own (`support/state.rs`). `cargo test --test flips
//! -- --nocapture` prints the table.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

#[path = "support/regions.rs"]
mod regions;
#[path = "support/state.rs"]
mod state;

mod hostile;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use etcd_snapshot::{CheckOptions, Outcome, Severity, SnapshotFile, inspect};
use hostile::build::reseal;
use hostile::mutate::Numbers;
use regions::{Region, Regions};
use state::{Change, State};
use support::bytes;

/// Flips over all snapshots.
const FLIPS: usize = 10_000;

const VERSIONS: [&str; 4] = ["3.4", "3.5", "3.6", "3.7"];
const KINDS: [&str; 5] = ["empty", "history", "tombstone", "compacted", "auth"];

fn snapshots() -> Vec<String> {
    VERSIONS
        .iter()
        .flat_map(|version| KINDS.iter().map(move |kind| format!("etcd-{version}-{kind}")))
        .chain(["alarm".to_owned(), "bumped".to_owned()])
        .collect()
}

/// A good snapshot with what is known of it.
struct Good {
    name: String,
    bytes: Vec<u8>,
    regions: Regions,
    /// The bytes of each region, the hash left out.
    places: Vec<(Region, Vec<usize>)>,
    state: State,
    findings: BTreeSet<String>,
    hash_kv: u32,
}

/// How a check told of a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Error,
    Warning,
    /// Only by an info, or by other facts than before.
    Info,
    No,
}

struct Checked {
    told: Told,
    hash_kv: Option<u32>,
}

impl Good {
    fn read(name: &str) -> Self {
        let bytes = bytes(name);
        let file = SnapshotFile::from_bytes(bytes.clone()).unwrap();
        let found = inspect(&file, &CheckOptions::default());
        assert_eq!(found.integrity.outcome, Outcome::Passed, "no false alarm: {name}");
        let regions = Regions::of(&file);
        let mut places: BTreeMap<Region, Vec<usize>> = BTreeMap::new();
        for byte in 0..bytes.len() - 32 {
            places.entry(regions.at(byte)).or_default().push(byte);
        }
        let state = state::read(&bytes).unwrap();
        assert_eq!(state.rows.len() as u64, found.facts.records, "the test's own reader reads all: {name}");
        Self {
            name: name.to_owned(),
            regions,
            places: places.into_iter().collect(),
            state,
            findings: found.integrity.findings.iter().map(|it| it.code.clone()).collect(),
            hash_kv: found.facts.hashkv.hash,
            bytes,
        }
    }

    /// A bit: every second one anywhere, the others in a region drawn first, so that the small ones are met as well.
    fn draw(&self, number: usize, numbers: &mut Numbers) -> usize {
        let image = self.bytes.len() - 32;
        let byte = if number.is_multiple_of(2) {
            numbers.below(image)
        } else {
            let (_, places) = &self.places[numbers.below(self.places.len())];
            places[numbers.below(places.len())]
        };
        byte * 8 + numbers.below(8)
    }

    fn check(&self, bytes: Vec<u8>) -> Checked {
        let Ok(file) = SnapshotFile::from_bytes(bytes) else {
            return Checked { told: Told::Error, hash_kv: None };
        };
        let found = inspect(&file, &CheckOptions::default());
        let new = found.integrity.findings.iter().filter(|it| !self.findings.contains(&it.code));
        let told = match new.map(|finding| finding.severity).max() {
            Some(Severity::Error) => Told::Error,
            Some(Severity::Warning) => Told::Warning,
            Some(Severity::Info) => Told::Info,
            None => Told::No,
        };
        Checked { told, hash_kv: Some(found.facts.hashkv.hash) }
    }
}

/// A flip behind a hash that was made again.
struct Flip {
    region: Region,
    change: Change,
    told: Told,
    /// A member that answers `HashKV` would differ: found by the comparison right after the stream, and by that with
    /// the hash in the manifest.
    hash_differs: bool,
    place: String,
}

/// What `work` makes of each number below `count`, on both cores and more.
fn on_all_cores<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let result = work(number);
                    done.lock().unwrap().push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

fn flip(good: &Good, number: usize) -> Flip {
    let bit = good.draw(number, &mut Numbers::new(number as u64));
    let mut bad = good.bytes.clone();
    bad[bit / 8] ^= 1 << (bit % 8);
    let as_it_is = good.check(bad.clone());
    assert_eq!(as_it_is.told, Told::Error, "the hash tells: {} bit {bit}", good.name);
    reseal(&mut bad);
    let resealed = good.check(bad.clone());
    Flip {
        region: good.regions.at(bit / 8),
        change: good.state.change(state::read(&bad).as_ref()),
        told: resealed.told,
        hash_differs: resealed.hash_kv != Some(good.hash_kv),
        place: format!("{}: byte {} bit {}", good.name, bit / 8, bit % 8),
    }
}

/// What cannot be known from one file, whatever is checked: each is as etcd could have written it.
fn is_beyond_a_file(change: Change) -> bool {
    matches!(
        change,
        Change::Nothing | Change::Value | Change::Past | Change::LoneKey | Change::CompactedNumbers
    )
}

#[derive(Default)]
struct Row {
    flips: usize,
    errors: usize,
    warnings: usize,
    infos: usize,
    /// Missed, and nothing is changed.
    harmless: usize,
    /// Missed, and only a comparison with the members tells.
    by_members: usize,
    missed: usize,
}

fn table(flips: &[Flip]) -> String {
    let mut rows: BTreeMap<Region, Row> = BTreeMap::new();
    for flip in flips {
        let row = rows.entry(flip.region).or_default();
        row.flips += 1;
        let count = match (flip.told, flip.change) {
            (Told::Error, _) => &mut row.errors,
            (Told::Warning, _) => &mut row.warnings,
            (Told::Info, _) => &mut row.infos,
            (Told::No, Change::Nothing) => &mut row.harmless,
            (Told::No, _) if flip.hash_differs => &mut row.by_members,
            (Told::No, _) => &mut row.missed,
        };
        *count += 1;
    }
    let mut text = format!(
        "{:<16}{:>7}{:>8}{:>10}{:>7}{:>10}{:>12}{:>8}\n",
        "region", "flips", "errors", "warnings", "infos", "harmless", "by members", "missed"
    );
    for (region, row) in rows {
        let Row { flips, errors, warnings, infos, harmless, by_members, missed } = row;
        writeln!(
            text,
            "{:<16}{flips:>7}{errors:>8}{warnings:>10}{infos:>7}{harmless:>10}{by_members:>12}{missed:>8}",
            format!("{region:?}")
        )
        .unwrap();
    }
    text
}

#[test]
fn ten_thousand_flips() {
    let good: Vec<Good> = snapshots().iter().map(|name| Good::read(name)).collect();
    let flips = on_all_cores(FLIPS, |number| flip(&good[number % good.len()], number));
    let mut text = table(&flips);
    let untold = flips.iter().filter(|it| it.told == Told::No && it.change != Change::Nothing);
    for Flip { region, change, hash_differs, place, .. } in untold.clone() {
        let told = if *hash_differs { "members tell" } else { "MISSED" };
        if !matches!(change, Change::Value) {
            writeln!(text, "{told}: {region:?} {change:?} {place}").unwrap();
        }
    }
    #[expect(clippy::print_stdout, reason = "the table is what this test is for")]
    {
        println!("{text}");
    }
    for flip in untold {
        assert!(is_beyond_a_file(flip.change), "{:?} {:?} {}", flip.region, flip.change, flip.place);
        // What was overwritten or deleted later, `HashKV` may pass over.
        assert!(
            flip.hash_differs || flip.change == Change::Past,
            "{:?} {:?} {}",
            flip.region,
            flip.change,
            flip.place
        );
    }
    for flip in flips.iter().filter(|it| it.told == Told::Info) {
        let weighs_little = matches!(flip.change, Change::Nothing | Change::Compaction);
        assert!(weighs_little, "{:?} {:?} {}", flip.region, flip.change, flip.place);
    }
}
