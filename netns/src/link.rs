//! Links, addresses and routes, through rtnetlink and only here: a blocking face on one socket in one namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage, State};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteProtocol, RouteScope};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime::Runtime;

use crate::error::{During, Error, Result};
use crate::request::Subnet;

/// The destination of a default route.
pub(crate) const EVERYTHING: Subnet = Subnet {
    network: Ipv4Addr::UNSPECIFIED,
    prefix: 0,
};

/// An IPv4 route.
struct Route {
    /// Index of its link.
    link: Option<u32>,
    /// Where it leads.
    network: Subnet,
    /// The kernel made it, for an address of the link.
    own: bool,
}

/// A route netlink socket. It stays in the namespace in which it was opened, whatever thread uses it.
pub(crate) struct Links {
    runtime: Runtime,
    handle: Handle,
}

impl Links {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.during(|| "start the netlink runtime".to_owned())?;
        let guard = runtime.enter();
        let (connection, handle, _) =
            rtnetlink::new_connection().during(|| "open a route netlink socket".to_owned())?;
        runtime.spawn(connection);
        drop(guard);
        Ok(Self { runtime, handle })
    }

    /// A veth pair with one queue each (said, or the kernel makes one per CPU, then lets go of them, which takes it two
    /// grace periods): `name` here and up, `peer` born in the namespace `of` and down (the driver refuses to open a peer
    /// before the pair is joined).
    pub(crate) fn add_veth(&self, name: &str, peer: &str, of: impl AsFd, mtu: u32) -> Result<()> {
        let other = LinkUnspec::new_with_name(peer)
            .setns_by_fd(of.as_fd().as_raw_fd())
            .mtu(mtu)
            .append_extra_attribute(LinkAttribute::NumTxQueues(1))
            .append_extra_attribute(LinkAttribute::NumRxQueues(1))
            .build();
        let pair = LinkVeth::new(name, "unused")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(other)))
            .mtu(mtu)
            .append_extra_attribute(LinkAttribute::NumTxQueues(1))
            .append_extra_attribute(LinkAttribute::NumRxQueues(1))
            .up()
            .build();
        self.runtime
            .block_on(self.handle.link().add(pair).execute())
            .during(|| format!("create the link `{name}`"))
    }

    /// Index of a link; `None` when there is none of this name.
    pub(crate) fn index(&self, name: &str) -> Result<Option<u32>> {
        Ok(self.get(name)?.map(|link| link.header.index))
    }

    fn get(&self, name: &str) -> Result<Option<LinkMessage>> {
        let found = self.runtime.block_on(
            self.handle
                .link()
                .get()
                .match_name(name.to_owned())
                .execute()
                .try_next(),
        );
        match found {
            Ok(link) => Ok(link),
            Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::ENODEV => Ok(None),
            Err(error) => Err(error).during(|| format!("look for the link `{name}`")),
        }
    }

    fn existing(&self, name: &str) -> Result<u32> {
        self.index(name)?.ok_or_else(|| Error::Io {
            step: format!("find the link `{name}`"),
            source: std::io::Error::from_raw_os_error(libc::ENODEV),
        })
    }

    /// Removes a link, and with it its peer. Already gone is success.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        let Some(index) = self.index(name)? else {
            return Ok(());
        };
        match self.runtime.block_on(self.handle.link().del(index).execute()) {
            Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::ENODEV => Ok(()),
            other => other.during(|| format!("delete the link `{name}`")),
        }
    }

    /// Brings a link up.
    pub(crate) fn up(&self, name: &str) -> Result<()> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(self.existing(name)?)
            .up()
            .build();
        self.runtime
            .block_on(self.handle.link().set(message).execute())
            .during(|| format!("bring `{name}` up"))
    }

    /// Adds a /32 address; one that is there already is success.
    pub(crate) fn address(&self, name: &str, address: Ipv4Addr) -> Result<()> {
        let index = self.existing(name)?;
        let add = self
            .handle
            .address()
            .add(index, IpAddr::V4(address), 32)
            .execute();
        match self.runtime.block_on(add) {
            Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::EEXIST => Ok(()),
            other => other.during(|| format!("give `{name}` the address {address}")),
        }
    }

    /// A route to `network` over the link, through `gateway` when there is one.
    pub(crate) fn route(&self, name: &str, network: Subnet, gateway: Option<Ipv4Addr>) -> Result<()> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(network.network, network.prefix)
            .output_interface(self.existing(name)?);
        let message = match gateway {
            Some(gateway) => message.gateway(gateway),
            None => message.scope(RouteScope::Link),
        };
        let add = self.handle.route().add(message.build()).replace().execute();
        self.runtime
            .block_on(add)
            .during(|| format!("route {network} over `{name}`"))
    }

    /// Every link's name that is up, with its MTU.
    pub(crate) fn list(&self) -> Result<Vec<(u32, String, u32, bool)>> {
        let links = self
            .runtime
            .block_on(self.handle.link().get().execute().try_collect::<Vec<_>>());
        let links = links.during(|| "list the links".to_owned())?;
        Ok(links
            .into_iter()
            .map(|link| {
                let (mut name, mut mtu, mut up) = (String::new(), 1500, false);
                for attribute in link.attributes {
                    match attribute {
                        LinkAttribute::IfName(text) => name = text,
                        LinkAttribute::Mtu(number) => mtu = number,
                        LinkAttribute::OperState(state) => up = matches!(state, State::Up | State::Unknown),
                        _ => {}
                    }
                }
                (link.header.index, name, mtu, up)
            })
            .collect())
    }

    /// Networks of every IPv4 address and route of the namespace, all tables, without the default route.
    pub(crate) fn networks(&self) -> Result<Vec<Subnet>> {
        let addresses = self.addresses()?.into_iter();
        let mut found: Vec<Subnet> = addresses.map(|(_, network)| network).collect();
        let routes = self.routes()?.into_iter().map(|route| route.network);
        found.extend(routes.filter(|network| *network != EVERYTHING));
        Ok(found)
    }

    /// Indices of the links over which packets leave for elsewhere, those with the default route first: every route leads
    /// there but those that the kernel made for the links' own networks.
    pub(crate) fn outward(&self) -> Result<Vec<u32>> {
        let routes: Vec<Route> = self.routes()?.into_iter().filter(|route| !route.own).collect();
        let (default, others): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|route| route.network.is_default());
        let links = default.into_iter().chain(others).filter_map(|route| route.link);
        let mut seen = Vec::new();
        links.for_each(|link| {
            if !seen.contains(&link) {
                seen.push(link);
            }
        });
        Ok(seen)
    }

    /// Whether a link is there and up, has this address, and these routes lead over it.
    pub(crate) fn stands(&self, name: &str, address: Ipv4Addr, routes: &[Subnet]) -> Result<bool> {
        let Some(index) = self.index_when_up(name)? else {
            return Ok(false);
        };
        let addresses = self.addresses()?;
        let found = self.routes()?;
        let has_route = |route: &Subnet| {
            let leads = |found: &Route| found.link == Some(index) && found.network == *route;
            found.iter().any(leads)
        };
        let has_address = addresses.contains(&(index, Subnet::host_only(address)));
        Ok(has_address && routes.iter().all(has_route))
    }

    /// Names of the links that are up.
    pub(crate) fn up_names(&self) -> Result<Vec<String>> {
        let links = self
            .runtime
            .block_on(self.handle.link().get().execute().try_collect::<Vec<_>>());
        let links = links.during(|| "list the links".to_owned())?;
        let is_up = |link: &LinkMessage| link.header.flags.contains(LinkFlags::Up);
        let name = |link: LinkMessage| {
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
        };
        Ok(links.into_iter().filter(is_up).filter_map(name).collect())
    }

    fn index_when_up(&self, name: &str) -> Result<Option<u32>> {
        let found = self.get(name)?;
        Ok(found
            .filter(|link| link.header.flags.contains(LinkFlags::Up))
            .map(|link| link.header.index))
    }

    /// Every IPv4 address, with the index of its link.
    fn addresses(&self) -> Result<Vec<(u32, Subnet)>> {
        let addresses = self
            .runtime
            .block_on(self.handle.address().get().execute().try_collect::<Vec<_>>());
        let mut found = Vec::new();
        for address in addresses.during(|| "list the addresses".to_owned())? {
            for attribute in &address.attributes {
                if let AddressAttribute::Address(IpAddr::V4(ip)) = attribute {
                    let network = Subnet::containing(*ip, address.header.prefix_len);
                    found.push((address.header.index, network));
                }
            }
        }
        Ok(found)
    }

    /// Every IPv4 route of all tables.
    fn routes(&self) -> Result<Vec<Route>> {
        let all = self
            .handle
            .route()
            .get(RouteMessageBuilder::<Ipv4Addr>::new().build());
        let routes = self.runtime.block_on(all.execute().try_collect::<Vec<_>>());
        let mut found = Vec::new();
        for route in routes.during(|| "list the routes".to_owned())? {
            let (mut destination, mut link) = (None, None);
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = Some(*ip),
                    RouteAttribute::Oif(index) => link = Some(*index),
                    _ => {}
                }
            }
            let prefix = route.header.destination_prefix_length;
            let network = match destination {
                Some(ip) => Subnet::containing(ip, prefix),
                None if prefix == 0 => EVERYTHING,
                None => continue,
            };
            let own = route.header.protocol == RouteProtocol::Kernel;
            found.push(Route { link, network, own });
        }
        Ok(found)
    }
}
