//! Restores of a Kubernetes cluster's snapshot, looked at without etcd. That etcd takes them is shown by the tests with
//! real etcd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use super::*;

/// A snapshot of a small Kubernetes cluster, at revision 1641, taken by etcd 3.6.
fn snapshot() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/kubernetes-t1.db.zst");
    let packed = fs::read(path).expect("the test data is there");
    zstd::decode_all(&*packed).expect("the test data unpacks")
}

fn open(bytes: Vec<u8>) -> SnapshotFile {
    SnapshotFile::from_bytes(bytes).unwrap()
}

fn plan(data_dir: &Path) -> Plan {
    let cluster = "m1=http://127.0.0.1:2380,m2=http://127.0.0.2:2380,m3=http://127.0.0.3:2380";
    Plan::new("m1", Plan::parse_initial_cluster(cluster).unwrap(), "tok", data_dir)
}

fn entries(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn value(database: Database<'_>, bucket: &str, key: &[u8]) -> Option<Vec<u8>> {
    let bucket = database.bucket(bucket.as_bytes()).unwrap().unwrap();
    bucket.get(key).unwrap().map(|item| item.value.to_vec())
}

#[test]
fn a_copy_made_ahead_becomes_the_same_database() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("snapshot.db");
    fs::write(&file, snapshot()).unwrap();
    let source = Arc::new(SnapshotFile::open(&file).unwrap());
    // A directory that is there and empty, and one that is not.
    fs::create_dir(root.path().join("ahead")).unwrap();
    let mut plans = [plan(&root.path().join("ahead")), plan(&root.path().join("also"))];
    plans[1].name = "m2".to_owned();
    let ahead = CopyAhead::begin(Arc::clone(&source), &plans).unwrap();
    for plan in &mut plans {
        (plan.bump_revision, plan.mark_compacted) = (Some(100), true);
    }
    restore_ahead(&source, &plans, ahead).unwrap();
    assert_eq!(entries(root.path()), ["ahead", "also", "snapshot.db"]);
    for plan in plans {
        let written = fs::read(plan.data_dir.join("member/snap/db")).unwrap();
        let straight = root.path().join("straight");
        restore(&source, &Plan { data_dir: straight.clone(), ..plan }).unwrap();
        assert!(written == fs::read(straight.join("member/snap/db")).unwrap(), "the databases differ");
        fs::remove_dir_all(straight).unwrap();
    }
}

#[test]
fn a_copy_made_ahead_goes_when_it_is_not_wanted() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("etcd");
    let source = Arc::new(open(snapshot()));
    drop(CopyAhead::begin(Arc::clone(&source), &[plan(&data_dir)]).unwrap());
    assert_eq!(entries(root.path()), [""; 0]);
    // One for other directories, and one of another file, are of no use, and harm nothing.
    let ahead = CopyAhead::begin(Arc::clone(&source), &[plan(&root.path().join("other"))]).unwrap();
    restore_ahead(&source, &[plan(&data_dir)], ahead).unwrap();
    let ahead = CopyAhead::begin(Arc::new(open(snapshot())), &[plan(&root.path().join("second"))]).unwrap();
    restore_ahead(&source, &[plan(&root.path().join("second"))], ahead).unwrap();
    assert_eq!(entries(root.path()), ["etcd", "second"]);
}

#[test]
fn a_file_of_its_own_becomes_the_last_members_database() {
    use std::os::unix::fs::MetadataExt as _;
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join("unpacked.db");
    // Longer than its database, as a copied one may be.
    fs::write(&own, [snapshot(), vec![7; 100_000]].concat()).unwrap();
    let inode = fs::metadata(&own).unwrap().ino();
    let begin = |plans: &[Plan]| {
        let source = Arc::new(SnapshotFile::open(&own).unwrap());
        let ahead = CopyAhead::begin_taking(Arc::clone(&source), plans, &own).unwrap();
        (source, ahead)
    };
    let mut plans = [plan(&root.path().join("first")), plan(&root.path().join("last"))];
    plans[1].name = "m2".to_owned();
    // Given up, it lies where it was.
    drop(begin(&plans));
    assert_eq!(entries(root.path()), ["unpacked.db"]);

    let (source, ahead) = begin(&plans);
    assert!(own.exists(), "it is moved before anything is decided");
    (plans[1].bump_revision, plans[1].mark_compacted) = (Some(100), true);
    restore_ahead(&source, &plans, ahead).unwrap();
    drop(source);
    assert_eq!(entries(root.path()), ["first", "last"]);
    let database = |name: &str| root.path().join(name).join("member/snap/db");
    let moved = fs::metadata(database("last")).unwrap();
    assert_eq!((moved.ino(), moved.permissions().mode() & 0o777), (inode, 0o600));
    assert!(fs::metadata(database("first")).unwrap().ino() != inode);
    // Both are what they are when they are copied.
    let source = open(snapshot());
    for plan in plans {
        let straight = root.path().join("straight");
        let written = fs::read(plan.data_dir.join("member/snap/db")).unwrap();
        restore(&source, &Plan { data_dir: straight.clone(), ..plan }).unwrap();
        assert!(written == fs::read(straight.join("member/snap/db")).unwrap(), "the databases differ");
        fs::remove_dir_all(straight).unwrap();
    }
}

