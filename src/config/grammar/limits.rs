//! The keys of `limits:`, of a service and of all services together.

use super::{Key, key};
use crate::config::schema::Shape;

/// `limits:`.
pub(crate) const LIMITS: &[Key] = &[
    key(
        "memory",
        Shape::Size,
        "Memory, as 256M or 1GiB; the smaller of 2 GiB and half of RAM by default.",
    ),
    MEMORY_HIGH,
    SWAP,
    CPUS,
    CPU_WEIGHT,
    key("pids", Shape::Count, "Processes and threads.").or("1024"),
    IO_READ,
    IO_WRITE,
    IO_WEIGHT,
    key("open_files", Shape::Count, "Open files of each process.").or("65536"),
    key(
        "connections",
        Shape::Count,
        "Connections that it has open to others at the same time, and as many flows of other protocols.",
    )
    .or("4096"),
    key(
        "disk",
        Shape::Size,
        "What it writes to /app and its home, kept in an image of this size.",
    ),
    key(
        "tmp",
        Shape::Size,
        "Size of /tmp, /var/tmp and /dev/shm, each; half of 'memory', at least 64M, by default.",
    ),
];

/// `limits:` of the ecosystem.
pub(crate) const ALL_LIMITS: &[Key] = &[
    key("memory", Shape::Size, "Memory of all services together."),
    MEMORY_HIGH,
    SWAP,
    CPUS,
    CPU_WEIGHT,
    key(
        "pids",
        Shape::Count,
        "Processes and threads of all services together.",
    ),
    IO_READ,
    IO_WRITE,
    IO_WEIGHT,
];

const MEMORY_HIGH: Key = key(
    "memory_high",
    Shape::Size,
    "Memory above which it is slowed down instead of killed; cgroup v2 only.",
);
const SWAP: Key = key("swap", Shape::Size, "Swap beside the memory; none by default.");
const CPUS: Key = key("cpus", Shape::Number, "CPUs, as 0.5.");
const CPU_WEIGHT: Key = key(
    "cpu_weight",
    Shape::Count,
    "Its share when the CPUs are not enough for all, 1 to 10000.",
)
.or("100");
const IO_READ: Key = key("io_read", Shape::Size, "Bytes per second from each disk, as 10M.");
const IO_WRITE: Key = key("io_write", Shape::Size, "Bytes per second to each disk, as 10M.");
const IO_WEIGHT: Key = key(
    "io_weight",
    Shape::Count,
    "Its share when a disk is busy, 1 to 10000; the disk's scheduler must be BFQ, or io.cost be on.",
)
.or("100");
