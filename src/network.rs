//! An ecosystem's network as numbers: addresses, who may talk to whom, what is published. Pure; the kernel's part is
//! [`pactown_netns`]'s.

use std::net::{IpAddr, Ipv4Addr};

use indexmap::IndexMap;
use pactown_netns::{
    Edge, Egress as Reach, HostPort, LoopbackForward, Node, Policy, Publication, Subnet, Transport,
};

use crate::config::Ecosystem;
use crate::config::ecosystem::{Dependency, Egress, Probe, Service, ServiceName};
use crate::control::api::Published;
use crate::desired::Desired;
use crate::identity::{IdRange, RANGE_SIZE};
use crate::resolver;

/// The first address that services get; those below are the uplink's, the router's and the build sandboxes'.
const FIRST: u32 = 32;
/// Addresses for build sandboxes that run at the same time.
const BUILDS: std::ops::Range<u32> = 3..FIRST;
/// The name of the host, for services with `host_access`.
const HOST_NAME: &str = "host.pactown.internal";

/// A port that shall lead into a service from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Address on the host.
    pub host: IpAddr,
    /// Port on the host.
    pub host_port: HostPort,
    /// Port inside.
    pub port: u16,
    /// Whether another port will not do.
    pub demand: bool,
}

/// An address for every service: those that have one keep it.
///
/// # Errors
/// More services than addresses.
pub fn addresses(
    ecosystem: &Ecosystem,
    subnet: Subnet,
    known: &IndexMap<ServiceName, Ipv4Addr>,
) -> Result<IndexMap<ServiceName, Ipv4Addr>, String> {
    let mut found: IndexMap<ServiceName, Ipv4Addr> = known
        .iter()
        .filter(|(name, _)| ecosystem.services.contains_key(*name))
        .map(|(name, address)| (name.clone(), *address))
        .collect();
    let mut next = FIRST;
    for name in ecosystem.services.keys() {
        if found.contains_key(name) {
            continue;
        }
        let address = loop {
            let candidate = subnet.host(next).ok_or_else(|| {
                format!("the instance's network {subnet} has no address left for service '{name}'")
            })?;
            next += 1;
            if !found
                .values()
                .chain(known.values())
                .any(|taken| *taken == candidate)
            {
                break candidate;
            }
        };
        found.insert(name.clone(), address);
    }
    Ok(found)
}

/// The addresses of build sandboxes.
pub fn build_addresses(subnet: Subnet) -> Vec<Ipv4Addr> {
    BUILDS.filter_map(|number| subnet.host(number)).collect()
}

/// What `service` shall publish: `ports:` as demands; `port` on loopback as a preference, unless `ports:` has it
/// already or the service is a job or has no port of its own.
pub fn wanted(desired: &Desired, service: &Service) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = service
        .ports
        .iter()
        .map(|mapping| Wanted {
            host: mapping.host,
            host_port: HostPort {
                port: mapping.host_port,
                transport: transport(mapping.udp),
            },
            port: mapping.port,
            demand: true,
        })
        .collect();
    let mapped = |port: u16| {
        service
            .ports
            .iter()
            .any(|mapping| mapping.port == port && !mapping.udp)
    };
    let only_ports = !service.ports.is_empty() && !service.port_explicit;
    if !mapped(service.port) && !only_ports && !resolver::is_job(desired, &service.name) {
        wanted.push(Wanted {
            host: Ipv4Addr::LOCALHOST.into(),
            host_port: tcp(service.port),
            port: service.port,
            demand: desired.ecosystem.strict_ports,
        });
    }
    wanted
}

fn transport(udp: bool) -> Transport {
    if udp { Transport::Udp } else { Transport::Tcp }
}

fn tcp(port: u16) -> HostPort {
    HostPort {
        port,
        transport: Transport::Tcp,
    }
}

