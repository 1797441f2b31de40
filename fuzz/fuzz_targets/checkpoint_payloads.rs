//! `store::embedded::fuzz::checkpoint_payloads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| store::embedded::fuzz::checkpoint_payloads(data));
