//! How names of the outside are resolved in sandboxes: from the host's resolv.conf, which a sandbox cannot always use.

use std::fs;
use std::net::IpAddr;

/// What a sandbox can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolver {
    /// Name servers that are reachable from inside.
    Direct(Vec<IpAddr>),
    /// The host asks one on its own loopback: a forwarder in the router's namespace must stand in.
    Forwarded(Vec<IpAddr>),
    /// The host names none.
    None,
}

/// Reads the host's configuration. systemd-resolved's stub on 127.0.0.53 is replaced by its upstreams.
pub fn detect() -> Resolver {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    decide(
        &read("/etc/resolv.conf"),
        &read("/run/systemd/resolve/resolv.conf"),
    )
}

fn decide(own: &str, resolved: &str) -> Resolver {
    let (own, upstreams) = (servers(own), servers(resolved));
    let direct = |list: &[IpAddr]| {
        list.iter()
            .copied()
            .filter(|ip| !ip.is_loopback() && ip.is_ipv4())
            .collect::<Vec<_>>()
    };
    match (direct(&own), direct(&upstreams)) {
        (found, _) if !found.is_empty() => Resolver::Direct(found),
        (_, found) if !found.is_empty() => Resolver::Direct(found),
        _ if !own.is_empty() => Resolver::Forwarded(own),
        _ => Resolver::None,
    }
}

/// `nameserver` lines (resolv.conf(5)); a zone behind an IPv6 address does not count.
fn servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        line.trim()
            .strip_prefix("nameserver")?
            .trim()
            .split('%')
            .next()?
            .parse()
            .ok()
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_resolvers_are_replaced_or_forwarded() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            decide("nameserver 10.0.0.2\n", ""),
            Resolver::Direct(vec![ip("10.0.0.2")])
        );
        assert_eq!(
            decide("nameserver 127.0.0.53\n", "nameserver 9.9.9.9\n"),
            Resolver::Direct(vec![ip("9.9.9.9")])
        );
        assert_eq!(
            decide("nameserver 127.0.0.1\n", ""),
            Resolver::Forwarded(vec![ip("127.0.0.1")])
        );
        assert_eq!(decide("# nothing\noptions edns0\n", ""), Resolver::None);
        assert_eq!(
            decide("nameserver fe80::1%eth0\n", ""),
            Resolver::Forwarded(vec![ip("fe80::1")])
        );
    }
}
