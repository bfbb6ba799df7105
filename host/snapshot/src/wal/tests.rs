//! The worked example: three members, token `tok`, as etcd 3.5 and 3.6 write it byte for byte.

use super::*;
use crate::membership::{Voter, cluster_id, member_id};

fn voters() -> Vec<Voter> {
    let mut voters: Vec<Voter> = (1..=3)
        .map(|number| {
            let peer_urls = vec![format!("http://127.0.0.{number}:2380")];
            Voter { id: member_id(&peer_urls, "tok"), name: format!("m{number}"), peer_urls }
        })
        .collect();
    voters.sort_by_key(|voter| voter.id);
    voters
}

fn segment() -> Vec<u8> {
    crate::restore::log_of(0x7140_5583_d3e2_d5ce, 4_104_851_171_624_068_452, &voters())
}

/// Offset, length, type and running CRC of each record.
type Row = (u64, u64, RecordKind, u32);

fn rows(segment: &[u8]) -> Vec<Row> {
    Records::of(segment, 0)
        .map(|record| record.map(|record| (record.offset, record.length, record.kind, record.crc)))
        .collect::<Result<_, _>>()
        .expect("the segment is sound")
}

#[test]
fn the_log_is_the_one_that_etcd_writes() {
    let segment = segment();
    assert_eq!(segment.len(), 0x210);
    assert_eq!(segment[..16], [4, 0, 0, 0, 0, 0, 0, 0x84, 8, 4, 0x10, 0, 0, 0, 0, 0]);
    let expected: [Row; 8] = [
        (0x000, 4, RecordKind::Crc, 0),
        (0x010, 29, RecordKind::Metadata, 0x091f_4d14),
        (0x038, 14, RecordKind::Snapshot, 0x7705_f1a6),
        (0x050, 109, RecordKind::Entry, 0x2c36_4d50),
        (0x0c8, 109, RecordKind::Entry, 0xf43b_f214),
        (0x140, 109, RecordKind::Entry, 0xd7ec_e57b),
        (0x1b8, 24, RecordKind::State, 0xfd85_6ba1),
        (0x1d8, 48, RecordKind::Snapshot, 0x980e_72e6),
    ];
    assert_eq!(rows(&segment), expected);
}

#[test]
fn a_preallocated_segment_reads_up_to_the_zeros() {
    let mut segment = segment();
    let used = segment.len() as u64;
    segment.resize(8192, 0);
    let contents = read_segment(&segment, 0).expect("the segment is sound");
    assert_eq!(contents.used_bytes, used);
    assert_eq!(contents.crc, 0x980e_72e6);
    let ids: Vec<u64> = voters().iter().map(|voter| voter.id).collect();
    let metadata = Metadata { node_id: 0x7140_5583_d3e2_d5ce, cluster_id: cluster_id(&ids) };
    assert_eq!(contents.metadata, Some(metadata));
    assert_eq!(contents.hard_state, HardState { term: 1, vote: ids[0], commit: 3 });
    assert_eq!(contents.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [1, 2, 3]);
    let mark =
        SnapshotMark { index: 3, term: 1, conf_state: Some(ConfState { voters: ids, learners: vec![] }) };
    assert_eq!(contents.snapshots, [SnapshotMark::default(), mark]);
}

/// etcd 3.7 leaves out scalars that are zero; the running CRCs are those that it writes.
#[test]
fn the_log_that_etcd_3_7_writes_has_the_same_meaning() {
    let metadata = Metadata { node_id: 0x7140_5583_d3e2_d5ce, cluster_id: 4_104_851_171_624_068_452 };
    let mut writer = SegmentWriter::first(metadata);
    for (index, voter) in (1..).zip(voters()) {
        let full = Entry::add_member(index, 1, voter.id, voter.to_json().as_bytes());
        let data =
            Message::new().varint(2, 0).varint(3, voter.id).bytes(4, voter.to_json().as_bytes()).finish();
        writer.record(RecordKind::Entry, &Entry { data, ..full }.encode());
    }
    let ids: Vec<u64> = voters().iter().map(|voter| voter.id).collect();
    writer.record(RecordKind::State, &HardState { term: 1, vote: ids[0], commit: 3 }.encode());
    let voters = ids.iter().fold(Message::new(), |message, &id| message.varint(1, id)).finish();
    writer.record(RecordKind::Snapshot, &Message::new().varint(1, 3).varint(2, 1).bytes(3, &voters).finish());
    let segment = writer.finish();

    assert_eq!(segment.len(), 0x210);
    let crcs: Vec<u32> = rows(&segment).iter().skip(3).map(|row| row.3).collect();
    assert_eq!(crcs, [0xf92d_50dc, 0x809d_c02a, 0x21c8_03ea, 0x29d5_dd03, 0x06d1_0600]);
    let contents = read_segment(&segment, 0).expect("the segment is sound");
    assert_eq!(contents.snapshots[1].conf_state.as_ref().map(|state| &state.voters), Some(&ids));
}

/// The CRC covers the messages; types, lengths and zeros around them are not covered, by the format.
#[test]
fn every_flipped_bit_of_a_message_is_found() {
    let good = segment();
    let covered: Vec<(usize, usize)> = Records::of(&good, 0)
        .map(|record| record.expect("the segment is sound").data)
        .filter(|data| !data.is_empty())
        .map(|data| (data.as_ptr().addr() - good.as_ptr().addr(), data.len()))
        .collect();
    for bit in 0..good.len() * 8 {
        let mut segment = good.clone();
        segment[bit / 8] ^= 1 << (bit % 8);
        let read = read_segment(&segment, 0);
        if covered.iter().any(|&(start, length)| (start..start + length).contains(&(bit / 8))) {
            assert!(matches!(read, Err(WalError::Checksum { .. })), "bit {bit}: {read:?}");
        }
    }
}

#[test]
fn a_cut_segment_is_torn_or_shorter() {
    let good = segment();
    for end in 0..good.len() {
        match read_segment(&good[..end], 0) {
            Ok(contents) => assert!(contents.used_bytes <= end as u64),
            Err(WalError::Torn { offset }) => assert!(offset < end as u64),
            Err(error) => panic!("cut at {end}: {error}"),
        }
    }
}

#[test]
fn a_record_whose_tail_never_reached_the_disk_is_torn() {
    let mut writer = SegmentWriter::first(Metadata::default());
    let entry = Entry { data: vec![7; 2000], index: 1, term: 1, ..Entry::default() };
    writer.record(RecordKind::Entry, &entry.encode());
    let mut segment = writer.finish();
    let start = segment.len() - 600;
    segment[start..].fill(0);
    assert!(matches!(read_segment(&segment, 0), Err(WalError::Torn { .. })));
    segment[start..].fill(1);
    assert!(matches!(read_segment(&segment, 0), Err(WalError::Damaged { .. } | WalError::Checksum { .. })));
}
