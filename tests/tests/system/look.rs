//! Looking into snapshots without a restore: `get`, `keys` and `diff`.

use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::objects::Object;
use holdfast_tests::site::{finish, holdfast, sha256};
use holdfast_tests::{Cluster, Site, objects, process, tools};
use serde_json::Value;
use tempfile::TempDir;

/// The two snapshots of a real Kubernetes cluster, on disk.
struct Samples {
    _directory: TempDir,
    first: String,
    second: String,
}

fn samples() -> Samples {
    let directory = temporary_directory();
    let unpack = |name: &str| objects::sample(name, directory.path()).display().to_string();
    let (first, second) = (unpack("kubernetes-t1"), unpack("kubernetes-t2"));
    Samples { _directory: directory, first, second }
}

fn test_data(name: &str) -> Value {
    let path = tools::root().join("tests/data").join(name);
    serde_json::from_slice(&fs::read(path).expect("the file is there")).expect("it is JSON")
}

fn truth(name: &str) -> Value {
    let path = tools::root().join("tests/data").join(format!("{name}.truth.json.zst"));
    let plain = tools::run(tools::program("zstd").args(["-q", "-d", "-c"]).arg(path));
    serde_json::from_slice(&plain).expect("the truth is JSON")
}

/// Standard output as bytes.
fn bytes(arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(tools::holdfast());
    command.args(arguments).env_remove("HOLDFAST_CONFIG");
    process::output(&mut command).expect("holdfast runs").stdout
}

#[test]
fn keys_and_their_values_are_those_of_the_server() {
    let samples = samples();
    let truth = truth("kubernetes-t2");
    let expected = truth["keys"].as_array().expect("the truth lists the keys");
    let listed = holdfast(&["keys", &samples.second, "--output", "json"]);
    let listed = listed.exits(0).json();
    assert_eq!((listed["revision"].as_i64(), listed["count"].as_u64()), (Some(2072), Some(1175)));
    let listed = listed["keys"].as_array().expect("there is a list");
    assert_eq!(listed.len(), expected.len());
    for (found, expected) in listed.iter().zip(expected) {
        assert_eq!(found["size_bytes"], expected["value_len"], "{found}");
        for name in ["key", "create_revision", "mod_revision", "version"] {
            assert_eq!(found[name], expected[name], "{found}");
        }
    }
    for expected in expected.iter().step_by(100) {
        let key = expected["key"].as_str().expect("a key is text");
        let raw = bytes(&["get", &samples.second, key, "--output", "raw"]);
        assert_eq!(expected["value_sha256"], sha256(&raw), "{key}");
    }
    // The older state in the newer file is what the older file has.
    let lines = |arguments: &[&str]| holdfast(arguments).exits(0).stdout.clone();
    let at = lines(&["keys", &samples.second, "--revision", "1641"]);
    assert_eq!(at, lines(&["keys", &samples.first]));
}

#[test]
fn keys_are_counted_selected_and_cut() {
    let samples = samples();
    let count = |arguments: &[&str]| -> String {
        let all = [&["keys", &samples.second, "--count"], arguments].concat();
        holdfast(&all).exits(0).stdout.trim().to_owned()
    };
    let facts = test_data("kubernetes-t2.facts.json");
    let by_resource = facts["api_objects_by_resource"].as_object().expect("there are counts");
    assert_eq!(count(&[]), "1175");
    for (kind, resource) in [
        ("deploy", "deployments"),
        ("Secret", "secrets"),
        ("configmaps", "configmaps"),
        ("tenant", "tenants"),
    ] {
        let expected =
            by_resource.iter().find(|(name, _)| name.split(['.', '/']).any(|part| part == resource));
        let (name, expected) = expected.unwrap_or_else(|| panic!("{resource} is counted"));
        assert_eq!(count(&["--kind", kind]), expected.to_string(), "{name}");
    }
    let secrets = holdfast(&["keys", &samples.second, "/registry/secrets/"]);
    let secrets: Vec<&str> = secrets.exits(0).stdout.lines().collect();
    let last = holdfast(&["keys", &samples.second, "/registry/secrets/", "--reverse", "--limit", "2"]);
    let expected: Vec<&str> = secrets.iter().rev().take(2).copied().collect();
    assert_eq!(last.exits(0).stdout.lines().collect::<Vec<_>>(), expected);
    last.says(&[&format!("2 of {} keys", secrets.len())]);
    let long = holdfast(&["keys", &samples.second, "--kind", "ns", "--name", "web", "--long"]);
    assert!(long.exits(0).stdout.starts_with("    REVISION"), "{long}");
    assert!(long.stdout.ends_with("/registry/namespaces/web\n"), "{long}");
    let none = holdfast(&["keys", &samples.second, "/nothing/"]);
    assert_eq!(none.exits(1).stdout, "");
}

