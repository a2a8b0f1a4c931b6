//! What the kernel knows of a living sandbox: sockets that listen, and limits that were reached. Reads `/proc` and the
//! control groups; concludes nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pactown_runtime::cgroup::Cgroup;

use crate::events::Witness;

/// State of a listening socket in `/proc/<pid>/net/tcp` (`TCP_LISTEN`, include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// The sandbox whose pid 1 has this host pid, and whose control group is `group`; `None` when it has ended.
pub fn witness(pid: i32, group: &str) -> Option<Witness> {
    let table = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}"));
    let mut sockets = listening(&table("tcp").ok()?);
    // A kernel without IPv6 has no such file.
    sockets.extend(listening(&table("tcp6").unwrap_or_default()));
    sockets.sort_unstable();
    sockets.dedup();
    let group = Cgroup::open(group).ok();
    let read = |controller: &str, file: &str| {
        let (directory, _) = group.as_ref()?.controller(controller)?;
        fs::read_to_string(directory.join(file)).ok()
    };
    let cpu = read("cpu", "cpu.stat").unwrap_or_default();
    let pids = read("pids", "pids.events").unwrap_or_default();
    Some(Witness {
        listening: sockets.iter().map(SocketAddr::to_string).collect(),
        pids_refused: keyed(&pids, "max").unwrap_or(0),
        throttled: throttled(&cpu),
    })
}

/// Share of the periods in which the quota was used up.
fn throttled(stat: &str) -> f64 {
    match (keyed(stat, "nr_periods"), keyed(stat, "nr_throttled")) {
        (Some(periods), Some(throttled)) if periods > 0 => throttled as f64 / periods as f64,
        _ => 0.0,
    }
}

fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// The listening sockets of `/proc/<pid>/net/tcp` or `tcp6`.
fn listening(table: &str) -> Vec<SocketAddr> {
    let local = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == LISTEN).then_some(SocketAddr::new(address_of(address)?, port))
    };
    table.lines().skip(1).filter_map(local).collect()
}

/// The kernel prints each 32-bit word of the address in the machine's own order.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for index in 0..4 {
        bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
    }
    Some(Ipv6Addr::from(bytes).into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_sockets_of_this_process_are_seen_as_the_kernel_has_them() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let six = TcpListener::bind("[::1]:0").ok();
        let pid = i32::try_from(std::process::id()).unwrap();
        let seen = witness(pid, "pactown/nowhere/x").unwrap();
        let expected = [Some(&four), six.as_ref()];
        for listener in expected.into_iter().flatten() {
            let address = listener.local_addr().unwrap().to_string();
            assert!(
                seen.listening.contains(&address),
                "{address}: {:?}",
                seen.listening
            );
        }
        let gone = four.local_addr().unwrap().to_string();
        drop(four);
        let seen = witness(pid, "pactown/nowhere/x").unwrap();
        assert!(!seen.listening.contains(&gone), "{:?}", seen.listening);
    }

    #[test]
    fn a_process_that_has_ended_has_no_witness() {
        assert_eq!(witness(i32::MAX, "pactown/nowhere/x"), None);
    }

    #[test]
    fn waiting_for_quota_is_a_share() {
        let share = throttled("nr_periods 40\nnr_throttled 30\nthrottled_time 5\n");
        assert!((share - 0.75).abs() < 1e-9, "{share}");
        assert_eq!(throttled(""), 0.0);
        assert_eq!(keyed("max 3\n", "max"), Some(3));
    }
}
