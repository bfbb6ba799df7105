//! Gathers findings from all threads, lists as many as asked for, and counts the rest.

use std::sync::{Mutex, PoisonError};

use super::Integrity;
use crate::error::ReadError;
use crate::finding::{Finding, Outcome, Severity};
use crate::{codes, codes::Code};

pub(super) struct Collector {
    limit: usize,
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    findings: Vec<Finding>,
    suppressed: u64,
    errors: u64,
    /// Listed findings that are no errors, and so may give way to one.
    minor: usize,
    unchecked: bool,
}

impl Collector {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, gathered: Mutex::default() }
    }

    pub(super) fn report(&self, finding: Finding) {
        // A panic while it is locked leaves at worst a finding out.
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_error = finding.severity == Severity::Error;
        gathered.errors += u64::from(is_error);
        gathered.unchecked |= finding.code == codes::HISTORY_NOT_CHECKED.name;
        if gathered.findings.len() < self.limit {
            gathered.minor += usize::from(!is_error);
            gathered.findings.push(finding);
            return;
        }
        gathered.suppressed += 1;
        if is_error
            && gathered.minor > 0
            && let Some(place) = gathered.findings.iter().rposition(|it| it.severity != Severity::Error)
        {
            gathered.minor -= 1;
            gathered.findings[place] = finding;
        }
    }

    pub(super) fn into_integrity(self) -> Integrity {
        let Gathered { mut findings, suppressed, errors, unchecked, .. } =
            self.gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Threads report in no order.
        findings.sort_by(|a, b| {
            let place = |it: &Finding| (it.page, it.offset, it.revision.clone(), it.key.clone());
            b.severity
                .cmp(&a.severity)
                .then_with(|| a.code.cmp(&b.code))
                .then_with(|| place(a).cmp(&place(b)))
        });
        let outcome = match (errors, unchecked) {
            (1.., _) => Outcome::Failed,
            (0, true) => Outcome::Inconclusive,
            (0, false) => Outcome::Passed,
        };
        Integrity { outcome, findings, suppressed }
    }
}

/// A place that cannot be read, as a finding.
pub(super) fn fault(bucket: &str, fault: &ReadError) -> Finding {
    let finding = Finding::new(code_of(fault), fault.to_string());
    let finding = if bucket.is_empty() { finding } else { finding.bucket(bucket) };
    let finding = match fault.page() {
        Some(page) => finding.page(page),
        None => finding,
    };
    match fault {
        ReadError::Malformed { offset, .. } => finding.offset(*offset),
        ReadError::PageIdWrong { page, found } => finding.values(page, found),
        ReadError::PageKindWrong { expected, flags, .. } => {
            finding.values(format_args!("{:#x}", expected.flags()), format_args!("{flags:#x}"))
        }
        ReadError::PageOutOfRange { page, overflow, high_water } => {
            finding.values(format_args!("below {high_water}"), page.0.saturating_add(u64::from(*overflow)))
        }
        _ => finding,
    }
}

fn code_of(fault: &ReadError) -> &'static Code {
    match fault {
        ReadError::PageOutOfRange { .. } => &codes::PAGE_OUT_OF_RANGE,
        ReadError::PageBeyondFile { .. } => &codes::PAGE_BEYOND_FILE,
        ReadError::PageIdWrong { .. } => &codes::PAGE_ID,
        ReadError::PageKindWrong { .. } => &codes::PAGE_KIND,
        ReadError::PageOverfull { .. } => &codes::PAGE_OVERFULL,
        ReadError::PageOverflow { .. } => &codes::PAGE_OVERFLOW,
        ReadError::PageEmpty { .. } => &codes::PAGE_EMPTY,
        ReadError::ElementOutOfBounds { .. } => &codes::ELEMENT_BOUNDS,
        ReadError::ElementLayout { .. } => &codes::ELEMENT_LAYOUT,
        ReadError::ElementFlags { .. } => &codes::ELEMENT_FLAGS,
        ReadError::KeyLength { .. } => &codes::KEY_LENGTH,
        ReadError::KeysUnordered { .. } => &codes::KEYS_UNORDERED,
        ReadError::KeyOutsideBranch { .. } => &codes::KEY_OUTSIDE_BRANCH,
        ReadError::TooDeep { .. } => &codes::TREE_TOO_DEEP,
        ReadError::ReachedTwice { .. } => &codes::PAGE_TWICE,
        ReadError::BucketHeader { .. } => &codes::BUCKET_HEADER,
        ReadError::BucketMissing { .. } => &codes::BUCKET_MISSING,
        ReadError::Malformed { bucket, .. } if *bucket == crate::record::KEY_BUCKET => &codes::RECORD_VALUE,
        ReadError::Malformed { .. } | ReadError::Compacted { .. } | ReadError::Future { .. } => {
            &codes::META_VALUE
        }
    }
}
