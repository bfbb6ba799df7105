//! Reading a segment: frames, the CRC chain, torn tails, and the messages inside.

use super::{ConfState, Entry, HardState, Metadata, RecordKind, SnapshotMark};
use crate::proto::{Field, Fields};

/// etcd writes its log in sectors of this size; one that stayed zero tells a torn write (`decoder.go`, `isTornEntry`).
const SECTOR_BYTES: usize = 512;

/// One record of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where its frame starts in the segment, in bytes.
    pub offset: u64,
    /// Length of the record without the frame, in bytes.
    pub length: u64,
    /// What it holds.
    pub kind: RecordKind,
    /// The running CRC-32C after it, as stored and checked.
    pub crc: u32,
    /// The message inside.
    pub data: &'a [u8],
}

/// Why a segment cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The tail was being written when the machine stopped; all before it is good.
    #[error("the record at offset {offset} was not written to its end")]
    Torn {
        /// Where its frame starts.
        offset: u64,
    },
    /// A frame runs past the file, or the record in it is no `walpb.Record`.
    #[error("the record at offset {offset} is damaged: {reason}")]
    Damaged {
        /// Where its frame starts.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The checksum does not fit.
    #[error(
        "the record at offset {offset} has the wrong checksum: expected {expected:#010x}, found {found:#010x}"
    )]
    Checksum {
        /// Where its frame starts.
        offset: u64,
        /// The value computed from the data.
        expected: u32,
        /// The value stored.
        found: u32,
    },
}

/// The records of one segment, checked one by one. After an error there are no more.
pub struct Records<'a> {
    segment: &'a [u8],
    position: usize,
    crc: u32,
    ended: bool,
}

impl<'a> Records<'a> {
    /// Reads `segment`; `crc` is the running value at the end of the segment before, 0 for the first one.
    pub fn of(segment: &'a [u8], crc: u32) -> Self {
        Self { segment, position: 0, crc, ended: false }
    }

    /// How many bytes of the segment have been read so far.
    pub fn position(&self) -> u64 {
        self.position as u64
    }

