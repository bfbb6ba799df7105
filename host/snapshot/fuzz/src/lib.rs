//! The fuzz targets of `etcd-snapshot`, shared with its ordinary tests: see `README.md`.

#[path = "../../tests/hostile/mod.rs"]
mod hostile;

use std::fs;
use std::io;
use std::path::Path;

use hostile::mutate::{Numbers, mend, mutate};
use hostile::{TARGETS, Target};

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("the targets are those of the tests")
}

/// Runs a target on an input.
pub fn run(name: &str, data: &[u8]) {
    (target(name).run)(data);
}

/// Changes a snapshot file within `max_bytes`: half the time libFuzzer's way, else by forging what readers look at; then
/// checksums and hash are made to fit again.
pub fn mutate_file(data: &mut [u8], length: usize, max_bytes: usize, seed: u32) -> usize {
    let mut numbers = Numbers::new(u64::from(seed));
    if numbers.below(2) == 0 {
        let length = libfuzzer_sys::fuzzer_mutate(data, length, max_bytes);
        mend(&mut data[..length], &mut numbers);
        return length;
    }
    let mut file = data[..length].to_vec();
    mutate(&mut file, &mut numbers);
    let length = file.len().min(max_bytes);
    data[..length].copy_from_slice(&file[..length]);
    length
}

/// Writes the seeds of a target into a directory, each under a name of its own.
///
/// # Errors
/// The directory cannot be written.
pub fn write_seeds(name: &str, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (number, seed) in (target(name).seeds)().iter().enumerate() {
        fs::write(directory.join(format!("seed-{number:02}")), seed)?;
    }
    Ok(())
}
