//! What is missing is told, and what was removed by rule is not.

use std::sync::Arc;

use super::super::testing::{Repository, repository, sample};
use super::super::{Trust, TrustedStore, commit, seal};
use super::*;

const IDS: [&str; 5] = [
    "20260101T000000Z-1",
    "20260102T000000Z-2",
    "20260103T000000Z-3",
    "20260104T000000Z-4",
    "20260105T000000Z-5",
];

fn id(number: usize) -> BackupId {
    IDS[number - 1].parse().unwrap()
}

fn ids(numbers: &[usize]) -> BTreeSet<BackupId> {
    numbers.iter().map(|number| id(*number)).collect()
}

fn session() -> SessionId {
    SessionId::random()
}

struct Bench {
    repository: Repository,
    store: TrustedStore,
    key: SigningKey,
}

impl Bench {
    fn new() -> Bench {
        let (repository, key) = (repository(), SigningKey::generate());
        let trust = Trust { keys: vec![key.public().clone()], clusters: vec![sample(IDS[0]).cluster.name] };
        let store = TrustedStore::new(Arc::new(repository.store.clone()), Arc::new(trust));
        Bench { repository, store, key }
    }

    /// Five backups, each of which names the one before.
    async fn with_five() -> Bench {
        let bench = Bench::new();
        let mut previous = None;
        for number in 1..=5 {
            bench.commit(number, previous).await;
            previous = Some(number);
        }
        bench
    }

    async fn commit(&self, number: usize, previous: Option<usize>) {
        let mut manifest = sample(IDS[number - 1]);
        if let Some(previous) = previous {
            manifest.previous = Some(self.link(previous).await);
        }
        commit(&self.repository.store, &seal(&manifest, Some(&self.key)).unwrap()).await.unwrap();
    }

    async fn link(&self, number: usize) -> Link {
        link(&self.store, &id(number)).await.unwrap()
    }

    fn take_away(&self, number: usize) {
        std::fs::remove_dir_all(self.repository.file(&format!("backups/{}", id(number)))).unwrap();
    }

    async fn known(&self) -> Known {
        let (inventory, _) = newest_inventory(&self.store).await.unwrap();
        let listing = super::super::list(&self.store).await.unwrap();
        let known = Known::of(&listing, inventory.clone());
        let read = Known::by_reading(&self.store, inventory).await.unwrap();
        assert_eq!((&read.present, &read.readable), (&known.present, &known.readable));
        let told = |known: &Known| known.gaps().into_iter().map(|gap| gap.backup).collect::<Vec<_>>();
        assert_eq!(told(&read), told(&known), "to read less tells the same");
        known
    }

    /// What is missing, by number, and whether that is known to be no rule's doing.
    async fn missing(&self) -> Vec<(usize, GapKind)> {
        let number = |backup: &BackupId| IDS.iter().position(|id| *id == backup.to_string()).unwrap() + 1;
        self.known().await.gaps().iter().map(|gap| (number(&gap.backup), gap.kind)).collect()
    }

    async fn write(&self, going: &[usize], through: Option<usize>) {
        let (session, cluster) = (session(), sample(IDS[0]).cluster);
        let through = through.map(id);
        let stamp =
            Stamp { cluster: &cluster, session: &session, now: Timestamp::now(), through: through.as_ref() };
        let inventory = self.known().await.next(&stamp, &ids(going)).unwrap();
        add_inventory(&self.repository.store, &inventory, &self.key).await.unwrap();
    }

    fn inventories(&self) -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(self.repository.file("inventory")).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "json"));
        files.sort();
        files
    }
}

#[tokio::test]
async fn a_middle_backup_that_is_gone_is_missing_and_what_a_rule_removed_is_not() {
    let bench = Bench::with_five().await;
    bench.write(&[], None).await;
    assert_eq!(bench.missing().await, []);
    // By rule: signed first, then removed.
    bench.write(&[2], None).await;
    assert_eq!(bench.missing().await, [], "what is about to go is not missing");
    bench.take_away(2);
    assert_eq!(bench.missing().await, []);
    // By somebody else.
    bench.take_away(4);
    assert_eq!(bench.missing().await, [(4, GapKind::Missing)]);
    let told = bench.known().await.gaps().remove(0);
    assert_eq!((told.after.clone(), told.before.clone()), (Some(id(3)), Some(id(5))));
    assert!(told.to_string().contains("between 20260103T000000Z-3 and 20260105T000000Z-5"), "{told}");
    // The next removal does not explain it away; a word for it does.
    bench.write(&[1], None).await;
    bench.take_away(1);
    assert_eq!(bench.missing().await, [(4, GapKind::Missing)]);
    bench.write(&[4], None).await;
    assert_eq!(bench.missing().await, []);
}

