//! What to fill a cluster with.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::protobuf::{Message, envelope};
use crate::tools;

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Object {
    /// The key: no spaces, no quotes.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
}

/// Kubernetes-shaped objects: namespaces, config maps, secrets and pods in the protobuf envelope that the API server writes.
pub fn kubernetes(namespaces: usize, pods_per_namespace: usize) -> Vec<Object> {
    let mut objects = Vec::new();
    for name in
        (0..namespaces).map(|number| format!("team-{number}")).chain(["default".into(), "kube-system".into()])
    {
        objects.push(object("v1", "Namespace", &format!("/registry/namespaces/{name}"), &name, ""));
        for number in 0..pods_per_namespace {
            for (kind, folder) in [("Pod", "pods"), ("ConfigMap", "configmaps"), ("Secret", "secrets")] {
                let own = format!("{}-{number}", kind.to_lowercase());
                objects.push(object("v1", kind, &format!("/registry/{folder}/{name}/{own}"), &own, &name));
            }
        }
    }
    objects
}

/// Values of `size_bytes` that hardly compress, `total_bytes` altogether.
pub fn ballast(total_bytes: usize, size_bytes: usize) -> impl Iterator<Item = Object> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..total_bytes / size_bytes).map(move |number| {
        let mut value = String::with_capacity(size_bytes + 16);
        while value.len() < size_bytes {
            // xorshift: the same content in every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let _ = write!(value, "{state:016x}");
        }
        Object { key: format!("/ballast/{number:08}"), value: value.into_bytes() }
    })
}

/// A snapshot of a real Kubernetes cluster from the test data, unpacked into `directory`: "kubernetes-t1".
pub fn sample(name: &str, directory: &Path) -> PathBuf {
    let packed = tools::root().join("tests/data").join(format!("{name}.db.zst"));
    let plain = directory.join(format!("{name}.db"));
    let file = File::create(&plain).expect("a file can be made");
    let status = tools::program("zstd").args(["-q", "-d", "-c"]).arg(packed).stdout(file).status();
    assert!(status.expect("zstd runs").success(), "`{name}` cannot be unpacked");
    plain
}

/// What is known of a sample.
pub fn sample_facts(name: &str) -> serde_json::Value {
    let path = tools::root().join("tests/data").join(format!("{name}.facts.json"));
    serde_json::from_slice(&fs::read(path).expect("a sample has facts")).expect("facts are JSON")
}

/// An object with nothing but its name.
fn object(version: &str, kind: &str, key: &str, name: &str, namespace: &str) -> Object {
    let uid = format!(
        "00000000-0000-4000-8000-{:012x}",
        key.bytes().fold(0_u64, |sum, byte| (sum * 31 + u64::from(byte)) % (1 << 47))
    );
    let metadata =
        Message::default().text(1, name).text(2, "").text(3, namespace).text(4, "").text(5, &uid).text(6, "");
    let value = envelope(version, kind, &Message::default().message(1, &metadata));
    Object { key: key.to_owned(), value }
}
