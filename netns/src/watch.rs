//! Hears it when other programs may have changed what belongs to a network: its links, addresses and routes, and its
//! exceptions in Docker's chain. The kernel tells; nobody polls.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, SockProtocol};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};

use crate::error::{During, Result};
use crate::netlink::{self, messages, receive};
use crate::request::{NetworkSpec, Subnet};
use crate::{foreign, namespace};

/// Multicast groups (linux/rtnetlink.h, linux/netfilter/nfnetlink.h): one bit less than their number.
const LINKS: u32 = 1;
const ADDRESSES: u32 = 1 << 4;
const ROUTES: u32 = 1 << 6;
const RULES: u32 = 1 << 6;

/// Sockets that hear the host and the router.
pub struct Watch {
    spec: NetworkSpec,
    host: OwnedFd,
    router: OwnedFd,
    rules: OwnedFd,
}

impl Watch {
    pub(crate) fn open(spec: &NetworkSpec, router: impl AsFd + Sync) -> Result<Self> {
        let routes = || {
            let groups = LINKS | ADDRESSES | ROUTES;
            netlink::open(SockProtocol::NetlinkRoute, groups)
                .during(|| "listen to the kernel's links".to_owned())
        };
        let rules = netlink::open(SockProtocol::NetlinkNetFilter, RULES);
        Ok(Self {
            spec: spec.clone(),
            host: routes()?,
            router: namespace::within(router, routes)?,
            rules: rules.during(|| "listen to the kernel's rules".to_owned())?,
        })
    }

    /// Blocks until there is something to look at. What this process itself does is heard, too.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&self) -> Result<()> {
        loop {
            let all = [&self.host, &self.router, &self.rules];
            let mut fds = all.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).during(|| "wait for the kernel's events".to_owned()),
            }
            // All of them: none is left to wake the next call.
            let heard = all.map(|socket| self.hears(socket));
            if heard.contains(&true) {
                return Ok(());
            }
        }
    }

    /// Whether something that came in on `socket` concerns the network. More events than the socket can hold do.
    fn hears(&self, socket: &OwnedFd) -> bool {
        let mut heard = false;
        loop {
            match receive(socket, MsgFlags::MSG_DONTWAIT) {
                Ok(None) => return heard,
                Ok(Some(packet)) => {
                    heard |= messages(&packet)
                        .iter()
                        .any(|message| self.concerns(message.kind, &message.body));
                }
                Err(_) => return true,
            }
        }
    }

    fn concerns(&self, kind: u16, body: &[u8]) -> bool {
        if let Some(kind) = foreign::rule_message(kind) {
            return foreign::concerns(kind, body);
        }
        let mut header = NetlinkHeader::default();
        header.message_type = kind;
        match RouteNetlinkMessage::deserialize(&header, body) {
            Ok(RouteNetlinkMessage::DelLink(link)) => self.owns(&link),
            Ok(RouteNetlinkMessage::NewLink(link)) => {
                !link.header.flags.contains(LinkFlags::Up) && self.owns(&link)
            }
            Ok(RouteNetlinkMessage::DelAddress(address)) => of_address(&address, self.spec.subnet),
            Ok(RouteNetlinkMessage::DelRoute(route)) => of_route(&route, self.spec.subnet),
            _ => false,
        }
    }

    /// In the router every link is ours; on the host one is.
    fn owns(&self, link: &LinkMessage) -> bool {
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        });
        name.is_some_and(|name| name == self.spec.uplink() || is_of_router(name))
    }
}

/// `up0`, or a node's `s` and eight hexadecimal digits.
fn is_of_router(name: &str) -> bool {
    let node = |digits: &str| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    name == crate::ruleset::UPLINK_INSIDE || name.strip_prefix('s').is_some_and(node)
}

fn of_address(message: &AddressMessage, subnet: Subnet) -> bool {
    message.attributes.iter().any(|attribute| {
        matches!(attribute, AddressAttribute::Address(IpAddr::V4(address)) if subnet.contains(*address))
    })
}

/// A route into the subnet; the router's own default route has no destination.
fn of_route(message: &RouteMessage, subnet: Subnet) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address))
        | RouteAttribute::Gateway(RouteAddress::Inet(address)) => subnet.contains(*address),
        _ => false,
    })
}
