//! What a group has used and what it may use, from the texts of its files: v1, hybrid and v2. Pure; the reading of
//! the files is handed in.

use serde::{Deserialize, Serialize};

/// What a group has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Memory in use now, bytes.
    pub memory: Option<u64>,
    /// Most memory in use ever, bytes.
    pub memory_peak: Option<u64>,
    /// Most memory it may use, bytes; `None` also when there is no limit.
    pub memory_limit: Option<u64>,
    /// CPU time, microseconds.
    pub cpu_usec: Option<u64>,
    /// Processes and threads in it now, its init among them.
    pub pids: Option<u64>,
    /// Most processes and threads ever; kernels before 6.1 do not tell.
    pub pids_peak: Option<u64>,
    /// Most processes and threads that it may have; `None` also when there is no limit.
    pub pids_limit: Option<u64>,
    /// Read from block devices, bytes; only where the `io` (v1: `blkio`) controller is on.
    pub read_bytes: Option<u64>,
    /// Written to block devices, bytes; as above.
    pub write_bytes: Option<u64>,
    /// How often it came up against its limits.
    pub hits: Hits,
}

impl Usage {
    /// Whether its own memory limit was reached; without one it never is. Not every kernel counts that on v1, where the
    /// peak tells as well: a charge is of 64 pages, or less where so much does not fit.
    pub fn was_out_of_memory(&self) -> bool {
        const CHARGE: u64 = 64 * 4096;
        let close = |limit: u64, peak: u64| peak.saturating_add(CHARGE) >= limit;
        let reached = self
            .memory_limit
            .zip(self.memory_peak)
            .is_some_and(|(limit, peak)| close(limit, peak));
        self.memory_limit.is_some() && (self.hits.memory > 0 || reached)
    }
}

/// How often a group came up against its limits, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hits {
    /// Processes that the kernel killed for lack of memory.
    pub oom_kills: u64,
    /// Times that memory had to be taken back from it at its limit, be it from caches.
    pub memory: u64,
    /// Times that it was slowed down above `memory.high`.
    pub memory_high: u64,
    /// Forks that were refused at the limit of processes.
    pub pids: u64,
    /// Periods of its CPU quota in which it ran.
    pub cpu_periods: u64,
    /// Those of them in which the quota was used up.
    pub cpu_throttled: u64,
    /// Time that it stood still for its CPU quota, microseconds.
    pub cpu_throttled_usec: u64,
}

impl Hits {
    /// Share of its CPU periods in which it had to wait, 0 to 1.
    pub fn throttled(&self) -> f64 {
        match self.cpu_periods {
            0 => 0.0,
            periods => self.cpu_throttled as f64 / periods as f64,
        }
    }
}

/// A v1 limit as large as this is none: the kernel rounds 2^63 down to whole pages, whose size differs.
const NO_LIMIT: u64 = 1 << 62;

/// `version(controller)` is whether the controller is on v2, `None` when there is none; `text(controller, file)` a
/// file of the group.
pub(super) fn usage(
    version: impl Fn(&str) -> Option<bool>,
    text: impl Fn(&str, &str) -> Option<String>,
) -> Usage {
    let file = |controller: &str, v1: &str, v2: &str| {
        let is_v2 = version(controller)?;
        text(controller, if is_v2 { v2 } else { v1 })
    };
    let number = |text: Option<String>| text?.trim().parse::<u64>().ok();
    let limit = |text| number(text).filter(|limit| *limit < NO_LIMIT);
    let cpu = match version("cpuacct") {
        Some(false) => number(text("cpuacct", "cpuacct.usage")).map(|nanoseconds| nanoseconds / 1000),
        _ => file("cpu", "cpu.stat", "cpu.stat").and_then(|text| keyed(&text, "usage_usec")),
    };
    let (read_bytes, write_bytes) = match version("io") {
        Some(_) => {
            let text = text("io", "io.stat");
            let all = |key| text.as_ref().map(|text| sum(text, key));
            (all("rbytes="), all("wbytes="))
        }
        None => {
            let text = text("blkio", "blkio.throttle.io_service_bytes_recursive");
            let all = |key| text.as_ref().map(|text| sum_v1(text, key));
            (all("Read"), all("Write"))
        }
    };
    Usage {
        memory: number(file("memory", "memory.usage_in_bytes", "memory.current")),
        memory_peak: number(file("memory", "memory.max_usage_in_bytes", "memory.peak")),
        memory_limit: limit(file("memory", "memory.limit_in_bytes", "memory.max")),
        cpu_usec: cpu,
        pids: number(file("pids", "pids.current", "pids.current")),
        pids_peak: number(file("pids", "pids.peak", "pids.peak")),
        pids_limit: limit(file("pids", "pids.max", "pids.max")),
        read_bytes,
        write_bytes,
        hits: hits(&version, &text, file),
    }
}

