use super::*;

fn member(name: &str, urls: &[&str]) -> Member {
    Member { name: name.into(), peer_urls: urls.iter().map(ToString::to_string).collect() }
}

fn plan(members: Vec<Member>) -> Plan {
    Plan::new("m1", members, "tok", Path::new("/nonexistent-parent/etcd"))
}

fn single() -> Plan {
    plan(vec![member("m1", &["http://127.0.0.1:2380"])])
}

#[test]
fn a_cluster_reads_as_etcd_reads_it() {
    let text =
        "m1=http://127.0.0.1:2380, m2 = HTTPS://node-2:2380,,m1=http://[::1]:2380,m3=unix:///run/etcd.sock";
    let members = Plan::parse_initial_cluster(text).unwrap();
    let expected = [
        member("m1", &["http://127.0.0.1:2380", "http://[::1]:2380"]),
        member("m2", &["https://node-2:2380"]),
        member("m3", &["unix:///run/etcd.sock"]),
    ];
    assert_eq!(members, expected);
}

#[test]
fn what_is_no_cluster_is_refused() {
    assert!(matches!(Plan::parse_initial_cluster(""), Err(PlanError::NoMembers)));
    assert!(matches!(Plan::parse_initial_cluster(" , "), Err(PlanError::NoMembers)));
    assert!(matches!(Plan::parse_initial_cluster("http://a:1"), Err(PlanError::NotAMember { .. })));
    assert!(matches!(Plan::parse_initial_cluster("=http://a:1"), Err(PlanError::NoName)));
    assert!(matches!(Plan::parse_initial_cluster("m1="), Err(PlanError::Url { .. })));
}

#[test]
fn urls_that_etcd_would_not_take_are_refused() {
    let wrong = [
        "127.0.0.1:2380",
        "ftp://a:1",
        "http://a",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:+80",
        "http://:2380",
        "http://[]:2380",
        "http://::1:2380",
        "http://[::1:2380",
        "http://a:1/",
        "http://a:1/path",
        "http://user@a:1",
        "http://a:1?query",
        "http://a b:1",
        "unix://",
    ];
    for url in wrong {
        let plan = plan(vec![member("m1", &[url])]);
        assert!(matches!(plan.validate(), Err(PlanError::Url { .. })), "{url}");
    }
}

#[test]
fn members_are_checked_against_each_other() {
    let errors = [
        (vec![], "the initial cluster has no members"),
        (vec![member("m2", &["http://a:1"])], "member `m1` is not in the initial cluster"),
        (vec![member("m1", &[])], "member `m1` has no peer URL"),
        (
            vec![member("m1", &["http://a:1"]), member("", &["http://b:1"])],
            "a member of the initial cluster has no name",
        ),
        (
            vec![member("m1", &["http://a:1"]), member("m1", &["http://b:1"])],
            "the initial cluster has member `m1` twice",
        ),
        (
            vec![member("m1", &["http://a:1"]), member("m2", &["http://b:1", "HTTP://a:1"])],
            "peer URL `http://a:1` is given twice, to `m1` and to `m2`",
        ),
        (
            vec![member("m1", &["http://a:1", "http://a:1"])],
            "peer URL `http://a:1` is given twice, to `m1` and to `m1`",
        ),
    ];
    for (members, expected) in errors {
        assert_eq!(plan(members).validate().unwrap_err().to_string(), expected);
    }
    let many = (1..=101).map(|port| member(&format!("m{port}"), &[&format!("http://a:{port}")])).collect();
    assert!(matches!(plan(many).validate(), Err(PlanError::TooManyMembers { count: 101 })));
}

#[test]
fn ids_are_those_of_the_worked_example() {
    let text = "m1=http://127.0.0.1:2380,m2=http://127.0.0.2:2380,m3=http://127.0.0.3:2380";
    let plan = plan(Plan::parse_initial_cluster(text).unwrap());
    let (cluster_id, members) = plan.ids().unwrap();
    assert_eq!(cluster_id, 4_104_851_171_624_068_452);
    let expected =
        [("m3", 0x2f2a_f311_a04f_72b2), ("m2", 0x6900_051e_73e7_c254), ("m1", 0x7140_5583_d3e2_d5ce)];
    assert_eq!(members, expected.map(|(name, id): (&str, u64)| (name.to_owned(), id)));
}

