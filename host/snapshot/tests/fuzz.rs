//! The fuzz targets without a fuzzer: over their corpus, and over mutations that are the same on every run.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod hostile;
mod support;

use hostile::mutate::{Numbers, mutate};
use hostile::{TARGETS, Target};

/// Mutations of each target's seeds and corpus.
const MUTATIONS: usize = 400;
/// Inputs and mutations of a target that writes to disk: each takes two restores.
const RESTORES: usize = 30;

/// The seeds of a target and its corpus.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let pack = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(format!("{}.tar.zst", target.name));
    let pack = zstd::decode_all(std::fs::File::open(&pack).unwrap()).unwrap();
    let mut inputs = (target.seeds)();
    inputs.extend(files_of(&pack));
    inputs
}

/// The regular files of a tar archive: a header of 512 bytes with the length in octal at 124 and the kind at 156, then
/// the content, filled up to 512.
fn files_of(archive: &[u8]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let mut at = 0;
    while let Some(header) = archive.get(at..at + 512).filter(|header| header[0] != 0) {
        let length = std::str::from_utf8(&header[124..135]).unwrap();
        let length = usize::from_str_radix(length, 8).unwrap();
        if header[156] == b'0' {
            files.push(archive[at + 512..at + 512 + length].to_vec());
        }
        at += 512 + length.next_multiple_of(512);
    }
    files
}

/// Bytes changed, left out, doubled and put in, for inputs that are no files.
fn scramble(input: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(input.len() + 1);
        match numbers.below(5) {
            0 if at < input.len() => input[at] ^= 1 << numbers.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            2 => {
                let end = (at + numbers.below(8)).min(input.len());
                input.drain(at..end);
            }
            3 => {
                let from = numbers.below(input.len() + 1);
                let end = (from + numbers.below(32)).min(input.len());
                let piece = input[from..end].to_vec();
                input.splice(at..at, piece);
            }
            _ => input.insert(at, numbers.next() as u8),
        }
    }
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = inputs(target);
    let writes = name == "restore";
    let step = if writes { inputs.len().div_ceil(RESTORES) } else { 1 };
    for input in inputs.iter().step_by(step) {
        (target.run)(input);
    }
    let mut numbers = Numbers::new(11);
    for _ in 0..if writes { RESTORES } else { MUTATIONS } {
        let mut input = inputs[numbers.below(inputs.len())].clone();
        if target.takes_files {
            mutate(&mut input, &mut numbers);
        } else {
            scramble(&mut input, &mut numbers);
        }
        (target.run)(&input);
    }
}

#[test]
fn metas() {
    run("meta");
}

#[test]
fn pages() {
    run("pages");
}

#[test]
fn records() {
    run("records");
}

#[test]
fn logs() {
    run("wal");
}

#[test]
fn plans() {
    run("plan");
}

#[test]
fn whole_files() {
    run("whole");
}

#[test]
fn restores() {
    run("restore");
}
