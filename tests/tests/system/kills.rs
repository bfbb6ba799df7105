//! `kill -9` all over the runs that change a store: backup, sync, prune, pin, rekey, into directories and into S3, with signed and
//! encrypted backups. After each kill a check that reads everything finds nothing but orphans, and no backup missing; what was committed
//! is there, the newest backup restores, and the next run heals.
//!
//! `HOLDFAST_KILLS` is how often each kind of store sees a kill (200 for a thorough walk); `HOLDFAST_KILLS_SEED` repeats a walk. What was
//! tried is printed as a table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast_tests::s3::Server;
use holdfast_tests::site::{Output, new_identity, quoted_path};
use holdfast_tests::{Cluster, Site, objects, tools, wait};
use serde_json::Value;

const BUCKET: &str = "kills";
/// Kills of a kind of store where nobody asks for more.
const USUAL_KILLS: usize = 12;
/// Runs for one kill at most: one that ends before its moment is made up for.
const ATTEMPTS: usize = 20;
/// How often a run that is to be killed is looked at: a pin takes some tens of milliseconds in all.
const INTERVAL: Duration = Duration::from_micros(200);
/// Two parts of an upload to S3.
const BALLAST_BYTES: usize = 6 << 20;

/// What is killed, in this order: each leaves the next something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Backup,
    Sync,
    Pin,
    Prune,
    Rekey,
}

const RUNS: [Run; 5] = [Run::Backup, Run::Sync, Run::Pin, Run::Prune, Run::Rekey];

/// Chance that can be had again: `SplitMix64`.
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos();
        Random(number("HOLDFAST_KILLS_SEED").unwrap_or_else(|| u64::from(now())))
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// What the kills of one kind of run came to.
#[derive(Default)]
struct Row {
    kills: usize,
    /// Kills after which something lay in the store that belongs to no backup.
    left_orphans: usize,
    losses: usize,
}

/// Two stores of one kind, `a` and `b`: backups go to `a`, a sync brings `b` what it lacks.
struct Ground {
    site: Site,
    /// Backups are for the first of these.
    recipients: [String; 2],
    random: Random,
    /// How long each run takes here when nobody interferes.
    lengths: [Duration; RUNS.len()],
    rows: [Row; RUNS.len()],
    losses: Vec<String>,
    /// The backup that is pinned.
    pinned: Option<String>,
    restored: usize,
}

impl Ground {
    fn new(site: Site) -> Ground {
        let site = site.set("backup", "stores", "[\"a\"]").set("retention", "last", "3").set(
            "retention",
            "orphan_grace",
            "\"1s\"",
        );
        // Of the machine's usual store nothing is wanted but that it is no error.
        fs::create_dir(site.store()).expect("a folder can be made");
        let signing = site.path("signing.key");
        site.holdfast(&["key", "signing", &signing.display().to_string(), "--no-password"]).exits(0);
        let public = fs::read_to_string(site.path("signing.key.pub")).expect("a key");
        let public = public.lines().nth(1).expect("a key has two lines").to_owned();
        let identities = ["first.key", "second.key"].map(|name| site.path(name));
        let recipients = identities.each_ref().map(|identity| new_identity(identity));
        let readers = site.path("recipients");
        fs::write(&readers, &recipients[0]).expect("a file can be written");
        let identities: Vec<String> = identities.iter().map(|identity| quoted_path(identity)).collect();
        let site = site
            .set("signing", "key_file", &quoted_path(&signing))
            .set("trust", "keys", &format!("[\"{public}\"]"))
            .set("backup.pack", "recipients_files", &format!("[{}]", quoted_path(&readers)))
            .set("decrypt", "identity_files", &format!("[{}]", identities.join(", ")));
        Ground {
            recipients,
            site,
            random: Random::seeded(),
            lengths: [Duration::MAX; RUNS.len()],
            rows: Default::default(),
            losses: Vec::new(),
            pinned: None,
            restored: 0,
        }
    }

