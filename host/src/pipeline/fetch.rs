//! The snapshot stream into a private scratch file, digested on its way.
//!
//! The network is read on the async side; writing and hashing happen on a blocking thread, a bounded channel of a
//! megabyte between them. So both cores work, and memory stays flat whatever the size of the database. When a member
//! fails in the middle the file is emptied and the next one is asked from the beginning: two members' snapshots cannot be
//! joined. Packing follows the file while it grows; it learns that it is whole only once its hash is found right.

pub(crate) mod digest;
mod pace;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::growing::Growth;
use super::preflight::{EndpointHealth, told_once};
use crate::etcd::{Cluster, Connection, EtcdError};
use crate::progress::Progress;
use crate::units::format_size;
use digest::Trailer;
use pace::Pace;
use write::{Batch, Scratch, WriteError};

/// What goes over the channel at once: large enough that a wake-up is rare, small enough to be in the processor's cache still
/// when it is written and digested.
const BATCH_BYTES: usize = 256 * 1024;
/// Batches under way between network and disk.
const BATCHES: usize = 4;
/// A snapshot is at least two meta pages of the smallest page size.
const LEAST_BYTES: u64 = 2 * 512;
/// Before the same members are asked once more.
const SECOND_ROUND_AFTER: Duration = Duration::from_secs(1);

/// How a snapshot is fetched.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The file to make. It must not be there; it is made readable for its owner only.
    pub scratch: PathBuf,
    /// Bytes a second that are taken at most.
    pub rate_limit: Option<u64>,
    /// Longest time without a byte before the next member is asked.
    pub stall_timeout: Duration,
    /// Take a snapshot whose trailing hash is not there, or is zeros.
    pub allow_missing_hash: bool,
}

/// A snapshot that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The scratch file. It is the caller's to remove.
    pub path: PathBuf,
    /// The endpoint it came from.
    pub endpoint: String,
    /// The member behind it.
    pub member_id: u64,
    /// Size of the file, its trailing hash included.
    pub size_bytes: u64,
    /// Digest of the whole file, in hexadecimal.
    pub sha256: String,
    /// Digest of the database image alone, in hexadecimal: what the trailing hash says.
    pub image_sha256: String,
    /// Whether the trailing hash was there and right. False only when a missing one was allowed.
    pub trailer_ok: bool,
    /// The storage version that the stream told, since 3.6.
    pub stream_version: Option<String>,
    /// When the first request was made.
    pub started: Timestamp,
    /// When the last byte was written.
    pub ended: Timestamp,
    /// The endpoints that failed before, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_before: Vec<String>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody to ask.
    #[error("there is no endpoint to ask for a snapshot")]
    NoEndpoint,
    /// The scratch file cannot be made or written.
    #[error(transparent)]
    Scratch(#[from] WriteError),
    /// The stream failed.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// What came does not have the hash that came with it.
    #[error(
        "endpoint `{endpoint}`: the snapshot does not match its own sha256: `{expected}` came with it, `{found}` is what it has"
    )]
    WrongHash {
        /// The endpoint.
        endpoint: String,
        /// The trailing hash.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// No trailing hash, or zeros in its place.
    #[error("endpoint `{endpoint}`: the snapshot came {}", if *.zeros { "with 32 zero bytes in the place of its sha256" } else { "without its sha256" })]
    MissingHash {
        /// The endpoint.
        endpoint: String,
        /// Zeros were there instead.
        zeros: bool,
    },
    /// A size that no snapshot has.
    #[error("endpoint `{endpoint}`: {size_bytes} bytes came, which is no size of a snapshot")]
    WrongSize {
        /// The endpoint.
        endpoint: String,
        /// What came.
        size_bytes: u64,
    },
    /// Every endpoint failed.
    #[error("none of the {} endpoints gave a snapshot: {}", .0.len(), told_once(.0.iter().map(|error| (error.to_string(), error.reason()))))]
    AllFailed(Vec<FetchError>),
    /// The run was told to stop.
    #[error("the fetch was stopped")]
    Cancelled,
}

impl FetchError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoEndpoint => Some("check `endpoints` in `[cluster]`".to_owned()),
            Self::Scratch(error) => Some(error.hint()),
            Self::Etcd(error) => error.hint(),
            Self::WrongHash { .. } | Self::WrongSize { .. } => {
                Some("try again; when it stays, check the memory of both machines and the network between".to_owned())
            }
            Self::MissingHash { .. } => Some(
                "what came cannot be proved whole; `--allow-missing-hash` or `allow_missing_hash` in `[backup]` takes it \
                 all the same"
                    .to_owned(),
            ),
            Self::AllFailed(errors) => errors.iter().find_map(Self::hint),
            Self::Cancelled => None,
        }
    }

    /// Whether asking again, or another member, can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Etcd(error) => error.is_transient(),
            Self::WrongHash { .. } | Self::WrongSize { .. } => true,
            Self::AllFailed(errors) => errors.iter().any(Self::is_transient),
            Self::NoEndpoint | Self::Scratch(_) | Self::MissingHash { .. } | Self::Cancelled => false,
        }
    }

    /// The message without the endpoint.
    fn reason(&self) -> String {
        match self {
            Self::Etcd(error) => error.reason(),
            other => other.to_string(),
        }
    }

    /// Whether the reason lies here and not with the member: then no other member helps.
    fn is_local(&self) -> bool {
        matches!(self, Self::Scratch(_) | Self::Cancelled)
    }

    /// Whether it took its time to fail: asking the same member again would double the wait.
    fn was_slow(&self) -> bool {
        use crate::etcd::Cause;
        let Self::Etcd(error) = self else { return false };
        matches!(
            error.cause,
            Cause::Stalled { .. } | Cause::Timeout(_) | Cause::DialTimeout(_) | Cause::HandshakeTimeout(_)
        )
    }
}

