//! The catalog over a directory store.

use std::fs;
use std::io::Write as _;

use super::testing::{Repository, commit_plain, record, repository, sample};
use super::*;
use crate::store::{DirectoryStore, body};

fn cluster(id: &str) -> ClusterIdentity {
    ClusterIdentity { name: "prod".to_owned(), id: id.to_owned() }
}

async fn put(store: &DirectoryStore, path: &str, bytes: &[u8]) {
    store.put(&ObjectPath::new(path).unwrap(), body(bytes.to_vec())).await.unwrap();
}

#[tokio::test]
async fn a_backup_exists_when_its_manifest_does() {
    let Repository { store, directory: _directory } = repository();
    let manifest = sample("20261121T030000Z-1641");
    put(&store, manifest.stored.path.as_str(), b"data").await;
    let before = list(&store).await.unwrap();
    assert!(before.entries.is_empty());
    assert_eq!(before.orphans[0].path, manifest.stored.path);
    commit_plain(&store, &manifest).await.unwrap();
    let after = list(&store).await.unwrap();
    assert_eq!(after.entries.len(), 1);
    assert!(after.orphans.is_empty() && after.unreadable.is_empty());
    assert_eq!(after.entries[0].manifest.id, manifest.id);
    let removed = remove_uncommitted(&store, &manifest.stored.path, Some(&manifest.id)).await.unwrap();
    assert!(!removed && list(&store).await.unwrap().entries.len() == 1, "a committed backup was removed");
    assert!(store.head(&manifest.stored.path).await.unwrap().is_some(), "a committed backup lost its data");
}

#[tokio::test]
async fn entries_come_in_order_with_their_records() {
    let Repository { store, directory: _directory } = repository();
    for id in ["20261121T040000Z-9", "20261121T030000Z-1000", "20261121T030000Z-999"] {
        commit_plain(&store, &sample(id)).await.unwrap();
    }
    add_record(&store, &record("20261121T040000Z-9", 5, etcd_snapshot::Outcome::Failed)).await.unwrap();
    add_record(&store, &record("20261121T040000Z-9", 3, etcd_snapshot::Outcome::Passed)).await.unwrap();
    let listing = list(&store).await.unwrap();
    let ids: Vec<String> = listing.entries.iter().map(|entry| entry.manifest.id.to_string()).collect();
    assert_eq!(ids, ["20261121T030000Z-999", "20261121T030000Z-1000", "20261121T040000Z-9"]);
    assert_eq!(listing.entries[2].last_record().unwrap().outcome, etcd_snapshot::Outcome::Failed);
    assert!(listing.entries[0].last_record().is_none());
}

#[tokio::test]
async fn records_of_one_second_keep_their_order() {
    let Repository { store, directory: _directory } = repository();
    let id = "20261121T040000Z-9";
    commit_plain(&store, &sample(id)).await.unwrap();
    // Session ids are random: were it not for the milliseconds, some of these would come out of order.
    for millisecond in 0..20 {
        let mut record = record(id, 0, etcd_snapshot::Outcome::Passed);
        let time = Timestamp::from_millisecond(1_790_000_000_000 + millisecond).unwrap();
        (record.started, record.ended) = (time, time);
        add_record(&store, &record).await.unwrap();
    }
    let read = records(&store, &id.parse().unwrap()).await.unwrap();
    assert!(read.is_sorted_by_key(|record| record.ended) && read.len() == 20);
    let names: Vec<String> = store::list_all(&store, "records/")
        .await
        .unwrap()
        .iter()
        .map(|object| object.path.to_string())
        .collect();
    let sessions: Vec<String> = read.iter().map(|record| record.session.to_string()).collect();
    assert!(names.iter().zip(&sessions).all(|(name, session)| name.contains(session)), "{names:?}");
}