#[test]
fn objects_are_shown_so_that_they_can_be_applied() {
    let samples = samples();
    let key = "/registry/secrets/monitoring/billing-media-3";
    let yaml = holdfast(&["get", &samples.second, key]);
    let by_name = [
        "get",
        &samples.second,
        "--kind",
        "secret",
        "--namespace",
        "monitoring",
        "--name",
        "billing-media-3",
    ];
    assert_eq!(holdfast(&by_name).exits(0).stdout, yaml.stdout);
    let head =
        "apiVersion: v1\nkind: Secret\nmetadata:\n  labels:\n    managed: \"yes\"\n  name: billing-media-3\n";
    assert!(yaml.exits(0).stdout.starts_with(head), "{yaml}");
    for trace in ["uid:", "resourceVersion:", "managedFields:", "creationTimestamp:"] {
        assert!(!yaml.stdout.contains(trace), "{trace} in {yaml}");
    }
    let full = holdfast(&["get", &samples.second, key, "--full"]);
    assert!(full.exits(0).stdout.contains("  resourceVersion: \"1760\"\n"), "{full}");
    let json = holdfast(&["get", &samples.second, key, "--output", "json"]);
    let json = json.exits(0).json();
    assert_eq!(json["object"]["metadata"]["name"], "billing-media-3");
    assert_eq!((&json["key"], json["mod_revision"].as_i64()), (&Value::from(key), Some(1760)));
    // Definitions are stored in a version that no server takes any more.
    let definitions = holdfast(&["get", &samples.second, "--kind", "crd"]);
    assert_eq!(definitions.exits(0).stdout.matches("apiVersion: apiextensions.k8s.io/v1\n").count(), 3);
    assert_eq!(definitions.stdout.matches("\n---\n").count(), 2, "{definitions}");
}

#[test]
fn a_key_has_a_history() {
    let samples = samples();
    let truth = truth("kubernetes-t2");
    let keys = truth["keys"].as_array().expect("the truth lists the keys");
    let most = keys.iter().max_by_key(|key| key["version"].as_i64()).expect("there are keys");
    let key = most["key"].as_str().expect("a key is text");
    let history = holdfast(&["get", &samples.second, key, "--history", "--output", "json"]);
    let history = history.exits(0).json();
    let changes = history.as_array().expect("there is a list");
    let last = changes.last().expect("it was made");
    assert_eq!((&last["version"], &last["revision"]), (&most["version"], &most["mod_revision"]));
    assert_eq!(Some(changes.len() as i64), most["version"].as_i64(), "nothing was compacted");
    let gone = "/registry/deployments/orders/stream-scheduler-24";
    let table = holdfast(&["get", &samples.second, gone, "--history"]);
    assert!(table.exits(0).stdout.contains("created") && table.stdout.contains("deleted"), "{table}");
    holdfast(&["get", &samples.second, gone]).exits(1).explains(&[gone, "it was deleted at revision"]);
    holdfast(&["get", &samples.second, gone, "--revision", "1641"]).exits(0);
}