#[tokio::test]
async fn what_is_newer_than_the_inventory_is_told_by_the_one_behind_it() {
    let bench = Bench::new();
    bench.commit(1, None).await;
    bench.write(&[], None).await;
    for number in 2..=5 {
        bench.commit(number, Some(number - 1)).await;
    }
    bench.take_away(3);
    let gaps = bench.known().await.gaps();
    assert_eq!(gaps.len(), 1);
    assert_eq!((&gaps[0].backup, &gaps[0].named_by), (&id(3), &Some(id(4))));
    // Two in a row: what the second named only the second could tell.
    bench.take_away(2);
    assert_eq!(bench.missing().await, [(3, GapKind::Missing)]);
    assert!(bench.known().await.gaps()[0].to_string().contains("others before it may be gone as well"));
    // An inventory keeps what a link told.
    bench.write(&[], None).await;
    bench.take_away(4);
    assert_eq!(bench.missing().await, [(3, GapKind::Missing), (4, GapKind::Missing)]);
}

#[tokio::test]
async fn without_an_inventory_nothing_is_accused() {
    let bench = Bench::with_five().await;
    assert_eq!(bench.missing().await, []);
    bench.take_away(3);
    assert_eq!(bench.missing().await, [(3, GapKind::Unexplained)]);
    // The first inventory begins with what it finds.
    bench.write(&[], None).await;
    assert_eq!(bench.missing().await, []);
}

#[tokio::test]
async fn a_store_that_missed_a_backup_does_not_miss_it_for_ever() {
    let bench = Bench::new();
    bench.commit(1, None).await;
    bench.write(&[], None).await;
    // 2 went to another store alone; before 3 is committed here this store says that it has not got it.
    bench.write(&[], Some(2)).await;
    let mut third = sample(IDS[2]);
    third.previous = Some(Link { id: id(2), sha256: "0".repeat(64) });
    commit(&bench.repository.store, &seal(&third, Some(&bench.key)).unwrap()).await.unwrap();
    assert_eq!(bench.missing().await, []);
    assert!(!bench.known().await.has_unlisted());
    // It is brought, and counts from the next inventory on.
    bench.commit(2, Some(1)).await;
    assert!(bench.known().await.has_unlisted());
    bench.write(&[], None).await;
    bench.take_away(2);
    assert_eq!(bench.missing().await, [(2, GapKind::Missing)]);
}

#[tokio::test]
async fn to_tamper_with_inventories_makes_more_missing_and_never_less() {
    let bench = Bench::with_five().await;
    bench.write(&[], None).await;
    bench.write(&[1, 2], None).await;
    bench.take_away(1);
    bench.take_away(2);
    bench.take_away(4);
    assert_eq!(bench.missing().await, [(4, GapKind::Missing)]);
    let [first, second] = <[_; 2]>::try_from(bench.inventories()).unwrap();

    // The newest is altered, or goes: the one before counts, and it lists all five.
    let text = std::fs::read_to_string(&second).unwrap();
    std::fs::write(&second, text.replace(&format!("    \"{}\",\n", id(4)), "")).unwrap();
    let all = [(1, GapKind::Missing), (2, GapKind::Missing), (4, GapKind::Missing)];
    assert_eq!(bench.missing().await, all);
    let refused = newest_inventory(&bench.store).await.unwrap().1;
    assert!(matches!(&refused[..], [CatalogError::Untrusted { .. }]), "{refused:?}");
    std::fs::remove_file(&second).unwrap();
    assert_eq!(bench.missing().await, all);

    // An old one under a newer name does not count, and one that nobody signed neither.
    let newer = first.with_file_name("29990101T000000.000Z-0000000000000000.json");
    for end in ["", ".minisig"] {
        std::fs::copy(format!("{}{end}", first.display()), format!("{}{end}", newer.display())).unwrap();
    }
    let refused = newest_inventory(&bench.store).await.unwrap().1;
    assert!(matches!(&refused[..], [CatalogError::Misplaced { .. }]), "{refused:?}");
    std::fs::remove_file(format!("{}.minisig", newer.display())).unwrap();
    std::fs::write(&newer, text.replace(&format!("    \"{}\",\n", id(4)), "")).unwrap();
    assert_eq!(bench.missing().await, all);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_hide_the_newest() {
    let bench = Bench::with_five().await;
    let (session, cluster) = (session(), sample(IDS[0]).cluster);
    let mut last = None;
    for now in ["2026-11-20T02:00:00Z", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"] {
        let stamp = Stamp { cluster: &cluster, session: &session, now: now.parse().unwrap(), through: None };
        let next = bench.known().await.next(&stamp, &BTreeSet::new()).unwrap();
        add_inventory(&bench.repository.store, &next, &bench.key).await.unwrap();
        let read = newest_inventory(&bench.store).await.unwrap().0.unwrap();
        assert_eq!(read, next);
        assert!(last.is_none_or(|last| last < next.at));
        last = Some(next.at);
    }
}

#[tokio::test]
async fn old_inventories_go_and_the_newest_stays() {
    let bench = Bench::with_five().await;
    for _ in 0..5 {
        bench.write(&[], None).await;
    }
    let newest = newest_inventory(&bench.store).await.unwrap().0;
    // Planted in front of the newest: not a reason to remove that.
    bench.repository.put("inventory/29990101T000000.000Z-0000000000000000.json", b"{}").await;
    let old = old_inventories(&bench.store).await.unwrap();
    assert_eq!(old.len(), 2 * 2, "two of five, with their signatures: {old:?}");
    super::super::remove_all(&bench.store, old).await.unwrap();
    assert_eq!(newest_inventory(&bench.store).await.unwrap().0, newest);
}
