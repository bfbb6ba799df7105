//! Breaks a run at every point at which it can break, in every way, and looks at what is left.
//!
//! The run is begun anew for each point: n = 1, 2, 3 … until it ends without meeting its fault. After each a check that reads
//! everything must be clean or name exactly the orphans, what was committed before must be there and read back, and the
//! next run must heal the rest. What was tried is printed as a table.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::check::{self, Order, Reading};
use crate::progress::Silent;
use crate::store::fault::{Fault, FaultStore};
use crate::store::{DiskFault, PluginStore, list_all};

/// What can go wrong at a call of a store.
pub(crate) const FAULTS: [Fault; 5] =
    [Fault::Once, Fault::FromThenOn, Fault::LostAnswer, Fault::Torn, Fault::Full];

/// Another fault at each call, in turn: where a walk takes long, every call fails in one way, and every way is met at many calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InTurn;

impl InTurn {
    /// The fault of a call.
    pub(crate) fn fault(call: u64) -> Fault {
        FAULTS[(call % FAULTS.len() as u64) as usize]
    }
}

/// What can go wrong at a change to the disk of a directory store.
pub(crate) const DISK_FAULTS: [DiskFault; 5] =
    [DiskFault::Eio, DiskFault::Died, DiskFault::Late, DiskFault::Short, DiskFault::Enospc];

/// A run that breaks at more points than this never ends.
const MAX_POINTS: u64 = 10_000;

/// What a broken run left, and whether it met its fault.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Objects that no manifest names.
    pub(crate) orphans: BTreeSet<String>,
    /// Committed backups, all of which read back.
    pub(crate) backups: BTreeSet<BackupId>,
    /// What was lost, in words.
    losses: Vec<String>,
}

/// A store that breaks at a point.
pub(crate) fn breaking(store: &DirectoryStore, fault: Fault, at: u64) -> Arc<FaultStore> {
    Arc::new(FaultStore::new(Arc::new(store.clone()), fault, at))
}

/// A store that is a plugin, and breaks at a point in the way whose turn it is.
pub(crate) fn breaking_in_turn(store: &Arc<PluginStore>, at: u64) -> Arc<FaultStore> {
    Arc::new(FaultStore::new(Arc::clone(store) as _, InTurn::fault(at), at))
}

/// Walks over all points, in each of these ways. `attempt` makes a run that breaks in this way at this point, and says
/// whether it met its fault and what it left. `least` is how many points there are at least: fewer, and the walk has missed its run.
///
/// # Panics
/// When anything was lost.
pub(crate) async fn walk<W: Copy + Debug>(
    run: &str,
    ways: &[W],
    least: u64,
    mut attempt: impl AsyncFnMut(W, u64) -> (bool, Left),
) {
    let mut table = String::new();
    let mut losses = Vec::new();
    for way in ways {
        let (mut points, mut orphans, mut lost) = (0, 0, 0);
        for at in 1..=MAX_POINTS {
            let (struck, left) = attempt(*way, at).await;
            orphans += left.orphans.len();
            lost += left.losses.len();
            losses.extend(left.losses.into_iter().map(|loss| format!("{run}, {way:?} at {at}: {loss}")));
            if !struck {
                points = at - 1;
                break;
            }
        }
        let way = format!("{way:?}");
        writeln!(table, "{run:<24} {way:<12} {points:>7} {orphans:>8} {lost:>7}").unwrap();
        assert!(points >= least, "{run}, {way}: only {points} points were tried");
    }
    let head = format!("{:<24} {:<12} {:>7} {:>8} {:>7}\n", "run", "fault", "points", "orphans", "losses");
    // In one piece, so that walks that end at the same time do not mix their lines.
    std::io::stderr().write_all(format!("{head}{table}").as_bytes()).unwrap();
    assert!(losses.is_empty(), "{losses:#?}");
}

/// Looks at a store after a run that broke. `committed` were there before and must be still.
pub(crate) async fn look(store: &DirectoryStore, committed: &[BackupId]) -> Left {
    let mut left = Left::default();
    let named = crate::pipeline::named("looked at", Arc::new(store.clone()));
    let order = Order { reading: Reading::All, identities: &[], clock: Timestamp::now, progress: &Silent };
    let checked = check::check(&named, &order, &CancellationToken::new()).await;
    if checked.outcome() != etcd_snapshot::Outcome::Passed || checked.unpacked != checked.backups {
        left.losses.push(format!("{checked:?}"));
    }
    left.backups = ids(store).await.unwrap();
    for id in committed.iter().filter(|id| !left.backups.contains(id)) {
        left.losses.push(format!("backup {id} is gone"));
    }
    left.orphans = unnamed(store, &left.backups).await;
    let told: BTreeSet<String> = checked.orphans.iter().map(|orphan| orphan.path.to_string()).collect();
    if told != left.orphans {
        left.losses.push(format!("orphans are {:?}, told were {told:?}", left.orphans));
    }
    left
}

/// Looks at a store after the run that followed: exactly these backups are there, and nothing else.
pub(crate) async fn is_healed(store: &DirectoryStore, expected: &[BackupId]) {
    let left = look(store, expected).await;
    assert!(left.losses.is_empty() && left.orphans.is_empty(), "{left:?}");
    assert_eq!(left.backups, expected.iter().cloned().collect());
}

/// What belongs to no backup, found without the listing's own code.
async fn unnamed(store: &DirectoryStore, backups: &BTreeSet<BackupId>) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for id in backups {
        let bytes = store::read_small(store, &manifest_path(id), MAX_DOCUMENT_BYTES).await.unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        named.insert(manifest["stored"]["path"].as_str().unwrap().to_owned());
    }
    let belongs = |path: &str| match path.split_once('/') {
        Some(("data", _)) => named.contains(path),
        Some(("backups" | "records" | "pins", rest)) => {
            let id = rest.split('/').next().unwrap_or_default();
            backups.iter().any(|backup| backup.to_string() == id)
        }
        _ => true,
    };
    let objects = list_all(store, "").await.unwrap();
    objects.iter().map(|object| object.path.to_string()).filter(|path| !belongs(path)).collect()
}
