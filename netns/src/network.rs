//! One instance's network in the kernel: router, uplink, nodes, rules. Made, adopted, changed and removed here.

mod mend;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::anchors::{Anchors, ROUTER};
use crate::error::{During, Result};
use crate::link::{EVERYTHING, Links};
use crate::namespace::{self, sysctl};
use crate::nft::Session;
use crate::request::{Egress, NetworkSpec, Node, Policy, Subnet};
use crate::ruleset::{self, INSIDE, UPLINK_INSIDE};
use crate::{failpoint, foreign, forwarding, removal};

/// A network that exists. Dropping it removes nothing: [`Network::remove`] does.
pub struct Network {
    spec: NetworkSpec,
    anchors: Anchors,
    host: Links,
    router: Links,
    mtu: u32,
    /// Links of the host that must forward; none while no packet is forwarded.
    forwarding: Vec<String>,
}

impl Network {
    /// Makes what is missing of the router and its uplink; adopts what is there. The calling thread must be in the
    /// host's namespace. On failure what was made stays, for [`Network::delete`].
    pub fn create(spec: &NetworkSpec) -> Result<Self> {
        Self::adopt(spec, Anchors::make(spec)?)
    }

    /// The same with what another process held of it.
    pub fn adopt(spec: &NetworkSpec, anchors: Anchors) -> Result<Self> {
        let host = Links::open()?;
        let network = Self {
            spec: spec.clone(),
            mtu: outside(&host)?.1,
            host,
            router: namespace::within(&anchors.router, Links::open)?,
            anchors,
            forwarding: Vec::new(),
        };
        network.join_to_the_host()?;
        Ok(network)
    }

    /// What it hangs on, to be held by another process as well.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// One veth pair joins the router to the host; everything else hangs off the router.
    pub fn join_to_the_host(&self) -> Result<()> {
        let (name, subnet) = (self.spec.uplink(), self.spec.subnet);
        namespace::bind(&self.anchors.router, &self.spec.directory.join(ROUTER))?;
        if self.host.index(&name)?.is_none() {
            // Somebody may have given the other end a name of his own.
            self.router.delete(UPLINK_INSIDE)?;
            self.host
                .add_veth(&name, UPLINK_INSIDE, &self.anchors.router, self.mtu)?;
        }
        failpoint::hit("uplink-created").during(|| "create the uplink".to_owned())?;
        sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1", true)?;
        // Lets published ports of 127.0.0.1 leave over this link; what arrives for 127.0.0.0/8 is dropped by our table.
        sysctl(&format!("ipv4/conf/{name}/route_localnet"), "1", false)?;
        self.host.up(&name)?;
        self.router.up(UPLINK_INSIDE)?;
        self.host.address(&name, subnet.uplink())?;
        self.router.address(UPLINK_INSIDE, subnet.router())?;
        self.host.route(&name, Subnet::host_only(subnet.router()), None)?;
        self.router
            .route(UPLINK_INSIDE, Subnet::host_only(subnet.uplink()), None)?;
        self.host.route(&name, subnet, Some(subnet.router()))?;
        self.router
            .route(UPLINK_INSIDE, EVERYTHING, Some(subnet.uplink()))?;
        failpoint::hit("uplink-configured").during(|| "configure the uplink".to_owned())
    }

    /// What it was made from.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Makes a node's namespace, plugged into the router; returns its file, to be joined by path. A namespace of that
    /// name from before is replaced. On failure nothing of the node is left.
    pub fn attach(&self, node: &Node) -> Result<PathBuf> {
        self.detach(&node.name)?;
        let path = self.spec.directory.join(&node.name);
        let link = link_name(node.address);
        // Before there is one: whoever is killed in the midst leaves a link that only this name leads to, until the kernel
        // has taken the namespace apart.
        fs::write(self.link_file(&node.name), &link)
            .during(|| format!("record the link of `{}`", node.name))?;
        let made = namespace::create(&path, || {
            failpoint::hit("node-namespace-created")
                .during(|| format!("create the namespace of `{}`", node.name))?;
            let own =
                File::open("/proc/thread-self/ns/net").during(|| "open the new namespace".to_owned())?;
            self.router.add_veth(&link, INSIDE, &own, self.mtu)?;
            failpoint::hit("node-link-created").during(|| format!("create the link of `{}`", node.name))?;
            configure(node, self.spec.subnet.router())
        });
        let plugged = made.and_then(|()| self.router.route(&link, Subnet::host_only(node.address), None));
        if let Err(error) = plugged {
            let _ = self.detach(&node.name);
            return Err(error);
        }
        failpoint::hit("node-configured").during(|| format!("configure `{}`", node.name))?;
        Ok(path)
    }

