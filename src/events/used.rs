//! What one run of a sandbox has used, as it is told with its end.

use pactown_runtime::cgroup::{Hits, Usage};
use serde::{Deserialize, Serialize};

/// What one run of a sandbox has used. What the kernel did not tell is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// CPU time, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_usec: Option<u64>,
    /// Most memory in use, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<u64>,
    /// Most processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_peak: Option<u64>,
    /// Read from disks, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Written to disks, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_bytes: Option<u64>,
    /// Received, bytes, of all links but `lo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_bytes: Option<u64>,
    /// Sent, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_bytes: Option<u64>,
    /// In use of its limited disk at the end, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Nothing more fitted on its limited disk.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disk_full: bool,
    /// How often it came up against its limits.
    pub hits: Hits,
}

impl Used {
    /// What the control groups have counted.
    pub fn of(usage: &Usage) -> Self {
        Self {
            cpu_usec: usage.cpu_usec,
            memory_peak: usage.memory_peak,
            pids_peak: usage.pids_peak,
            read_bytes: usage.read_bytes,
            write_bytes: usage.write_bytes,
            hits: usage.hits,
            ..Self::default()
        }
    }
}