    /// The running CRC-32C so far.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    fn read(&mut self) -> Result<Option<Record<'a>>, WalError> {
        let offset = self.position as u64;
        let rest = self.segment.get(self.position..).unwrap_or_default();
        let Some((length_field, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let field = u64::from_le_bytes(*length_field);
        if field == 0 {
            return Ok(None);
        }
        let (length, pad) = split_length(field);
        let damaged = |reason| WalError::Damaged { offset, reason };
        let end = usize::try_from(length).ok().and_then(|length| Some((length, length.checked_add(pad)?)));
        let Some((length, framed)) = end else { return Err(damaged("its length has no end")) };
        let Some(frame) = rest.get(..framed) else { return Err(WalError::Torn { offset }) };
        let (kind, crc, data) = decode(&frame[..length]).map_err(|reason| {
            if torn(frame, self.position + 8) { WalError::Torn { offset } } else { damaged(reason) }
        })?;
        self.check(kind, crc, data).map_err(|expected| {
            if torn(frame, self.position + 8) {
                WalError::Torn { offset }
            } else {
                WalError::Checksum { offset, expected, found: crc }
            }
        })?;
        self.position += 8 + framed;
        Ok(Some(Record { offset, length: length as u64, kind, crc, data }))
    }

    /// Carries the running value on, or gives back the one that was expected.
    fn check(&mut self, kind: RecordKind, crc: u32, data: &[u8]) -> Result<(), u32> {
        let expected = if kind == RecordKind::Crc { self.crc } else { crc32c::crc32c_append(self.crc, data) };
        let starts_anew = kind == RecordKind::Crc && self.crc == 0;
        if crc != expected && !starts_anew {
            return Err(expected);
        }
        self.crc = crc;
        Ok(())
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// What a segment says, its messages decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Whose log it is.
    pub metadata: Option<Metadata>,
    /// The newest hard state.
    pub hard_state: HardState,
    /// Entries in the order of the file; a later one of the same index replaces the earlier.
    pub entries: Vec<Entry>,
    /// All snapshot marks, in order.
    pub snapshots: Vec<SnapshotMark>,
    /// How many bytes of the segment are in use.
    pub used_bytes: u64,
    /// The running CRC-32C at its end.
    pub crc: u32,
}

/// Reads a whole segment; `crc` is the running value at the end of the segment before, 0 for the first one.
///
/// # Errors
/// The first record that is torn, damaged or has the wrong checksum.
pub fn read_segment(segment: &[u8], crc: u32) -> Result<Contents, WalError> {
    let mut contents = Contents::default();
    let mut records = Records::of(segment, crc);
    for record in records.by_ref() {
        let record = record?;
        let damaged = || WalError::Damaged { offset: record.offset, reason: "its message does not decode" };
        match record.kind {
            RecordKind::Crc => {}
            RecordKind::Metadata => contents.metadata = Some(metadata(record.data).ok_or_else(damaged)?),
            RecordKind::Entry => contents.entries.push(entry(record.data).ok_or_else(damaged)?),
            RecordKind::State => contents.hard_state = hard_state(record.data).ok_or_else(damaged)?,
            RecordKind::Snapshot => contents.snapshots.push(snapshot_mark(record.data).ok_or_else(damaged)?),
        }
    }
    contents.used_bytes = records.position();
    contents.crc = records.crc();
    Ok(contents)
}

/// Length and padding out of a frame's length field.
fn split_length(field: u64) -> (u64, usize) {
    const LENGTH_MASK: u64 = (1 << 56) - 1;
    let top = (field >> 56) as u8;
    let pad = if top & 0x80 == 0 { 0 } else { usize::from(top & 0x07) };
    (field & LENGTH_MASK, pad)
}

fn decode(record: &[u8]) -> Result<(RecordKind, u32, &[u8]), &'static str> {
    let (mut kind, mut crc, mut data) = (0, 0, &[][..]);
    for field in Fields::new(record) {
        match field.ok_or("it is no record")? {
            (1, Field::Varint(number)) => kind = number,
            (2, Field::Varint(number)) => crc = number as u32,
            (3, Field::Bytes(bytes)) => data = bytes,
            _ => {}
        }
    }
    let kind = RecordKind::of(kind).ok_or("its type is not known")?;
    Ok((kind, crc, data))
}

/// Whether some whole sector's share of the frame is zeros: then it never reached the disk.
fn torn(frame: &[u8], start: usize) -> bool {
    let mut position = 0;
    while position < frame.len() {
        let to_sector_end = SECTOR_BYTES - (start + position) % SECTOR_BYTES;
        let end = frame.len().min(position + to_sector_end);
        if frame[position..end].iter().all(|&byte| byte == 0) {
            return true;
        }
        position = end;
    }
    false
}

fn metadata(message: &[u8]) -> Option<Metadata> {
    let mut metadata = Metadata::default();
    for field in Fields::new(message) {
        match field? {
            (1, Field::Varint(id)) => metadata.node_id = id,
            (2, Field::Varint(id)) => metadata.cluster_id = id,
            _ => {}
        }
    }
    Some(metadata)
}

fn hard_state(message: &[u8]) -> Option<HardState> {
    let mut state = HardState::default();
    for field in Fields::new(message) {
        match field? {
            (1, Field::Varint(term)) => state.term = term,
            (2, Field::Varint(vote)) => state.vote = vote,
            (3, Field::Varint(commit)) => state.commit = commit,
            _ => {}
        }
    }
    Some(state)
}

fn entry(message: &[u8]) -> Option<Entry> {
    let mut entry = Entry::default();
    for field in Fields::new(message) {
        match field? {
            (1, Field::Varint(kind)) => entry.kind = kind,
            (2, Field::Varint(term)) => entry.term = term,
            (3, Field::Varint(index)) => entry.index = index,
            (4, Field::Bytes(data)) => entry.data = data.to_vec(),
            _ => {}
        }
    }
    Some(entry)
}

fn snapshot_mark(message: &[u8]) -> Option<SnapshotMark> {
    let mut mark = SnapshotMark::default();
    for field in Fields::new(message) {
        match field? {
            (1, Field::Varint(index)) => mark.index = index,
            (2, Field::Varint(term)) => mark.term = term,
            (3, Field::Bytes(bytes)) => mark.conf_state = Some(conf_state(bytes)?),
            _ => {}
        }
    }
    Some(mark)
}

fn conf_state(message: &[u8]) -> Option<ConfState> {
    let mut state = ConfState::default();
    for field in Fields::new(message) {
        match field? {
            (1, Field::Varint(id)) => state.voters.push(id),
            (2, Field::Varint(id)) => state.learners.push(id),
            _ => {}
        }
    }
    Some(state)
}
