//! Which addresses an instance uses: pure arithmetic on IPv4 networks.

use std::fmt;
use std::net::Ipv4Addr;

use crate::error::{Error, Result};
use crate::link::Links;
use crate::request::Subnet;

/// Prefix length of an instance's network: 1022 addresses.
const PREFIX: u8 = 22;
/// Where instances live: 10.64.0.0 to 10.127.255.255, away from the ranges that home routers and clouds like.
const POOL: Subnet = Subnet {
    network: Ipv4Addr::new(10, 64, 0, 0),
    prefix: 10,
};

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
    let count = 1_u32 << (PREFIX - POOL.prefix);
    let first = u32::from_str_radix(tag, 16).unwrap_or(0) % count;
    (0..count)
        .map(|step| {
            let number = (first + step) % count;
            Subnet {
                network: Ipv4Addr::from_bits(POOL.network.to_bits() + (number << (32 - PREFIX))),
                prefix: PREFIX,
            }
        })
        .find(|candidate| {
            !taken
                .iter()
                .any(|other| other.prefix > 0 && other.overlaps(candidate))
        })
}

/// Networks that the host uses or routes to: an instance's must overlap none of them.
///
/// # Errors
/// The host's netlink refuses.
pub fn host_networks() -> Result<Vec<Subnet>> {
    Ok(Links::open()?.networks()?.0)
}

/// [`choose`], or why not.
///
/// # Errors
/// Every network of the pool is in use.
pub fn choose_free(tag: &str, more_taken: &[Subnet]) -> Result<Subnet> {
    let mut taken = host_networks()?;
    taken.extend_from_slice(more_taken);
    choose(tag, &taken)
        .ok_or_else(|| Error::Addresses(format!("no free network in {POOL}: the host routes all of it")))
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
        assert_eq!(choose("0000002a", &[net("10.0.0.0/8")]), None);
        assert_eq!(
            choose("0000002a", &[net("0.0.0.0/0")]).unwrap(),
            first,
            "a default route takes nothing"
        );
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
