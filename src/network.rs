//! An ecosystem's network as numbers: addresses, who may talk to whom, what is published. Pure; the kernel's part is
//! [`pactown_netns`]'s.

use std::net::{IpAddr, Ipv4Addr};

use indexmap::IndexMap;
use pactown_netns::{
    Edge, Egress as Reach, HostPort, LoopbackForward, Node, Policy, Publication, Spread, Subnet, Transport,
};

use crate::config::Ecosystem;
use crate::config::ecosystem::{Dependency, Egress, Probe, Service, ServiceName, UnitName};
use crate::control::api::Published;
use crate::desired::Desired;
use crate::identity::{IdRange, RANGE_SIZE};
use crate::resolver;
use crate::roster::{Member, Roster};

/// The first address that services get; those below are the uplink's, the router's and the build sandboxes'.
const FIRST: u32 = 32;
/// Addresses for build sandboxes that run at the same time.
const BUILDS: std::ops::Range<u32> = 3..FIRST;
/// Connections that a service may have open to others at the same time, and flows of other protocols: a fraction of what
/// the kernel's table holds on a small machine (`nf_conntrack_max`, 65536 with 1 GiB; nf_conntrack-sysctl.rst), many for an
/// ordinary server.
const FLOWS: u32 = 4096;
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

/// Addresses by name: of every service the one that its dependents know, and of every replica its own.
pub type Addresses = IndexMap<String, Ipv4Addr>;

/// The units of each service.
pub type Units = IndexMap<ServiceName, Vec<UnitName>>;

