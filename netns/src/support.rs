//! What networks need of this host: tried, in namespaces that are thrown away, never guessed from versions.

use std::fs;

use nix::sched::{CloneFlags, unshare};

use crate::error::{During, Result};
use crate::link::Links;
use crate::namespace;
use crate::nft;
use crate::request::{HostPort, Subnet, Transport};
use crate::ruleset::{Action, Chain, Hook, Match, Rule, Table};

/// A feature of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// What it is, in words.
    pub name: &'static str,
    /// Why it is not there; `None` = it is.
    pub missing: Option<String>,
    /// How to get it.
    pub remedy: &'static str,
}

/// Tries everything; leaves nothing.
pub fn features() -> Vec<Feature> {
    vec![
        feature(
            "network namespaces",
            "run as root, on a kernel with CONFIG_NET_NS",
            inside(|| Ok(())),
        ),
        feature(
            "veth links",
            "load the kernel module `veth` (modprobe veth)",
            inside(veth),
        ),
        feature(
            "nftables with NAT",
            "load the kernel modules `nf_tables`, `nft_chain_nat`, `nft_connlimit` and `nft_numgen`",
            inside(tables),
        ),
    ]
}

fn feature(name: &'static str, remedy: &'static str, result: Result<()>) -> Feature {
    let missing = result.err().map(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    });
    Feature {
        name,
        missing,
        remedy,
    }
}

/// Runs in a new namespace that ends with its thread.
fn inside(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    namespace::on_a_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).during(|| "create a network namespace".to_owned())?;
        work()
    })
}

fn veth() -> Result<()> {
    let own =
        fs::File::open("/proc/thread-self/ns/net").during(|| "open the network namespace".to_owned())?;
    Links::open()?.add_veth("ptprobe0", "ptprobe1", &own, 1500)
}

/// A table with one of everything that our rules use.
fn tables() -> Result<()> {
    let port = Match::Port(HostPort {
        port: 1,
        transport: Transport::Tcp,
    });
    let any = Subnet {
        network: [10, 0, 0, 0].into(),
        prefix: 8,
    };
    let rule = |matches: Vec<Match>, action| Rule {
        matches,
        counted: true,
        action,
    };
    let chain = |name, kind, hook, priority, rules| Chain {
        name,
        kind,
        hook,
        priority,
        rules,
    };
    let filter = vec![
        rule(
            vec![
                Match::Established,
                Match::Translated,
                Match::Source(any),
                Match::Beyond(1),
            ],
            Action::Accept,
        ),
        rule(vec![Match::Protocol(Transport::Tcp)], Action::Reset),
        rule(vec![], Action::Unreachable),
    ];
    nft::Session::open()?.replace(&Table {
        name: "pactown_probe".to_owned(),
        owned: true,
        chains: vec![
            chain(
                "a",
                "nat",
                Hook::Prerouting,
                -100,
                vec![rule(
                    vec![Match::Local, port, Match::EveryNth(2)],
                    Action::Dnat([127, 0, 0, 1].into(), 1),
                )],
            ),
            chain(
                "b",
                "nat",
                Hook::Postrouting,
                100,
                vec![rule(vec![], Action::Masquerade)],
            ),
            chain("c", "filter", Hook::Forward, 0, filter),
        ],
    })
}