    /// Removes a node: its links at once, its namespace when nothing runs in it. Already gone is success.
    pub fn detach(&self, name: &str) -> Result<()> {
        let record = self.link_file(name);
        if let Ok(link) = fs::read_to_string(&record) {
            // Not left to the namespace's end: a process that is still dying in it would keep the link, and its address.
            // Empty when whoever wrote it was killed over it: there is no link yet.
            if !link.is_empty() {
                self.router.delete(&link)?;
            }
            fs::remove_file(&record).during(|| format!("remove `{}`", record.display()))?;
        }
        namespace::delete(&self.spec.directory.join(name))?;
        failpoint::hit("node-detached").during(|| format!("detach `{name}`"))
    }

    fn link_file(&self, name: &str) -> PathBuf {
        self.spec.directory.join(format!(".{name}.link"))
    }

    /// Puts `policy` in the place of the one before: one transaction in the router, one on the host.
    pub fn apply(&mut self, policy: &Policy) -> Result<()> {
        let (rules, host) = (&self.anchors.router_rules, &self.anchors.host_rules);
        rules.replace(&ruleset::router(&self.spec, policy))?;
        failpoint::hit("policy-in-router").during(|| "load the router's rules".to_owned())?;
        host.replace(&ruleset::host(&self.spec, policy))?;
        failpoint::hit("policy-on-host").during(|| "load the host's rules".to_owned())?;
        self.forwarding = self.forwarding_links(policy)?;
        self.forward()?;
        self.make_exceptions()?;
        failpoint::hit("forwarding-enabled").during(|| "enable forwarding".to_owned())
    }

    /// Lets packets pass between the uplink and the outside, where any shall.
    fn forward(&self) -> Result<()> {
        if self.forwarding.is_empty() {
            return Ok(());
        }
        forwarding::enable(&self.spec, &self.forwarding)
    }

    /// Has other firewalls let them pass, too; whether that was needed.
    fn make_exceptions(&self) -> Result<bool> {
        Ok(!self.forwarding.is_empty() && foreign::open(&self.anchors.host_rules, &self.spec.uplink())?)
    }

    /// Links that must forward: the uplink, the one that leads outside, and for ports that are published beyond loopback
    /// every link over which a client may come.
    fn forwarding_links(&self, policy: &Policy) -> Result<Vec<String>> {
        if !needs_forwarding(policy) {
            return Ok(Vec::new());
        }
        let mut links = vec![self.spec.uplink()];
        links.extend(outside(&self.host)?.0);
        if policy
            .publications
            .iter()
            .any(|publication| !publication.host.is_loopback())
        {
            let foreign = |name: &String| name != "lo" && !name.starts_with("pt");
            let up = self
                .host
                .list()?
                .into_iter()
                .filter(|(.., up)| *up)
                .map(|(_, name, ..)| name);
            links.extend(up.filter(foreign));
        }
        links.sort_unstable();
        links.dedup();
        Ok(links)
    }

    /// Bytes that a node has received and sent, as the router's end of its link counted them.
    pub fn counters(&self, address: Ipv4Addr) -> Option<(u64, u64)> {
        let link = link_name(address);
        namespace::within(&self.anchors.router, || {
            let table = fs::read_to_string("/proc/thread-self/net/dev")
                .during(|| "read the link counters".to_owned())?;
            Ok(counters_of(&table, &link))
        })
        .ok()
        .flatten()
    }

