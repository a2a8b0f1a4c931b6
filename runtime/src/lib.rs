//! Turns an OCI runtime spec into a running Linux sandbox, and keeps it.
//!
//! Namespaces, mounts, cgroups, capabilities, seccomp, the init of each sandbox and the keeper that is their
//! parent. Knows no YAML, no Markdown, no HTTP, and no networks beyond "join the namespace at this path".
//! Blocking, single-threaded code: nothing here may run in a process with threads except [`client`], [`seal`],
//! [`support`], [`disk`], and the readers and [`cgroup::Cgroup::hold`] of [`cgroup`].

#[doc(hidden)]
pub mod bench;
mod beneath;
pub mod cgroup;
pub mod client;
mod cri;
mod devices;
pub mod disk;
mod enter;
pub mod error;
pub mod failpoint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
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

pub use cri::LONGEST as LONGEST_LOG_TEXT;
pub use launch::start_time;