#[test]
fn a_file_of_its_own_is_copied_where_it_cannot_be_moved() {
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join("unpacked.db");
    fs::write(&own, snapshot()).unwrap();
    let source = Arc::new(SnapshotFile::open(&own).unwrap());
    // A compacting restore reads it to its end.
    let compact = [Plan { compact: true, ..plan(&root.path().join("compact")) }];
    let ahead = CopyAhead::begin_taking(Arc::clone(&source), &compact, &own).unwrap();
    restore_ahead(&source, &compact, ahead).unwrap();
    assert!(own.exists());
    // It is gone from its place meanwhile: what is open is enough.
    let plans = [plan(&root.path().join("etcd"))];
    let ahead = CopyAhead::begin_taking(Arc::clone(&source), &plans, &own).unwrap();
    fs::remove_file(&own).unwrap();
    restore_ahead(&source, &plans, ahead).unwrap();
    let straight = root.path().join("straight");
    restore(&source, &plan(&straight)).unwrap();
    let read = |directory: &Path| fs::read(directory.join("member/snap/db")).unwrap();
    assert!(read(&plans[0].data_dir) == read(&straight));
}

#[test]
fn the_data_directory_is_etcds_and_private() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("etcd");
    let bytes = snapshot();
    let image_bytes = bytes.len() - 32;
    let restored = restore(&open(bytes), &plan(&data_dir)).unwrap();
    assert_eq!(restored.member_id, 0x7140_5583_d3e2_d5ce);
    assert_eq!(restored.cluster_id, 4_104_851_171_624_068_452);
    assert_eq!(restored.revision, 1641);
    assert_eq!(restored.members.len(), 3);

    assert_eq!(entries(root.path()), ["etcd"]);
    assert_eq!(entries(&data_dir), ["member"]);
    assert_eq!(entries(&data_dir.join("member")), ["snap", "wal"]);
    let files = [
        ("member/snap/db", None),
        ("member/snap/0000000000000001-0000000000000003.snap", Some(7563)),
        ("member/wal/0000000000000000-0000000000000000.wal", Some(64_000_000)),
    ];
    for (name, length) in files {
        let metadata = fs::metadata(data_dir.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        assert!(length.is_none_or(|length| length == metadata.len()), "{name}");
    }
    let database = fs::metadata(data_dir.join("member/snap/db")).unwrap().len();
    assert!(database > image_bytes as u64 && database.is_multiple_of(4096));
    assert_eq!(restored.bytes_written, database + 7563 + 0x210);
}

#[test]
fn only_what_a_restore_changes_is_changed() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("etcd");
    let source = open(snapshot());
    restore(&source, &plan(&data_dir)).unwrap();
    let restored = SnapshotFile::open(&data_dir.join("member/snap/db")).unwrap();
    let (before, after) = (source.snapshot().db(), restored.snapshot().db());

    for bucket in before.buckets() {
        let (name, bucket) = bucket.unwrap();
        if matches!(name, b"members" | b"members_removed") {
            continue;
        }
        for item in bucket.items() {
            let item = item.unwrap();
            let name = std::str::from_utf8(name).unwrap();
            let changed = name == "meta" && matches!(item.key, b"consistent_index" | b"term");
            assert!(changed || value(after, name, item.key).as_deref() == Some(item.value), "{name}");
        }
    }
    assert_eq!(value(after, "meta", b"consistent_index"), Some(3_u64.to_be_bytes().to_vec()));
    assert_eq!(value(after, "meta", b"term"), Some(1_u64.to_be_bytes().to_vec()));
    assert_eq!(after.bucket(b"members").unwrap().unwrap().items().count(), 3);
    assert_eq!(after.bucket(b"members_removed").unwrap().unwrap().items().count(), 0);
    let m3 = br#"{"id":3398796125834015410,"peerURLs":["http://127.0.0.3:2380"],"name":"m3"}"#;
    assert_eq!(value(after, "members", b"2f2af311a04f72b2").as_deref(), Some(&m3[..]));
}

#[test]
fn a_bump_raises_and_compacts() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("etcd");
    let bumped = Plan { bump_revision: Some(1_000_000), mark_compacted: true, ..plan(&data_dir) };
    let restored = restore(&open(snapshot()), &bumped).unwrap();
    assert_eq!(restored.revision, 1_001_641);
    let file = SnapshotFile::open(&data_dir.join("member/snap/db")).unwrap();
    let last = file.snapshot().db().bucket(b"key").unwrap().unwrap().last().unwrap().unwrap();
    let key = crate::Revision { main: 1_001_641, sub: 0 }.encode();
    assert_eq!((last.key, last.value), (&key[..], &[][..]));
    assert_eq!(value(file.snapshot().db(), "meta", b"scheduledCompactRev"), Some(key.to_vec()));
    assert_eq!(value(file.snapshot().db(), "meta", b"finishedCompactRev"), None);
}

