//! Do the living members hold the same data as the snapshot?
//!
//! A snapshot is one member's view. Right after the stream every member is asked for the hash of its keyspace at the
//! snapshot's newest revision, and the answer is compared with the same hash computed from the file. The hash depends on
//! how far a member has compacted, so it is computed from the file as if it had been compacted just as far.
//!
//! This finds a member that has diverged, and a file that is not what the member holds, which no look at the file alone can.
//! It says nothing about a cluster of one: that has nobody to differ from.

mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_snapshot::{Facts, Outcome, SnapshotFile};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::etcd::{Cause, Cluster, Connection, EtcdError, HashKv, MemberId};

/// How long a member that is behind is given to catch up.
const CATCH_UP: Duration = Duration::from_secs(2);
/// The first pause before it is asked again; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How fast a slow member may hash. What it needs for its whole database is added to the request timeout.
const HASHED_BYTES_PER_SECOND: u64 = 25 * 1024 * 1024;

/// What the members said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Passed: a majority of the voters holds what the snapshot holds, and nobody differs. Failed: somebody differs.
    pub outcome: Outcome,
    /// Why it did not pass, or whom it leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision compared: the snapshot's newest.
    pub revision: i64,
    /// Member by member.
    pub members: Vec<MemberHash>,
    /// The member that alone holds something else than the rest, when the majority tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd_one_out: Option<MemberId>,
}

/// What one member said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberHash {
    /// The member, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<MemberId>,
    /// Where it was asked.
    pub endpoint: String,
    /// Its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<u32>,
    /// How far it has compacted; -1 for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact_revision: Option<i64>,
    /// The hash of the snapshot, compacted as far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u32>,
    /// What follows.
    pub verdict: Verdict,
    /// Why it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What one member's hash says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds what the snapshot holds.
    Agrees,
    /// It holds something else.
    Differs,
    /// It could not be compared.
    Unknown,
}

impl Agreement {
    /// One line for people.
    pub fn summary(&self) -> String {
        if let ([], Some(reason)) = (self.members.as_slice(), &self.reason) {
            return reason.clone();
        }
        let agree = self.members.iter().filter(|member| member.verdict == Verdict::Agrees).count();
        let counted =
            format!("{agree} of {} members agree at revision {}", self.members.len(), self.revision);
        match &self.reason {
            Some(reason) => format!("{counted}; {reason}"),
            None => counted,
        }
    }

    /// The members that hold something else.
    pub fn differing(&self) -> impl Iterator<Item = &MemberHash> {
        self.members.iter().filter(|member| member.verdict == Verdict::Differs)
    }
}

/// What the members answered, before it is compared. Members compact as they go, so they are asked as early as can be.
#[derive(Debug)]
pub struct Answers {
    members: Vec<(String, Result<HashKv, EtcdError>)>,
    /// Ids of the voting members, when a member list came.
    voters: Option<Vec<u64>>,
}

/// Asks every member for its hash at the newest revision of `file`, which came from one of them.
///
/// Never an error: what could not be found out is a reason. A file that does not tell its own revision is not asked about.
pub async fn ask(cluster: &Cluster, file: &SnapshotFile) -> Answers {
    let snapshot = file.snapshot();
    match (snapshot.revision(), snapshot.compactions()) {
        (Ok(revision), Ok(compactions)) => {
            ask_members(cluster, revision, compactions.finished, file.len_bytes()).await
        }
        _ => Answers { members: Vec::new(), voters: None },
    }
}

/// Asks every member for its hash at `revision`.
///
/// `compact_revision` is that of the snapshot: a member that has not compacted as far cannot be compared, and is given a
/// moment to. `size_bytes` tells how long hashing may take.
async fn ask_members(cluster: &Cluster, revision: i64, compact_revision: i64, size_bytes: u64) -> Answers {
    let allowance = Duration::from_secs(size_bytes / HASHED_BYTES_PER_SECOND);
    let each = cluster.connections().iter().map(|connection| async move {
        let hash = ask_until_caught_up(connection, revision, compact_revision, allowance);
        let (answer, list) = with_sign_of_life(hash, connection.member_list()).await;
        (connection.endpoint().to_owned(), answer, list)
    });
    let mut members = Vec::with_capacity(cluster.connections().len());
    let mut lists = Vec::new();
    for (endpoint, answer, list) in futures::future::join_all(each).await {
        members.push((endpoint, answer));
        lists.extend(list);
    }
    let voters = lists.into_iter().next().map(|members| {
        members.iter().filter(|member| !member.is_learner).map(|member| member.id).collect::<Vec<u64>>()
    });
    Answers { members, voters }
}

/// Waits for a member's hash for as long as it takes, but only while the member is there.
///
/// The connection makes one attempt to dial at a time, so a member that cannot be reached must not be asked two things:
/// the second would wait for a dial of its own. And one that was reached once and hangs since would be waited for as long
/// as a large database takes to hash. The small request goes second, over the same connection, and tells both.
async fn with_sign_of_life<H, L>(
    hash: impl Future<Output = Result<H, EtcdError>>,
    life: impl Future<Output = Result<L, EtcdError>>,
) -> (Result<H, EtcdError>, Option<L>) {
    use futures::future::{Either, select};
    let (hash, life) = (std::pin::pin!(hash), std::pin::pin!(life));
    match select(hash, life).await {
        // It cannot be reached; nothing else needs to be tried.
        Either::Left((Err(error), _)) if error.is_transient() => (Err(error), None),
        Either::Left((answer, life)) => (answer, life.await.ok()),
        // It took the connection and answers nothing. Any other error is an answer, or the hash meets it as well.
        Either::Right((Err(error), _)) if matches!(error.cause, Cause::Timeout(_)) => (Err(error), None),
        Either::Right((list, hash)) => (hash.await, list.ok()),
    }
}

