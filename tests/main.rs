//! Integration tests: the binary end to end, its texts, the documentation and the rules of the house.
//! One program, one module per concern; a file that is not listed here fails `tidy`.

mod support;

mod artifacts;
mod author;
mod bad_input;
mod builds;
mod ci;
mod cli;
mod coexistence;
mod config;
mod control_plane;
mod examples;
mod failpoints;
mod faults;
#[cfg(feature = "fuzzing")]
mod fuzzing;
mod health;
mod host_lacks;
mod inspect;
mod isolation;
mod languages;
mod layers;
mod lifecycle;
mod limits;
mod live;
mod lock;
mod logs;
mod loosened;
mod markpact;
mod neighbours;
mod network;
mod oci;
mod phases;
mod probes;
mod python_tool;
mod races;
mod readme;
mod readme_tests;
mod registry;
mod replicas;
mod schedule;
mod scripts;
mod secrets;
mod storage;
mod storm;
mod supervision;
mod systemd;
mod tidy;
mod untrusted;
mod why;
mod workloads;
