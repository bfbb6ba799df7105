//! Throwaway etcd clusters on loopback.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::certificates::{Authority, Identity, Validity};
use crate::objects::Object;
use crate::process::{self, Process};
use crate::tools::{self, Etcd};
use crate::wait;

/// The password of `root` where authentication is on.
pub const PASSWORD: &str = "correct horse battery staple";

/// Puts in one transaction: etcd takes 128.
const PUTS_PER_TRANSACTION: usize = 100;
/// Bytes of one transaction: etcd takes 1.5 MiB.
const BYTES_PER_TRANSACTION: usize = 1 << 20;
/// The line that a member writes once it serves clients.
const SERVING: &str = "serving client traffic";
/// The line that a member writes when it begins to send a snapshot.
pub const SENDING_SNAPSHOT: &str = "sending database snapshot to client";
/// Attempts at a start: another program may take a port that was free a moment ago.
const STARTS: usize = 3;

/// A key as etcd holds it: what has to be the same after a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key, in base64.
    pub key: String,
    /// The value, in base64.
    pub value: String,
    /// The revision that created the key.
    pub create_revision: i64,
    /// The revision of the last change.
    pub mod_revision: i64,
    /// Changes since it was created.
    pub version: i64,
}

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Builder {
    version: String,
    members: usize,
    tls: bool,
    server_certificate: Validity,
    auth: bool,
    snapshot: Option<PathBuf>,
    quota_bytes: Option<u64>,
}

/// One etcd process.
pub struct Member {
    /// As etcd knows it: `m1`.
    pub name: String,
    /// Where clients reach it.
    pub endpoint: String,
    peer_url: String,
    data_directory: PathBuf,
    process: Process,
}

/// A running cluster. Its processes end and its files go with it.
pub struct Cluster {
    etcd: Etcd,
    builder: Builder,
    authority: Option<Authority>,
    client: Option<Identity>,
    // Before the folder: the logs are shown when a test fails.
    members: Vec<Member>,
    authenticated: bool,
    directory: TempDir,
}

impl Builder {
    /// The etcd to run: "3.6". Default: 3.6.
    #[must_use]
    pub fn version(mut self, version: &str) -> Builder {
        version.clone_into(&mut self.version);
        self
    }

    /// How many members. Default: one.
    #[must_use]
    pub fn members(mut self, members: usize) -> Builder {
        self.members = members;
        self
    }

    /// TLS with client certificates, for clients and between members.
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Builder {
        self.tls = tls;
        self
    }

    /// How long the members' certificate for clients is good.
    #[must_use]
    pub fn server_certificate(mut self, validity: Validity) -> Builder {
        self.server_certificate = validity;
        self
    }

    /// Username and password: `root` with [`PASSWORD`].
    #[must_use]
    pub fn auth(mut self, auth: bool) -> Builder {
        self.auth = auth;
        self
    }

    /// The content to begin with, restored by etcd's own tool. One member.
    #[must_use]
    pub fn snapshot(mut self, snapshot: &Path) -> Builder {
        self.snapshot = Some(snapshot.to_owned());
        self
    }

    /// How large etcd lets its database grow.
    #[must_use]
    pub fn quota_bytes(mut self, quota: u64) -> Builder {
        self.quota_bytes = Some(quota);
        self
    }

    /// Starts the cluster, and waits until every member serves.
    pub fn start(self) -> Cluster {
        let etcd = Etcd::version(&self.version);
        for _ in 1..STARTS {
            if let Some(cluster) = self.clone().try_start(etcd.clone()) {
                return cluster;
            }
        }
        self.try_start(etcd).expect("a cluster finds free ports")
    }

    /// None when a port was taken by another program in between.
    fn try_start(self, etcd: Etcd) -> Option<Cluster> {
        let directory = temporary_directory();
        let authority = self.tls.then(|| Authority::new(&directory.path().join("pki")));
        let client = authority.as_ref().map(|authority| {
            authority.issue("peer", Validity::Valid);
            authority.issue("server", self.server_certificate);
            // With authentication on, etcd takes a certificate's common name for a user's name.
            authority.issue("holdfast-client", Validity::Valid)
        });
        let scheme = if self.tls { "https" } else { "http" };
        let urls: Vec<(String, String)> = (0..self.members)
            .map(|_| {
                (
                    format!("{scheme}://127.0.0.1:{}", free_port()),
                    format!("{scheme}://127.0.0.1:{}", free_port()),
                )
            })
            .collect();
        let initial_cluster: Vec<String> =
            urls.iter().enumerate().map(|(index, (_, peer))| format!("m{}={peer}", index + 1)).collect();
        let initial_cluster = initial_cluster.join(",");
        let mut cluster = Cluster {
            etcd,
            builder: self,
            directory,
            authority,
            client,
            members: Vec::new(),
            authenticated: false,
        };
        if let Some(snapshot) = cluster.builder.snapshot.clone() {
            cluster.restore_with_etcdutl(&snapshot, &initial_cluster, &urls[0].1);
        }
        for (index, (endpoint, peer_url)) in urls.iter().enumerate() {
            cluster.start_member(&format!("m{}", index + 1), endpoint, peer_url, &initial_cluster, "new");
        }
        if !cluster.members.iter_mut().all(Member::serves) {
            return None;
        }
        if cluster.builder.auth {
            cluster.turn_authentication_on();
        }
        Some(cluster)
    }
}

