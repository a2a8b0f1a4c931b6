//! Turns an OCI runtime spec into a running Linux sandbox, and keeps it.
//!
//! Namespaces, mounts, cgroups, capabilities, seccomp, the init of each sandbox and the keeper that is their
//! parent. Knows no YAML, no Markdown, no HTTP, and no networks beyond "join the namespace at this path".
//! Blocking code. [`keeper::run`] and [`bench::bare`] clone, so they belong in a process with one thread; whatever else is
//! public may be called with others around: where it clones, the child only makes system calls.

#[doc(hidden)]
pub mod bench;
mod beneath;
pub mod cgroup;
pub mod client;
pub mod confine;
mod cri;
mod detached;
mod devices;
pub mod disk;
mod enter;
pub mod error;
pub mod failpoint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod idmap;
mod init;
pub mod keeper;
pub mod landlock;
mod launch;
mod layer;
mod log;
pub mod mask;
mod masks;
mod mounts;
mod program;
pub mod protocol;
mod report;
mod rootfs;
pub mod seal;
pub mod seccomp;
pub mod secrets;
mod stage;
pub mod support;
mod sys;
pub mod userns;
mod wire;
mod writer;

pub use launch::start_time;
