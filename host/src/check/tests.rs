//! Checking a directory store that was harmed in known ways.

use std::fs;

use super::*;
use crate::catalog::testing::{Repository, content, packed, repository};
use crate::pack::{self, hex};
use crate::progress::Silent;
use crate::store::Store;

const IDS: [&str; 4] =
    ["20260101T000000Z-1", "20260102T000000Z-2", "20260103T000000Z-3", "20260104T000000Z-4"];

async fn four() -> Repository {
    let repository = repository();
    for id in IDS {
        repository.backup(id, Outcome::Passed).await;
    }
    repository
}

async fn look_at(repository: &Repository, reading: Reading) -> Checked {
    let named = crate::pipeline::named("local", std::sync::Arc::new(repository.store.clone()));
    let order = Order { reading, identities: &[], clock: Timestamp::now, progress: &Silent };
    check(&named, &order, &CancellationToken::new()).await
}

async fn data(repository: &Repository, id: &str) -> std::path::PathBuf {
    repository.file(repository.manifest(id).await.stored.path.as_str())
}

async fn flip(repository: &Repository, id: &str) {
    let file = data(repository, id).await;
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn what_is_whole_is_found_whole() {
    let repository = four().await;
    for (reading, read) in [(Reading::None, 0), (Reading::Sample(30.0), 2), (Reading::All, 4)] {
        let checked = look_at(&repository, reading).await;
        assert_eq!(checked.outcome(), Outcome::Passed, "{checked:?}");
        assert_eq!((checked.backups, checked.read, checked.unpacked), (4, read, read));
        assert!(checked.orphans.is_empty() && checked.orphans_known && checked.patterns.is_empty());
    }
}

#[tokio::test]
async fn samples_read_everything_in_time() {
    let repository = four().await;
    flip(&repository, IDS[2]).await;
    let mut damaged = 0;
    for _ in 0..4 {
        damaged += look_at(&repository, Reading::Sample(25.0)).await.damaged.len();
    }
    assert!(damaged >= 1, "four samples of a quarter each left something out");
}

#[tokio::test]
async fn damage_in_storage_and_at_creation_are_told_apart() {
    let repository = four().await;
    flip(&repository, IDS[1]).await;
    fs::remove_file(data(&repository, IDS[2]).await).unwrap();
    // Stored well, but what it unpacks to is not what etcd sent.
    let (mut wrong, bytes) = packed("20260105T000000Z-5", &pack::Options::default());
    wrong.plain.sha256 = "0".repeat(64);
    repository.put(wrong.stored.path.as_str(), &bytes).await;
    catalog::testing::commit_plain(&repository.store, &wrong).await.unwrap();

    let checked = look_at(&repository, Reading::All).await;
    assert_eq!(checked.outcome(), Outcome::Failed);
    let kinds: Vec<(String, Kind)> =
        checked.damaged.iter().map(|damage| (damage.backup.to_string(), damage.kind)).collect();
    assert_eq!(
        kinds,
        [
            (IDS[1].to_owned(), Kind::Storage),
            (IDS[2].to_owned(), Kind::Missing),
            ("20260105T000000Z-5".to_owned(), Kind::Creation)
        ]
    );
    let patterns: Vec<_> =
        checked.patterns.iter().map(|one| (one.kind, one.damaged, one.of, one.made_meanwhile)).collect();
    assert_eq!(patterns, [(Kind::Missing, 1, 5, 1), (Kind::Storage, 1, 5, 1), (Kind::Creation, 1, 5, 1)]);
    // Marked as a failed proof marks it, once.
    for _ in 0..2 {
        look_at(&repository, Reading::All).await;
    }
    let records = catalog::records(&repository.store, &IDS[1].parse().unwrap()).await.unwrap();
    let failed = records.iter().filter(|record| record.outcome == Outcome::Failed).count();
    assert_eq!((records.len(), failed), (2, 1), "{records:?}");
}

#[tokio::test]
async fn a_changed_size_is_seen_without_reading() {
    let repository = four().await;
    let file = data(&repository, IDS[0]).await;
    let bytes = fs::read(&file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    let checked = look_at(&repository, Reading::None).await;
    assert_eq!(checked.damaged.len(), 1);
    assert_eq!(checked.damaged[0].kind, Kind::Storage);
    assert_eq!(checked.damaged[0].last_good, repository.manifest(IDS[0]).await.committed);
}

#[tokio::test]
async fn damage_that_spreads_is_told() {
    let repository = four().await;
    assert_eq!(look_at(&repository, Reading::All).await.trend, Trend::First);
    // A glance in between changes nothing.
    look_at(&repository, Reading::None).await;
    flip(&repository, IDS[0]).await;
    let first = look_at(&repository, Reading::All).await;
    assert!(matches!(first.trend, Trend::Spreading { more: 1, .. }), "{:?}", first.trend);
    let seen_good = first.damaged[0].last_good;
    assert!(seen_good > repository.manifest(IDS[0]).await.committed, "the check before found it good");
    let same = look_at(&repository, Reading::All).await;
    assert!(matches!(same.trend, Trend::Steady { .. }), "{:?}", same.trend);
    assert_eq!(same.damaged[0].last_good, seen_good, "a check that finds damage is no good reading");
    flip(&repository, IDS[3]).await;
    let more = look_at(&repository, Reading::All).await;
    assert!(matches!(more.trend, Trend::Spreading { more: 1, .. }), "{:?}", more.trend);
}

#[tokio::test]
async fn bad_documents_and_orphans_are_named() {
    let repository = four().await;
    fs::write(repository.file(&format!("backups/{}/manifest.json", IDS[0])), b"{ torn").unwrap();
    let checked = look_at(&repository, Reading::All).await;
    assert_eq!((checked.outcome(), checked.bad_documents.len(), checked.backups), (Outcome::Failed, 1, 3));
    // Its data may be named by what cannot be read.
    assert!(checked.orphans.is_empty() && !checked.orphans_known);
    fs::remove_file(repository.file(&format!("backups/{}/manifest.json", IDS[0]))).unwrap();
    let checked = look_at(&repository, Reading::All).await;
    // Its data and its record.
    assert_eq!((checked.outcome(), checked.orphans.len()), (Outcome::Passed, 2), "{:?}", checked.orphans);
}

#[tokio::test]
async fn without_the_identity_the_stored_bytes_are_compared() {
    let repository = repository();
    let made = pack::new_identity();
    let identity = made.identity();
    let options = pack::Options { recipients: vec![made.recipient], ..pack::Options::default() };
    let (manifest, bytes) = packed(IDS[0], &options);
    let mut manifest = manifest;
    manifest.pack.encryption = "age".to_owned();
    repository.put(manifest.stored.path.as_str(), &bytes).await;
    catalog::testing::commit_plain(&repository.store, &manifest).await.unwrap();
    let named = crate::pipeline::named("local", std::sync::Arc::new(repository.store.clone()));
    for (identities, unpacked) in
        [(vec![], 0), (vec![pack::new_identity().identity()], 0), (vec![identity], 1)]
    {
        let order = Order {
            reading: Reading::All,
            identities: &identities,
            clock: Timestamp::now,
            progress: &Silent,
        };
        let checked = check(&named, &order, &CancellationToken::new()).await;
        assert_eq!(
            (checked.outcome(), checked.read, checked.unpacked),
            (Outcome::Passed, 1, unpacked),
            "{checked:?}"
        );
    }
    let digest = hex(&<sha2::Sha256 as sha2::Digest>::digest(content(IDS[0])));
    assert_eq!(manifest.plain.sha256, digest);
    assert!(repository.store.head(&manifest.stored.path).await.unwrap().is_some());
}

#[tokio::test]
async fn what_damaged_backups_share_is_told() {
    let repository = repository();
    for (index, id) in IDS.iter().enumerate() {
        let (mut manifest, bytes) = packed(id, &pack::Options::default());
        manifest.member_id = if index < 2 { "aa".to_owned() } else { "bb".to_owned() };
        repository.put(manifest.stored.path.as_str(), &bytes).await;
        catalog::testing::commit_plain(&repository.store, &manifest).await.unwrap();
    }
    flip(&repository, IDS[0]).await;
    flip(&repository, IDS[1]).await;
    let checked = look_at(&repository, Reading::All).await;
    let [pattern] = &checked.patterns[..] else { panic!("{:?}", checked.patterns) };
    let member = pattern::Shared { what: "member", value: "aa".to_owned(), of: 2 };
    assert_eq!(pattern.shared, [member]);
    assert_eq!(
        pattern.to_string(),
        format!(
            "changed in storage: 2 backups of 4, made from 2026-01-01 00:00:00Z to 2026-01-02 00:00:00Z, and all that were made then; \
             one was good until {} or later; all have member aa, and no other has",
            repository.manifest(IDS[0]).await.committed.strftime("%Y-%m-%d %H:%M:%SZ")
        )
    );
}

#[tokio::test]
async fn another_store_that_has_it_is_named() {
    let (one, other) = (four().await, four().await);
    flip(&one, IDS[0]).await;
    let mut all = [look_at(&one, Reading::All).await, look_at(&other, Reading::All).await];
    all[1].store = "dr".to_owned();
    compare(&mut all);
    assert_eq!(all[0].damaged[0].good_in, ["dr"]);
}

#[tokio::test]
async fn another_store_that_has_what_cannot_be_read_is_named() {
    let (one, other) = (four().await, four().await);
    fs::write(one.file(&format!("backups/{}/manifest.json", IDS[1])), b"{ torn").unwrap();
    let mut all = [look_at(&one, Reading::All).await, look_at(&other, Reading::All).await];
    all[1].store = "dr".to_owned();
    compare(&mut all);
    let [told] = &all[0].bad_documents[..] else { panic!("{:?}", all[0].bad_documents) };
    assert!(told.contains("is damaged") && told.ends_with("; the backup is good in dr"), "{told}");
}

/// What only a reading shows is not taken back by a check that does not read.
#[tokio::test]
async fn a_glance_goes_on_telling_of_what_a_reading_has_found() {
    let repository = four().await;
    flip(&repository, IDS[1]).await;
    let read = look_at(&repository, Reading::All).await;
    for _ in 0..2 {
        let glance = look_at(&repository, Reading::None).await;
        assert_eq!(glance.outcome(), Outcome::Failed, "{glance:?}");
        let [damage] = &glance.damaged[..] else { panic!("{glance:?}") };
        assert_eq!((damage.kind, damage.last_good), (Kind::Storage, read.damaged[0].last_good));
        assert!(damage.detail.contains("`--read-data`"), "{damage:?}");
        assert!(matches!(glance.trend, Trend::Steady { .. }), "{:?}", glance.trend);
    }
    // Put right, and read again.
    flip(&repository, IDS[1]).await;
    assert_eq!(look_at(&repository, Reading::None).await.damaged.len(), 1);
    assert_eq!(look_at(&repository, Reading::All).await.outcome(), Outcome::Passed);
    assert_eq!(look_at(&repository, Reading::None).await.outcome(), Outcome::Passed);
}
