//! Turns an OCI runtime spec into a running Linux sandbox, and keeps it.
//!
//! Namespaces, mounts, cgroups, capabilities, seccomp, the init of each sandbox and the keeper that is their
//! parent. Knows no YAML, no Markdown, no HTTP, and no networks beyond "join the namespace at this path".
//! Blocking, single-threaded code: nothing here may run in a process with threads except [`client`].

pub mod protocol;