    /// The command of a run, and the store that it changes.
    fn command(&self, run: Run, round: usize) -> (Vec<String>, &'static str) {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        match run {
            Run::Backup => (words("backup"), "a"),
            Run::Sync => (words("sync --from a --to b"), "b"),
            Run::Pin => match &self.pinned {
                Some(id) => (words(&format!("unpin {id} --store a")), "a"),
                None => (words("pin latest --store a"), "a"),
            },
            Run::Prune if round.is_multiple_of(2) => (words("prune --store a"), "a"),
            Run::Prune => (words("prune --store b"), "b"),
            Run::Rekey => (words("rekey --all"), "a"),
        }
    }

    fn holdfast(&self, arguments: &[impl AsRef<str>]) -> Output {
        self.site.holdfast(&arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// What is there is for the wrong reader from now on.
    fn change_readers(&mut self) {
        self.recipients.swap(0, 1);
        fs::write(self.site.path("recipients"), &self.recipients[0]).expect("a file can be written");
    }

    /// Makes a run to its end, and learns how long it takes.
    fn whole(&mut self, run: Run, command: &[String]) {
        let start = Instant::now();
        self.holdfast(command).exits(0);
        let length = &mut self.lengths[run as usize];
        *length = start.elapsed().min(*length);
    }

    /// Kills a run at this share of its length. False when it had ended before.
    fn kill(&self, run: Run, command: &[String], share: f64) -> bool {
        let moment = Instant::now() + self.lengths[run as usize].mul_f64(share);
        let mut process = self.site.start(&command.iter().map(String::as_str).collect::<Vec<_>>());
        while Instant::now() < moment {
            if process.has_ended() {
                return false;
            }
            thread::sleep(INTERVAL);
        }
        let ended = process.has_ended();
        process.kill();
        !ended
    }

    /// The committed backups of a store. What is remembered of a bucket must be what is there.
    fn ids(&self, store: &str) -> BTreeSet<String> {
        let ids = |output: &Output| -> BTreeSet<String> {
            let rows = output.exits(0).json();
            let id = |row: &Value| row["id"].as_str().expect("an id").to_owned();
            rows.as_array().expect("rows").iter().map(id).collect()
        };
        let remembered = ids(&self.holdfast(&["list", "--store", store, "--output", "json"]));
        let read = ids(&self.holdfast(&["list", "--no-cache", "--store", store, "--output", "json"]));
        assert_eq!(remembered, read, "the cache of store {store} is wrong");
        read
    }

    /// What the rules keep.
    fn kept(&self, store: &str) -> BTreeSet<String> {
        let dry = self.holdfast(&["prune", "--dry-run", "--store", store, "--output", "json"]);
        let dry = dry.exits(0).json();
        let decisions = dry[0]["backups"].as_array().expect("decisions").iter();
        let kept = decisions.filter(|decision| decision["keep"] == true);
        kept.map(|decision| decision["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Checks all of a store. Returns how many orphans it names.
    fn check(&mut self, run: Run, store: &str) -> usize {
        let output = self.holdfast(&["check", "--read-data", "--store", store, "--output", "json"]);
        let checked = &output.json()[0];
        let nothing = |field: &str| checked[field].as_array().is_some_and(Vec::is_empty);
        let none_missing = checked.get("missing").is_none();
        if output.code != Some(0)
            || !none_missing
            || !["damaged", "bad_documents", "errors"].into_iter().all(nothing)
        {
            self.lost(run, &output.to_string());
        }
        checked["orphans"].as_array().map_or(0, Vec::len)
    }

    fn lost(&mut self, run: Run, what: &str) {
        self.rows[run as usize].losses += 1;
        self.losses.push(format!("{run:?}: {what}"));
    }

    fn restores(&mut self, run: Run, store: &str) {
        self.restored += 1;
        let target = self.site.path(&format!("restored-{}", self.restored));
        let directory = target.display().to_string();
        let output = self.holdfast(&["restore", "latest", "--store", store, "--data-dir", &directory]);
        if output.code != Some(0) || !target.join("member/snap/db").exists() {
            self.lost(run, &output.to_string());
        }
        // One at a time is on the disk.
        let _ = fs::remove_dir_all(target);
    }

    /// One kill of a run, a look at what it left, and the next run.
    fn round(&mut self, run: Run, round: usize, rounds: usize) {
        let (command, store) = self.command(run, round);
        // The moments lie all over the run, each somewhere within its share.
        let share = (round as f64 + self.random.share()) / rounds as f64;
        let mut must_stay = BTreeSet::new();
        let killed = (0..ATTEMPTS).any(|attempt| {
            if run == Run::Rekey {
                self.change_readers();
            }
            must_stay = if run == Run::Prune { self.kept(store) } else { self.ids(store) };
            let share = if attempt == 0 { share } else { self.random.share() * 0.8 };
            self.kill(run, &command, share)
        });
        assert!(killed, "{run:?} always ended before it could be killed");
        self.rows[run as usize].kills += 1;

        let orphans = self.check(run, store);
        self.rows[run as usize].left_orphans += usize::from(orphans > 0);
        let there = self.ids(store);
        for id in must_stay.difference(&there) {
            self.lost(run, &format!("backup {id} is gone from store {store}"));
        }
        if !there.is_empty() {
            self.restores(run, store);
        }

        self.whole(run, &command);
        self.is_healed(run, store);
        match run {
            Run::Pin if self.pinned.is_none() => {
                self.pinned = there.last().cloned();
                let told = self.holdfast(&["prune", "--dry-run", "--store", "a"]);
                assert!(told.stdout.contains("pinned"), "{told}");
            }
            Run::Pin => self.pinned = None,
            Run::Prune => {
                let other = if store == "a" { "b" } else { "a" };
                self.holdfast(&["prune", "--store", other]).exits(0);
            }
            Run::Backup | Run::Sync | Run::Rekey => {}
        }
    }

    /// Nothing is left that belongs to no backup. A prune takes what is older than a second.
    fn is_healed(&mut self, run: Run, store: &str) {
        let what = format!("nothing to be left after the next {run:?}");
        wait::until(&what, || {
            if self.check(run, store) == 0 {
                return Some(());
            }
            assert_eq!(run, Run::Prune, "what the kill left is there still after the next run");
            self.holdfast(&["prune", "--store", store]).exits(0);
            None
        });
    }

    fn walk(mut self, kind: &str) {
        let kills = number("HOLDFAST_KILLS").map_or(USUAL_KILLS, |kills| kills as usize);
        let rounds = kills.div_ceil(RUNS.len());
        let seed = self.random.0;
        for run in [Run::Backup, Run::Backup, Run::Backup, Run::Sync, Run::Backup, Run::Prune, Run::Rekey] {
            if run == Run::Rekey {
                self.change_readers();
            }
            let (command, _) = self.command(run, 0);
            self.whole(run, &command);
        }
        for (words, run) in [("pin latest --store a", Run::Pin), ("unpin latest --store a", Run::Pin)] {
            self.whole(run, &words.split(' ').map(str::to_owned).collect::<Vec<_>>());
        }
        for round in 0..rounds {
            for run in RUNS {
                self.round(run, round, rounds);
            }
        }
        let mut table = format!(
            "{:<10} {:<8} {:>6} {:>13} {:>7}   (HOLDFAST_KILLS_SEED={seed})\n",
            "store", "run", "kills", "left orphans", "losses"
        );
        for (run, Row { kills, left_orphans, losses }) in RUNS.iter().zip(&self.rows) {
            let run = format!("{run:?}").to_lowercase();
            let _ = writeln!(table, "{kind:<10} {run:<8} {kills:>6} {left_orphans:>13} {losses:>7}");
        }
        tools::tell(table.trim_end());
        assert!(self.losses.is_empty(), "{:#?}", self.losses);
    }
}

fn cluster() -> Cluster {
    let cluster = Cluster::builder().start();
    cluster.fill(objects::ballast(BALLAST_BYTES, 64 << 10));
    cluster
}

#[test]
fn nothing_is_lost_in_directories() {
    let cluster = cluster();
    let site = Site::of(&cluster);
    let (a, b) = (quoted_path(&site.path("a")), quoted_path(&site.path("b")));
    let site = site.set("store.a.directory", "path", &a).set("store.b.directory", "path", &b);
    Ground::new(site).walk("directory");
}

#[test]
fn nothing_is_lost_in_s3() {
    let Some(server) = Server::start() else { return };
    server.bucket(BUCKET);
    let cluster = cluster();
    let site = Site::of(&cluster).s3_store("a", &server.endpoint(), BUCKET, "a").s3_store(
        "b",
        &server.endpoint(),
        BUCKET,
        "b",
    );
    Ground::new(site).walk("s3");
}
