#![no_main]

use etcd_snapshot_fuzz::{mutate_file, run};

libfuzzer_sys::fuzz_target!(|data: &[u8]| run("restore", data));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], length: usize, max_bytes: usize, seed: u32| {
    mutate_file(data, length, max_bytes, seed)
});
