//! Real etcd for tests: the binaries of a version, servers on loopback that end with their handle, and what `etcdctl`
//! answers.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything that etcd should do soon may take.
const PATIENCE: Duration = Duration::from_secs(90);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The tools of one etcd version.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) version: &'static str,
    directory: PathBuf,
}

impl Tools {
    /// The tools of a version, `None` when they are not on this machine: in CI they have to be.
    pub(crate) fn find(version: &'static str) -> Option<Self> {
        let root = std::env::var_os("HOLDFAST_TOOLS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"), PathBuf::from);
        let directory = root.join(format!("etcd-{version}"));
        if directory.join("etcd").is_file() {
            return Some(Self { version, directory });
        }
        let missing = format!("etcd {version} is not in `{}`", root.display());
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        // Past the harness's capture: a test that did not run should not look like one that did.
        let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {missing}; set HOLDFAST_TOOLS to run it");
        None
    }

    /// The tool that restores and inspects snapshots: `etcdutl`, in 3.4 `etcdctl`.
    pub(crate) fn offline(&self) -> &'static str {
        if self.version == "3.4" { "etcdctl" } else { "etcdutl" }
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        let output = self.command(tool).args(arguments).output();
        output.unwrap_or_else(|error| panic!("cannot run {tool} {}: {error}", self.version))
    }

    /// Standard output of a run that must succeed.
    pub(crate) fn must_run(&self, tool: &str, arguments: &[&str]) -> String {
        let output = self.run(tool, arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{tool} {} {arguments:?}: {out}{err}", self.version);
        out.into_owned()
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(self.directory.join(tool));
        command.env("ETCDCTL_API", "3").stdin(Stdio::null());
        command
    }
}

/// A loopback address that nobody listens on. Each has an IP address of its own, so that neither another test nor the
/// outgoing end of a connection takes its port before the server does.
pub(crate) fn free_url() -> String {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id().wrapping_mul(251).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
    let [_, b, c, d] = number.to_be_bytes();
    let address = Ipv4Addr::new(127, b | 1, c, d);
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// A running etcd; dropping it ends the process.
pub(crate) struct Server {
    tools: Tools,
    child: Child,
    pub(crate) client_url: String,
    log: PathBuf,
}

/// How a server is to be started.
pub(crate) struct Start<'a> {
    pub(crate) name: &'a str,
    pub(crate) data_dir: &'a Path,
    pub(crate) peer_url: &'a str,
    pub(crate) extra: &'a [&'a str],
}

impl Server {
    /// Starts a server; does not wait for it.
    pub(crate) fn spawn(tools: &Tools, start: &Start<'_>) -> Self {
        let client_url = free_url();
        let log = start.data_dir.with_extension("log");
        let child = tools
            .command("etcd")
            .args(["--name", start.name])
            .arg("--data-dir")
            .arg(start.data_dir)
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", start.peer_url, "--initial-advertise-peer-urls", start.peer_url])
            .args(start.extra)
            // etcd's own consistency checks, where it has them.
            .env("ETCD_VERIFY", "all")
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("etcd starts");
        Self { tools: tools.clone(), child, client_url, log }
    }

    /// Starts a server and waits until it serves.
    pub(crate) fn start(tools: &Tools, start: &Start<'_>) -> Self {
        let mut server = Self::spawn(tools, start);
        server.wait_until_healthy();
        server
    }

    /// A new one-member cluster.
    pub(crate) fn bootstrap(tools: &Tools, data_dir: &Path, extra: &[&str]) -> Self {
        let peer_url = free_url();
        let cluster = format!("source={peer_url}");
        let extra = [&["--initial-cluster", &cluster], extra].concat();
        Self::start(tools, &Start { name: "source", data_dir, peer_url: &peer_url, extra: &extra })
    }

    pub(crate) fn wait_until_healthy(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_healthy() {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                panic!("etcd {} ended with {status}\n{}", self.tools.version, self.log());
            }
            assert!(
                Instant::now() < deadline,
                "etcd {} does not get healthy\n{}",
                self.tools.version,
                self.log()
            );
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    fn is_healthy(&self) -> bool {
        let address = self.client_url.trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(address) else { return false };
        let mut answer = String::new();
        let asked = stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .and_then(|()| stream.write_all(b"GET /health HTTP/1.0\r\n\r\n"))
            .and_then(|()| stream.read_to_string(&mut answer));
        asked.is_ok() && answer.contains(r#""health":"true""#)
    }

    /// The last of what the server logged.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let start = log.len().saturating_sub(6000);
        log.get(start..).unwrap_or(&log).to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.tools.run("etcdctl", &[&["--endpoints", &self.client_url], arguments].concat())
    }

    /// What `etcdctl` prints.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        self.tools.must_run("etcdctl", &[&["--endpoints", &self.client_url], arguments].concat())
    }

    /// The first line that `etcdctl watch` prints.
    pub(crate) fn first_of_watch(&self, arguments: &[&str]) -> String {
        let mut watch = self.tools.command("etcdctl");
        watch.args(["--endpoints", &self.client_url, "watch"]).args(arguments);
        let mut watch = watch.stdout(Stdio::piped()).spawn().expect("etcdctl starts");
        let output = watch.stdout.take().expect("it is piped");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(BufReader::new(output).lines().next()));
        let line = lines.recv_timeout(PATIENCE);
        let _ = watch.kill();
        let _ = watch.wait();
        line.expect("an event comes").expect("a line comes").expect("it is text")
    }

    /// Asks the server to end and waits for it, so that its files are whole.
    pub(crate) fn stop(&mut self) {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the server is there");
        self.child.wait().expect("the server ends");
    }

    /// What `etcdctl` prints as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ctl(&[arguments, &["-w", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> i64 {
        self.json(&["get", "no-such-key"])["header"]["revision"].as_i64().expect("a revision")
    }

    /// Hash and compact revision of the keyspace at a revision.
    pub(crate) fn hash_kv(&self, revision: i64) -> (u64, i64) {
        let answer = self.json(&["endpoint", "hashkv", "--rev", &revision.to_string()]);
        let hash = &answer[0]["HashKV"];
        (hash["hash"].as_u64().expect("a hash"), hash["compact_revision"].as_i64().unwrap_or(0))
    }

    /// All keys at a revision with their metadata and values, from this server alone.
    pub(crate) fn keys(&self, revision: i64) -> Value {
        let revision = revision.to_string();
        self.json(&["get", "", "--from-key", "--consistency", "s", "--rev", &revision])["kvs"].clone()
    }

    /// Cluster id, and each member's name and id, ascending by id.
    pub(crate) fn members(&self) -> (u64, Vec<(String, u64)>) {
        let answer = self.json(&["member", "list"]);
        let members = answer["members"].as_array().expect("members").iter();
        let mut members: Vec<(String, u64)> = members
            .map(|member| {
                (member["name"].as_str().unwrap_or("").to_owned(), member["ID"].as_u64().expect("an id"))
            })
            .collect();
        members.sort_by_key(|member| member.1);
        (answer["header"]["cluster_id"].as_u64().expect("a cluster id"), members)
    }

    pub(crate) fn save_snapshot(&self, path: &Path) {
        self.ctl(&["snapshot", "save", &path.display().to_string()]);
    }

    /// Waits until `done` says so.
    pub(crate) fn wait_for(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "etcd {}: {what}\n{}", self.tools.version, self.log());
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
