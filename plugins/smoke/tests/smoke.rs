//! The script natively, on a database in memory: what it says to a sound one, and to one that is not what was backed up.

use holdfast_plugin::{
    Committed, Context, DatabaseError, DatabaseSource, KeyCursor, KeyQuery, KvHash, MemoryDatabase, Outcome,
    Report, TimeToLive, Transaction, Watching, run_script,
};
use smoke::Smoke;

type Answer<T> = Result<T, DatabaseError>;

fn memory() -> MemoryDatabase {
    MemoryDatabase::new().with("/a", "1").with("/b", "2").with("/a", "3")
}

/// What the agent tells of that database as a backup.
fn context(memory: &MemoryDatabase) -> Context {
    let hash = memory.hash_kv(0).expect("answers");
    let facts = [
        ("revision", hash.revision),
        ("live-keys", 2),
        ("hash-kv", i64::from(hash.hash)),
        ("hash-kv-revision", hash.revision),
        ("hash-kv-compact-revision", hash.compact_revision),
    ];
    Context::new(facts.map(|(name, value)| (name.to_owned(), value.to_string())).to_vec())
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn a_database_that_came_back_passes_and_is_left_as_it_was() {
    let memory = memory();
    let report = run_script::<Smoke>(&memory, &context(&memory), "{}").expect("reports");
    assert_eq!((report.outcome, codes(&report)), (Outcome::Passed, vec![]), "{}", report.summary);
    assert_eq!(memory.count(&KeyQuery::all()), Ok(2));
    assert!(memory.leases().expect("answers").is_empty());
    // Once more: what was written before does not matter.
    let again = Context::new(
        ["revision", "live-keys", "hash-kv", "hash-kv-revision", "hash-kv-compact-revision"]
            .map(|name| (name.to_owned(), context(&self::memory()).get(name).expect("is told").to_owned()))
            .to_vec(),
    );
    let report = run_script::<Smoke>(&memory, &again, "{}").expect("reports");
    assert_eq!(report.outcome, Outcome::Passed, "{}", report.summary);
}

#[test]
fn what_did_not_come_back_fails() {
    let memory = memory();
    let told = context(&memory);
    let fewer = MemoryDatabase::new().with("/a", "1").with("/a", "2").with("/a", "3");
    let report = run_script::<Smoke>(&fewer, &told, "{}").expect("reports");
    assert_eq!((report.outcome, codes(&report)), (Outcome::Failed, vec!["count-differs", "hash-differs"]));
    let older = MemoryDatabase::new().with("/a", "1");
    let report = run_script::<Smoke>(&older, &told, "{}").expect("reports");
    assert_eq!((report.outcome, codes(&report)), (Outcome::Failed, vec!["revision-behind"]));
    let report = run_script::<Smoke>(&older, &told, r#"{"compare": false}"#).expect("reports");
    assert_eq!(report.outcome, Outcome::Passed);
}

#[test]
fn what_is_not_known_is_inconclusive() {
    let report = run_script::<Smoke>(&memory(), &Context::default(), "{}").expect("reports");
    assert_eq!((report.outcome, codes(&report)), (Outcome::Inconclusive, vec!["backup-unknown"]));
    let error = run_script::<Smoke>(&memory().gone_after(5), &Context::default(), "{}").expect_err("is gone");
    assert_eq!(error.code, "database");
    let error =
        run_script::<Smoke>(&memory(), &Context::default(), r#"{"prefix": ""}"#).expect_err("no prefix");
    assert_eq!(error.code, "config");
}

/// A database with one defect.
struct Broken(MemoryDatabase, Defect);

#[derive(Clone, Copy, PartialEq)]
enum Defect {
    /// Writes are answered and forgotten.
    Forgets,
    /// Watches tell of nothing.
    Silent,
    /// Deletions are answered and not done.
    Keeps,
    /// Nothing may be written.
    ReadOnly,
    /// Transactions always do their first branch.
    Credulous,
    /// Leases end without their keys.
    Careless,
}

struct Never;

impl Watching for Never {
    fn next_events(
        &mut self,
        _max_events: u32,
        _timeout_ms: u32,
    ) -> Answer<Vec<holdfast_plugin::WatchEvent>> {
        Ok(Vec::new())
    }
}

impl DatabaseSource for Broken {
    fn status(&self) -> Answer<Vec<(String, String)>> {
        self.0.status()
    }
    fn hash_kv(&self, revision: i64) -> Answer<KvHash> {
        self.0.hash_kv(revision)
    }
    fn get(&self, key: &[u8]) -> Answer<Option<holdfast_plugin::KeyValue>> {
        self.0.get(key)
    }
    fn count(&self, query: &KeyQuery) -> Answer<u64> {
        self.0.count(query)
    }
    fn open(&self, query: &KeyQuery) -> Answer<Box<dyn KeyCursor + '_>> {
        self.0.open(query)
    }
    fn put(&self, key: &[u8], value: &[u8], lease: i64) -> Answer<i64> {
        match self.1 {
            Defect::Forgets => Ok(9),
            Defect::ReadOnly => Err(DatabaseError::new("refused", "etcdserver: corrupt cluster")),
            Defect::Careless => self.0.put(key, value, 0),
            _ => self.0.put(key, value, lease),
        }
    }
    fn delete(&self, query: &KeyQuery) -> Answer<u64> {
        if self.1 == Defect::Keeps { Ok(1) } else { self.0.delete(query) }
    }
    fn commit(&self, transaction: &Transaction) -> Answer<Committed> {
        if self.1 == Defect::Credulous {
            return self.0.commit(&Transaction { comparisons: Vec::new(), ..transaction.clone() });
        }
        self.0.commit(transaction)
    }
    fn grant(&self, seconds: i64) -> Answer<i64> {
        self.0.grant(seconds)
    }
    fn keep_alive(&self, lease: i64) -> Answer<i64> {
        self.0.keep_alive(lease)
    }
    fn time_to_live(&self, lease: i64) -> Answer<TimeToLive> {
        self.0.time_to_live(lease)
    }
    fn revoke(&self, lease: i64) -> Answer<()> {
        self.0.revoke(lease)
    }
    fn leases(&self) -> Answer<Vec<i64>> {
        self.0.leases()
    }
    fn watch(&self, query: &KeyQuery) -> Answer<Box<dyn Watching + '_>> {
        if self.1 == Defect::Silent { Ok(Box::new(Never)) } else { self.0.watch(query) }
    }
}

#[test]
fn each_defect_is_found() {
    for (defect, code) in [
        (Defect::Forgets, "read-differs"),
        (Defect::Silent, "watch-missed"),
        (Defect::Keeps, "delete-differs"),
        (Defect::ReadOnly, "write-refused"),
        (Defect::Credulous, "transaction-differs"),
        (Defect::Careless, "lease-differs"),
    ] {
        let memory = memory();
        let told = context(&memory);
        let report = run_script::<Smoke>(&Broken(memory, defect), &told, "{}").expect("reports");
        assert_eq!(report.outcome, Outcome::Failed);
        assert!(codes(&report).contains(&code), "{code}: {:?}", codes(&report));
    }
}