/// Ports on which a service can be reached, by those that declare it.
fn inner_ports(service: &Service) -> Vec<HostPort> {
    let mut ports = vec![tcp(service.port)];
    ports.extend(service.ports.iter().map(|mapping| HostPort {
        port: mapping.port,
        transport: transport(mapping.udp),
    }));
    if let Some(Probe::Http { port, .. } | Probe::Tcp { port }) =
        service.health.as_ref().map(|check| &check.probe)
    {
        ports.push(tcp(*port));
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The ports of a dependency that its dependent may open.
fn dependency_ports(service: &Service, dependency: &Dependency) -> Vec<HostPort> {
    let mut ports = inner_ports(service);
    ports.extend(dependency.port.map(tcp));
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The dependencies of `service` that are services, with their addresses.
fn local<'a>(
    ecosystem: &'a Ecosystem,
    service: &'a Service,
    addresses: &'a IndexMap<ServiceName, Ipv4Addr>,
) -> impl Iterator<Item = (&'a Dependency, &'a Service, Ipv4Addr)> {
    service.depends_on.iter().filter_map(|dependency| {
        let needed = ecosystem.services.get(&dependency.name)?;
        Some((dependency, needed, *addresses.get(&dependency.name)?))
    })
}

/// The network node of `service`. `None`: it has no address.
pub fn node(
    ecosystem: &Ecosystem,
    service: &Service,
    addresses: &IndexMap<ServiceName, Ipv4Addr>,
    ids: IdRange,
) -> Option<Node> {
    let loopback = if ecosystem.loopback_compat {
        loopback(ecosystem, service, addresses)
    } else {
        Vec::new()
    };
    Some(Node {
        name: service.name.clone(),
        address: *addresses.get(&service.name)?,
        inbound: inner_ports(service),
        loopback,
        ping_groups: (ids.base, ids.base + RANGE_SIZE - 1),
    })
}

/// The network node of a build sandbox.
pub fn build_node(name: &str, address: Ipv4Addr, ids: IdRange) -> Node {
    Node {
        name: name.to_owned(),
        address,
        inbound: Vec::new(),
        loopback: Vec::new(),
        ping_groups: (ids.base, ids.base + RANGE_SIZE - 1),
    }
}

/// `127.0.0.1:port` inside leads to the dependency with that port, where only one has it and the service itself has
/// not.
fn loopback(
    ecosystem: &Ecosystem,
    service: &Service,
    addresses: &IndexMap<ServiceName, Ipv4Addr>,
) -> Vec<LoopbackForward> {
    let own = inner_ports(service);
    let all: Vec<(HostPort, Ipv4Addr)> = local(ecosystem, service, addresses)
        .flat_map(|(dependency, needed, address)| {
            dependency_ports(needed, dependency)
                .into_iter()
                .map(move |port| (port, address))
        })
        .collect();
    all.iter()
        .filter(|(port, address)| {
            !own.contains(port) && !all.iter().any(|(other, at)| other == port && at != address)
        })
        .map(|(port, address)| LoopbackForward {
            port: *port,
            to: *address,
            to_port: port.port,
        })
        .collect()
}

/// Lines of the service's `/etc/hosts`: itself, what it needs, and the host when it may reach it.
pub fn hosts(
    ecosystem: &Ecosystem,
    service: &Service,
    addresses: &IndexMap<ServiceName, Ipv4Addr>,
    subnet: Subnet,
) -> Vec<(IpAddr, Vec<String>)> {
    let names = |name: &str| vec![name.to_owned(), format!("{name}.pactown.internal")];
    let own = addresses
        .get(&service.name)
        .map(|address| (*address, names(&service.name)));
    let needed =
        local(ecosystem, service, addresses).map(|(_, needed, address)| (address, names(&needed.name)));
    let host = (!service.host_access.is_empty()).then(|| (subnet.uplink(), vec![HOST_NAME.to_owned()]));
    own.into_iter()
        .chain(needed)
        .chain(host)
        .map(|(address, names)| (address.into(), names))
        .collect()
}

/// Everything that may pass in the instance.
pub fn policy(
    ecosystem: &Ecosystem,
    addresses: &IndexMap<ServiceName, Ipv4Addr>,
    published: &IndexMap<ServiceName, Vec<Published>>,
    subnet: Subnet,
    forwarder: bool,
) -> Policy {
    let mut policy = Policy {
        forwarder,
        egress: build_addresses(subnet)
            .into_iter()
            .map(|address| (address, Reach::All))
            .collect(),
        ..Policy::default()
    };
    for (name, service) in &ecosystem.services {
        let Some(address) = addresses.get(name).copied() else {
            continue;
        };
        policy.edges.extend(edges(ecosystem, service, address, addresses));
        policy
            .publications
            .extend(publications(published.get(name), address));
        policy.probes.extend(probes(service, address));
        policy.egress.push((address, reach(&service.egress)));
        policy
            .host_access
            .extend(service.host_access.iter().map(|port| (address, tcp(*port))));
    }
    policy
}

fn edges(
    ecosystem: &Ecosystem,
    service: &Service,
    from: Ipv4Addr,
    addresses: &IndexMap<ServiceName, Ipv4Addr>,
) -> Vec<Edge> {
    local(ecosystem, service, addresses)
        .flat_map(|(dependency, needed, to)| {
            dependency_ports(needed, dependency)
                .into_iter()
                .map(move |port| Edge { from, to, port })
        })
        .collect()
}

fn publications(published: Option<&Vec<Published>>, address: Ipv4Addr) -> Vec<Publication> {
    published
        .into_iter()
        .flatten()
        .map(|one| Publication {
            host: one.host,
            host_port: HostPort {
                port: one.host_port,
                transport: transport(one.transport == "udp"),
            },
            address,
            port: one.port,
        })
        .collect()
}

/// The host may open every port of a service by its address: for its health probe, and for the user's own look.
fn probes(service: &Service, address: Ipv4Addr) -> Vec<(Ipv4Addr, HostPort)> {
    inner_ports(service)
        .into_iter()
        .map(|port| (address, port))
        .collect()
}

fn reach(egress: &Egress) -> Reach {
    match egress {
        Egress::All => Reach::All,
        Egress::None => Reach::None,
        Egress::Only(list) => Reach::Only(list.iter().filter_map(|text| destination(text)).collect()),
    }
}

/// `ADDRESS[/PREFIX][:PORT]`; port 0 means every port. `None` for a text of another shape.
pub fn destination(text: &str) -> Option<(Subnet, u16)> {
    let (network, port) = match text.rsplit_once(':') {
        Some((network, port)) => (network, port.parse().ok().filter(|port| *port > 0)?),
        None => (text, 0),
    };
    let (address, prefix) = match network.split_once('/') {
        Some((address, prefix)) => (address, prefix.parse().ok().filter(|prefix| *prefix <= 32)?),
        None => (network, 32),
    };
    Some((Subnet::containing(address.parse().ok()?, prefix), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::tests::{desired, service};

    const SUBNET: Subnet = Subnet {
        network: Ipv4Addr::new(10, 64, 0, 0),
        prefix: 22,
    };

    fn table(names: &[&str]) -> IndexMap<ServiceName, Ipv4Addr> {
        names
            .iter()
            .zip(FIRST..)
            .map(|(name, number)| ((*name).to_owned(), SUBNET.host(number).unwrap()))
            .collect()
    }

    #[test]
    fn addresses_stay_when_services_come_and_go() {
        let wish = desired(&[("a", 1, &[]), ("b", 2, &[])]);
        let first = addresses(&wish.ecosystem, SUBNET, &IndexMap::new()).unwrap();
        assert_eq!(first, table(&["a", "b"]));
        let wish = desired(&[("new", 3, &[]), ("b", 2, &[])]);
        let second = addresses(&wish.ecosystem, SUBNET, &first).unwrap();
        assert_eq!(second["b"], first["b"]);
        assert!(
            !first.values().any(|old| *old == second["new"]),
            "no address changes its owner at once"
        );
        let tiny = Subnet { prefix: 29, ..SUBNET };
        assert!(addresses(&wish.ecosystem, tiny, &IndexMap::new()).is_err());
    }

    #[test]
    fn only_declared_edges_exist() {
        let wish = desired(&[("web", 8000, &["api"]), ("api", 8000, &["db"]), ("db", 5432, &[])]);
        let table = table(&["web", "api", "db"]);
        let policy = policy(&wish.ecosystem, &table, &IndexMap::new(), SUBNET, false);
        let edge = |from: &str, to: &str, port| Edge {
            from: table[from],
            to: table[to],
            port: tcp(port),
        };
        assert_eq!(policy.edges, [edge("web", "api", 8000), edge("api", "db", 5432)]);
    }

    #[test]
    fn loopback_leads_to_unambiguous_dependencies_that_are_not_oneself() {
        let wish = desired(&[
            ("web", 8000, &["one", "two", "three", "same"]),
            ("one", 9000, &[]),
            ("two", 9001, &[]),
            ("three", 9001, &[]),
            ("same", 8000, &[]),
        ]);
        let table = table(&["web", "one", "two", "three", "same"]);
        let ids = IdRange { base: 2_000_065_536 };
        let node = node(&wish.ecosystem, service(&wish, "web"), &table, ids).unwrap();
        assert_eq!(
            node.loopback,
            [LoopbackForward {
                port: tcp(9000),
                to: table["one"],
                to_port: 9000
            }]
        );
        assert_eq!(node.ping_groups, (2_000_065_536, 2_000_131_071));
    }

    #[test]
    fn names_lead_to_what_is_declared() {
        let wish = desired(&[("web", 8000, &["api"]), ("api", 8000, &["db"]), ("db", 5432, &[])]);
        let table = table(&["web", "api", "db"]);
        let lines = hosts(&wish.ecosystem, service(&wish, "web"), &table, SUBNET);
        let names: Vec<&str> = lines
            .iter()
            .flat_map(|(_, names)| names)
            .map(String::as_str)
            .collect();
        assert_eq!(
            names,
            ["web", "web.pactown.internal", "api", "api.pactown.internal"]
        );
    }

    #[test]
    fn destinations_are_read() {
        let any = |text: &str| destination(text).map(|(subnet, port)| format!("{subnet} {port}"));
        assert_eq!(any("10.0.0.7").as_deref(), Some("10.0.0.7 0"));
        assert_eq!(any("10.0.3.7/16:443").as_deref(), Some("10.0.0.0/16 443"));
        for wrong in ["", "example.org", "10.0.0.1:0", "10.0.0.1/33", "10.0.0.1:x"] {
            assert_eq!(any(wrong), None, "{wrong}");
        }
    }
}
