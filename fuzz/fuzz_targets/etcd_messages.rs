//! Target `etcd_messages` of `store::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::run("etcd_messages", data));
