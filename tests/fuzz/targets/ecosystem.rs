//! The target `ecosystem` of cargo-fuzz.
#![no_main]

#[path = "../oracles/ecosystem.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::check(bytes));
