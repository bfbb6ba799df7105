//! Restores are proved by etcd itself: each version boots what was restored from its own snapshot and serves the same
//! keys, lets members join, and `etcdutl` writes the same for the same plan.

mod etcd;
mod support;

use std::path::{Path, PathBuf};

use etcd::{Server, Start, Tools, free_url};
use etcd_snapshot::SnapshotFile;
use etcd_snapshot::hash::hash_kv;
use etcd_snapshot::restore::{Member, Plan, Restored, restore, restore_all};
use tempfile::TempDir;

/// One test for each version of etcd.
macro_rules! for_each_version {
    ($($name:ident)*) => {
        mod etcd_3_4 { $(#[test] fn $name() { super::with("3.4", super::$name); })* }
        mod etcd_3_5 { $(#[test] fn $name() { super::with("3.5", super::$name); })* }
        mod etcd_3_6 { $(#[test] fn $name() { super::with("3.6", super::$name); })* }
        mod etcd_3_7 { $(#[test] fn $name() { super::with("3.7", super::$name); })* }
    };
}

for_each_version! {
    a_restored_member_serves_the_same_and_lets_another_join
    three_members_form_a_cluster
    a_bumped_restore_is_that_of_etcdutl
    the_files_are_those_of_etcdutl
    a_compacted_restore_serves_the_same
    databases_of_other_shapes_are_served
    alarms_stay_or_are_cleared
    users_leases_and_a_copied_database_come_back
    authentication_is_stripped
}

fn with(version: &'static str, test: fn(&Tools, &Path)) {
    let Some(tools) = Tools::find(version) else { return };
    let directory = TempDir::new().expect("a directory");
    test(&tools, directory.path());
}

/// A snapshot with what it was taken from.
struct Source {
    snapshot: PathBuf,
    revision: i64,
    hash_kv: (u64, i64),
    keys: serde_json::Value,
}

/// A cluster with history: rewritten, deleted and compacted keys, then a snapshot of it.
fn source(tools: &Tools, directory: &Path) -> Source {
    let server = Server::bootstrap(tools, &directory.join("source"), &[]);
    fill(&server);
    let snapshot = directory.join("snapshot.db");
    server.save_snapshot(&snapshot);
    let revision = server.revision();
    Source { snapshot, revision, hash_kv: server.hash_kv(revision), keys: server.keys(revision) }
}

fn fill(server: &Server) {
    let large = "x".repeat(20_000);
    for number in 0..12 {
        server.ctl(&["put", &format!("/registry/pods/default/pod-{number:03}"), &format!("value {number}")]);
    }
    for round in 0..3 {
        server.ctl(&["put", "rewritten", &format!("{round} {large}")]);
    }
    server.ctl(&["del", "/registry/pods/default/pod-003"]);
    // Seventeen revisions up to here; half of them go.
    server.ctl(&["compact", &(server.revision() - 9).to_string()]);
    server.ctl(&["del", "/registry/pods/default/pod-01", "--prefix"]);
    server.ctl(&["put", "/registry/pods/default/pod-003", "again"]);
}

/// A plan for one member, and the peer URL it gives it.
fn single_plan(data_dir: &Path) -> (Plan, String) {
    let peer_url = free_url();
    let members = vec![Member { name: "m1".into(), peer_urls: vec![peer_url.clone()] }];
    (Plan::new("m1", members, "restore-test", data_dir), peer_url)
}

fn restore_from(snapshot: &Path, plan: &Plan) -> Restored {
    let file = SnapshotFile::open(snapshot).expect("the snapshot opens");
    restore(&file, plan).expect("the snapshot restores")
}

fn boot(tools: &Tools, name: &str, data_dir: &Path, peer_url: &str) -> Server {
    Server::start(tools, &Start { name, data_dir, peer_url, extra: &[] })
}

fn a_restored_member_serves_the_same_and_lets_another_join(tools: &Tools, directory: &Path) {
    let source = source(tools, directory);
    let data_dir = directory.join("restored");
    let (plan, peer_url) = single_plan(&data_dir);
    let restored = restore_from(&source.snapshot, &plan);
    assert_eq!(restored.revision, source.revision);

    let first = boot(tools, "m1", &data_dir, &peer_url);
    assert_eq!(first.members(), (restored.cluster_id, restored.members));
    assert_eq!(first.revision(), source.revision);
    assert_eq!(first.hash_kv(source.revision), source.hash_kv);
    assert_eq!(first.keys(source.revision), source.keys);
    first.ctl(&["put", "after", "the restore"]);
    let event = |key: &str, revision: i64| first.first_of_watch(&[key, "--rev", &revision.to_string()]);
    assert_eq!(event("/registry/pods/default/pod-003", source.revision), "PUT", "history is watched");
    assert_eq!(event("after", source.revision), "PUT", "and what comes after it");

    let second = join(tools, directory, &first, &peer_url);
    assert_eq!(second.hash_kv(source.revision), source.hash_kv);
    assert_eq!(second.keys(source.revision), source.keys);
    second.ctl(&["put", "through the second", "works"]);
    assert_eq!(first.members().1.len(), 2);
}

/// Adds a member `m2` to the one-member cluster of `first`: one that catches up with all its data.
fn join(tools: &Tools, directory: &Path, first: &Server, peer_url: &str) -> Server {
    let url = free_url();
    first.ctl(&["member", "add", "m2", &format!("--peer-urls={url}")]);
    let cluster = format!("m1={peer_url},m2={url}");
    let extra = ["--initial-cluster", &*cluster, "--initial-cluster-state", "existing"];
    let data_dir = directory.join("joined");
    let second =
        Server::start(tools, &Start { name: "m2", data_dir: &data_dir, peer_url: &url, extra: &extra });
    let revision = first.revision();
    second.wait_for("the new member does not catch up", |second| second.revision() >= revision);
    assert_eq!(second.hash_kv(revision), first.hash_kv(revision));
    second
}

fn three_members_form_a_cluster(tools: &Tools, directory: &Path) {
    let source = source(tools, directory);
    let members: Vec<Member> =
        (1..=3).map(|number| Member { name: format!("m{number}"), peer_urls: vec![free_url()] }).collect();
    let plan = |member: &Member| Plan {
        wal_dir: Some(directory.join("logs").join(&member.name)),
        ..Plan::new(&member.name, members.clone(), "three", &directory.join("members").join(&member.name))
    };
    let plans: Vec<Plan> = members.iter().map(plan).collect();
    let file = SnapshotFile::open(&source.snapshot).expect("the snapshot opens");
    let restored = restore_all(&file, &plans).expect("the snapshot restores");
    let mut servers = Vec::new();
    let mut expected = Vec::new();
    for ((member, plan), restored) in members.iter().zip(&plans).zip(restored) {
        assert!(restored.members.contains(&(member.name.clone(), restored.member_id)));
        expected.push((restored.cluster_id, restored.members));
        let wal_dir = plan.wal_dir.as_ref().expect("it was set").display().to_string();
        let extra = ["--wal-dir", &*wal_dir];
        let start = Start {
            name: &member.name,
            data_dir: &plan.data_dir,
            peer_url: &member.peer_urls[0],
            extra: &extra,
        };
        servers.push(Server::spawn(tools, &start));
    }
    servers.iter_mut().for_each(Server::wait_until_healthy);
    servers[2].ctl(&["put", "after", "the restore"]);
    let revision = source.revision + 1;
    for (server, expected) in servers.iter().zip(expected) {
        server.wait_for("the member lags", |server| server.revision() >= revision);
        server.wait_for("names are not known yet", |server| server.members() == expected);
        assert_eq!(server.hash_kv(source.revision), source.hash_kv);
        assert_eq!(server.hash_kv(revision), servers[0].hash_kv(revision));
        assert_eq!(server.keys(source.revision), source.keys);
    }
}

/// What the snapshot's own tool restores, for the same plan.
fn restore_with_etcdutl(tools: &Tools, snapshot: &Path, plan: &Plan, data_dir: &Path) {
    let cluster: Vec<String> = plan
        .initial_cluster
        .iter()
        .flat_map(|member| member.peer_urls.iter().map(|url| format!("{}={url}", member.name)))
        .collect();
    let own =
        plan.initial_cluster.iter().find(|member| member.name == plan.name).expect("the member is there");
    let (snapshot, data_dir) = (snapshot.display().to_string(), data_dir.display().to_string());
    let (cluster, urls) = (cluster.join(","), own.peer_urls.join(","));
    let bump = plan.bump_revision.map(|bump| format!("--bump-revision={bump}"));
    let mut arguments = vec!["snapshot", "restore", &snapshot, "--data-dir", &data_dir, "--name", &plan.name];
    arguments.extend(["--initial-cluster", &cluster, "--initial-advertise-peer-urls", &urls]);
    arguments.extend(["--initial-cluster-token", &plan.token]);
    if let Some(bump) = &bump {
        arguments.extend([&**bump, "--mark-compacted"]);
    }
    tools.must_run(tools.offline(), &arguments);
}

fn a_bumped_restore_is_that_of_etcdutl(tools: &Tools, directory: &Path) {
    const BUMP: i64 = 1_000_000;
    let source = source(tools, directory);
    let data_dir = directory.join("restored");
    let (mut plan, peer_url) = single_plan(&data_dir);
    (plan.bump_revision, plan.mark_compacted) = (Some(BUMP as u64), true);
    let restored = restore_from(&source.snapshot, &plan);
    assert_eq!(restored.revision, source.revision + BUMP);

    let ours = boot(tools, "m1", &data_dir, &peer_url);
    assert_eq!(ours.revision(), restored.revision);
    let compacted = "required revision has been compacted";
    ours.wait_for("the raised revision is not compacted", |server| {
        let output = server.run(&["get", "rewritten", "--rev", &source.revision.to_string()]);
        String::from_utf8_lossy(&output.stderr).contains(compacted)
    });
    let watch = ours.run(&["watch", "rewritten", "--rev", &source.revision.to_string()]);
    assert!(String::from_utf8_lossy(&watch.stderr).contains(compacted), "{watch:?}");
    assert_eq!(ours.keys(0), source.keys, "compaction drops no live key");
    ours.ctl(&["put", "after", "the bump"]);
    assert_eq!(ours.revision(), restored.revision + 1);

    // The tool of 3.4 knows the flags only from a later release on.
    if tools.version != "3.4" {
        let theirs_dir = directory.join("theirs");
        restore_with_etcdutl(tools, &source.snapshot, &plan, &theirs_dir);
        let own_url = free_url();
        let theirs = boot(tools, "m1", &theirs_dir, &own_url);
        theirs.ctl(&["put", "after", "the bump"]);
        let revision = restored.revision + 1;
        assert_eq!(theirs.revision(), revision);
        let expected = ours.hash_kv(revision);
        theirs.wait_for("the compaction does not end", |theirs| theirs.hash_kv(revision).1 == expected.1);
        assert_eq!(theirs.hash_kv(revision), expected);
    }
}

fn the_files_are_those_of_etcdutl(tools: &Tools, directory: &Path) {
    let source = source(tools, directory);
    let (ours_dir, theirs_dir) = (directory.join("ours"), directory.join("theirs"));
    let members =
        Plan::parse_initial_cluster("m1=http://127.0.0.1:2380,m2=http://127.0.0.2:2380,m3=http://[::1]:2380")
            .expect("a cluster");
    let plan = Plan::new("m2", members, "tok", &ours_dir);
    restore_from(&source.snapshot, &plan);
    restore_with_etcdutl(tools, &source.snapshot, &plan, &theirs_dir);

    let snap = "member/snap/0000000000000001-0000000000000003.snap";
    let wal = "member/wal/0000000000000000-0000000000000000.wal";
    let read = |directory: &Path, name: &str| std::fs::read(directory.join(name)).expect("the file is there");
    let (our_wal, their_wal) = (read(&ours_dir, wal), read(&theirs_dir, wal));
    assert_eq!(our_wal.len(), their_wal.len());
    let log = |bytes: &[u8]| etcd_snapshot::wal::read_segment(bytes, 0).expect("the log reads");
    let (our_log, their_log) = (log(&our_wal), log(&their_wal));
    assert_eq!(our_log.metadata, their_log.metadata);
    assert_eq!(our_log.hard_state, their_log.hard_state);
    // 3.4 writes no membership into the log, and 3.7 leaves zeros out.
    if matches!(tools.version, "3.5" | "3.6") {
        assert!(our_wal == their_wal, "the logs differ");
    }
    // From 3.6 on the order of the members' creation in it is random.
    if matches!(tools.version, "3.4" | "3.5") {
        assert!(read(&ours_dir, snap) == read(&theirs_dir, snap), "the .snap files differ");
    }

    let (ours, theirs) = (items(&ours_dir), items(&theirs_dir));
    // The tool of 3.4 keeps the old members beside the new, and knows no term.
    let compared = |(bucket, key, _): &(String, Vec<u8>, Vec<u8>)| {
        tools.version != "3.4" || !(bucket.starts_with("members") || key == b"term")
    };
    let only =
        |items: &[(String, Vec<u8>, Vec<u8>)]| items.iter().filter(|item| compared(item)).cloned().collect();
    let (ours, theirs): (Vec<_>, Vec<_>) = (only(&ours), only(&theirs));
    assert_eq!(ours, theirs);

    let database = ours_dir.join("member/snap/db").display().to_string();
    tools.must_run(tools.offline(), &["snapshot", "status", &database]);
}

/// Every item of every bucket of a restored database.
fn items(data_dir: &Path) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let file = SnapshotFile::open(&data_dir.join("member/snap/db")).expect("the database opens");
    let mut items = Vec::new();
    for bucket in file.snapshot().db().buckets() {
        let (name, bucket) = bucket.expect("the root reads");
        for item in bucket.items() {
            let item = item.expect("the bucket reads");
            items.push((String::from_utf8_lossy(name).into_owned(), item.key.to_vec(), item.value.to_vec()));
        }
    }
    items
}

fn a_compacted_restore_serves_the_same(tools: &Tools, directory: &Path) {
    let source = source(tools, directory);
    let (data_dir, appended_dir) = (directory.join("restored"), directory.join("appended"));
    let (plan, peer_url) = single_plan(&data_dir);
    restore_from(&source.snapshot, &Plan { data_dir: appended_dir.clone(), ..plan.clone() });
    restore_from(&source.snapshot, &Plan { compact: true, ..plan });
    assert_eq!(items(&data_dir), items(&appended_dir));
    let database = data_dir.join("member/snap/db").display().to_string();
    let size =
        |directory: &Path| std::fs::metadata(directory.join("member/snap/db")).expect("it is there").len();
    assert!(size(&data_dir) < size(&appended_dir));
    tools.must_run(tools.offline(), &["snapshot", "status", &database]);

    let restored = boot(tools, "m1", &data_dir, &peer_url);
    assert_eq!(restored.hash_kv(source.revision), source.hash_kv);
    assert_eq!(restored.keys(source.revision), source.keys);
    // Growth behind what was loaded, and holes in it.
    fill(&restored);
    let joined = join(tools, directory, &restored, &peer_url);
    restored.ctl(&["defrag"]);
    restored.ctl(&["put", "after", "the defragmentation"]);
    let revision = restored.revision();
    joined.wait_for("the new member lags", |joined| joined.revision() >= revision);
    assert_eq!(joined.keys(revision), restored.keys(revision));
}

/// Pages of another size than this machine's, and buckets that are not etcd's, with buckets within them: what bbolt wrote.
fn databases_of_other_shapes_are_served(tools: &Tools, directory: &Path) {
    let shapes: &[&str] = match tools.version {
        "3.4" => &["pages-8192"],
        "3.5" => &["pages-16384"],
        "3.6" => &["pages-65536", "nested", "copied-pages-8192"],
        _ => &["pages-1024", "nested-16384"],
    };
    for name in shapes {
        let snapshot = directory.join(format!("{name}.db"));
        std::fs::write(&snapshot, support::bytes(name)).expect("the file is written");
        let file = SnapshotFile::open(&snapshot).expect("the snapshot opens");
        for compact in [false, true] {
            let data_dir = directory.join(format!("{name}-{compact}"));
            let (plan, peer_url) = single_plan(&data_dir);
            let restored = restore_from(&snapshot, &Plan { compact, ..plan });
            let server = boot(tools, "m1", &data_dir, &peer_url);
            assert_eq!(server.revision(), restored.revision, "{name}");
            let (hash, compact_revision) = server.hash_kv(restored.revision);
            // Up to 3.5 a server that never compacted says so with 0 or -1.
            let compact_revision = if compact_revision > 0 { compact_revision } else { -1 };
            let expected = hash_kv(file.snapshot(), restored.revision, Some(compact_revision));
            assert_eq!(
                expected.expect("it has that revision").hash,
                u32::try_from(hash).expect("a CRC"),
                "{name}"
            );
            let count = |keys: serde_json::Value| keys.as_array().map_or(0, Vec::len);
            let live = file.live().expect("it has an index").len();
            assert_eq!(count(server.keys(restored.revision)), live, "{name}");
            // It is written to, from then on in pages of that size.
            fill(&server);
            server.ctl(&["defrag"]);
            assert_eq!(count(server.keys(0)), live + 11, "{name}: what was filled in is there too");
        }
    }
}

fn alarms_stay_or_are_cleared(tools: &Tools, directory: &Path) {
    let server = Server::bootstrap(tools, &directory.join("source"), &["--quota-backend-bytes", "2000000"]);
    let large = "x".repeat(100_000);
    server.wait_for("the quota is not reached", |server| {
        !server.run(&["put", "large", &large]).status.success()
            && server.ctl(&["alarm", "list"]).contains("NOSPACE")
    });
    let snapshot = directory.join("snapshot.db");
    server.save_snapshot(&snapshot);
    drop(server);

    for clear_alarms in [false, true] {
        let data_dir = directory.join(format!("restored-{clear_alarms}"));
        let (mut plan, peer_url) = single_plan(&data_dir);
        plan.clear_alarms = clear_alarms;
        restore_from(&snapshot, &plan);
        // A server with an alarm does not call itself healthy.
        let start = Start { name: "m1", data_dir: &data_dir, peer_url: &peer_url, extra: &[] };
        let restored = Server::spawn(tools, &start);
        restored.wait_for("it does not answer", |server| server.run(&["alarm", "list"]).status.success());
        assert_eq!(restored.ctl(&["alarm", "list"]).contains("NOSPACE"), !clear_alarms);
        assert_eq!(restored.run(&["put", "small", "value"]).status.success(), clear_alarms);
    }
}

fn users_leases_and_a_copied_database_come_back(tools: &Tools, directory: &Path) {
    let server = Server::bootstrap(tools, &directory.join("source"), &[]);
    fill(&server);
    let granted = server.json(&["lease", "grant", "3600"])["ID"].as_u64().expect("a lease");
    server.ctl(&["put", "for an hour", "value", &format!("--lease={granted:x}")]);
    let soon = server.json(&["lease", "grant", "5"])["ID"].as_u64().expect("a lease");
    server.ctl(&["put", "for five seconds", "value", &format!("--lease={soon:x}")]);
    server.ctl(&["user", "add", "root:secret"]);
    server.ctl(&["user", "grant-role", "root", "root"]);
    server.ctl(&["auth", "enable"]);
    // The file of a server that was ended, not its snapshot: no hash, two metas, a tail behind the high water mark.
    let database = directory.join("source/member/snap/db");
    let root = ["--user", "root:secret"];
    server.ctl(&[&root[..], &["put", "last", "write"]].concat());
    let mut server = server;
    server.stop();

    let data_dir = directory.join("restored");
    let wal_dir = directory.join("wal");
    std::fs::create_dir(&data_dir).expect("an empty target");
    let (mut plan, peer_url) = single_plan(&data_dir);
    plan.wal_dir = Some(wal_dir.clone());
    restore_from(&database, &plan);
    assert!(!data_dir.join("member/wal").exists());
    let wal_dir = wal_dir.display().to_string();
    let extra = ["--wal-dir", &*wal_dir];
    let restored =
        Server::start(tools, &Start { name: "m1", data_dir: &data_dir, peer_url: &peer_url, extra: &extra });

    assert!(!restored.run(&["get", "last"]).status.success(), "auth is on");
    let get = |key: &str| restored.ctl(&[&root[..], &["get", key, "--print-value-only"]].concat());
    assert_eq!(get("last").trim(), "write");
    assert_eq!(get("for an hour").trim(), "value");
    restored.wait_for("the lease does not expire", |_| get("for five seconds").is_empty());
    assert_eq!(get("for an hour").trim(), "value");
}

fn authentication_is_stripped(tools: &Tools, directory: &Path) {
    let server = Server::bootstrap(tools, &directory.join("source"), &[]);
    fill(&server);
    for user in ["root", "reader"] {
        server.ctl(&["user", "add", &format!("{user}:secret")]);
    }
    server.ctl(&["role", "add", "some"]);
    server.ctl(&["role", "grant-permission", "some", "read", "/registry/", "--prefix"]);
    server.ctl(&["user", "grant-role", "root", "root"]);
    server.ctl(&["user", "grant-role", "reader", "some"]);
    server.ctl(&["auth", "enable"]);
    let snapshot = directory.join("snapshot.db");
    let root = ["--user", "root:secret"];
    server.ctl(&[&root[..], &["snapshot", "save", &snapshot.display().to_string()]].concat());
    drop(server);

    for compact in [false, true] {
        let data_dir = directory.join(format!("restored-{compact}"));
        let (mut plan, peer_url) = single_plan(&data_dir);
        (plan.strip_auth, plan.compact) = (true, compact);
        restore_from(&snapshot, &plan);
        let restored = boot(tools, "m1", &data_dir, &peer_url);
        restored.ctl(&["put", "anybody", "writes"]);
        assert!(restored.ctl(&["get", "rewritten"]).contains("rewritten"));
        assert_eq!(restored.ctl(&["user", "list"]).trim(), "");
        assert_eq!(restored.ctl(&["role", "list"]).trim(), "");
        // It can be set up anew, with the same names.
        restored.ctl(&["user", "add", "root:other"]);
        restored.ctl(&["user", "grant-role", "root", "root"]);
        restored.ctl(&["auth", "enable"]);
        assert!(!restored.run(&["get", "anybody"]).status.success(), "auth is on again");
        assert!(restored.ctl(&["--user", "root:other", "get", "anybody"]).contains("writes"));
    }
}