fn hits(
    version: impl Fn(&str) -> Option<bool>,
    text: impl Fn(&str, &str) -> Option<String>,
    file: impl Fn(&str, &str, &str) -> Option<String>,
) -> Hits {
    let memory = file("memory", "memory.oom_control", "memory.events").unwrap_or_default();
    let alone = |name: &str| text("memory", name)?.trim().parse::<u64>().ok();
    // What its own limits did: `memory.events` also counts what those of the groups in it did, and before Linux 5.2 there
    // is nothing else. On v1 two files say it: what fails for memory with swap is not tried without.
    let (own, failures) = match version("memory") {
        Some(false) => {
            let with_swap = alone("memory.memsw.failcnt").unwrap_or(0);
            (
                String::new(),
                alone("memory.failcnt").map(|count| count + with_swap),
            )
        }
        _ => (
            text("memory", "memory.events.local").unwrap_or_else(|| memory.clone()),
            None,
        ),
    };
    let pids = file("pids", "pids.events", "pids.events").unwrap_or_default();
    let cpu = file("cpu", "cpu.stat", "cpu.stat").unwrap_or_default();
    let count = |text: &str, key: &str| keyed(text, key).unwrap_or(0);
    let nanoseconds = keyed(&cpu, "throttled_time").map(|time| time / 1000);
    Hits {
        oom_kills: killed(count(&memory, "oom_kill"), count(&memory, "oom_group_kill")),
        memory: failures.unwrap_or_else(|| count(&own, "max")),
        memory_high: count(&own, "high"),
        pids: count(&pids, "max"),
        cpu_periods: count(&cpu, "nr_periods"),
        cpu_throttled: count(&cpu, "nr_throttled"),
        cpu_throttled_usec: nanoseconds.unwrap_or_else(|| count(&cpu, "throttled_usec")),
    }
}

/// Processes that were killed. Where a group is killed as a whole, the kernel counts its first victim twice: as that, and as
/// one of the group (`mm/oom_kill.c`, `oom_kill_process`), unless it is gone by then. Before Linux 5.17 it does not say how
/// often that was.
fn killed(kills: u64, groups: u64) -> u64 {
    kills.saturating_sub(groups).max(kills.min(1))
}

/// `key value` lines, as in `memory.events` and `cpu.stat`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let mut values = lines.filter(|(name, _)| *name == key);
    values.next()?.1.trim().parse().ok()
}

/// `MAJOR:MINOR key=value …` lines of `io.stat`: one value over all devices.
fn sum(text: &str, key: &str) -> u64 {
    text.split_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
        .sum()
}

