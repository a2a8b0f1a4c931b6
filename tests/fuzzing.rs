//! The corpora of `tests/fuzz`, and a few thousand changes to what is in them, through the same oracles that cargo-fuzz
//! uses: what a long run found stays found.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

#[path = "fuzz/oracles/control_api.rs"]
mod control_api;
#[path = "fuzz/oracles/ecosystem.rs"]
mod ecosystem;
#[path = "fuzz/oracles/keeper_protocol.rs"]
mod keeper_protocol;
#[path = "fuzz/oracles/readme.rs"]
mod readme;

/// Changed inputs of each corpus.
const CHANGED: u32 = 1500;

/// One change to an input.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 1..64_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (at(), 1..64_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        (at(), at(), at()).prop_map(|(at, other, from)| Change::Splice(at, other, from)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change], corpus: &[Vec<u8>]) -> Vec<u8> {
    for change in changes {
        let at = |at: &Index| at.index(bytes.len() + 1);
        match change {
            Change::Set(place, byte) => {
                let place = at(place);
                bytes.splice(place..(place + 1).min(bytes.len()), [*byte]);
            }
            Change::Remove(place, count) => {
                let place = at(place);
                bytes.drain(place..(place + count).min(bytes.len()));
            }
            Change::Repeat(place, count) => {
                let place = at(place);
                let part = bytes[place..(place + count).min(bytes.len())].to_vec();
                bytes.splice(place..place, part);
            }
            Change::Splice(place, other, from) => {
                let (place, other) = (at(place), &corpus[other.index(corpus.len())]);
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
        }
    }
    bytes
}

fn run(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let entries = fs::read_dir(&folder).expect("corpus").flatten();
    let corpus: Vec<Vec<u8>> = entries
        .map(|entry| fs::read(entry.path()).expect("input"))
        .collect();
    assert!(corpus.len() > 10, "{}", folder.display());
    corpus.iter().for_each(|input| check(input));
    let config = ProptestConfig {
        cases: CHANGED,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let inputs = (any::<Index>(), proptest::collection::vec(change(), 1..6));
    let outcome = TestRunner::new(config).run(&inputs, |(input, changes)| {
        check(&changed(
            corpus[input.index(corpus.len())].clone(),
            &changes,
            &corpus,
        ));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn readmes() {
    run("readme", readme::check);
}

#[test]
fn ecosystem_files() {
    run("ecosystem", ecosystem::check);
}

#[test]
fn requests_on_the_control_socket() {
    run("control_api", control_api::check);
}

#[test]
fn packets_to_the_keeper() {
    run("keeper_protocol", keeper_protocol::check);
}
