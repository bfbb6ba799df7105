//! Bytes to the server: into `.uploads`, and from there to their place.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use holdfast_plugin::log;
use holdfast_plugin::store::{self, Body, MemoryBody, StoreError};

use crate::server::{Moved, Server};

/// Where files lie until they are whole. No object's path has a segment that begins with a dot.
const UPLOADS: &str = ".uploads/";
/// Times that a file is moved: its folder may be made, and be taken away by somebody, in between.
const MOVES: usize = 3;

/// Is the folder there, can it be written to, and does the server keep what a store must promise?
pub(crate) fn probe(server: &Server) -> Result<(), StoreError> {
    match server.look("")? {
        Some(entry) if entry.is_folder => {}
        Some(_) => return Err(StoreError::config(format!("`{}` is no folder", server.url("")))),
        None => {
            server.make("")?;
        }
    }
    server.make(UPLOADS)?;
    let name =
        |what: &str| format!("{UPLOADS}probe-{:016x}-{what}", RandomState::new().build_hasher().finish());
    let (one, other, place) = (name("one"), name("other"), name("place"));
    let probed = never_replaces(server, &one, &other, &place);
    for file in [&one, &other, &place] {
        // What is left goes with a sweep; why the probe failed is more to the point.
        let _ = server.delete(file);
    }
    probed
}

/// Moves two files to one place: the second must be refused.
fn never_replaces(server: &Server, one: &str, other: &str, place: &str) -> Result<(), StoreError> {
    for file in [one, other] {
        write(server, file, &mut MemoryBody::new(file.as_bytes()).sized())?;
    }
    match (server.rename(one, place)?, server.rename(other, place)?) {
        (Moved::Done, Moved::Exists) => Ok(()),
        (Moved::NoFolder(error), _) => Err(error),
        _ => Err(StoreError::new(
            "server",
            "the server does not heed `Overwrite: F`: it would replace one backup by another",
        )),
    }
}

/// Stores a file at `path`. `upload` names this upload, and no other.
pub(crate) fn put(server: &Server, upload: &str, path: &str, body: &mut dyn Body) -> Result<u64, StoreError> {
    // Looking locks nothing, and nearly always it is there.
    if server.look(UPLOADS)?.is_none() {
        server.make(UPLOADS)?;
    }
    let file = format!("{UPLOADS}{}-{upload}", mark(path));
    let stored = write(server, &file, body).and_then(|sent| {
        whole(server, &file, sent)?;
        bring(server, &file, path, sent)?;
        Ok(sent)
    });
    if stored.is_err()
        && let Err(left) = server.delete(&file)
    {
        log::debug(format!("`{file}` is left to a sweep: {left}"));
    }
    stored
}

fn write(server: &Server, file: &str, body: &mut dyn Body) -> Result<u64, StoreError> {
    let mut request = server.request("PUT", file).header("content-type", "application/octet-stream");
    if let Some(size_bytes) = body.size_bytes() {
        request = request.header("content-length", size_bytes.to_string());
    }
    let mut sent = 0;
    let answer = store::upload(&request, body, &mut sent)?;
    match answer.status() {
        200 | 201 | 204 => Ok(sent),
        413 => Err(StoreError::full(format!(
            "the server takes no file of {sent} bytes or more (it answers 413)"
        ))),
        _ => Err(StoreError::answered(&answer)),
    }
}

/// Whether the server has all of a file.
fn whole(server: &Server, file: &str, sent: u64) -> Result<(), StoreError> {
    let has = server.look(file)?.and_then(|entry| entry.size_bytes);
    if has == Some(sent) {
        return Ok(());
    }
    let has = has.map_or("nothing".to_owned(), |bytes| format!("{bytes} bytes"));
    Err(StoreError::unavailable(format!("the server was sent {sent} bytes and has {has}")))
}

/// Moves a file to its place.
fn bring(server: &Server, file: &str, path: &str, sent: u64) -> Result<(), StoreError> {
    let mut last = StoreError::unavailable(format!("`{path}` could not be moved to its place"));
    for _ in 0..MOVES {
        match server.rename(file, path) {
            Ok(Moved::Done) => return Ok(()),
            Ok(Moved::Exists) => {
                // Unless an answer was lost, and this is what it told of.
                return if is_moved(server, file, path, sent)? {
                    Ok(())
                } else {
                    Err(StoreError::exists(path))
                };
            }
            Ok(Moved::NoFolder(error)) => {
                last = error;
                server.make_above(path)?;
            }
            Err(error) if error.may_pass() => {
                // Was it done, and only the answer lost?
                if is_moved(server, file, path, sent)? {
                    return Ok(());
                }
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Nobody else moves this file: when it is gone, what lies at its place is it.
fn is_moved(server: &Server, file: &str, path: &str, sent: u64) -> Result<bool, StoreError> {
    if server.look(file)?.is_some() {
        return Ok(false);
    }
    Ok(server.look(path)?.and_then(|entry| entry.size_bytes) == Some(sent))
}

/// Removes what dead writers of a path left.
pub(crate) fn remove_leftovers(server: &Server, path: &str) -> Result<(), StoreError> {
    let mark = format!("{}-", mark(path));
    let children = server.children(UPLOADS)?.map(|children| children.entries).unwrap_or_default();
    for (name, _) in children.iter().filter(|(name, _)| name.starts_with(&mark)) {
        server.delete(&format!("{UPLOADS}{name}"))?;
    }
    Ok(())
}

/// Removes what was last written to longer ago than `age`, by the server's clock.
pub(crate) fn sweep(server: &Server, age: Duration) -> Result<u64, StoreError> {
    let Some(children) = server.children(UPLOADS)? else { return Ok(0) };
    let Some(now) = children.now else { return Ok(0) };
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let mut swept = 0;
    for (name, entry) in children.entries {
        let is_old = entry.modified.is_some_and(|modified| now.saturating_sub(modified) > age);
        if is_old && !entry.is_folder {
            server.delete(&format!("{UPLOADS}{name}"))?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Of which path an upload is, in as many letters for each path: FNV-1a, 64 bits. Two paths of one mark would only share
/// what is swept.
fn mark(path: &str) -> String {
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
