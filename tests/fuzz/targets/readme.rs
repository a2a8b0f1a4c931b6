//! The target `readme` of cargo-fuzz.
#![no_main]

#[path = "../oracles/readme.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::check(bytes));
