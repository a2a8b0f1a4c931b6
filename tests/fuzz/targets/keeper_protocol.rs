//! The target `keeper_protocol` of cargo-fuzz.
#![no_main]

#[path = "../oracles/keeper_protocol.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::check(bytes));