#[test]
fn differences_are_those_that_the_server_saw() {
    let samples = samples();
    let expected = test_data("kubernetes-t1-to-t2.diff.json");
    let found = holdfast(&["diff", &samples.first, &samples.second, "--keys", "--output", "json"]);
    let found = found.exits(1).json();
    assert_eq!(found["added"], expected["keys_new"]);
    assert_eq!(found["removed"], expected["keys_gone"]);
    let rewritten = found["rewritten"].as_u64().expect("it is a number");
    let changed = found["changed"].as_u64().expect("it is a number");
    assert_eq!(Some(changed + rewritten), expected["keys_changed"].as_u64());
    let keys = found["keys"].as_array().expect("there is a list");
    let removed: Vec<&Value> =
        keys.iter().filter(|key| key["change"] == "removed").map(|key| &key["key"]).collect();
    assert_eq!(removed, expected["gone"].as_array().expect("there is a list").iter().collect::<Vec<_>>());
    assert_eq!(found["by_kind"]["secrets"]["added"], expected["new_by_prefix"]["/registry/secrets"]);
    assert_eq!(
        found["by_prefix"]["/registry/pods/"]["removed"],
        expected["gone_by_prefix"]["/registry/pods"]
    );
    for (namespace, count) in expected["gone_by_namespace"].as_object().expect("there are counts") {
        assert_eq!(&found["by_namespace"][namespace]["removed"], count, "{namespace}");
    }
    // One file at two revisions tells the same.
    let one = holdfast(&["diff", &samples.second, "--revision", "1641", "--keys", "--output", "json"]);
    let one = one.exits(1).json();
    for name in ["added", "removed", "changed", "rewritten", "same", "by_kind", "keys"] {
        assert_eq!(one[name], found[name], "{name}");
    }
    for same in [vec![&*samples.first, &samples.first], vec![&samples.second, "--revision", "2072"]] {
        let same = holdfast(&[&["diff"], same.as_slice()].concat());
        assert!(same.exits(0).stdout.contains("0 added, 0 removed, 0 changed"), "{same}");
    }
}

#[test]
fn a_changed_object_is_shown_field_by_field() {
    let samples = samples();
    let fields = ["diff", &samples.first, &samples.second, "--fields", "--kind", "deployment"];
    let shown = holdfast(&fields);
    let image = "    spec.template.spec.containers[main].image: \"registry.example/";
    assert!(shown.exits(1).stdout.contains(image), "{shown}");
    assert!(!shown.stdout.contains("managedFields"), "{shown}");
    let full = holdfast(&[fields.as_slice(), &["--full"]].concat());
    assert!(full.exits(1).stdout.contains("metadata.managedFields"), "{full}");
}

#[test]
fn what_is_not_there_or_makes_no_sense_is_told() {
    let samples = samples();
    let file = samples.second.as_str();
    let no: [(&[&str], &[&str]); 3] = [
        (
            &["get", file, "/registry/pods/web/none"],
            &["there is no key `/registry/pods/web/none`", "revision 2072"],
        ),
        (&["get", file, "--kind", "pod", "--name", "none"], &["there is no such object"]),
        (&["get", file, "/none", "--history"], &["there is no change"]),
    ];
    for (arguments, texts) in no {
        assert_eq!(holdfast(arguments).exits(1).explains(texts).stdout, "");
    }
    let cannot: [(&[&str], &[&str]); 9] = [
        (&["get", file, "/a", "--revision", "9999"], &["revision 9999 is newer than the snapshot", "2072"]),
        (&["keys", file, "--kind", "tenantz"], &["there is no kind `tenantz`"]),
        (&["get", file, "--kind", "node", "--namespace", "web"], &["whole cluster"]),
        (&["get", file, "--kind", "secret", "--output", "raw"], &["raw bytes are of one key"]),
        (&["get", file, "--kind", "secret", "--history"], &["a history is of one key"]),
        (&["keys", file, "--output", "yaml"], &["only `holdfast get`"]),
        (&["get", file, "/a", "--encryption-config", "/nowhere"], &["/nowhere"]),
        (&["diff", file, "/nowhere.db"], &["/nowhere.db"]),
        (&["get", "/dev/null", "/a"], &["/dev/null"]),
    ];
    for (arguments, texts) in cannot {
        assert_eq!(holdfast(arguments).exits(2).explains(texts).stdout, "");
    }
    let usages = [
        vec!["get", file],
        vec!["diff", file],
        vec!["keys", file, "/a", "--kind", "pod"],
        vec!["keys", file, "--revision=-4"],
    ];
    for usage in usages {
        holdfast(&usage).exits(2).says(&["for more information, try '--help'"]);
    }
}