/// `MAJOR:MINOR Read BYTES` lines of v1: one value over all devices.
fn sum_v1(text: &str, key: &str) -> u64 {
    let bytes = |line: &str| {
        let mut words = line.split(' ').skip(1);
        (words.next()? == key).then(|| words.next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[(&str, &str, &str)] = &[
        ("memory", "memory.usage_in_bytes", "52432896\n"),
        ("memory", "memory.max_usage_in_bytes", "60000000\n"),
        ("memory", "memory.limit_in_bytes", "9223372036854771712\n"),
        (
            "memory",
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        ),
        ("cpuacct", "cpuacct.usage", "1234567890\n"),
        (
            "cpu",
            "cpu.stat",
            "nr_periods 8\nnr_throttled 2\nthrottled_time 5000000\n",
        ),
        ("memory", "memory.failcnt", "9\n"),
        ("memory", "memory.memsw.failcnt", "2\n"),
        (
            "blkio",
            "blkio.throttle.io_service_bytes_recursive",
            "254:0 Read 4096\n254:0 Write 1\n254:0 Total 4097\n7:0 Read 4\nTotal 4101\n",
        ),
        ("pids", "pids.events", "max 6\n"),
        ("pids", "pids.current", "3\n"),
        ("pids", "pids.max", "512\n"),
    ];

    const V2: &[(&str, &str, &str)] = &[
        ("memory", "memory.current", "52432896\n"),
        ("memory", "memory.peak", "60000000\n"),
        ("memory", "memory.max", "536870912\n"),
        (
            "memory",
            "memory.events",
            "low 0\nhigh 3\nmax 4\noom 0\noom_kill 0\noom_group_kill 5\n",
        ),
        (
            "cpu",
            "cpu.stat",
            "usage_usec 1234567\nuser_usec 1\nsystem_usec 2\nnr_periods 4\nnr_throttled 4\nthrottled_usec 70\n",
        ),
        ("pids", "pids.current", "7\n"),
        ("pids", "pids.max", "max\n"),
        ("pids", "pids.peak", "8\n"),
        (
            "io",
            "io.stat",
            "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n253:1 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n",
        ),
    ];

    fn read(files: &[(&str, &str, &str)], versions: &[(&str, bool)]) -> Usage {
        usage(
            |controller| {
                let found = versions.iter().find(|(name, _)| *name == controller);
                found.map(|(_, v2)| *v2)
            },
            |controller, file| {
                let found = files
                    .iter()
                    .find(|(of, name, _)| (*of, *name) == (controller, file));
                found.map(|(_, _, text)| (*text).to_owned())
            },
        )
    }

    #[test]
    fn v1_counts_nanoseconds_and_a_limit_of_all_is_none() {
        let versions = [
            ("memory", false),
            ("cpu", false),
            ("cpuacct", false),
            ("pids", false),
            ("blkio", false),
        ];
        let expected = Usage {
            memory: Some(52_432_896),
            memory_peak: Some(60_000_000),
            memory_limit: None,
            cpu_usec: Some(1_234_567),
            pids: Some(3),
            pids_peak: None,
            pids_limit: Some(512),
            read_bytes: Some(4100),
            write_bytes: Some(1),
            hits: Hits {
                oom_kills: 1,
                memory: 11,
                memory_high: 0,
                pids: 6,
                cpu_periods: 8,
                cpu_throttled: 2,
                cpu_throttled_usec: 5000,
            },
        };
        assert!((expected.hits.throttled() - 0.25).abs() < 1e-9);
        assert_eq!(read(V1, &versions), expected);
    }

    #[test]
    fn v2_counts_microseconds_and_tells_block_devices_together() {
        let versions = [("memory", true), ("cpu", true), ("pids", true), ("io", true)];
        let expected = Usage {
            memory: Some(52_432_896),
            memory_peak: Some(60_000_000),
            memory_limit: Some(536_870_912),
            cpu_usec: Some(1_234_567),
            pids: Some(7),
            pids_peak: Some(8),
            pids_limit: None,
            read_bytes: Some(4097),
            write_bytes: Some(8194),
            hits: Hits {
                memory: 4,
                memory_high: 3,
                cpu_periods: 4,
                cpu_throttled: 4,
                cpu_throttled_usec: 70,
                ..Hits::default()
            },
        };
        assert_eq!(read(V2, &versions), expected);
        let without_io = read(&V2[..8], &versions[..3]);
        assert_eq!((without_io.read_bytes, without_io.write_bytes), (None, None));
    }

    #[test]
    fn the_first_victim_of_a_group_is_one_process() {
        assert_eq!(killed(0, 0), 0);
        assert_eq!(killed(3, 0), 3, "one after another, or nobody says");
        assert_eq!(killed(3, 1), 2, "a service and its init");
        assert_eq!(killed(6, 2), 4);
        assert_eq!(killed(1, 1), 1, "gone before the others were killed");
    }

    #[test]
    fn what_the_limits_of_groups_in_it_did_is_not_its_own() {
        let local = (
            "memory",
            "memory.events.local",
            "low 0\nhigh 0\nmax 1\noom 0\noom_kill 0\n",
        );
        let below = (
            "memory",
            "memory.events",
            "low 0\nhigh 3\nmax 4\noom 1\noom_kill 2\n",
        );
        let rest = V2.iter().filter(|(_, name, _)| *name != "memory.events");
        let files: Vec<_> = rest.copied().chain([local, below]).collect();
        let hits = read(&files, &[("memory", true)]).hits;
        assert_eq!((hits.memory, hits.memory_high), (1, 0));
        assert_eq!(hits.oom_kills, 2, "whoever was killed, wherever");
    }

    #[test]
    fn who_has_no_memory_limit_has_not_reached_it() {
        let mut used = read(V2, &[("memory", true)]);
        assert!(used.was_out_of_memory());
        used.memory_limit = None;
        assert!(!used.was_out_of_memory());
    }

    #[test]
    fn hybrid_reads_each_controller_where_it_lives() {
        let both: Vec<_> = V1.iter().chain(&V2[5..7]).copied().collect();
        // `pids` has moved to v2, the others have not.
        let files: Vec<_> = both
            .iter()
            .filter(|(of, _, text)| *of != "pids" || ["7\n", "max\n"].contains(text))
            .copied()
            .collect();
        let used = read(
            &files,
            &[
                ("memory", false),
                ("cpu", false),
                ("cpuacct", false),
                ("pids", true),
            ],
        );
        assert_eq!(used.memory, Some(52_432_896));
        assert_eq!(used.cpu_usec, Some(1_234_567));
        assert_eq!((used.pids, used.pids_limit), (Some(7), None));
    }

    #[test]
    fn what_is_not_there_is_not_told() {
        assert_eq!(read(&[], &[("memory", true)]), Usage::default());
        assert_eq!(read(V1, &[]).memory, None);
    }
}
