//! The little of protobuf's wire format that etcd's log needs, written: varints and length-delimited fields.
//!
//! Field numbers and types are named by the callers. Sources: `walpb/record.proto`, raft `raftpb/raft.proto`,
//! `etcdserverpb/raft_internal.proto`, `snappb/snap.proto`.

/// A message under construction: fields appear in the order in which they are put.
#[derive(Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A scalar field, written even when it is zero, as proto2 does for a field that is set.
    pub(crate) fn varint(mut self, field: u32, value: u64) -> Self {
        push_varint(&mut self.0, u64::from(field) << 3);
        push_varint(&mut self.0, value);
        self
    }

    /// A bytes, string or message field.
    pub(crate) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        push_varint(&mut self.0, (u64::from(field) << 3) | 2);
        push_varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Field, Fields};

    #[test]
    fn fields_read_back_as_they_were_put() {
        let bytes = Message::new().varint(1, u64::MAX).bytes(2, b"data").varint(3, 0).finish();
        let fields: Vec<_> = Fields::new(&bytes).collect();
        let expected = [(1, Field::Varint(u64::MAX)), (2, Field::Bytes(b"data")), (3, Field::Varint(0))];
        assert_eq!(fields, expected.map(Some));
    }
}
