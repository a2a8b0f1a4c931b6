//! What a group has used and what it may use, from the texts of its files: v1, hybrid and v2. Pure; the reading of
//! the files is handed in.

/// What a group has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// Most processes and threads; `None` also when there is no limit.
    pub pids_limit: Option<u64>,
    /// Read from block devices, bytes. Only v2 tells, and only where the `io` controller is on.
    pub read_bytes: Option<u64>,
    /// Written to block devices, bytes; as above.
    pub write_bytes: Option<u64>,
    /// Whether the kernel killed something for lack of memory.
    pub oom_killed: bool,
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
    let v2 = ["memory", "cpu", "pids"]
        .into_iter()
        .find(|controller| version(controller) == Some(true));
    let io = v2.and_then(|controller| text(controller, "io.stat"));
    let oom = file("memory", "memory.oom_control", "memory.events");
    Usage {
        memory: number(file("memory", "memory.usage_in_bytes", "memory.current")),
        memory_peak: number(file("memory", "memory.max_usage_in_bytes", "memory.peak")),
        memory_limit: limit(file("memory", "memory.limit_in_bytes", "memory.max")),
        cpu_usec: cpu,
        pids: number(file("pids", "pids.current", "pids.current")),
        pids_limit: limit(file("pids", "pids.max", "pids.max")),
        read_bytes: io.as_ref().map(|text| sum(text, "rbytes=")),
        write_bytes: io.as_ref().map(|text| sum(text, "wbytes=")),
        oom_killed: oom
            .and_then(|text| keyed(&text, "oom_kill"))
            .is_some_and(|count| count > 0),
    }
}

/// `key value` lines, as in `memory.events` and `cpu.stat`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// `MAJOR:MINOR key=value …` lines of `io.stat`: one value over all devices.
fn sum(text: &str, key: &str) -> u64 {
    text.split_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
        .sum()
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
            "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
        ),
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
            "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
        ),
        (
            "cpu",
            "cpu.stat",
            "usage_usec 1234567\nuser_usec 1\nsystem_usec 2\n",
        ),
        ("pids", "pids.current", "7\n"),
        ("pids", "pids.max", "max\n"),
        (
            "memory",
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
        ];
        let expected = Usage {
            memory: Some(52_432_896),
            memory_peak: Some(60_000_000),
            memory_limit: None,
            cpu_usec: Some(1_234_567),
            pids: Some(3),
            pids_limit: Some(512),
            read_bytes: None,
            write_bytes: None,
            oom_killed: true,
        };
        assert_eq!(read(V1, &versions), expected);
    }

    #[test]
    fn v2_counts_microseconds_and_tells_block_devices_together() {
        let versions = [("memory", true), ("cpu", true), ("pids", true)];
        let expected = Usage {
            memory: Some(52_432_896),
            memory_peak: Some(60_000_000),
            memory_limit: Some(536_870_912),
            cpu_usec: Some(1_234_567),
            pids: Some(7),
            pids_limit: None,
            read_bytes: Some(4097),
            write_bytes: Some(8194),
            oom_killed: false,
        };
        assert_eq!(read(V2, &versions), expected);
        let without_io = read(&V2[..7], &versions);
        assert_eq!((without_io.read_bytes, without_io.write_bytes), (None, None));
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
        assert_eq!(read(V1, &[]), Usage::default());
    }
}