#[tokio::test]
async fn one_bad_document_does_not_hide_the_good() {
    let Repository { store, directory } = repository();
    for id in ["20261121T030000Z-1", "20261121T030000Z-2", "20261121T030000Z-3", "20261121T030000Z-4"] {
        commit_plain(&store, &sample(id)).await.unwrap();
    }
    let manifest = |id: &str| directory.path().join(format!("backups/20261121T030000Z-{id}/manifest.json"));
    fs::write(manifest("1"), b"{ torn").unwrap();
    fs::write(manifest("2"), br#"{"format": "holdfast-manifest/2", "id": 7}"#).unwrap();
    fs::copy(manifest("4"), manifest("3")).unwrap();
    let listing = list(&store).await.unwrap();
    assert_eq!(listing.entries.len(), 1);
    let told: Vec<String> = listing.unreadable.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("is damaged"), "{told:?}");
    assert!(told[1].contains("`holdfast-manifest/2`"), "{told:?}");
    assert!(told[2].contains("moved or planted"), "{told:?}");
}

#[tokio::test]
async fn a_repository_belongs_to_one_cluster() {
    let Repository { store, directory: _directory } = repository();
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    claim(&store, &cluster("aa"), now).await.unwrap();
    claim(&store, &cluster("aa"), now).await.unwrap();
    let other = claim(&store, &cluster("bb"), now).await.unwrap_err();
    assert!(matches!(other, CatalogError::OtherCluster { .. }), "{other}");
}

#[tokio::test]
async fn what_is_unfinished_is_taken_away_and_nothing_else() {
    let Repository { store, directory } = repository();
    let committed = sample("20261121T030000Z-51");
    let data = ObjectPath::new("data/20261121T030000Z-00000000000000aa.db.zst.age").unwrap();
    put(&store, data.as_str(), b"data").await;
    commit_plain(&store, &committed).await.unwrap();
    // Another run took the id: its manifest names data of its own.
    assert!(remove_uncommitted(&store, &data, Some(&committed.id)).await.unwrap());
    assert!(!directory.path().join("data").exists());
    assert!(remove_uncommitted(&store, &data, None).await.unwrap(), "a removal may be tried again");
    assert_eq!(list(&store).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn data_is_no_orphan_while_a_manifest_that_may_name_it_cannot_be_read() {
    let Repository { store, directory } = repository();
    let manifest = sample("20261121T030000Z-1");
    put(&store, manifest.stored.path.as_str(), b"data").await;
    commit_plain(&store, &manifest).await.unwrap();
    fs::write(directory.path().join("backups/20261121T030000Z-1/manifest.json"), b"{ torn").unwrap();
    let listing = list(&store).await.unwrap();
    assert!(listing.orphans.is_empty() && listing.unreadable.len() == 1);
}

#[test]
fn the_page_about_the_format_names_what_is_written() {
    let page = include_str!("../../docs/repository-format.md");
    for format in
        [REPOSITORY_FORMAT, MANIFEST_FORMAT, RECORD_FORMAT, PIN_FORMAT, CHECK_FORMAT, INVENTORY_FORMAT]
    {
        assert!(page.contains(&format!("`{format}`")), "`{format}` is missing");
    }
    let manifest = serde_json::to_value(sample("20261121T030000Z-1")).unwrap();
    for field in manifest.as_object().unwrap().keys() {
        assert!(field == "format" || page.contains(&format!("`{field}")), "`{field}` is missing");
    }
}

/// `HOLDFAST_TEST_BACKUPS` sets how many: 10,000 take some seconds to write, and fewer to list.
#[tokio::test]
async fn many_backups_are_listed_whole() {
    let asked = std::env::var("HOLDFAST_TEST_BACKUPS").ok().and_then(|count| count.parse().ok());
    let count: i64 = asked.unwrap_or(1500);
    let Repository { store, directory } = repository();
    let text = include_str!("testdata/manifest-1.json");
    for number in 0..count {
        let id = BackupId::new(Timestamp::from_second(1_790_000_000 + number).unwrap(), number).to_string();
        let folder = directory.path().join("backups").join(&id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.json"), text.replace("20261121T030000Z-1641", &id)).unwrap();
        let record = serde_json::to_vec(&record(&id, number, etcd_snapshot::Outcome::Passed)).unwrap();
        let folder = directory.path().join("records").join(&id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("1.json"), record).unwrap();
    }
    let begun = std::time::Instant::now();
    let listing = list(&store).await.unwrap();
    // Told to who asks, not judged.
    if asked.is_some() {
        writeln!(std::io::stderr(), "{count} backups listed in {:?}", begun.elapsed()).unwrap();
    }
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable.first());
    assert_eq!(listing.entries.len() as i64, count);
    assert!(listing.entries.iter().all(|entry| entry.records.len() == 1));
}