#[test]
fn backups_are_looked_into_and_what_is_encrypted_opens_with_its_keys() {
    let vectors = tools::root().join("host/kubernetes/tests/data/encrypted.json");
    let vectors: Value =
        serde_json::from_slice(&fs::read(vectors).expect("the file is there")).expect("it is JSON");
    let key = vectors["etcd_key"].as_str().expect("a key is text");
    let vector = &vectors["vectors"][1];
    let sealed = base64(vector["value"].as_str().expect("it is text"));
    let plain = base64(vectors["plain"].as_str().expect("it is text"));
    let cluster = Cluster::builder().start();
    let text = Object { key: "/app/motd".to_owned(), value: b"good morning".to_vec() };
    let binary = Object { key: "/app/seed".to_owned(), value: vec![0, 159, 255] };
    cluster.fill(vec![Object { key: key.to_owned(), value: sealed.clone() }, text, binary]);
    let site = Site::of(&cluster).encrypted();
    let before = site.backup()["id"].as_str().expect("a backup has an id").to_owned();

    assert_eq!(site.holdfast(&["get", "latest", "/app/motd"]).exits(0).stdout, "good morning\n");
    let escaped = site.holdfast(&["get", &before, "/app/seed"]);
    assert_eq!(escaped.exits(0).says(&["--output raw"]).stdout, "\\x00\\x9f\\xff\n");
    site.holdfast(&["get", "latest", "/app/motd", "--output", "yaml"]).exits(2).explains(&["not an object"]);

    let provider = vector["provider"].as_str().expect("it is text");
    site.holdfast(&["get", "latest", key]).exits(2).explains(&[provider, "--encryption-config"]);
    let secret = vector["secret"].as_str().expect("it is text");
    let config = site.path("encryption.yaml");
    let providers = format!(
        "kind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - {provider}:\n      keys:\n      - name: {}\n        secret: {secret}\n",
        vector["name"].as_str().expect("it is text")
    );
    fs::write(&config, providers).expect("a file can be written");
    let opened = ["get", "latest", key, "--encryption-config", &config.display().to_string()];
    let shown = site.holdfast(&opened);
    assert!(shown.exits(0).stdout.starts_with("apiVersion: v1\nkind: Secret\n"), "{shown}");
    let raw = site.holdfast(&[opened.as_slice(), &["--output", "json"]].concat());
    assert_eq!(base64(raw.exits(0).json()["value_base64"].as_str().expect("it is text")), plain);
    assert!(!raw.stdout.contains(secret) && !raw.stderr.contains(secret), "the key was printed: {raw}");

    // A Secret that changes shows where, and not what; a restart of nothing shows nothing.
    let changed = String::from_utf8_lossy(&plain).contains("dataKey");
    assert!(changed, "the Secret has data");
    let mut other = plain.clone();
    let value = other.windows(7).position(|window| window == b"dataKey").expect("it was found");
    other[value] = b'D';
    cluster.fill(vec![Object { key: key.to_owned(), value: other }]);
    site.backup();
    let diff = ["diff", &before, "latest", "--fields", "--encryption-config", &config.display().to_string()];
    let hidden = site.holdfast(&diff);
    assert!(hidden.exits(1).stdout.contains("data.dataKey: \"(hidden)\" -> -"), "{hidden}");
    assert!(hidden.stdout.contains("1 changed; 2 the same"), "{hidden}");
    let shown = site.holdfast(&[diff.as_slice(), &["--show-secrets"]].concat());
    assert!(shown.exits(1).stdout.contains("data.dataKey: \"Ag==\" -> -"), "{shown}");
    assert!(site.scratch_files().iter().all(|file| !is_snapshot(file)), "unpacked snapshots are left");
}

fn is_snapshot(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.len() > 4096)
}

/// Decodes base64, by the tool that every machine has.
fn base64(text: &str) -> Vec<u8> {
    let directory = temporary_directory();
    let file = directory.path().join("base64");
    fs::write(&file, text).expect("a file can be written");
    tools::run(Command::new("base64").arg("--decode").arg(&file))
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let samples = samples();
    let mut command = Command::new("sh");
    command.args(["-c", "\"$0\" keys \"$1\" | head -n 1"]).arg(tools::holdfast()).arg(&samples.second);
    let output = finish(&mut command);
    assert_eq!((output.exits(0).stdout.lines().count(), output.stderr.as_str()), (1, ""));
}