#[test]
fn a_bump_past_the_last_revision_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for bump in [u64::MAX, i64::MAX as u64] {
        let plan =
            Plan { bump_revision: Some(bump), mark_compacted: true, ..plan(&root.path().join("etcd")) };
        let error = restore(&open(snapshot()), &plan).unwrap_err();
        assert!(matches!(error, RestoreError::BumpTooLarge { revision: 1641, .. }), "{error}");
    }
    assert_eq!(entries(root.path()), [""; 0]);
}

/// What was restored can be restored again, as what etcd made of it can.
#[test]
fn a_restored_database_restores() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (root.path().join("first"), root.path().join("second"));
    restore(&open(snapshot()), &plan(&first)).unwrap();
    let again = SnapshotFile::open(&first.join("member/snap/db")).unwrap();
    let renamed = Plan { token: "other".into(), ..plan(&second) };
    let restored = restore(&again, &renamed).unwrap();
    assert_ne!(restored.cluster_id, 4_104_851_171_624_068_452);
    let file = SnapshotFile::open(&second.join("member/snap/db")).unwrap();
    assert_eq!(file.snapshot().db().bucket(b"members").unwrap().unwrap().items().count(), 3);
}

#[test]
fn a_failed_restore_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("parent/etcd");

    let mut cut = snapshot();
    cut.truncate(cut.len() / 2);
    let error = restore(&open(cut), &plan(&data_dir)).unwrap_err();
    assert!(matches!(error, RestoreError::Damaged(_)), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(entries(root.path()), [""; 0]);

    // The data directory is made first; the log's cannot be, below a file.
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    let misplaced = Plan { wal_dir: Some(file.join("wal")), ..plan(&data_dir) };
    restore(&open(snapshot()), &misplaced).unwrap_err();
    assert_eq!(entries(root.path()), ["file"]);
}

#[test]
fn a_database_that_is_not_etcds_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut bytes = snapshot();
    // The bucket's name in the root page, one letter on.
    let root_page = root_page_offset(&bytes);
    let name =
        bytes[root_page..].windows(3).position(|window| window == b"key").expect("the name is in the root");
    bytes[root_page + name + 2] = b'z';
    let error = restore(&open(bytes), &plan(&root.path().join("etcd"))).unwrap_err();
    assert!(matches!(error, RestoreError::NotEtcd), "{error}");
    assert_eq!(entries(root.path()), [""; 0]);
}

/// Where the root page begins.
fn root_page_offset(bytes: &[u8]) -> usize {
    let file = open(bytes.to_vec());
    let meta = *file.snapshot().db().meta();
    (meta.root.0 * u64::from(meta.page_size)) as usize
}

/// The snapshot as a member with pages of another size would have sent it.
fn with_pages_of(page_bytes: u32) -> Vec<u8> {
    let source = open(snapshot());
    let mut bytes = Vec::new();
    let database = source.snapshot().db();
    let loaded = write::load_pages(database, write::Changes::new(), &mut bytes, page_bytes).unwrap();
    for (offset, meta) in &loaded.metas {
        bytes[*offset as usize..][..meta.len()].copy_from_slice(meta);
    }
    bytes
}

#[test]
fn pages_of_any_size_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let source = open(snapshot());
    let expected = source.snapshot().db().bucket(b"key").unwrap().unwrap().items().count();
    for page_bytes in [1024, 16_384, 65_536] {
        let other = open(with_pages_of(page_bytes));
        for compact in [false, true] {
            let data_dir = root.path().join(format!("{page_bytes}-{compact}"));
            let plan = Plan { compact, bump_revision: Some(10), mark_compacted: true, ..plan(&data_dir) };
            assert_eq!(restore(&other, &plan).unwrap().revision, 1651);
            let restored = SnapshotFile::open(&data_dir.join("member/snap/db")).unwrap();
            let database = restored.snapshot().db();
            assert_eq!(database.page_size(), page_bytes);
            assert_eq!(database.bucket(b"key").unwrap().unwrap().items().count(), expected + 1);
            assert_eq!(database.bucket(b"members").unwrap().unwrap().items().count(), 3);
        }
    }
}

#[test]
fn what_a_restore_leaves_behind_is_no_alarm() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("etcd");
    restore(&open(snapshot()), &plan(&data_dir)).unwrap();
    let file = SnapshotFile::open(&data_dir.join("member/snap/db")).unwrap();
    let options = crate::CheckOptions { allow_missing_hash: true, ..crate::CheckOptions::default() };
    let integrity = crate::inspect(&file, &options).integrity;
    assert_eq!(integrity.outcome, crate::Outcome::Passed);
    let loud = integrity.findings.iter().filter(|finding| finding.severity != crate::Severity::Info);
    assert_eq!(loud.count(), 0, "{:#?}", integrity.findings);
    // etcd's own restore leaves raft's old voters in `meta` as well.
    assert!(integrity.findings.iter().any(|finding| finding.code == "conf-state-differs"));
}
