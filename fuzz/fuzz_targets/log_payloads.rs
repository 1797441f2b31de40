//! `store::embedded::fuzz::log_payloads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| store::embedded::fuzz::log_payloads(data));
