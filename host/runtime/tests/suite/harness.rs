//! A plugin folder of its own for each test, filled with variants of one guest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use etcd_snapshot::SnapshotFile;
use holdfast_runtime::{
    CallErrorKind, HostOptions, HttpOptions, Limits, Plugin, PluginHost, PluginOptions, ScanReport,
    TrustPolicy, VerifyRun,
};
use serde_json::{Value, json};

/// The guests, built once per run of the tests. The first is built against `holdfast:host@0.1.0`, the second against 0.1.1.
static HOSTILE: LazyLock<Vec<u8>> = LazyLock::new(|| built("hostile"));
static REACH: LazyLock<Vec<u8>> = LazyLock::new(|| built("reach"));
/// A notifier.
static ROGUE: LazyLock<Vec<u8>> = LazyLock::new(|| built("rogue"));

fn built(name: &str) -> Vec<u8> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name);
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target)
        .current_dir(&guest)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the guest builds: is the target wasm32-wasip2 installed?");
    fs::read(target.join("wasm32-wasip2/release").join(name).with_extension("wasm"))
        .expect("the guest was built")
}

/// A snapshot of a real cluster: 1055 live keys at revision 1641.
static SUBJECT: LazyLock<Arc<SnapshotFile>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/kubernetes-t1.db.zst");
    let packed = fs::File::open(path).expect("the test data is there");
    let bytes = zstd::decode_all(packed).expect("the test data unpacks");
    Arc::new(SnapshotFile::from_bytes(bytes).expect("a snapshot"))
});

pub(crate) fn subject() -> Arc<SnapshotFile> {
    Arc::clone(&SUBJECT)
}

/// The guest as it was built: named `hostile`, version `1.0.0+build-aaaa`.
pub(crate) fn hostile() -> Vec<u8> {
    HOSTILE.clone()
}

/// The guest that reaches for what may be granted.
pub(crate) fn reach() -> Vec<u8> {
    REACH.clone()
}

/// The notifier.
pub(crate) fn rogue() -> Vec<u8> {
    ROGUE.clone()
}

/// The guest with some of its bytes replaced by as many others.
pub(crate) fn patched(changes: &[(&str, &str)]) -> Vec<u8> {
    replaced(hostile(), changes)
}

/// A component with some of its bytes replaced by as many others.
pub(crate) fn replaced(mut bytes: Vec<u8>, changes: &[(&str, &str)]) -> Vec<u8> {
    for (from, to) in changes {
        assert_eq!(from.len(), to.len(), "a patch keeps all offsets");
        let mut found = 0;
        let mut at = 0;
        while let Some(next) = find(&bytes[at..], from.as_bytes()) {
            bytes[at + next..at + next + to.len()].copy_from_slice(to.as_bytes());
            at += next + to.len();
            found += 1;
        }
        assert!(found > 0, "`{from}` is in the guest");
    }
    bytes
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Another version of the guest.
pub(crate) fn newer() -> Vec<u8> {
    patched(&[("build-aaaa", "build-bbbb")])
}

/// A folder with plugins and a host on it.
pub(crate) struct Setup {
    root: tempfile::TempDir,
    cache: PathBuf,
    trust: TrustPolicy,
    plugins: BTreeMap<String, PluginOptions>,
    http: HttpOptions,
}

impl Setup {
    pub(crate) fn new() -> Setup {
        let root = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(root.path().join("plugins")).expect("a plugin folder");
        // Shared, so that each variant of the guest is compiled once.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
        Setup {
            root,
            cache,
            trust: TrustPolicy::default(),
            plugins: BTreeMap::new(),
            http: HttpOptions::default(),
        }
    }

    /// With a cache that nobody else fills or empties.
    pub(crate) fn with_own_cache() -> Setup {
        let setup = Setup::new();
        Setup { cache: setup.root.path().join("cache"), ..setup }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join("plugins")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.cache.clone()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub(crate) fn with(self, name: &str, bytes: &[u8]) -> Setup {
        self.put(name, bytes);
        self
    }

    pub(crate) fn trust(self, trust: TrustPolicy) -> Setup {
        Setup { trust, ..self }
    }

    pub(crate) fn options(mut self, name: &str, options: PluginOptions) -> Setup {
        self.plugins.insert(name.into(), options);
        self
    }

    pub(crate) fn http(self, http: HttpOptions) -> Setup {
        Setup { http, ..self }
    }

    pub(crate) fn limits(self, limits: Limits) -> Setup {
        self.options("hostile", PluginOptions { limits, ..PluginOptions::default() })
    }

    /// Puts a file as authors are told to: beside, then renamed.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let beside = self.folder().join(format!(".{name}.new"));
        fs::write(&beside, bytes).expect("written");
        fs::rename(beside, self.file(name)).expect("renamed");
    }

    pub(crate) fn host(&self) -> PluginHost {
        PluginHost::start(HostOptions {
            directory: self.folder(),
            cache_directory: self.cache(),
            trust: self.trust.clone(),
            plugins: self.plugins.clone(),
            http: self.http.clone(),
            state_directory: Some(self.root.path().join("state")),
            ..HostOptions::default()
        })
        .expect("the host starts")
    }

    /// The host after its first look at the folder.
    pub(crate) async fn loaded(&self) -> PluginHost {
        let host = self.host();
        host.scan().await;
        host
    }
}

/// The hostile plugin under some limits.
pub(crate) async fn hostile_under(limits: Limits) -> (Setup, PluginHost, Arc<Plugin>) {
    let setup = Setup::new().with("hostile.wasm", &hostile()).limits(limits);
    let host = setup.loaded().await;
    let plugin = host.registry().plugin("hostile").expect("it loads");
    (setup, host, plugin)
}

pub(crate) async fn run(plugin: &Plugin, config: Value) -> VerifyRun {
    plugin.verify(subject(), Vec::new(), &config).await
}

/// Runs one behaviour and expects it to end with an error of a kind and code.
pub(crate) async fn expect_error(
    limits: Limits,
    config: Value,
    kind: CallErrorKind,
    code: &str,
) -> (VerifyRun, String) {
    let (_setup, _host, plugin) = hostile_under(limits).await;
    let run_before = run(&plugin, config.clone()).await;
    let error = run_before.result.clone().expect_err("there is no report");
    assert_eq!((error.kind, error.code.as_str()), (kind, code), "{config}: {error:?} {}", run_before.stderr);
    // Whatever it did, the next call starts afresh.
    let after = run(&plugin, json!({ "do": "pass" })).await;
    assert!(after.result.is_ok(), "after {config}: {after:?}");
    (run_before, error.message)
}

/// The one reason why a file was refused.
pub(crate) fn refusal(report: &ScanReport) -> String {
    match report.events.as_slice() {
        [
            holdfast_runtime::ScanEvent {
                change: holdfast_runtime::Change::Rejected { rejection, .. }, ..
            },
        ] => rejection.reason.clone(),
        other => panic!("one refusal was expected: {other:?}"),
    }
}

/// Bytes of this process that lie in memory.
pub(crate) fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is told");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes << 10
}