    /// Sockets of a name forwarder on the router's address, port 53: UDP and a listening TCP one.
    pub fn forwarder_sockets(&self) -> Result<(std::net::UdpSocket, std::net::TcpListener)> {
        let address = (self.spec.subnet.router(), 53);
        namespace::within(&self.anchors.router, || {
            let udp =
                std::net::UdpSocket::bind(address).during(|| "bind the name forwarder (UDP)".to_owned())?;
            let tcp =
                std::net::TcpListener::bind(address).during(|| "bind the name forwarder (TCP)".to_owned())?;
            Ok((udp, tcp))
        })
    }

    /// A listening socket on the router's address, for a proxy of [`Policy::proxies`].
    pub fn proxy_socket(&self, port: u16) -> Result<std::net::TcpListener> {
        let address = (self.spec.subnet.router(), port);
        namespace::within(&self.anchors.router, || {
            std::net::TcpListener::bind(address).during(|| format!("bind the proxy's port {port}"))
        })
    }

    /// Removes it.
    pub fn remove(self) -> Result<()> {
        self.anchors.remove(&self.spec)
    }

    /// Removes everything of the instance, from the kernel's own lists: works after a crash, half-done, and twice. Whoever
    /// held its [`Anchors`] must have ended, or be just ending.
    pub fn delete(spec: &NetworkSpec) -> Result<()> {
        removal::remove(spec, &Session::open()?)
    }
}

/// Inside a new node: settings first, so that the link is never up with others.
fn configure(node: &Node, router: Ipv4Addr) -> Result<()> {
    sysctl("ipv6/conf/all/disable_ipv6", "1", true)?;
    sysctl("ipv4/ip_unprivileged_port_start", "0", false)?;
    sysctl(
        "ipv4/ping_group_range",
        &format!("{} {}", node.ping_groups.0, node.ping_groups.1),
        false,
    )?;
    let links = Links::open()?;
    links.up("lo")?;
    Session::open()?.replace(&ruleset::sandbox(node))?;
    configure_link(&links, node.address, router)
}

/// The end of its link in a node, whose rules are in force.
fn configure_link(links: &Links, address: Ipv4Addr, router: Ipv4Addr) -> Result<()> {
    sysctl(&format!("ipv4/conf/{INSIDE}/route_localnet"), "1", false)?;
    links.address(INSIDE, address)?;
    links.up(INSIDE)?;
    links.route(INSIDE, Subnet::host_only(router), None)?;
    links.route(INSIDE, EVERYTHING, Some(router))
}

/// Links of the host that lead outside, without those of instances; and the MTU that fits through all of them.
fn outside(host: &Links) -> Result<(Vec<String>, u32)> {
    let links = host.list()?;
    let named = |index: u32| links.iter().find(|(number, ..)| *number == index);
    let outward = host.outward()?.into_iter().filter_map(named);
    let outward: Vec<_> = outward.filter(|(_, name, ..)| !name.starts_with("pt")).collect();
    let mtu = outward.iter().map(|(_, _, mtu, _)| *mtu).min();
    let names = outward.iter().map(|(_, name, ..)| name.clone()).collect();
    Ok((names, mtu.unwrap_or(1500).min(1500)))
}

/// Loopback publishing needs none: those packets are the host's own.
fn needs_forwarding(policy: &Policy) -> bool {
    policy.egress.iter().any(|(_, egress)| *egress != Egress::None)
        || policy
            .publications
            .iter()
            .any(|publication| !publication.host.is_loopback())
}

/// Name of the router's end of a node's pair.
fn link_name(address: Ipv4Addr) -> String {
    format!("s{:08x}", address.to_bits())
}

/// `/proc/net/dev`: received bytes are the first column after the name, sent bytes the ninth. What the router's end
/// received, the node has sent.
fn counters_of(table: &str, link: &str) -> Option<(u64, u64)> {
    let row = table
        .lines()
        .find_map(|line| line.trim().strip_prefix(link)?.strip_prefix(':'))?;
    let column = |number: usize| row.split_whitespace().nth(number)?.parse().ok();
    Some((column(8)?, column(0)?))
}
