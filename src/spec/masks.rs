//! Paths of `/proc`, `/sys` and `/etc` that a sandbox sees as empty or read-only. Data only.

use crate::host::HostFacts;

/// Files and directories that tell about the host or reach into it, none of which a service needs. They cover what
/// container engines mask (moby `profiles`, CVE-2020-8694, GHSA-6fw5-f8r9-fgfm) and what those leave open.
const PROC: [&str; 30] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/buddyinfo",
    "/proc/config.gz",
    "/proc/driver",
    "/proc/dynamic_debug",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/proc/zoneinfo",
];

/// What is hidden: the list above, what [`HostFacts`] found below the CPU topology, and the host's private keys.
pub(super) fn masked(host: &HostFacts) -> Vec<String> {
    let keys = "/etc/ssl/private";
    PROC.iter()
        .map(|path| (*path).to_owned())
        .chain(host.sys_masked.iter().cloned())
        .chain([keys.to_owned()])
        .collect()
}

/// What can be read only.
pub(super) fn read_only() -> Vec<String> {
    // Everybody may write thresholds into the files of `pressure` (kernel: accounting/psi.rst).
    [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/pressure",
        "/proc/sys",
    ]
    .map(str::to_owned)
    .to_vec()
}