#[test]
fn advertised_urls_are_those_of_the_cluster_in_any_order() {
    let plan = plan(vec![member("m1", &["http://a:1", "http://b:1"])]);
    let urls = |urls: &[&str]| urls.iter().map(ToString::to_string).collect::<Vec<_>>();
    plan.check_advertised(&urls(&["http://b:1", " http://a:1"])).unwrap();
    let error = plan.check_advertised(&urls(&["http://a:1"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "member `m1` advertises `http://a:1`, but the initial cluster has `http://a:1,http://b:1` for it"
    );
    assert!(error.hint().is_some());
}

#[test]
fn a_bump_and_its_mark_go_together() {
    single().validate().unwrap();
    let with = |bump_revision, mark_compacted| Plan { bump_revision, mark_compacted, ..single() }.validate();
    with(Some(5), true).unwrap();
    with(Some(0), false).unwrap();
    assert!(matches!(with(Some(5), false), Err(PlanError::BumpWithoutMark)));
    assert!(matches!(with(None, true), Err(PlanError::MarkWithoutBump)));
    assert!(matches!(with(Some(0), true), Err(PlanError::MarkWithoutBump)));
}

#[test]
fn the_data_directory_is_absent_or_empty() {
    let root = tempfile::tempdir().unwrap();
    let check = |path: &Path| Plan { data_dir: path.to_owned(), ..single() }.validate();
    check(root.path()).unwrap();
    check(&root.path().join("new/below")).unwrap();

    let link = root.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    assert!(matches!(check(&link), Err(PlanError::NotADirectory { .. })));
    let error = check(root.path()).unwrap_err();
    assert!(matches!(&error, PlanError::NotEmpty { entry, .. } if entry == "link"));
    std::fs::remove_file(&link).unwrap();

    let file = root.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(check(&file), Err(PlanError::NotADirectory { .. })));
    assert!(matches!(check(&file.join("below")), Err(PlanError::NotADirectory { .. })));
    std::fs::remove_file(&file).unwrap();

    // Of a restore into this very directory that was killed; another's may be wanted.
    let name = root.path().file_name().unwrap().to_string_lossy().into_owned();
    let dead = root.path().join(format!(".{name}.holdfast-restore-0a1b2c3d"));
    std::fs::create_dir(&dead).unwrap();
    check(root.path()).unwrap();
    let held = std::fs::File::open(&dead).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(matches!(check(root.path()), Err(PlanError::Busy { .. })));
    std::fs::create_dir(root.path().join(".other.holdfast-restore-0a1b2c3d")).unwrap();
    drop(held);
    assert!(matches!(check(root.path()), Err(PlanError::NotEmpty { .. })));
}

#[test]
fn no_two_members_are_written_to_one_place() {
    let root = tempfile::tempdir().unwrap();
    let members = Plan::parse_initial_cluster("a=http://h:1,b=http://h:2").unwrap();
    let plan =
        |name: &str, directory: &str| Plan::new(name, members.clone(), "t", &root.path().join(directory));
    Plan::validate_all(&[plan("a", "x"), plan("b", "y")]).unwrap();
    let clash = Plan::validate_all(&[plan("a", "x"), plan("b", "y/../x")]);
    assert!(matches!(clash, Err(PlanError::SameDirectory { .. })), "{clash:?}");
}

#[test]
fn the_wal_directory_is_new_and_in_nobodys_way() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("etcd");
    let check = |wal: &Path| {
        Plan { data_dir: data_dir.clone(), wal_dir: Some(wal.to_owned()), ..single() }.validate()
    };
    check(&root.path().join("wal")).unwrap();
    check(&data_dir.join("member/wal")).unwrap();
    check(&data_dir.join("wal")).unwrap();
    assert!(matches!(check(root.path()), Err(PlanError::WalDirExists { .. })));
    for inside in ["member", "member/snap", "member/snap/wal", "", "member/../member/snap"] {
        let wal = data_dir.join(inside);
        assert!(matches!(check(&wal), Err(PlanError::WalDirOverlaps { .. })), "{inside}");
    }
}