/// Fetches a snapshot from the first of `order` that gives one. Who follows the scratch file through `growth` can read it
/// while it comes.
///
/// On an error, and when the future is dropped, the scratch file is gone.
///
/// # Errors
/// Every endpoint failed, the scratch file cannot be written, or the run was cancelled.
pub async fn fetch(
    cluster: &Cluster,
    order: &[EndpointHealth],
    options: &FetchOptions,
    growth: Growth,
    progress: &dyn Progress,
    cancel: &CancellationToken,
) -> Result<Fetched, FetchError> {
    let fetching = from_first_that_gives(cluster, order, options, Arc::new(growth), progress);
    let fetched = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(FetchError::Cancelled),
        fetched = fetching => fetched,
    };
    progress.finish();
    fetched
}

async fn from_first_that_gives(
    cluster: &Cluster,
    order: &[EndpointHealth],
    options: &FetchOptions,
    growth: Arc<Growth>,
    progress: &dyn Progress,
) -> Result<Fetched, FetchError> {
    let started = Timestamp::now();
    let scratch = Scratch::create(&options.scratch)?;
    let mut failures: Vec<FetchError> = Vec::new();
    let first: Vec<(&EndpointHealth, &Connection)> = order
        .iter()
        .filter_map(|endpoint| Some((endpoint, cluster.connection(&endpoint.endpoint)?)))
        .collect();
    let mut round = first.clone();
    for again in [false, true] {
        if again {
            // A member that broke off may serve a moment later; one that let us wait is not asked twice.
            let worth = |error: &FetchError| error.is_transient() && !error.was_slow();
            round = first
                .iter()
                .zip(&failures)
                .filter(|(_, error)| worth(error))
                .map(|(pair, _)| *pair)
                .collect();
            if round.is_empty() {
                break;
            }
            tokio::time::sleep(SECOND_ROUND_AFTER).await;
        }
        for (endpoint, connection) in &round {
            match from_member(connection, endpoint, &scratch, options, &growth, progress).await {
                Ok(mut fetched) => {
                    fetched.started = started;
                    fetched.failed_before = failures.iter().map(ToString::to_string).collect();
                    scratch.keep();
                    growth.complete();
                    return Ok(fetched);
                }
                Err(error) if error.is_local() => return Err(error),
                Err(error) => {
                    tracing::warn!(endpoint = connection.endpoint(), %error, "no snapshot from this endpoint");
                    if !again {
                        failures.push(error);
                    }
                }
            }
        }
    }
    match failures.len() {
        0 => Err(FetchError::NoEndpoint),
        1 => Err(failures.remove(0)),
        _ => Err(FetchError::AllFailed(failures)),
    }
}

async fn from_member(
    connection: &Connection,
    health: &EndpointHealth,
    scratch: &Scratch,
    options: &FetchOptions,
    growth: &Arc<Growth>,
    progress: &dyn Progress,
) -> Result<Fetched, FetchError> {
    let (batches, incoming) = mpsc::channel::<Batch>(BATCHES);
    let mut writer = scratch.write(incoming, growth)?;
    let mut source =
        Source { batches, pace: options.rate_limit.map(Pace::new), options, progress, total_known: false };
    let streamed = tokio::select! {
        streamed = source.stream(connection, scratch) => streamed,
        // The writer only ends first when it failed.
        written = &mut writer => Err(written.err().map_or(FetchError::NoEndpoint, FetchError::from)),
    };
    // Closes the channel, which ends the writer.
    drop(source);
    let stream_version = match streamed {
        Ok(version) => version,
        Err(error) => {
            if !error.is_local() {
                // The file is about to be emptied for another member: nobody may still be writing to it.
                writer.await?;
            }
            return Err(error);
        }
    };
    let written = writer.await?;
    let endpoint = connection.endpoint().to_owned();
    let trailer_ok = judge(&endpoint, &written, options.allow_missing_hash)?;
    Ok(Fetched {
        path: options.scratch.clone(),
        endpoint,
        member_id: health.member_id.0,
        size_bytes: written.size_bytes,
        sha256: digest::hex(&written.file_sha256),
        image_sha256: digest::hex(&written.image_sha256),
        trailer_ok,
        stream_version,
        started: Timestamp::UNIX_EPOCH,
        ended: Timestamp::now(),
        failed_before: Vec::new(),
    })
}

