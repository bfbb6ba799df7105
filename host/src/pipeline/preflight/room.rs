//! Is there room for the scratch file?

use std::path::Path;

use super::{Check, Effect, Policy, PreflightFinding};
use crate::units::format_size;

/// Space that must be left beside the file, however small: manifests, other people's logs.
const SLACK_BYTES: u64 = 16 * 1024 * 1024;

/// Compares what is free with what the snapshot takes.
pub(super) fn disk_space(scratch: &Path, expected_bytes: u64, policy: &Policy) -> Option<PreflightFinding> {
    let needed = needed_bytes(expected_bytes, policy.free_space_percent);
    match free_bytes(scratch) {
        Ok(free) if free >= needed => None,
        Ok(free) => Some(PreflightFinding {
            check: Check::DiskSpace,
            action: policy.disk_space.into(),
            message: format!(
                "`{}` has {} free and the snapshot needs {}",
                scratch.display(),
                format_size(free),
                format_size(needed)
            ),
            hint: Some("free some space, or set `scratch` in `[backup]` to a larger disk".to_owned()),
        }),
        Err(error) => Some(PreflightFinding {
            check: Check::DiskSpace,
            action: Effect::Warned,
            message: format!("the free space of `{}` cannot be read: {error}", scratch.display()),
            hint: None,
        }),
    }
}

/// Bytes that an ordinary user may still write to the file system of `path`, or of its nearest ancestor that exists.
pub(crate) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let mut place = path;
    loop {
        match rustix::fs::statvfs(place) {
            Ok(facts) => return Ok(facts.f_bavail.saturating_mul(facts.f_frsize)),
            Err(rustix::io::Errno::NOENT) => match place.parent() {
                Some(parent) if parent.as_os_str().is_empty() => place = Path::new("."),
                Some(parent) => place = parent,
                None => return Err(rustix::io::Errno::NOENT.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

fn needed_bytes(expected_bytes: u64, percent: u32) -> u64 {
    let scaled = u128::from(expected_bytes) * u128::from(percent) / 100;
    u64::try_from(scaled).unwrap_or(u64::MAX).saturating_add(SLACK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_needed_beyond_the_database() {
        assert_eq!(needed_bytes(1_000, 110), 1_100 + SLACK_BYTES);
        assert_eq!(needed_bytes(u64::MAX, 110), u64::MAX);
    }

    #[test]
    fn a_directory_that_is_not_there_has_its_ancestors_room() {
        let directory = tempfile::tempdir().unwrap();
        assert!(free_bytes(&directory.path().join("not/there")).unwrap() > 0);
        let policy = Policy::default();
        let finding = disk_space(directory.path(), u64::MAX / 2, &policy).unwrap();
        assert_eq!(finding.action, Effect::Stops);
        assert!(disk_space(directory.path(), 1, &Policy { free_space_percent: 1, ..policy }).is_none());
    }
}
