//! What came back, compared with what the agent says of the backup.

use holdfast_plugin::{Context, DatabaseView, Error, Finding, Findings, KeyQuery, KvHash};

use crate::refused;

/// What is known of the backup.
pub(crate) struct Backup {
    revision: Option<i64>,
    keys: Option<i64>,
    hash: Option<KvHash>,
}

impl Backup {
    pub(crate) fn of(context: &Context) -> Backup {
        let hash = |(hash, (revision, compact_revision))| {
            Some(KvHash { hash: u32::try_from(hash).ok()?, revision, compact_revision })
        };
        Backup {
            revision: context.number("revision"),
            keys: context.number("live-keys"),
            hash: context
                .number("hash-kv")
                .zip(context.number("hash-kv-revision").zip(context.number("hash-kv-compact-revision")))
                .and_then(hash),
        }
    }
}

/// What was found before anything was written.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) keys: u64,
    revision: i64,
    hash: KvHash,
}

/// Compares; the answer is what was found, when all of it could be compared and is the same.
pub(crate) fn compare(
    database: &DatabaseView<'_>,
    backup: &Backup,
    findings: &mut Findings,
) -> Result<Option<Before>, Error> {
    let Some(revision) = backup.revision else {
        findings.push_undecided(Finding::warning("backup-unknown", "the backup's revision is not known"));
        return Ok(None);
    };
    let newest = database.revision()?;
    if newest < revision {
        let message = format!("the database is at revision {newest}, and the backup at {revision}");
        findings.push(Finding::error("revision-behind", message));
        return Ok(None);
    }
    let keys = compare_keys(database, revision, backup.keys, findings)?;
    let hash = compare_hash(database, backup.hash, findings)?;
    Ok(keys.zip(hash).map(|(keys, hash)| Before { keys, revision, hash }))
}

fn compare_keys(
    database: &DatabaseView<'_>,
    revision: i64,
    expected: Option<i64>,
    findings: &mut Findings,
) -> Result<Option<u64>, Error> {
    let counted = database.count(&KeyQuery::all().at(revision));
    let Some(found) = refused(counted, "count-refused", "the keys cannot be counted", findings)? else {
        return Ok(None);
    };
    let Some(expected) = expected else {
        findings.push_undecided(Finding::warning(
            "backup-unknown",
            "the number of the backup's keys is not known",
        ));
        return Ok(None);
    };
    if i64::try_from(found) != Ok(expected) {
        let message = format!("{found} keys are live at revision {revision}, and {expected} in the backup");
        findings.push(
            Finding::error("count-differs", message)
                .attribute("found", found)
                .attribute("expected", expected),
        );
        return Ok(None);
    }
    Ok(Some(found))
}

fn compare_hash(
    database: &DatabaseView<'_>,
    expected: Option<KvHash>,
    findings: &mut Findings,
) -> Result<Option<KvHash>, Error> {
    let Some(expected) = expected else {
        findings
            .push_undecided(Finding::warning("backup-unknown", "the hash of the backup's keys is not known"));
        return Ok(None);
    };
    let hashed = database.hash_kv(Some(expected.revision));
    let Some(found) = refused(hashed, "hash-refused", "the keys cannot be hashed", findings)? else {
        return Ok(None);
    };
    if found.compact_revision != expected.compact_revision {
        let message = format!(
            "the database is compacted at {} and the backup at {}: their hashes cannot be compared",
            found.compact_revision, expected.compact_revision
        );
        findings.push_undecided(Finding::warning("hash-not-comparable", message));
        return Ok(None);
    }
    if found.hash != expected.hash {
        let message =
            format!("the hash of the keys is {:08x}, and {:08x} in the backup", found.hash, expected.hash);
        findings.push(Finding::error("hash-differs", message));
        return Ok(None);
    }
    Ok(Some(found))
}

/// What was backed up is the same after all that was written.
pub(crate) fn still_the_same(
    database: &DatabaseView<'_>,
    before: &Before,
    findings: &mut Findings,
) -> Result<(), Error> {
    let keys = database.count(&KeyQuery::all().at(before.revision))?;
    let hash = database.hash_kv(Some(before.hash.revision))?;
    if keys != before.keys || hash.hash != before.hash.hash {
        let message = "the keys of the backup's revision are others after something was written";
        findings.push(Finding::error("history-changed", message));
    }
    Ok(())
}
