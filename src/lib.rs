//! pactown: runs ecosystems of executable READMEs, each service in a Linux sandbox of its own.
//!
//! One way: `main → cli → commands → (control client | supervisor) → …`. Parts up to `spec` and `plan` are pure:
//! no file writes, no sockets, no kernel objects. This crate holds no `unsafe`, no fork and no setns: those live in
//! `pactown-runtime` and `pactown-netns`, which never mention each other.

#![forbid(unsafe_code)]

pub mod analyze;
pub mod audit;
pub mod author;
pub mod bundle;
pub mod caller;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod desired;
pub mod diagnostics;
pub mod drift;
pub mod error;
pub mod events;
pub mod evidence;
pub(crate) mod health;
pub(crate) mod hex;
pub mod host;
pub mod identity;
pub mod imports;
pub mod inspect;
pub mod instance;
pub mod lockfile;
pub mod logs;
pub mod markpact;
pub mod network;
pub mod output;
pub mod plan;
pub mod prepare;
pub mod proxy;
pub mod registry;
pub mod remains;
pub mod report;
pub mod resolver;
pub mod root_only;
pub mod roster;
pub mod secrets;
pub mod session;
pub mod spec;
pub mod state;
pub mod stats;
pub mod storage;
pub mod supervisor;
pub mod systemd;
pub(crate) mod testing;
pub mod toolchain;
pub(crate) mod ui;
pub mod why;
