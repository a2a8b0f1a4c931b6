//! Counters of one service at one moment, and the rates between two moments. Pure.

use pactown_runtime::cgroup::Usage;

/// What was read of one service at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// On the clock that is never set, microseconds.
    pub steady_usec: u64,
    /// Microseconds since the Unix epoch.
    pub wall_usec: u64,
    /// Host pid of the sandbox's pid 1: another one has counters of its own.
    pub pid: Option<i32>,
    /// Its control group.
    pub used: Usage,
    /// Bytes received and sent, of all links but `lo`.
    pub network: Option<(u64, u64)>,
}

/// What was used between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Percent of one CPU.
    pub cpu_percent: Option<f64>,
    /// Bytes received per second.
    pub received: Option<f64>,
    /// Bytes sent per second.
    pub sent: Option<f64>,
}

/// The rates between two readings. `None` where one of them lacks a counter, the counter went back, no time has
/// passed, or the service was started anew in between.
pub fn rates(previous: &Counters, now: &Counters) -> Rates {
    let passed = now.steady_usec.saturating_sub(previous.steady_usec);
    if passed == 0 || now.pid.is_none() || previous.pid != now.pid {
        return Rates::default();
    }
    let per_second = |before: Option<u64>, after: Option<u64>| {
        let used = after?.checked_sub(before?)?;
        Some(used as f64 * 1e6 / passed as f64)
    };
    let before = previous.network.unzip();
    let after = now.network.unzip();
    Rates {
        cpu_percent: per_second(previous.used.cpu_usec, now.used.cpu_usec).map(|usec| usec / 1e4),
        received: per_second(before.0, after.0),
        sent: per_second(before.1, after.1),
    }
}

/// Bytes received and sent over all links but `lo`, from the text of `/proc/<pid>/net/dev` (proc_pid_net(5)).
pub(crate) fn traffic(text: &str) -> Option<(u64, u64)> {
    let mut seen = false;
    let mut sum = (0, 0);
    for (link, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        seen = true;
        let mut numbers = numbers.split_whitespace();
        let (received, sent) = (numbers.next()?.parse::<u64>().ok()?, numbers.nth(7)?);
        if link.trim() != "lo" {
            sum = (sum.0 + received, sum.1 + sent.parse::<u64>().ok()?);
        }
    }
    seen.then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    9999      99    0    0    0     0          0         0     9999      99    0    0    0     0       0          0
  eth0: 1000000     700    0    0    0     0          0         0     2500      40    0    0    0     0       0          0
  tun1:       1       1    0    0    0     0          0         0        2       1    0    0    0     0       0          0
";

    fn at(steady_usec: u64, cpu_usec: u64, network: (u64, u64)) -> Counters {
        Counters {
            steady_usec,
            wall_usec: 0,
            pid: Some(1),
            used: Usage {
                cpu_usec: Some(cpu_usec),
                ..Usage::default()
            },
            network: Some(network),
        }
    }

    #[test]
    fn traffic_is_summed_over_all_links_but_lo() {
        assert_eq!(traffic(DEV), Some((1_000_001, 2_502)));
        let alone: String = DEV.lines().take(3).map(|line| format!("{line}\n")).collect();
        assert_eq!(traffic(&alone), Some((0, 0)));
        assert_eq!(traffic(""), None);
        assert_eq!(traffic("eth0: 1 2"), None);
    }

    #[test]
    fn rates_are_per_second_and_cpu_is_of_one() {
        let (before, after) = (at(0, 100, (10, 20)), at(2_000_000, 3_000_100, (2010, 20)));
        assert_eq!(
            rates(&before, &after),
            Rates {
                cpu_percent: Some(150.0),
                received: Some(1000.0),
                sent: Some(0.0),
            }
        );
    }

    #[test]
    fn a_new_start_has_no_rates() {
        let (before, after) = (at(0, 100, (10, 20)), at(1_000_000, 200, (30, 40)));
        let nothing = Rates::default();
        assert_eq!(
            rates(
                &before,
                &Counters {
                    pid: Some(2),
                    ..after
                }
            ),
            nothing
        );
        assert_eq!(rates(&before, &Counters { pid: None, ..after }), nothing);
        assert_eq!(rates(&after, &after), nothing, "no time has passed");
        let back = rates(&at(0, 500, (90, 20)), &after);
        assert_eq!(
            (back.cpu_percent, back.received),
            (None, None),
            "counters went back"
        );
        assert_eq!(back.sent, Some(20.0));
    }
}