async fn ask_until_caught_up(
    connection: &Connection,
    revision: i64,
    compact_revision: i64,
    allowance: Duration,
) -> Result<HashKv, EtcdError> {
    let deadline = Instant::now() + CATCH_UP;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut answer = connection.hash_kv(revision, allowance).await;
        let not_hashed_anew = match &answer {
            Ok(hash) => hash.compact_revision < compact_revision,
            Err(error) => matches!(error.cause, Cause::Compacted),
        };
        if not_hashed_anew {
            // A revision at which a member compacted is answered from memory since 3.5, with the hash from before that
            // compaction, and refused by 3.4. Asked for its newest revision the member computes anew, and in a quiet
            // cluster that is the same one.
            let anew = connection.hash_kv(0, allowance).await;
            if anew.as_ref().is_ok_and(|hash| hash.newest_revision == revision) {
                answer = anew;
            }
        }
        let behind = match &answer {
            Ok(hash) => hash.compact_revision < compact_revision,
            Err(error) => matches!(error.cause, Cause::FutureRevision),
        };
        if !behind || Instant::now() + pause > deadline {
            return answer;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// What can be said of a cluster whose only member the snapshot came from. It is not asked: hashing is a scan of its whole
/// database, and would tell nothing.
pub fn alone(revision: i64) -> Agreement {
    Agreement {
        outcome: Outcome::Inconclusive,
        reason: Some(verdict::ALONE.to_owned()),
        revision,
        members: Vec::new(),
        odd_one_out: None,
    }
}

/// Compares what the members answered with the file. `from_member` is the member that it came from.
pub async fn compare(
    answers: Answers,
    file: Arc<SnapshotFile>,
    facts: &Facts,
    from_member: u64,
) -> Agreement {
    let (revision, own) = (facts.revision, facts.hashkv.compact_revision);
    let mut expected: BTreeMap<i64, Result<u32, String>> = BTreeMap::from([(own, Ok(facts.hashkv.hash))]);
    for (_, answer) in &answers.members {
        if let Ok(hash) = answer
            && (own..=revision).contains(&hash.compact_revision)
            && !expected.contains_key(&hash.compact_revision)
        {
            let compact_revision = hash.compact_revision;
            expected.insert(compact_revision, hash_file(Arc::clone(&file), revision, compact_revision).await);
        }
    }
    let mut members: Vec<MemberHash> = Vec::with_capacity(answers.members.len());
    for (endpoint, answer) in answers.members {
        let member = verdict::judge(&endpoint, answer, revision, own, &expected);
        // Two endpoints of one member are one voice.
        let known =
            member.member_id.is_some() && members.iter().any(|other| other.member_id == member.member_id);
        if !known {
            members.push(member);
        }
    }
    let conclusion = verdict::conclude(&members, answers.voters.as_deref(), from_member);
    Agreement {
        outcome: conclusion.outcome,
        reason: conclusion.reason,
        revision,
        members,
        odd_one_out: conclusion.odd_one_out,
    }
}

async fn hash_file(file: Arc<SnapshotFile>, revision: i64, compact_revision: i64) -> Result<u32, String> {
    let work = move || {
        etcd_snapshot::hash::hash_kv(file.snapshot(), revision, Some(compact_revision)).map(|hash| hash.hash)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(hash) => hash.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::{Attempt, Options};

    fn error(cause: Cause) -> EtcdError {
        EtcdError { endpoint: "http://a:1".to_owned(), attempt: Attempt::HashKv, cause }
    }

    #[tokio::test]
    async fn a_member_that_shows_no_life_is_not_waited_for() {
        let never = std::future::pending::<Result<(), EtcdError>>;
        let refused = std::future::ready(Err::<(), _>(error(Cause::Refused)));
        let (answer, list) = with_sign_of_life(refused, never()).await;
        assert!(answer.is_err() && list.is_none());
        let silent = std::future::ready(Err::<(), _>(error(Cause::Timeout(Duration::from_secs(1)))));
        let (answer, _) = with_sign_of_life(never(), silent).await;
        assert!(matches!(answer.unwrap_err().cause, Cause::Timeout(_)));
        // A member may have no list to tell, and a hash all the same.
        let learner = std::future::ready(Err::<(), _>(error(Cause::Learner)));
        let (answer, list) = with_sign_of_life(std::future::ready(Ok(1)), learner).await;
        assert!(answer.is_ok() && list.is_none());
    }

    /// Ports that hold a connection until each of them has one: members asked in turn would wait for one another.
    #[tokio::test]
    async fn members_are_asked_side_by_side() {
        const MEMBERS: usize = 3;
        let all_dialled = Arc::new(std::sync::Barrier::new(MEMBERS));
        let endpoints = (0..MEMBERS).map(|_| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("https://{}", listener.local_addr().unwrap());
            let all_dialled = Arc::clone(&all_dialled);
            std::thread::spawn(move || {
                let connection = listener.accept();
                all_dialled.wait();
                drop(connection);
            });
            endpoint
        });
        let options = Options {
            endpoints: endpoints.collect(),
            tls: None,
            credentials: None,
            dial_timeout: Duration::from_mins(1),
            request_timeout: Duration::from_mins(2),
        };
        let Ok(cluster) = Cluster::connect(&options).await else {
            // A machine without any certificate authority cannot begin a handshake.
            return;
        };
        let answers = ask_members(&cluster, 2, -1, 750 << 20).await;
        assert_eq!(answers.members.len(), MEMBERS);
        for (_, answer) in answers.members {
            let cause = answer.unwrap_err().cause;
            assert!(!matches!(cause, Cause::HandshakeTimeout(_) | Cause::DialTimeout(_)), "{cause:?}");
        }
    }
}
