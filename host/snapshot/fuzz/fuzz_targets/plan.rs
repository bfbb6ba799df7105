#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| etcd_snapshot_fuzz::run("plan", data));
