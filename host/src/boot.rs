//! A throwaway etcd, restored from a backup: proof that what comes back lives.
//!
//! Its data directory is written by our own restore into a private folder of the scratch directory, and a real etcd is
//! started there. Nobody else reaches it: it listens on sockets in that folder (0700) and on no port, and has no peers. It is killed and its folder
//! removed when the [`Throwaway`] goes, however that comes about; what a killed process left is taken away by the next
//! ([`sweep`]). Standing alarms, users and roles are not brought along, so that whoever works with it may do everything.

mod database;
mod judge;
mod place;
mod process;
mod program;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etcd_snapshot::restore::{Member, Plan, RestoreError, restore_all};
use etcd_snapshot::{Facts, Outcome, SnapshotFile};
use futures::future::BoxFuture;
use holdfast_runtime::Database;

use self::database::Client;
use self::judge::judge_written;
pub use self::judge::{Judged, judge};
use self::place::Place;
pub use self::place::sweep;
use self::process::Process;
pub use self::program::{Program, ProgramError};
use crate::pipeline::preflight::free_bytes;
use crate::pipeline::store::with_causes;
use crate::units::{format_duration, format_size};

/// The name of the only member.
const NAME: &str = "throwaway";
/// Where other members would find it. Nothing listens there, and there are none.
const PEER_URL: &str = "http://127.0.0.1:1";
/// What may be written to it beyond what it was restored with, before it says that it is full. More than one script may write.
const QUOTA_MARGIN_BYTES: u64 = 256 << 20;
/// Room for the write-ahead log: two segments of etcd's, and what is written to them.
const LOG_BYTES: u64 = (128 << 20) + QUOTA_MARGIN_BYTES;
/// How often it is looked whether it answers.
const LOOK: Duration = Duration::from_millis(50);

/// How a throwaway etcd is booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The etcd: a path, or a name that is looked for on `PATH`.
    pub program: PathBuf,
    /// How long it may take until it answers.
    pub timeout: Duration,
    /// The folder in which its own is made.
    pub scratch: PathBuf,
}

impl Options {
    /// How it is booted where nothing is configured.
    pub fn of(scratch: PathBuf) -> Self {
        Self { program: PathBuf::from("etcd"), timeout: Duration::from_mins(2), scratch }
    }
}

/// Why there is no etcd.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// There is no program to boot.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The program is older than what wrote the backup.
    #[error("`{}` is etcd {version}, and the backup needs {needed} or later", program.display())]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: String,
        /// What the backup needs.
        needed: String,
    },
    /// The backup is one that a restore refuses.
    #[error("a restore refuses it: {reason}")]
    Refused {
        /// What the integrity check came to.
        outcome: Outcome,
        /// Its first finding.
        reason: String,
    },
    /// The scratch directory cannot be used.
    #[error("cannot use scratch directory `{}`", scratch.display())]
    Scratch {
        /// The directory.
        scratch: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// There is no room.
    #[error(
        "`{}` has {} of space free, and an etcd restored from this backup needs {}",
        scratch.display(), format_size(*free_bytes), format_size(*needed_bytes)
    )]
    NoRoom {
        /// The directory.
        scratch: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The data directory could not be written.
    #[error("the data directory could not be written")]
    Restore(#[from] RestoreError),
    /// The program could not be started.
    #[error("`{}` could not be started", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It ended before it answered.
    #[error("etcd {version} does not run on the restored backup: it ended ({status}){}", last_words(log))]
    Ended {
        /// Its version.
        version: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// It did not answer in time.
    #[error("etcd {version} did not answer within {}{}", format_duration(*after), last_words(log))]
    Silent {
        /// Its version.
        version: String,
        /// So long.
        after: Duration,
        /// The end of its log.
        log: String,
    },
    /// It cannot be reached.
    #[error("the restored etcd cannot be asked: {0}")]
    Connect(String),
}

impl BootError {
    /// What this says of the backup: only an etcd that does not run on it, or a restore that refuses it, is a verdict.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Ended { .. } => Outcome::Failed,
            Self::Refused { outcome, .. } => *outcome,
            _ => Outcome::Inconclusive,
        }
    }

    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Program(error) => return error.hint(),
            Self::TooOld { .. } => "name a newer one in `program` of [boot]".to_owned(),
            Self::Refused { .. } => "`holdfast inspect` tells all that was found".to_owned(),
            Self::Scratch { .. } => {
                "create the directory, make it writable, or name another in `scratch` of [backup]".to_owned()
            }
            Self::NoRoom { .. } => {
                "free some space, or name a larger disk in `scratch` of [backup]".to_owned()
            }
            Self::Restore(error) => return error.hint(),
            Self::Silent { .. } => "raise `timeout` of [boot]: a large database takes its time".to_owned(),
            Self::Start { .. } | Self::Ended { .. } | Self::Connect(_) => return None,
        })
    }
}

fn last_words(log: &str) -> String {
    log.lines().last().map(|line| format!("; it wrote: {line}")).unwrap_or_default()
}

/// The backup that is to be restored.
#[derive(Clone)]
pub struct Source {
    /// The snapshot file.
    pub file: Arc<SnapshotFile>,
    /// What is known of it.
    pub facts: Arc<Facts>,
    /// What the integrity check came to, and its first finding. A restore refuses what did not pass.
    pub integrity: (Outcome, String),
}