impl Member {
    /// Waits until the member serves clients. False when it ended because its port was taken.
    fn serves(&mut self) -> bool {
        wait::until(&format!("member `{}` to serve", self.name), || {
            let ended = self.process.has_ended();
            let log = self.process.log();
            if log.contains(SERVING) {
                return Some(true);
            }
            assert!(
                !ended || log.contains("address already in use"),
                "member `{}` ended at its start:\n{log}",
                self.name
            );
            ended.then_some(false)
        })
    }

    /// The process, to pause, resume or kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Has it begun to send a snapshot since it started?
    pub fn sends_a_snapshot(&self) -> bool {
        self.process.log().contains(SENDING_SNAPSHOT)
    }
}

impl Cluster {
    /// A cluster of one member of etcd 3.6, unless told otherwise.
    pub fn builder() -> Builder {
        Builder {
            version: "3.6".to_owned(),
            members: 1,
            tls: false,
            server_certificate: Validity::Valid,
            auth: false,
            snapshot: None,
            quota_bytes: None,
        }
    }

    /// The members, in order of their names.
    pub fn members(&mut self) -> &mut [Member] {
        &mut self.members
    }

    /// The programs of this cluster's version.
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// Where clients reach the members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.endpoint.clone()).collect()
    }

    /// The certificate authority, where TLS is on.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// A client's certificate, where TLS is on.
    pub fn client(&self) -> Option<&Identity> {
        self.client.as_ref()
    }

    /// Is a password asked for?
    pub fn has_authentication(&self) -> bool {
        self.authenticated
    }

    /// Stops every member where it is.
    pub fn pause(&self) {
        self.members.iter().for_each(|member| member.process.pause());
    }

    /// Lets the members go on.
    pub fn resume(&self) {
        self.members.iter().for_each(|member| member.process.resume());
    }

    /// Ends every member at once.
    pub fn kill(&mut self) {
        self.members.iter_mut().for_each(|member| member.process.kill());
    }

    /// Waits until some member sends a snapshot, and returns which.
    pub fn wait_for_sender(&mut self) -> &mut Member {
        let index = wait::until("a member to send a snapshot", || {
            self.members.iter().position(Member::sends_a_snapshot)
        });
        &mut self.members[index]
    }

    /// Adds a member that only listens, and returns its endpoint.
    pub fn add_learner(&mut self) -> String {
        let name = "learner";
        let scheme = if self.builder.tls { "https" } else { "http" };
        let endpoint = format!("{scheme}://127.0.0.1:{}", free_port());
        let peer_url = format!("{scheme}://127.0.0.1:{}", free_port());
        let peer_urls = format!("--peer-urls={peer_url}");
        // A young cluster, whose members have not been connected for some seconds, takes no new ones.
        wait::until("the cluster to take a learner", || {
            let output = self.try_etcdctl(&["member", "add", name, "--learner", &peer_urls], None);
            output.status.success().then_some(())
        });
        let mut initial_cluster = String::new();
        for member in &self.members {
            let _ = write!(initial_cluster, "{}={},", member.name, member.peer_url);
        }
        let _ = write!(initial_cluster, "{name}={peer_url}");
        self.start_member(name, &endpoint, &peer_url, &initial_cluster, "existing");
        assert!(self.members.last_mut().is_some_and(Member::serves), "a learner finds its ports free");
        endpoint
    }

    /// Runs etcdctl on all members, and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = self.try_etcdctl(arguments, None);
        assert!(
            output.status.success(),
            "etcdctl {arguments:?} failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Writes one key.
    pub fn put(&self, key: &str, value: &str) {
        self.etcdctl(&["put", key, value]);
    }

    /// Writes many objects, some hundred a second.
    pub fn fill(&self, objects: impl IntoIterator<Item = Object>) {
        let mut puts = String::new();
        let mut count = 0;
        for object in objects {
            let _ = writeln!(puts, "put {} {}", object.key, quoted(&object.value));
            count += 1;
            if count == PUTS_PER_TRANSACTION || puts.len() > BYTES_PER_TRANSACTION / 2 {
                self.transaction(&puts);
                puts.clear();
                count = 0;
            }
        }
        if count > 0 {
            self.transaction(&puts);
        }
    }

    /// Every live key.
    pub fn keyspace(&self) -> Vec<Key> {
        let text = self.etcdctl(&["get", "", "--prefix", "--write-out=json"]);
        let answer: Value = serde_json::from_str(&text).expect("etcdctl prints JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        answer["kvs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|key| Key {
                key: text(&key["key"]),
                value: text(&key["value"]),
                create_revision: number(&key["create_revision"]),
                mod_revision: number(&key["mod_revision"]),
                version: number(&key["version"]),
            })
            .collect()
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        let text = self.etcdctl(&["get", "no such key", "--write-out=json"]);
        let answer: Value = serde_json::from_str(&text).expect("etcdctl prints JSON");
        answer["header"]["revision"].as_i64().expect("an answer has a revision")
    }

    /// Waits until the members answer with the same newest revision.
    pub fn settle(&self) {
        let endpoints = self.endpoints();
        wait::until("the members to be at one revision", || {
            let mut revisions = endpoints.iter().map(|endpoint| {
                let output = self.try_etcdctl_at(endpoint, &["endpoint", "status", "--write-out=json"], None);
                let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                answer[0]["Status"]["header"]["revision"].as_i64()
            });
            let first = revisions.next().flatten()?;
            revisions.all(|revision| revision == Some(first)).then_some(())
        });
    }

    fn transaction(&self, puts: &str) {
        // An interactive transaction in three parts: what to compare, what to do, what to do otherwise.
        let output = self.try_etcdctl(&["txn"], Some(&format!("\n{puts}\n\n")));
        assert!(output.status.success(), "a transaction failed: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs etcdctl on all members with this on its standard input, whatever comes of it.
    pub fn try_etcdctl(&self, arguments: &[&str], input: Option<&str>) -> Output {
        self.try_etcdctl_at(&self.endpoints().join(","), arguments, input)
    }

    fn try_etcdctl_at(&self, endpoints: &str, arguments: &[&str], input: Option<&str>) -> Output {
        let (name, value) = Etcd::environment();
        let mut command = Command::new(self.etcd.etcdctl());
        command.env(name, value).arg(format!("--endpoints={endpoints}"));
        command.args(["--command-timeout=30s", "--dial-timeout=10s"]);
        if let (Some(authority), Some(client)) = (&self.authority, &self.client) {
            command.arg("--cacert").arg(authority.certificate());
            command.arg("--cert").arg(&client.certificate).arg("--key").arg(&client.key);
        }
        if self.authenticated {
            command.arg(format!("--user=root:{PASSWORD}"));
        }
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Some(input) = input else {
            return process::output(&mut command).expect("etcdctl runs");
        };
        let mut child = command.stdin(Stdio::piped()).spawn().expect("etcdctl runs");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        stdin.write_all(input.as_bytes()).expect("etcdctl reads its input");
        drop(stdin);
        child.wait_with_output().expect("etcdctl ends")
    }

    fn start_member(
        &mut self,
        name: &str,
        endpoint: &str,
        peer_url: &str,
        initial_cluster: &str,
        state: &str,
    ) {
        let data_directory = self.directory.path().join(name);
        let token = "holdfast-tests";
        let mut command = Command::new(self.etcd.server());
        command
            .args(["--name", name, "--logger=zap", "--log-outputs=stderr"])
            .arg("--data-dir")
            .arg(&data_directory)
            .args(["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint])
            .args(["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url])
            .args(["--initial-cluster", initial_cluster, "--initial-cluster-token", token])
            .args(["--initial-cluster-state", state])
            // Two cores that also run other tests: a busy moment is no dead leader.
            .args(["--heartbeat-interval=200", "--election-timeout=2000"]);
        if let Some(quota) = self.builder.quota_bytes {
            command.arg(format!("--quota-backend-bytes={quota}"));
        }
        if let Some(authority) = &self.authority {
            let file = |name: &str| self.directory.path().join("pki").join(name);
            command.arg("--cert-file").arg(file("server.crt")).arg("--key-file").arg(file("server.key"));
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(authority.certificate());
            command
                .arg("--peer-cert-file")
                .arg(file("peer.crt"))
                .arg("--peer-key-file")
                .arg(file("peer.key"));
            command.arg("--peer-client-cert-auth").arg("--peer-trusted-ca-file").arg(authority.certificate());
        }
        let log = self.directory.path().join(format!("{name}.log"));
        let process = Process::start(&format!("etcd {name}"), &mut command, &log);
        self.members.push(Member {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            peer_url: peer_url.to_owned(),
            data_directory,
            process,
        });
    }

    fn turn_authentication_on(&mut self) {
        self.etcdctl(&["user", "add", &format!("root:{PASSWORD}")]);
        self.etcdctl(&["user", "grant-role", "root", "root"]);
        self.etcdctl(&["auth", "enable"]);
        self.authenticated = true;
    }

    fn restore_with_etcdutl(&self, snapshot: &Path, initial_cluster: &str, peer_url: &str) {
        let (name, value) = Etcd::environment();
        tools::run(
            Command::new(self.etcd.etcdutl())
                .env(name, value)
                .args(["snapshot", "restore"])
                .arg(snapshot)
                .args(["--name=m1", "--initial-cluster-token=holdfast-tests"])
                .arg(format!("--initial-cluster={initial_cluster}"))
                .arg(format!("--initial-advertise-peer-urls={peer_url}"))
                .arg("--data-dir")
                .arg(self.directory.path().join("m1")),
        );
    }

    /// The data directory of the first member.
    pub fn data_directory(&self) -> &Path {
        &self.members[0].data_directory
    }
}

/// Data directories that are to be restored, and what is needed to boot etcd on them.
pub struct RestorePlan {
    members: Vec<RestoredMember>,
    directory: TempDir,
}

struct RestoredMember {
    name: String,
    peer_url: String,
    client_url: String,
}

impl RestorePlan {
    /// Names and ports for a cluster of so many members.
    pub fn members(count: usize) -> RestorePlan {
        let members = (1..=count).map(|number| RestoredMember {
            name: format!("r{number}"),
            peer_url: format!("http://127.0.0.1:{}", free_port()),
            client_url: format!("http://127.0.0.1:{}", free_port()),
        });
        RestorePlan { members: members.collect(), directory: temporary_directory() }
    }

    /// Where a member's data directory is to be. It does not exist yet.
    pub fn data_directory(&self, index: usize) -> PathBuf {
        self.directory.path().join(&self.members[index].name)
    }

    /// The flags of `restore` for a member: etcd's and Holdfast's are the same.
    pub fn flags(&self, index: usize) -> Vec<String> {
        let member = &self.members[index];
        vec![
            format!("--data-dir={}", self.data_directory(index).display()),
            format!("--name={}", member.name),
            format!("--initial-cluster={}", self.initial_cluster()),
            "--initial-cluster-token=after-the-fire".to_owned(),
            format!("--initial-advertise-peer-urls={}", member.peer_url),
        ]
    }

    /// The flags that restore all members at once.
    pub fn all_flags(&self) -> Vec<String> {
        vec![
            format!("--all-members={}", self.directory.path().display()),
            format!("--initial-cluster={}", self.initial_cluster()),
        ]
    }

    /// All members, as `--initial-cluster` takes them.
    pub fn initial_cluster(&self) -> String {
        let members: Vec<String> =
            self.members.iter().map(|member| format!("{}={}", member.name, member.peer_url)).collect();
        members.join(",")
    }

    /// Boots etcd of this version on the restored directories. `authenticated` says whether what was restored asks for a
    /// password.
    pub fn boot(self, version: &str, authenticated: bool) -> Cluster {
        let initial_cluster = self.initial_cluster();
        let mut cluster = Cluster {
            etcd: Etcd::version(version),
            builder: Cluster::builder().version(version),
            authority: None,
            client: None,
            members: Vec::new(),
            authenticated,
            directory: self.directory,
        };
        for member in &self.members {
            // The state is `new`, as etcd's own restore asks for; the directory is there already.
            cluster.start_member(&member.name, &member.client_url, &member.peer_url, &initial_cluster, "new");
        }
        for member in &mut cluster.members {
            assert!(member.serves(), "a port of the restored member `{}` was taken", member.name);
        }
        cluster
    }
}

/// A fresh folder whose path has no link in it.
pub fn temporary_directory() -> TempDir {
    tempfile::Builder::new().prefix("holdfast-test-").tempdir().expect("a temporary folder can be made")
}

/// A port on loopback that nobody listens on, below those that the system hands out by itself. Each is given once.
pub fn free_port() -> u16 {
    const FIRST: u16 = 21_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side begin at different places.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_mul(37).wrapping_add(offset)) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port on loopback is free");
}

/// Quotes a value as etcdctl's transactions read it.
fn quoted(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for &byte in value {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

/// The database of a stopped member, as a file.
pub fn database_of(data_directory: &Path) -> Vec<u8> {
    fs::read(data_directory.join("member/snap/db")).expect("a data directory has a database")
}