/// The network side of one attempt.
struct Source<'a> {
    batches: mpsc::Sender<Batch>,
    pace: Option<Pace>,
    options: &'a FetchOptions,
    progress: &'a dyn Progress,
    total_known: bool,
}

impl Source<'_> {
    /// Reads the stream to its end; the answer is the version it told.
    async fn stream(
        &mut self,
        connection: &Connection,
        scratch: &Scratch,
    ) -> Result<Option<String>, FetchError> {
        let stall_timeout = self.options.stall_timeout;
        self.progress.start("fetch", None);
        let mut stream = connection.snapshot(stall_timeout).await?;
        let mut batch = Batch::default();
        while let Some(piece) = stream.next(stall_timeout).await? {
            if !self.total_known
                && let Some(database_bytes) = stream.database_bytes()
            {
                self.total_known = true;
                scratch.reserve(database_bytes + digest::SHA256_BYTES as u64).await?;
                self.progress.start("fetch", Some(database_bytes + digest::SHA256_BYTES as u64));
            }
            self.take(&mut batch, piece).await?;
        }
        self.hand_over(batch).await?;
        Ok(stream.version())
    }

    async fn take(&mut self, batch: &mut Batch, piece: Bytes) -> Result<(), FetchError> {
        batch.push(piece);
        if batch.bytes() >= BATCH_BYTES {
            self.hand_over(std::mem::take(batch)).await?;
        }
        Ok(())
    }

    async fn hand_over(&mut self, batch: Batch) -> Result<(), FetchError> {
        let bytes = batch.bytes() as u64;
        if bytes == 0 {
            return Ok(());
        }
        if let Some(wait) = self.pace.as_mut().map(|pace| pace.take(bytes, Instant::now())) {
            // Not reading is what slows the member down: HTTP/2 lets it send a window's worth and no more.
            tokio::time::sleep(wait).await;
        }
        let stall_timeout = self.options.stall_timeout;
        match tokio::time::timeout(stall_timeout, self.batches.send(batch)).await {
            Ok(Ok(())) => self.progress.advance(bytes),
            // The writer ended: its own error is the one to tell, and the caller has it. Wait to be dropped.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return Err(WriteError::stalled(&self.options.scratch, stall_timeout).into()),
        }
        Ok(())
    }
}

/// Is this the whole of what the member sent? `Ok(false)` when there is no hash to tell and that is allowed.
fn judge(endpoint: &str, written: &write::Written, allow_missing_hash: bool) -> Result<bool, FetchError> {
    let endpoint = endpoint.to_owned();
    if written.size_bytes < LEAST_BYTES {
        return Err(FetchError::WrongSize { endpoint, size_bytes: written.size_bytes });
    }
    match written.trailer {
        Trailer::Right => Ok(true),
        Trailer::Zeros | Trailer::Absent if allow_missing_hash => Ok(false),
        Trailer::Zeros => Err(FetchError::MissingHash { endpoint, zeros: true }),
        Trailer::Absent => Err(FetchError::MissingHash { endpoint, zeros: false }),
        Trailer::Wrong(expected) => Err(FetchError::WrongHash {
            endpoint,
            expected: digest::hex(&expected),
            found: digest::hex(&written.image_sha256),
        }),
        Trailer::OddSize => Err(FetchError::WrongSize { endpoint, size_bytes: written.size_bytes }),
    }
}

/// A size with its exact bytes, for messages about room.
fn exactly(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", format_size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(size_bytes: u64, trailer: Trailer) -> write::Written {
        write::Written { size_bytes, image_sha256: [1; 32], file_sha256: [2; 32], trailer }
    }

    #[test]
    fn a_missing_hash_is_refused_unless_allowed() {
        for (trailer, zeros) in [(Trailer::Absent, false), (Trailer::Zeros, true)] {
            let written = written(8192, trailer);
            let error = judge("http://a:1", &written, false).unwrap_err();
            assert!(
                matches!(error, FetchError::MissingHash { zeros: found, .. } if found == zeros),
                "{error}"
            );
            assert!(!error.is_transient());
            assert!(!judge("http://a:1", &written, true).unwrap());
        }
        assert!(judge("http://a:1", &written(8192 + 32, Trailer::Right), false).unwrap());
    }

    #[test]
    fn a_wrong_hash_or_size_is_never_allowed() {
        for (size_bytes, trailer) in
            [(8192 + 32, Trailer::Wrong([3; 32])), (8192 + 7, Trailer::OddSize), (32, Trailer::Right)]
        {
            let error = judge("http://a:1", &written(size_bytes, trailer), true).unwrap_err();
            assert!(error.is_transient(), "another member may do better: {error}");
        }
    }
}