/// A data directory that was written from a backup, in a folder of its own.
struct Written {
    place: Place,
    /// How long it took.
    took: Duration,
}

/// A running etcd that was restored from a backup.
pub struct Throwaway {
    // In this order: it is killed before its folder goes.
    process: Process,
    place: Place,
    version: String,
    restored_in: Duration,
    booted_in: Duration,
    touched: AtomicBool,
}

impl Throwaway {
    /// Restores the backup and starts etcd on it. Dropping the future ends what was started.
    pub fn boot<'a>(options: &'a Options, source: &'a Source) -> BoxFuture<'a, Result<Self, BootError>> {
        // On the heap: a chain has several of them, each some kilobytes.
        Box::pin(Self::booted(options, source))
    }

    async fn booted(options: &Options, source: &Source) -> Result<Self, BootError> {
        let program = Program::find(&options.program).await?;
        if let Some(needed) = &source.facts.etcd_version
            && !program.serves(needed)
        {
            let (version, needed) = (program.version.clone(), needed.clone());
            return Err(BootError::TooOld { program: program.path, version, needed });
        }
        let Written { place, took: restored_in } = write(options, source).await?;
        let began = Instant::now();
        let quota_bytes = source.facts.image_bytes + QUOTA_MARGIN_BYTES;
        let process = Process::start(&program, &place, quota_bytes)
            .map_err(|error| BootError::Start { program: program.path.clone(), source: error })?;
        let version = program.version;
        let booted = Self {
            process,
            place,
            version,
            restored_in,
            booted_in: Duration::ZERO,
            touched: AtomicBool::new(false),
        };
        booted.answers_within(options.timeout, began).await?;
        Ok(Self { booted_in: began.elapsed(), ..booted })
    }

    async fn answers_within(&self, limit: Duration, began: Instant) -> Result<(), BootError> {
        let deadline = tokio::time::Instant::from_std(began + limit);
        loop {
            if let Some(status) = self.process.ended() {
                let (version, log) = (self.version.clone(), self.process.last_log().await);
                return Err(BootError::Ended { version, status, log });
            }
            let attempt = async {
                let client = self.client().await.ok()?;
                client.status().await.ok()
            };
            match tokio::time::timeout_at(deadline, attempt).await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => tokio::time::sleep(LOOK).await,
                Err(_) => {
                    let (version, log) = (self.version.clone(), self.process.log());
                    return Err(BootError::Silent { version, after: limit, log });
                }
            }
        }
    }

    async fn client(&self) -> Result<Client, BootError> {
        Box::pin(Client::connect(self.place.client_socket()))
            .await
            .map_err(|error| BootError::Connect(error.to_string()))
    }

    /// A client with a connection of its own. What is open on it ends with it.
    pub async fn database(&self) -> Result<Arc<dyn Database>, BootError> {
        Ok(Arc::new(self.client().await?))
    }

    /// Says that someone is about to work with it, and whether nobody did before.
    pub fn touch(&self) -> bool {
        !self.touched.swap(true, Ordering::Relaxed)
    }

    /// How it ended, if it did.
    pub fn ended(&self) -> Option<String> {
        self.process.ended()
    }

    /// The version of etcd.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How long the restore took, and how long etcd then took to answer.
    pub fn took(&self) -> (Duration, Duration) {
        (self.restored_in, self.booted_in)
    }

    /// Ends it, off the async threads.
    pub async fn end(self) {
        // A panic there has been told by the hook; the sweep takes away what is left.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// Writes the data directory into a new folder of the scratch directory.
async fn write(options: &Options, source: &Source) -> Result<Written, BootError> {
    let (outcome, reason) = source.integrity.clone();
    if outcome != Outcome::Passed {
        return Err(BootError::Refused { outcome, reason });
    }
    let scratch = options.scratch.clone();
    let unusable = move |error| BootError::Scratch { scratch: scratch.clone(), source: error };
    let (scratch, source) = (options.scratch.clone(), source.clone());
    // The folder is owned by the work, not by whoever waits for it: one that stops waiting does not take it away under the writer.
    let work = move || {
        let began = Instant::now();
        let place = Place::create(&scratch).map_err(&unusable)?;
        let free_bytes = free_bytes(place.path()).map_err(&unusable)?;
        let needed_bytes = source.facts.image_bytes + QUOTA_MARGIN_BYTES + LOG_BYTES;
        if free_bytes < needed_bytes {
            return Err(BootError::NoRoom { scratch, free_bytes, needed_bytes });
        }
        let member = Member { name: NAME.to_owned(), peer_urls: vec![PEER_URL.to_owned()] };
        let token = place.token();
        let plan = Plan {
            clear_alarms: true,
            strip_auth: source.facts.auth_enabled,
            ..Plan::new(NAME, vec![member], &token, &place.data_directory())
        };
        restore_all(&source.file, &[plan])?;
        Ok(Written { place, took: began.elapsed() })
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(written) => written,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Restores the backup and reads back what was written, without starting an etcd.
pub async fn restore_only(options: &Options, source: &Source) -> Result<Judged, BootError> {
    let Written { place, took } = write(options, source).await?;
    let facts = Arc::clone(&source.facts);
    let read = tokio::task::spawn_blocking(move || judge_written(&place, &facts, took)).await;
    match read {
        Ok(judged) => Ok(judged),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// The whole of an error, in one line.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    with_causes(error)
}
