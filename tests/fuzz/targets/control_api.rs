//! The target `control_api` of cargo-fuzz.
#![no_main]

#[path = "../oracles/control_api.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::check(bytes));
