//! etcd's write-ahead log: the records of a segment, written and read.
//!
//! A segment is a row of frames, each
//!
//! ```text
//! off  size  field
//! 0    8     i64, little-endian: low 56 bits = length n of the record; top byte = 0x80 | pad, or 0 when pad = 0
//! 8    n     walpb.Record { type = 1, crc = 2, data = 3 }
//! 8+n  pad   zeros, so that the next frame starts at a multiple of 8
//! ```
//!
//! and a length field of 0, or the end of the file, ends it. The CRC-32C runs on over the `data` of all records and
//! each record holds the value after it. Sources: etcd `server/storage/wal/{wal,encoder,decoder}.go`,
//! `walpb/record.proto`, raft `raftpb/raft.proto`.
//!
//! ```no_run
//! use etcd_snapshot::wal::read_segment;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let segment = std::fs::read("member/wal/0000000000000000-0000000000000000.wal")?;
//! let log = read_segment(&segment, 0)?;
//! println!("{} entries, {} bytes in use", log.entries.len(), log.used_bytes);
//! # Ok(())
//! # }
//! ```
//!
//! This module writes a log's first segment and reads any; it appends to no log that a server has written.

mod read;
pub(crate) mod wire;

use std::fmt;

pub use read::{Contents, Record, Records, WalError, read_segment};
use wire::Message;

/// The size to which etcd preallocates a segment (`wal.go`, `SegmentSizeBytes`).
pub const SEGMENT_SIZE_BYTES: u64 = 64_000_000;

/// The name of a log's first segment: sequence 0, first raft index 0.
pub const FIRST_SEGMENT_NAME: &str = "0000000000000000-0000000000000000.wal";

/// What a record holds (`wal.go`, `MetadataType` and after).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// [`Metadata`], at the head of every segment.
    Metadata,
    /// [`Entry`].
    Entry,
    /// [`HardState`].
    State,
    /// The running CRC, at the head of every segment.
    Crc,
    /// [`SnapshotMark`].
    Snapshot,
}

impl RecordKind {
    const ALL: [Self; 5] = [Self::Metadata, Self::Entry, Self::State, Self::Crc, Self::Snapshot];

    /// The number in the record's `type` field.
    pub fn number(self) -> u64 {
        match self {
            Self::Metadata => 1,
            Self::Entry => 2,
            Self::State => 3,
            Self::Crc => 4,
            Self::Snapshot => 5,
        }
    }

    fn of(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Metadata => "metadata",
            Self::Entry => "entry",
            Self::State => "state",
            Self::Crc => "crc",
            Self::Snapshot => "snapshot",
        })
    }
}

/// `etcdserverpb.Metadata`: whose log this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The member's id.
    pub node_id: u64,
    /// The cluster's id.
    pub cluster_id: u64,
}

/// `raftpb.HardState`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    /// The raft term.
    pub term: u64,
    /// Whom the member voted for in that term.
    pub vote: u64,
    /// The index up to which entries are committed.
    pub commit: u64,
}

/// `raftpb.Entry`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// 0 a normal entry, 1 a configuration change, 2 a configuration change of the second form.
    pub kind: u64,
    /// The raft term.
    pub term: u64,
    /// The raft index, from 1.
    pub index: u64,
    /// What is to be applied.
    pub data: Vec<u8>,
}

/// `raftpb.ConfState`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Ids of the voting members.
    pub voters: Vec<u64>,
    /// Ids of the learners.
    pub learners: Vec<u64>,
}

/// `walpb.Snapshot`: from here on a server may start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotMark {
    /// The raft index.
    pub index: u64,
    /// The raft term.
    pub term: u64,
    /// The membership then; absent in logs of etcd 3.4 and in the mark at index 0.
    pub conf_state: Option<ConfState>,
}

impl Metadata {
    pub(crate) fn encode(self) -> Vec<u8> {
        Message::new().varint(1, self.node_id).varint(2, self.cluster_id).finish()
    }
}

impl HardState {
    pub(crate) fn encode(self) -> Vec<u8> {
        Message::new().varint(1, self.term).varint(2, self.vote).varint(3, self.commit).finish()
    }
}

impl Entry {
    /// The entry that adds a voter; `context` is the member as JSON (raftpb.ConfChange, `ConfChangeAddNode`).
    pub(crate) fn add_member(index: u64, term: u64, member_id: u64, context: &[u8]) -> Self {
        const ENTRY_CONF_CHANGE: u64 = 1;
        const CONF_CHANGE_ADD_NODE: u64 = 0;
        let change = Message::new().varint(1, 0).varint(2, CONF_CHANGE_ADD_NODE);
        let data = change.varint(3, member_id).bytes(4, context).finish();
        Self { kind: ENTRY_CONF_CHANGE, term, index, data }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let scalars = Message::new().varint(1, self.kind).varint(2, self.term).varint(3, self.index);
        scalars.bytes(4, &self.data).finish()
    }
}

impl ConfState {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let voters = self.voters.iter().fold(Message::new(), |message, &id| message.varint(1, id));
        let learners = self.learners.iter().fold(voters, |message, &id| message.varint(2, id));
        let auto_leave = learners.varint(5, 0);
        auto_leave.finish()
    }
}

impl SnapshotMark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let place = Message::new().varint(1, self.index).varint(2, self.term);
        match &self.conf_state {
            Some(conf_state) => place.bytes(3, &conf_state.encode()).finish(),
            None => place.finish(),
        }
    }
}

/// The used part of a first segment, record by record.
pub(crate) struct SegmentWriter {
    bytes: Vec<u8>,
    crc: u32,
}

impl SegmentWriter {
    /// Starts with the head that etcd gives a first segment: running CRC 0, metadata, mark at index 0.
    pub(crate) fn first(metadata: Metadata) -> Self {
        let mut writer = Self { bytes: Vec::new(), crc: 0 };
        writer.record(RecordKind::Crc, &[]);
        writer.record(RecordKind::Metadata, &metadata.encode());
        writer.record(RecordKind::Snapshot, &SnapshotMark::default().encode());
        writer
    }

    pub(crate) fn record(&mut self, kind: RecordKind, data: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, data);
        let head = Message::new().varint(1, kind.number()).varint(2, u64::from(self.crc));
        // A record without data has no data field at all: Go's nil slice.
        let record = if data.is_empty() { head.finish() } else { head.bytes(3, data).finish() };
        let pad = record.len().wrapping_neg() % 8;
        let flag = if pad == 0 { 0 } else { (0x80 | pad as u64) << 56 };
        self.bytes.extend_from_slice(&(record.len() as u64 | flag).to_le_bytes());
        self.bytes.extend_from_slice(&record);
        self.bytes.extend_from_slice(&[0; 8][..pad]);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
