//! What a network hangs on while processes that work on it come and go: descriptors, held by at least one of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::contacts;
use crate::error::{During, Result};
use crate::failpoint;
use crate::link::Links;
use crate::namespace::{self, sysctl};
use crate::nft::Session;
use crate::removal;
use crate::request::NetworkSpec;

/// The namespace file of the router; no node can have this name.
pub(crate) const ROUTER: &str = ".router";

/// The router's namespace, which lives as long as somebody holds it, whatever becomes of its file; and the sockets to
/// which the rules belong, on the host and in the router. As long as somebody holds those, no other program can change or
/// flush these rules; afterwards they stay until they are removed (before Linux 6.9: they go with the sockets).
pub struct Anchors {
    pub(crate) router: OwnedFd,
    pub(crate) host_rules: Session,
    pub(crate) router_rules: Session,
}

impl Anchors {
    /// Makes the router's namespace, unless its file leads to one, and opens the sockets.
    pub(crate) fn make(spec: &NetworkSpec) -> Result<Self> {
        let file = spec.directory.join(ROUTER);
        if !namespace::exists(&file) {
            namespace::create(&file, || {
                sysctl("ipv6/conf/all/disable_ipv6", "1", true)?;
                sysctl("ipv4/ip_forward", "1", false)?;
                // Who has got raw sockets in its namespace still sends as nobody else: a packet is taken from the link only
                // that leads to its source (ip-sysctl.rst, strict mode of RFC 3704).
                sysctl("ipv4/conf/all/rp_filter", "1", false)?;
                Links::open()?.up("lo")
            })?;
        }
        failpoint::hit("router-created").during(|| "create the router".to_owned())?;
        let router = namespace::open(&file)?;
        contacts::begin(&router);
        Ok(Self {
            host_rules: Session::open()?,
            router_rules: namespace::within(&router, Session::open)?,
            router,
        })
    }

    /// Takes over descriptors that another process held; `None` when they are not what [`Anchors::descriptors`] gave.
    pub fn of(descriptors: Vec<OwnedFd>) -> Option<Self> {
        let [router, host_rules, router_rules] = <[OwnedFd; 3]>::try_from(descriptors).ok()?;
        Some(Self {
            router,
            host_rules: Session::of(host_rules),
            router_rules: Session::of(router_rules),
        })
    }

    /// Removes the network that hangs on them.
    pub fn remove(self, spec: &NetworkSpec) -> Result<()> {
        removal::remove(spec, &self.host_rules)
    }

    /// Duplicates, for another process to hold.
    ///
    /// # Errors
    /// No more descriptors are allowed.
    pub fn descriptors(&self) -> Result<Vec<OwnedFd>> {
        let all: [BorrowedFd; 3] = [
            self.router.as_fd(),
            self.host_rules.socket(),
            self.router_rules.socket(),
        ];
        let all: io::Result<Vec<OwnedFd>> = all.iter().map(BorrowedFd::try_clone_to_owned).collect();
        all.during(|| "duplicate the network's descriptors".to_owned())
    }
}
