//! Script `smoke`: the restored etcd writes, reads, watches, leases and deletes, and holds what was backed up.
//!
//! What it compares is of the backup's revision, so that neither its own writes nor those of scripts before it matter. What it
//! writes lies below a prefix of its own, and is taken away again.

mod compare;
mod config;
mod work;

pub use config::Config;

use holdfast_plugin::{
    Context, DatabaseError, DatabaseView, Error, Finding, Findings, Report, Script, export_script,
};

/// Findings of one code that are named.
const NAMED: usize = 10;

/// The script.
pub struct Smoke;

impl Script for Smoke {
    const NAME: &'static str = "smoke";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Checks that a restored etcd writes, reads, watches, leases and deletes, and holds what was backed up";
    type Config = Config;

    fn run(database: &DatabaseView<'_>, context: &Context, config: Config) -> Result<Report, Error> {
        if config.prefix.is_empty() {
            return Err(Error::config(
                "`prefix`: it is empty, so that what is written could be anybody's key",
            ));
        }
        let mut findings = Findings::new(NAMED);
        let backup = compare::Backup::of(context);
        // Before anything is written.
        let before = if config.compare { compare::compare(database, &backup, &mut findings)? } else { None };
        let done = work::work(database, &config, &mut findings)?;
        if let Some(before) = before {
            compare::still_the_same(database, &before, &mut findings)?;
        }
        let status = database.status()?;
        let fact = |name: &str| {
            status.iter().find(|(known, _)| known == name).map_or("unknown", |(_, value)| value.as_str())
        };
        let compared = match before {
            Some(before) => format!("; {} keys and their hash are those of the backup", before.keys),
            None if config.compare => "; its keys could not all be compared with the backup's".to_owned(),
            None => String::new(),
        };
        let mut report = findings.into_report(format!(
            "etcd {} writes, reads, watches, leases and deletes{compared}",
            fact("version")
        ));
        if let Some(first) = report.findings.first() {
            report.summary.clone_from(&first.message);
        }
        let report = report.measure("operations", done, "operations");
        Ok(match fact("db-size").parse::<u64>() {
            Ok(bytes) => report.measure("database-bytes", bytes, "bytes"),
            Err(_) => report,
        })
    }
}

export_script!(Smoke);

/// What the database refuses is a finding; that it could not be asked, or is out of room, says nothing about the backup.
pub(crate) fn refused<T>(
    answer: Result<T, DatabaseError>,
    code: &str,
    what: &str,
    findings: &mut Findings,
) -> Result<Option<T>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if ["limit", "no-space", "unavailable", "unsupported"].contains(&error.code.as_str()) => {
            Err(Error::new("database", format!("{what}: {error}")))
        }
        Err(error) => {
            findings.push(Finding::error(code, format!("{what}: {error}")));
            Ok(None)
        }
    }
}
