//! What the contract's types promise, and a guest in machine code need not keep: handles, texts, numbers and pointers that are
//! made up. Everything here is undefined or worse inside the guest; the host must not mind.

use std::hint::black_box;
use std::mem::forget;

use crate::exports::holdfast::verifier::verify::{Error, Outcome, Report};
use crate::holdfast::host::log;
use crate::holdfast::snapshot::reader::{Query, Snapshot};
use crate::{finding, from_reader, report};

pub(crate) fn act(what: &str, n: u64, subject: &Snapshot) -> Result<Report, Error> {
    match what {
        "forged-handle" => use_as_query(n as u32),
        "stale-handle" => {
            let query = Query::new();
            let number = query.handle();
            drop(query);
            use_as_query(number);
        }
        "wrong-handle" => {
            let cursor = subject.open(&Query::new()).map_err(from_reader)?;
            use_as_query(cursor.handle());
        }
        "drop-twice" => {
            let query = Query::new();
            let number = query.handle();
            drop(query);
            drop(unsafe { Query::from_handle(number) });
        }
        // Lent to this call, and not its own to give away twice.
        "drop-the-snapshot" => {
            let number = subject.handle();
            drop(unsafe { Snapshot::from_handle(number) });
            black_box(subject.revision());
        }
        // The next call tries the same number, before it has a handle of its own.
        "leave-a-handle" => {
            let query = Query::new();
            let summary = query.handle().to_string();
            forget(query);
            return Ok(Report { summary, ..report(Outcome::Passed) });
        }
        "bad-text" => {
            let summary = unsafe { String::from_utf8_unchecked(vec![0xff; 8]) };
            return Ok(Report { summary, ..report(Outcome::Passed) });
        }
        "bad-pointer" => {
            let summary = unsafe { String::from_raw_parts(0xffff_ff00 as *mut u8, 4096, 4096) };
            return Ok(Report { summary, ..report(Outcome::Passed) });
        }
        "bad-length" => {
            let text = unsafe { std::slice::from_raw_parts(0x1000 as *const u8, 0x7fff_ffff) };
            log::write("info", unsafe { std::str::from_utf8_unchecked(black_box(text)) });
        }
        "bad-outcome" => {
            let outcome = unsafe { std::mem::transmute::<u8, Outcome>(black_box(9)) };
            return Ok(report(outcome));
        }
        // Nothing in any of them: it is their number that costs.
        "giant-list" => {
            let attributes = vec![(String::new(), String::new()); n as usize];
            return Ok(Report { attributes, ..report(Outcome::Passed) });
        }
        "giant-findings" => {
            let findings = (0..n).map(|_| finding("")).collect();
            return Ok(Report { findings, ..report(Outcome::Failed) });
        }
        "giant-memo" => {
            let attributes = vec![("memo".to_owned(), "x".repeat(n as usize))];
            return Ok(Report { attributes, ..report(Outcome::Passed) });
        }
        "greedy-batch" => {
            let cursor = subject.open(&Query::new()).map_err(from_reader)?;
            let batch = cursor.next(u32::MAX, u32::MAX).map_err(from_reader)?;
            let (rows, bytes) = (batch.key_ends.len(), batch.keys.len() + batch.values.len());
            let outcome = if bytes <= n as usize { Outcome::Passed } else { Outcome::Failed };
            return Ok(Report { summary: format!("{rows} rows"), ..report(outcome) });
        }
        "endless-log" => loop {
            log::write("error", "again");
        },
        "endless-output" => loop {
            print!("without an end of the line ");
        },
        "endless-cursor" => {
            let query = Query::new();
            query.limit(1);
            let cursor = subject.open(&query).map_err(from_reader)?;
            loop {
                black_box(cursor.next(1, 1).map_err(from_reader)?);
            }
        }
        other => return Err(Error { code: "config".into(), message: format!("do not know `{other}`") }),
    }
    Ok(report(Outcome::Passed))
}

fn use_as_query(number: u32) {
    let query = unsafe { Query::from_handle(number) };
    query.limit(1);
    forget(query);
}
