//! The file around the database: its length, the hash at its end, its two meta pages.

use super::collector::Collector;
use super::{CheckOptions, hex};
use crate::bolt::{Meta, PAGE_HEADER_BYTES, PageId};
use crate::codes;
use crate::finding::{Finding, Severity};
use crate::snapshot::{Snapshot, TRAILER_BYTES, Trailer};

/// etcd's default quota (`server/storage/quota.go`).
const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;

pub(super) fn check(
    snapshot: Snapshot<'_>,
    options: &CheckOptions,
    sha256: Option<[u8; TRAILER_BYTES]>,
    findings: &Collector,
) {
    check_length(snapshot, findings);
    check_hash(snapshot, options, sha256, findings);
    check_metas(snapshot, findings);
}

pub(super) fn check_quota(size_bytes: u64, findings: &Collector) {
    if size_bytes > DEFAULT_QUOTA_BYTES / 10 * 8 {
        let message =
            format!("the database has {size_bytes} bytes; etcd's default quota is {DEFAULT_QUOTA_BYTES}");
        findings.report(Finding::new(&codes::SIZE_NEAR_QUOTA, message));
    }
}

fn check_length(snapshot: Snapshot<'_>, findings: &Collector) {
    let database = snapshot.db().size_bytes();
    let image = snapshot.image().len() as u64;
    let trailer = if snapshot.trailer() == Trailer::Absent { 0 } else { TRAILER_BYTES as u64 };
    let length = snapshot.bytes().len() as u64;
    if length < database {
        let message = "the file ends before its database does";
        findings.report(Finding::new(&codes::FILE_CUT, message).offset(length).values(database, length));
    } else if image > database && (image - database).is_multiple_of(u64::from(snapshot.db().page_size())) {
        let message = "pages follow the database: a copied `db` file";
        findings.report(Finding::new(&codes::FILE_LONGER, message).values(database, image));
    } else if length != database + trailer && !snapshot.has_second_trailer() {
        let message = format!("{} bytes follow the database that belong to nothing", length - database);
        findings.report(Finding::new(&codes::FILE_TAIL, message).offset(database).values(database, length));
    }
}

fn check_hash(
    snapshot: Snapshot<'_>,
    options: &CheckOptions,
    sha256: Option<[u8; TRAILER_BYTES]>,
    findings: &Collector,
) {
    let offset = snapshot.image().len() as u64;
    if snapshot.has_second_trailer() {
        let message = "a second hash follows the first";
        findings.report(Finding::new(&codes::HASH_TWICE, message).offset(offset + TRAILER_BYTES as u64));
    }
    match (snapshot.trailer(), sha256) {
        (Trailer::Absent, _) => {
            let finding =
                Finding::new(&codes::HASH_MISSING, "the file has no SHA-256 at its end").offset(offset);
            findings.report(if options.allow_missing_hash {
                finding.severity(Severity::Info)
            } else {
                finding
            });
        }
        (Trailer::Zeros, _) => {
            let message = "32 zero bytes stand in place of the hash";
            findings.report(Finding::new(&codes::HASH_ZEROS, message).offset(offset));
        }
        (Trailer::Present(_), None) => {
            findings.report(Finding::new(&codes::HASH_NOT_COMPARED, "the hash at the end was not compared"));
        }
        (Trailer::Present(stored), Some(computed)) if stored != computed => {
            let message = "the hash at the end is not that of the file: it was changed after etcd sent it";
            findings.report(
                Finding::new(&codes::HASH_MISMATCH, message)
                    .offset(offset)
                    .values(hex(&stored), hex(&computed)),
            );
        }
        (Trailer::Present(_), Some(_)) => {}
    }
}

fn check_metas(snapshot: Snapshot<'_>, findings: &Collector) {
    // A snapshot is written with both metas fresh; in a copied file one may be torn by a crash, as bbolt allows.
    let is_copy = snapshot.trailer() == Trailer::Absent;
    let severity = if is_copy { Severity::Warning } else { Severity::Error };
    let database = snapshot.db();
    match (database.read_meta(0), database.read_meta(1)) {
        (Ok(first), Ok(second)) => {
            for page in 0..2 {
                let header = usize::try_from(page * u64::from(database.page_size())).unwrap_or(usize::MAX);
                let unused = header.saturating_add(10)..header.saturating_add(PAGE_HEADER_BYTES);
                if database.bytes().get(unused).is_some_and(|unused| unused != [0; 6]) {
                    let message = format!("meta page {page}: its header counts elements or overflow pages");
                    let finding = Finding::new(&codes::META_INVALID, message);
                    findings.report(finding.severity(severity).page(PageId(page)));
                }
            }
            let as_sent = Meta { txid: first.txid.wrapping_sub(1), ..first };
            if !is_copy && second != as_sent {
                let message = "the two meta pages do not agree as they do in every snapshot";
                findings.report(
                    Finding::new(&codes::META_DIFFERS, message)
                        .values(format_args!("{as_sent:?}"), format_args!("{second:?}")),
                );
            }
        }
        (first, second) => {
            for (page, fault) in [(0, first), (1, second)] {
                if let Err(fault) = fault {
                    let finding = Finding::new(&codes::META_INVALID, format!("meta page {page}: {fault}"));
                    findings.report(finding.severity(severity).page(PageId(page)));
                }
            }
        }
    }
}
