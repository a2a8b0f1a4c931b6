//! The leak ledger: everything of the machine that pactown could leave behind, read by other programs and from
//! `/proc` and `/sys`. Two ledgers must be equal, line by line, before and after a run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One look at the machine: a set of lines, each naming its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ledger(BTreeSet<String>);

impl Ledger {
    /// Takes the ledger now.
    pub(crate) fn take() -> Self {
        let mut lines = BTreeSet::new();
        let mut add =
            |kind: &str, items: Vec<String>| lines.extend(items.into_iter().map(|i| format!("{kind} {i}")));
        add("netns", listing("lsns", &["-t", "net", "-n", "-o", "NS"]));
        add("ip-netns", listing("ip", &["netns", "list"]));
        add("link", link_names());
        add("table", listing("nft", &["list", "tables"]));
        add("route", listing("ip", &["route", "show", "table", "all"]));
        add("cgroup", directories(Path::new("/sys/fs/cgroup"), "pactown"));
        add("mount", mount_points());
        add("process", processes());
        add(
            "state",
            entries(
                "/run/pactown",
                // Lock files are the machine's, not an instance's.
                &["ids.lock", "forwarding.lock", "lock"],
            ),
        );
        add("fallback", entries("/var/lib/pactown", &[".run"]));
        add("scratch", entries("/var/lib/pactown/.run", &[]));
        add(
            "half-layer",
            entries("/var/cache/pactown/layers", &[])
                .into_iter()
                .filter(|name| name.starts_with(".making-"))
                .collect(),
        );
        add("sysctl", sysctls());
        add("id-range", id_ranges());
        Self(lines)
    }

    /// Whether `after` differs in what others of this machine may have made or removed meanwhile, and in nothing else: network
    /// namespaces and mounts that are not at pactown's paths.
    pub(crate) fn differs_by_others(&self, after: &Self) -> bool {
        let mut differences = self.0.symmetric_difference(&after.0).peekable();
        differences.peek().is_some() && differences.all(|line| of_others(line))
    }

    /// Panics with the difference unless `self` (before) equals `after`.
    #[track_caller]
    pub(crate) fn assert_unchanged(&self, after: &Self) {
        let left: Vec<_> = after.0.difference(&self.0).collect();
        let lost = self.0.difference(&after.0);
        // What others had made before is theirs to remove.
        let lost: Vec<_> = lost.filter(|line| !of_others(line)).collect();
        assert!(
            left.is_empty() && lost.is_empty(),
            "left behind: {left:#?}\ntaken away: {lost:#?}"
        );
    }
}

fn of_others(line: &str) -> bool {
    let kind = line.starts_with("netns ") || line.starts_with("mount ");
    kind && !line.contains("/run/pactown") && !line.contains("/var/cache/pactown/")
}

fn listing(program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed as a witness: {error}"));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

fn link_names() -> Vec<String> {
    listing("ip", &["-o", "link"])
        .iter()
        .filter_map(|line| line.split(':').nth(1).map(|name| name.trim().to_owned()))
        .collect()
}

/// Every directory below `root` with `needle` in its path.
fn directories(root: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                if path.to_string_lossy().contains(needle) {
                    found.push(path.display().to_string());
                }
                open.push(path);
            }
        }
    }
    // The common parent may stay: it is empty and belongs to no instance.
    found.retain(|path| !path.ends_with("/pactown") && !path.ends_with("/pactown.slice"));
    found
}

fn mount_points() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect()
}

/// Processes of pactown's program or of its id ranges, by pid and name.
fn processes() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let uid = field(&status, "Uid:")
            .and_then(|uid| uid.parse::<u64>().ok())
            .unwrap_or(0);
        let name = field(&status, "Name:").unwrap_or_default();
        // One that has ended and was handed to the machine's init is that one's to reap, in its own time.
        let zombie = field(&status, "State:").is_some_and(|state| state == "Z" || state == "X");
        if zombie && field(&status, "PPid:").as_deref() == Some("1") {
            continue;
        }
        let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let ours = ["__keeper", "__supervisor", "__forwarder", "__proxy"]
            .iter()
            .any(|role| command.contains(role));
        if uid >= 2_000_000_000 || ours || name.starts_with("pactown:") {
            found.push(format!("{pid} {name}{}", if zombie { " (zombie)" } else { "" }));
        }
    }
    found
}

fn field(status: &str, key: &str) -> Option<String> {
    status
        .lines()
        .find(|line| line.starts_with(key))?
        .split_whitespace()
        .nth(1)
        .map(str::to_owned)
}

fn entries(directory: &str, ignored: &[&str]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !ignored.contains(&name.as_str())).collect()
}

fn sysctls() -> Vec<String> {
    let mut found = vec![read_sysctl(Path::new("/proc/sys/net/ipv4/ip_forward"))];
    for entry in fs::read_dir("/proc/sys/net/ipv4/conf").expect("conf").flatten() {
        for name in ["forwarding", "route_localnet"] {
            found.push(read_sysctl(&entry.path().join(name)));
        }
    }
    found
}

fn read_sysctl(path: &Path) -> String {
    format!(
        "{}={}",
        path.display(),
        fs::read_to_string(path).unwrap_or_default().trim()
    )
}

/// Ranges still recorded as given out.
fn id_ranges() -> Vec<String> {
    let text = fs::read_to_string("/run/pactown/ids.json").unwrap_or_default();
    text.split(['{', ',', '['])
        .filter(|part| part.contains("20000") || part.contains("2000"))
        .map(str::to_owned)
        .collect()
}
