//! Which addresses an instance uses: pure arithmetic on IPv4 networks.

use std::fmt;
use std::net::Ipv4Addr;

use crate::error::{Error, Result};
use crate::link::Links;
use crate::request::Subnet;

/// Prefix length of an instance's network: 1022 addresses.
const PREFIX: u8 = 22;
/// Where instances live: 10.64.0.0 to 10.127.255.255, away from the ranges that home routers and clouds like. A VPN that
/// routes all of 10.0.0.0/8 leaves the others: private ones (RFC 1918), shared ones (RFC 6598), those for benchmarks (RFC
/// 2544).
const POOLS: [Subnet; 5] = [
    pool([10, 64, 0, 0], 10),
    pool([172, 16, 0, 0], 12),
    pool([192, 168, 0, 0], 16),
    pool([100, 64, 0, 0], 10),
    pool([198, 18, 0, 0], 15),
];
/// A route that is shorter leads to everywhere: VPNs replace the default route by some of these, the longer ones of which
/// win over it.
const DEFAULT_IN_PARTS: u8 = 8;

const fn pool([a, b, c, d]: [u8; 4], prefix: u8) -> Subnet {
    Subnet {
        network: Ipv4Addr::new(a, b, c, d),
        prefix,
    }
}

impl Subnet {
    /// The network with this prefix length that holds `address`.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Self {
        let network = Ipv4Addr::from_bits(address.to_bits() & mask(prefix));
        Self { network, prefix }
    }

    /// One address alone.
    pub fn host_only(address: Ipv4Addr) -> Self {
        Self {
            network: address,
            prefix: 32,
        }
    }

    /// The `number`th address, from 1; `None` beyond the last usable one.
    pub fn host(&self, number: u32) -> Option<Ipv4Addr> {
        let size = !mask(self.prefix);
        (number > 0 && number < size).then(|| Ipv4Addr::from_bits(self.network.to_bits() + number))
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network.to_bits()
    }

    /// Whether it is a default route, or a part of one.
    pub fn is_default(&self) -> bool {
        self.prefix < DEFAULT_IN_PARTS
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.network.to_bits() & shorter == other.network.to_bits() & shorter
    }

    /// The uplink's end on the host.
    pub fn uplink(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1)
    }

    /// The router's address.
    pub fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 2)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            32 => write!(out, "{}", self.network),
            prefix => write!(out, "{}/{prefix}", self.network),
        }
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// A network for the instance `tag` that overlaps none of `taken`. The same tag gives the same network while that is
/// free, so addresses stay the same from one `up` to the next.
pub fn choose(tag: &str, taken: &[Subnet]) -> Option<Subnet> {
    let number = u32::from_str_radix(tag, 16).unwrap_or(0);
    POOLS.iter().find_map(|pool| choose_of(*pool, number, taken))
}

fn choose_of(pool: Subnet, number: u32, taken: &[Subnet]) -> Option<Subnet> {
    let count = 1_u32 << (PREFIX - pool.prefix);
    let candidate = |step: u32| Subnet {
        network: Ipv4Addr::from_bits(
            pool.network.to_bits() + (((number % count + step) % count) << (32 - PREFIX)),
        ),
        prefix: PREFIX,
    };
    let taken: Vec<&Subnet> = taken.iter().filter(|other| !other.is_default()).collect();
    (0..count)
        .map(candidate)
        .find(|candidate| !taken.iter().any(|other| other.overlaps(candidate)))
}

/// Networks that the host uses or routes to: an instance's must overlap none of them.
///
/// # Errors
/// The host's netlink refuses.
pub fn host_networks() -> Result<Vec<Subnet>> {
    Links::open()?.networks()
}

/// [`choose`], or why not.
///
/// # Errors
/// Every network of every pool is in use.
pub fn choose_free(tag: &str, more_taken: &[Subnet]) -> Result<Subnet> {
    let mut taken = host_networks()?;
    taken.extend_from_slice(more_taken);
    let pools = POOLS.map(|pool| pool.to_string()).join(", ");
    choose(tag, &taken).ok_or_else(|| {
        let what = format!("no free network with a prefix of {PREFIX} bits in {pools}");
        Error::Addresses(format!(
            "{what}: the host routes all of them (`ip route show table all`)"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Subnet {
        let (address, prefix) = text.split_once('/').unwrap();
        Subnet {
            network: address.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
        }
    }

    #[test]
    fn the_choice_is_stable_and_avoids_what_is_taken() {
        let first = choose("0000002a", &[]).unwrap();
        assert_eq!(first, net("10.64.168.0/22"));
        assert_eq!(choose("0000002a", &[net("192.168.0.0/16")]).unwrap(), first);
        assert_eq!(
            choose("0000002a", &[net("10.64.170.7/32")]).unwrap(),
            net("10.64.172.0/22")
        );
        let elsewhere = choose("0000002a", &[net("10.0.0.0/8")]).unwrap();
        assert_eq!(elsewhere, net("172.16.168.0/22"), "a VPN has all of the first");
        let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].map(net);
        assert_eq!(choose("0000002a", &private).unwrap(), net("100.64.168.0/22"));
        assert_eq!(choose("0000002a", &POOLS), None);
        assert_eq!(
            choose("0000002a", &[net("0.0.0.0/0")]).unwrap(),
            first,
            "a default route takes nothing"
        );
        let parts = ["0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/7"].map(net);
        assert_eq!(choose("0000002a", &parts).unwrap(), first, "nor do its parts");
    }

    #[test]
    fn hosts_are_counted_from_one() {
        let subnet = net("10.64.0.0/22");
        assert_eq!(subnet.host(1), Some(subnet.uplink()));
        assert_eq!(subnet.host(2), Some(subnet.router()));
        assert_eq!(subnet.host(1022), Some("10.64.3.254".parse().unwrap()));
        assert_eq!((subnet.host(0), subnet.host(1023)), (None, None));
        assert!(
            subnet.contains("10.64.3.1".parse().unwrap()) && !subnet.contains("10.64.4.1".parse().unwrap())
        );
    }
}
