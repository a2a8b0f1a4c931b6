//! Limits of resources as the file says them: plain data.

use serde::{Deserialize, Serialize};

/// `limits:` of a service; `None` = the default (memory: min(2 GiB, half of RAM); pids 1024; connections 4096; no cap on the others).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// `memory`, bytes: beyond it something is killed.
    pub memory: Option<u64>,
    /// `memory_high`, bytes: above it the service is slowed down and its memory taken back. cgroup v2 only.
    pub memory_high: Option<u64>,
    /// `swap`, bytes beside `memory`; none by default.
    pub swap: Option<u64>,
    /// `cpus`, in CPUs (0.5 = half of one).
    pub cpus: Option<f64>,
    /// `cpu_weight`, 1 to 10000, among its siblings when the CPUs are not enough for all; 100 by default.
    pub cpu_weight: Option<u32>,
    /// `pids`, processes and threads.
    pub pids: Option<u32>,
    /// `io_read`, bytes per second from each disk.
    pub io_read: Option<u64>,
    /// `io_write`, bytes per second to each disk.
    pub io_write: Option<u64>,
    /// `io_weight`, 1 to 10000, among its siblings when a disk is busy; 100 by default.
    pub io_weight: Option<u32>,
    /// `open_files` of each process.
    pub open_files: Option<u64>,
    /// `connections` that it has open to others at the same time; as many flows of other protocols.
    pub connections: Option<u32>,
    /// `disk`, bytes of what it writes to `/app` and its home.
    pub disk: Option<u64>,
    /// `tmp`, bytes of `/tmp`, of `/var/tmp` and of `/dev/shm`, each.
    pub tmp: Option<u64>,
}

impl Limits {
    /// These limits of one service under those of all together: a default is never more than all may have.
    pub fn under(&self, all: &Self, default_memory: u64, default_pids: u32) -> Self {
        let memory = all.memory.map(|all| all.min(default_memory));
        let pids = all.pids.map(|all| all.min(default_pids));
        Self {
            memory: self.memory.or(memory),
            pids: self.pids.or(pids),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_never_more_than_all_may_have() {
        let all = Limits {
            memory: Some(100),
            pids: Some(3000),
            ..Limits::default()
        };
        let own = Limits::default().under(&all, 200, 1024);
        assert_eq!((own.memory, own.pids), (Some(100), Some(1024)));
        let written = Limits {
            memory: Some(50),
            ..Limits::default()
        };
        assert_eq!(written.under(&all, 200, 1024).memory, Some(50));
        assert_eq!(
            Limits::default().under(&Limits::default(), 200, 1024),
            Limits::default()
        );
    }
}