/// An address for every service and every replica: those that have one keep it, and so does what `lives`.
///
/// # Errors
/// More of them than addresses.
pub fn addresses(
    ecosystem: &Ecosystem,
    roster: &Roster,
    subnet: Subnet,
    known: &Addresses,
    lives: impl Fn(&str) -> bool,
) -> Result<Addresses, String> {
    let kept = |name: &str| ecosystem.services.contains_key(name) || roster.has(name) || lives(name);
    let mut found: Addresses = known
        .iter()
        .filter(|(name, _)| kept(name))
        .map(|(name, address)| (name.clone(), *address))
        .collect();
    let mut next = FIRST;
    let units = roster.units().map(|(unit, _)| unit);
    for name in ecosystem.services.keys().chain(units) {
        if found.contains_key(name) {
            continue;
        }
        let address = loop {
            let candidate = subnet
                .host(next)
                .ok_or_else(|| format!("the instance's network {subnet} has no address left for '{name}'"))?;
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

/// The port of the router at which the proxy of the first build address listens; those of the others follow.
const PROXY: u16 = 3128;

/// Each build address with the port of the router where its proxy listens.
pub fn build_proxies(subnet: Subnet) -> Vec<(Ipv4Addr, u16)> {
    build_addresses(subnet).into_iter().zip(PROXY..).collect()
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
    addresses: &'a Addresses,
) -> impl Iterator<Item = (&'a Dependency, &'a Service, Ipv4Addr)> {
    service.depends_on.iter().filter_map(|dependency| {
        let needed = ecosystem.services.get(&dependency.name)?;
        Some((dependency, needed, *addresses.get(&dependency.name)?))
    })
}

/// The network node of one sandbox. `None`: it has no address.
pub fn node(ecosystem: &Ecosystem, member: Member, addresses: &Addresses, ids: IdRange) -> Option<Node> {
    let loopback = if ecosystem.loopback_compat {
        loopback(ecosystem, member.service, addresses)
    } else {
        Vec::new()
    };
    Some(Node {
        name: member.unit(),
        address: *addresses.get(&member.unit())?,
        inbound: inner_ports(member.service),
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
fn loopback(ecosystem: &Ecosystem, service: &Service, addresses: &Addresses) -> Vec<LoopbackForward> {
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

/// Lines of a sandbox's `/etc/hosts`: itself, what it needs, and the host when it may reach it. A replica is its service
/// to itself: it may not reach the others.
pub fn hosts(
    ecosystem: &Ecosystem,
    member: Member,
    roster: &Roster,
    addresses: &Addresses,
    subnet: Subnet,
) -> Vec<(IpAddr, Vec<String>)> {
    let service = member.service;
    let names = |name: &str| vec![name.to_owned(), format!("{name}.pactown.internal")];
    let mut own = names(&member.unit());
    if member.replica.is_some() {
        own.extend(names(&service.name));
    }
    let own = addresses.get(&member.unit()).map(|address| (*address, own));
    let needed = local(ecosystem, service, addresses).flat_map(|(_, needed, address)| {
        let replicas = roster.of_service(&needed.name);
        let replicas = replicas.filter(|unit| **unit != needed.name);
        let each = replicas.filter_map(|unit| Some((*addresses.get(unit)?, names(unit))));
        std::iter::once((address, names(&needed.name))).chain(each)
    });
    let host = (!service.host_access.is_empty()).then(|| (subnet.uplink(), vec![HOST_NAME.to_owned()]));
    own.into_iter()
        .chain(needed)
        .chain(host)
        .map(|(address, names)| (address.into(), names))
        .collect()
}

/// An instance's network at one moment.
pub struct Moment<'a> {
    /// The services.
    pub ecosystem: &'a Ecosystem,
    /// Their addresses and those of their units.
    pub addresses: &'a Addresses,
    /// Published ports of each service.
    pub published: &'a IndexMap<ServiceName, Vec<Published>>,
    /// The network.
    pub subnet: Subnet,
    /// A name forwarder runs.
    pub forwarder: bool,
    /// The units that there are or shall be.
    pub units: &'a Units,
    /// Those of them that take connections, of services that are spread.
    pub ready: &'a Units,
}

/// Everything that may pass.
pub fn policy(now: &Moment) -> Policy {
    let mut policy = Policy {
        forwarder: now.forwarder,
        // A build reaches its proxy and nothing else.
        proxies: build_proxies(now.subnet),
        ..Policy::default()
    };
    for (name, service) in &now.ecosystem.services {
        let Some(shared) = now.addresses.get(name).copied() else {
            continue;
        };
        let plain = now.is_plain(name);
        let to = if plain { vec![shared] } else { now.ready(name) };
        policy
            .publications
            .extend(publications(now.published.get(name), &to));
        policy.spreads.extend((!plain).then(|| Spread {
            address: shared,
            ports: inner_ports(service),
            to,
            inhabited: now.units_of(name).contains(name),
        }));
        for address in now.all(name) {
            policy.edges.extend(now.edges(service, address));
            policy.probes.extend(probes(service, address));
            policy.egress.push((address, reach(&service.egress)));
            let flows = service.limits.connections.unwrap_or(FLOWS);
            policy.flows.push((address, flows));
            let ports = service.host_access.iter();
            policy.host_access.extend(ports.map(|port| (address, tcp(*port))));
        }
    }
    policy
}

impl Moment<'_> {
    fn units_of(&self, service: &str) -> &[UnitName] {
        self.units.get(service).map_or(&[], Vec::as_slice)
    }

    /// One sandbox, which has the service's address itself.
    fn is_plain(&self, service: &str) -> bool {
        matches!(self.units_of(service), [only] if only == service)
    }

    fn ready(&self, service: &str) -> Vec<Ipv4Addr> {
        self.addresses_of(self.ready.get(service).map_or(&[], Vec::as_slice))
    }

    fn all(&self, service: &str) -> Vec<Ipv4Addr> {
        self.addresses_of(self.units_of(service))
    }

    fn addresses_of(&self, units: &[UnitName]) -> Vec<Ipv4Addr> {
        let found = units.iter().filter_map(|unit| self.addresses.get(unit));
        found.copied().collect()
    }

    /// What the sandbox of `service` at `from` may open of others: whichever of their units it is led to.
    fn edges(&self, service: &Service, from: Ipv4Addr) -> Vec<Edge> {
        let needed = local(self.ecosystem, service, self.addresses);
        let edges = needed.flat_map(|(dependency, needed, _)| {
            let ports = dependency_ports(needed, dependency);
            let units = self.all(&needed.name).into_iter();
            units.flat_map(move |to| ports.clone().into_iter().map(move |port| Edge { from, to, port }))
        });
        edges.collect()
    }
}

fn publications(published: Option<&Vec<Published>>, to: &[Ipv4Addr]) -> Vec<Publication> {
    published
        .into_iter()
        .flatten()
        .map(|one| Publication {
            host: one.host,
            host_port: HostPort {
                port: one.host_port,
                transport: transport(one.transport == "udp"),
            },
            to: to.to_vec(),
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
    use crate::resolver::tests::desired;

    const SUBNET: Subnet = Subnet {
        network: Ipv4Addr::new(10, 64, 0, 0),
        prefix: 22,
    };

    fn table(names: &[&str]) -> Addresses {
        names
            .iter()
            .zip(FIRST..)
            .map(|(name, number)| ((*name).to_owned(), SUBNET.host(number).unwrap()))
            .collect()
    }

    /// The policy for all units of the file.
    fn policy_of(wish: &Desired, addresses: &Addresses, ready: &Units) -> Policy {
        let roster = Roster::of_file(&wish.ecosystem);
        let names = wish.ecosystem.services.keys();
        let units = names.map(|name| (name.clone(), roster.of_service(name).cloned().collect()));
        let published = [("api".to_owned(), vec![port_8080()])].into_iter().collect();
        policy(&Moment {
            ecosystem: &wish.ecosystem,
            addresses,
            published: &published,
            subnet: SUBNET,
            forwarder: false,
            units: &units.collect(),
            ready,
        })
    }

    fn port_8080() -> Published {
        Published {
            host: Ipv4Addr::LOCALHOST.into(),
            host_port: 8080,
            port: 8000,
            transport: "tcp".into(),
        }
    }

    #[test]
    fn addresses_stay_when_services_come_and_go() {
        let wish = desired(&[("a", 1, &[]), ("b", 2, &[])]);
        let addresses = |wish: &Desired, subnet, known: &Addresses| {
            let roster = Roster::of_file(&wish.ecosystem);
            super::addresses(&wish.ecosystem, &roster, subnet, known, |name| name == "ending-1")
        };
        let first = addresses(&wish, SUBNET, &IndexMap::new()).unwrap();
        assert_eq!(first, table(&["a", "b"]));
        let wish = desired(&[("new", 3, &[]), ("b", 2, &[])]);
        let mut known = first.clone();
        known.insert("ending-1".into(), SUBNET.host(40).unwrap());
        let second = addresses(&wish, SUBNET, &known).unwrap();
        assert_eq!(second["b"], first["b"]);
        assert!(second.contains_key("ending-1"), "what lives keeps its address");
        assert!(
            !first.values().any(|old| *old == second["new"]),
            "no address changes its owner at once"
        );
        let tiny = Subnet { prefix: 29, ..SUBNET };
        assert!(addresses(&wish, tiny, &IndexMap::new()).is_err());
    }

    #[test]
    fn only_declared_edges_exist() {
        let wish = desired(&[("web", 8000, &["api"]), ("api", 8000, &["db"]), ("db", 5432, &[])]);
        let table = table(&["web", "api", "db"]);
        let policy = policy_of(&wish, &table, &Units::new());
        let edge = |from: &str, to: &str, port| Edge {
            from: table[from],
            to: table[to],
            port: tcp(port),
        };
        assert_eq!(policy.edges, [edge("web", "api", 8000), edge("api", "db", 5432)]);
        assert_eq!(policy.publications[0].to, [table["api"]]);
        assert_eq!(policy.spreads, []);
    }

    #[test]
    fn of_a_replicated_service_the_ready_take_connections_and_each_is_closed_to_the_others() {
        let mut wish = desired(&[("web", 9000, &["api"]), ("api", 8000, &["db"]), ("db", 5432, &[])]);
        wish.ecosystem.services["api"].replicas = Some(2);
        let table = table(&["web", "api", "db", "api-1", "api-2"]);
        let ready = Units::from([("api".to_owned(), vec!["api-2".to_owned()])]);
        let policy = policy_of(&wish, &table, &ready);
        let edge = |from: &str, to: &str, port| Edge {
            from: table[from],
            to: table[to],
            port: tcp(port),
        };
        let edges = [
            edge("web", "api-1", 8000),
            edge("web", "api-2", 8000),
            edge("api-1", "db", 5432),
            edge("api-2", "db", 5432),
        ];
        assert_eq!(policy.edges, edges);
        assert_eq!(policy.publications[0].to, [table["api-2"]]);
        let spread = Spread {
            address: table["api"],
            ports: vec![tcp(8000)],
            to: vec![table["api-2"]],
            inhabited: false,
        };
        assert_eq!(policy.spreads, [spread]);
        wish.ecosystem.services["api"].replicas = Some(0);
        let policy = policy_of(&wish, &table, &Units::new());
        assert_eq!(policy.edges, []);
        assert_eq!(policy.spreads[0].to, Vec::<Ipv4Addr>::new());
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
        let web = Member::named(&wish.ecosystem, "web").unwrap();
        let node = node(&wish.ecosystem, web, &table, ids).unwrap();
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
        let mut wish = desired(&[("web", 8000, &["api"]), ("api", 8000, &["db"]), ("db", 5432, &[])]);
        let table = table(&["web", "api", "db", "api-1", "api-2"]);
        let short = |wish: &Desired, unit: &str, table: &Addresses| {
            let (roster, member) = (
                Roster::of_file(&wish.ecosystem),
                Member::named(&wish.ecosystem, unit),
            );
            let lines = hosts(&wish.ecosystem, member.unwrap(), &roster, table, SUBNET);
            let line = |(address, names): &(IpAddr, Vec<String>)| {
                let own = names.iter().filter(|name| !name.contains('.'));
                let own: Vec<&str> = own.map(String::as_str).collect();
                assert_eq!(own.len() * 2, names.len(), "{names:?}");
                (*address, own.join(" "))
            };
            lines.iter().map(line).collect::<Vec<_>>()
        };
        let at = |name: &str, names: &str| (IpAddr::V4(table[name]), names.to_owned());
        assert_eq!(short(&wish, "web", &table), [at("web", "web"), at("api", "api")]);
        wish.ecosystem.services["api"].replicas = Some(2);
        let web = [
            at("web", "web"),
            at("api", "api"),
            at("api-1", "api-1"),
            at("api-2", "api-2"),
        ];
        assert_eq!(short(&wish, "web", &table), web);
        let itself = [at("api-2", "api-2 api"), at("db", "db")];
        assert_eq!(short(&wish, "api-2", &table), itself);
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
