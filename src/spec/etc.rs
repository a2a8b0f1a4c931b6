//! The small files of a sandbox: its own users, hosts, resolver and name service switch. Pure text.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{APP_ID, HOME, SandboxPlan};

/// Most name servers that resolv.conf(5) allows.
const MAX_NAMESERVERS: usize = 3;

/// Path inside → content.
pub(super) fn files(plan: &SandboxPlan) -> BTreeMap<PathBuf, String> {
    let own = [
        ("/etc/passwd", passwd(plan)),
        ("/etc/group", group()),
        ("/etc/hosts", hosts(plan)),
        ("/etc/hostname", format!("{}\n", plan.name)),
        ("/etc/resolv.conf", resolv_conf(plan)),
        ("/etc/nsswitch.conf", NSSWITCH.to_owned()),
    ];
    let own = own.into_iter().map(|(path, text)| (PathBuf::from(path), text));
    own.chain(plan.files.clone()).collect()
}

/// Where the file that appears at `path` lies in the bundle.
pub(super) fn in_bundle(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// Without `systemd`, `mymachines` and the like: their sockets are not in the sandbox.
const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
                        protocols: files\nservices: files\nethers: files\nrpc: files\n";

fn passwd(plan: &SandboxPlan) -> String {
    let root = if plan.as_root { HOME } else { "/nonexistent" };
    format!(
        "root:x:0:0:root:{root}:/bin/sh\napp:x:{APP_ID}:{APP_ID}:app:{HOME}:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
}

fn group() -> String {
    format!("root:x:0:\ntty:x:5:\napp:x:{APP_ID}:\nnogroup:x:65534:\n")
}

/// `localhost` is IPv4 only: IPv6 is off inside, and a first try of `::1` would only cost time.
fn hosts(plan: &SandboxPlan) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    if !plan.hosts.iter().any(|(_, names)| names.contains(&plan.name)) {
        text.push_str(&format!("127.0.0.1 {}\n", plan.name));
    }
    for (address, names) in &plan.hosts {
        text.push_str(&format!("{address} {}\n", names.join(" ")));
    }
    text
}

fn resolv_conf(plan: &SandboxPlan) -> String {
    let mut text = String::new();
    let reachable = plan
        .nameservers
        .iter()
        .filter(|server| matches!(server, IpAddr::V4(_)));
    for server in reachable.take(MAX_NAMESERVERS) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !plan.host.search.is_empty() {
        text.push_str(&format!("search {}\n", plan.host.search.join(" ")));
    }
    text.push_str("options timeout:2 attempts:2\n");
    text
}
