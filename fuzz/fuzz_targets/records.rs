//! `store::embedded::fuzz::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| store::embedded::fuzz::records(data));
