#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod bolt;
mod changes;
mod check;
pub mod codes;
mod content;
mod error;
mod facts;
mod finding;
pub mod hash;
mod history;
mod keys;
mod keytable;
mod map;
mod membership;
mod proto;
mod record;
pub mod restore;
mod revision;
mod schema;
mod snap;
mod snapshot;
mod threads;
pub mod wal;
mod write;

pub use changes::KeyChanges;
pub use check::{CheckOptions, Inspection, Integrity, inspect};
pub use error::{MetaFault, OpenError, ReadError};
pub use facts::{Alarm, BucketFacts, Facts, HashKv, Member};
pub use finding::{Finding, Outcome, Severity};
pub use keys::{LiveKeys, ReadAhead, Touch};
pub use record::{KeyValue, Metadata, Record};
pub use revision::Revision;
pub use schema::{Compactions, Lease};
pub use snapshot::{Snapshot, SnapshotFile, TRAILER_BYTES, Trailer};
