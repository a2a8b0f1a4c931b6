//! Reads the counters of one service: its control group's files and `/proc/<pid 1>/net/dev`. Decides nothing.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use pactown_runtime::cgroup::Cgroup;

use super::counters::{Counters, traffic};
use crate::control::api::ServiceStatus;
use crate::instance::Instance;

/// The counters of the service of `row`, now; none of one that does not run.
pub(crate) fn now(instance: &Instance, row: &ServiceStatus) -> Counters {
    let clock = Counters {
        steady_usec: steady_usec(),
        wall_usec: wall_usec(),
        ..Counters::default()
    };
    let Some(pid) = row.pid else {
        return clock;
    };
    // The file shows the links of the network namespace that pid 1 is in.
    let links = fs::read_to_string(format!("/proc/{pid}/net/dev")).ok();
    let group = Cgroup::open(&instance.cgroup(&row.name)).ok();
    Counters {
        pid: Some(pid),
        used: group.map(|group| group.usage()).unwrap_or_default(),
        network: links.as_deref().and_then(traffic),
        ..clock
    }
}

fn wall_usec() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn steady_usec() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}
