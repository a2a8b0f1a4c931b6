//! `inspect`: what it says is what the kernel says by other ways, and its score is systemd's own.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::observe::{children, namespace, status_field};
use crate::support::skips::skipped;
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: looked-at
services:
  open: {readme: s.md, limits: {memory: 64M, pids: 40}}
  closed: {readme: s.md, egress: none}
";

const RULED: &str = "
name: ruled
services:
  web: {readme: s.md, port: 8000, health_check: none, depends_on: [{name: api, condition: started}]}
  api: {readme: s.md, port: 8001, health_check: none}
  alone: {readme: s.md, port: 8002, health_check: none, egress: none}
";

const README: &str = "# Sleeper

```sh markpact:run
exec sleep 1000
```
";

fn looked_at(town: &Town, arguments: &[&str]) -> Value {
    serde_json::from_str(&town.ok(arguments)).expect("json")
}

/// The rules of a chain as nft(8) of that namespace lists them, counters left out.
fn listed(namespace: &str, table: &str, chain: &str) -> Vec<String> {
    let output = Command::new("nsenter")
        .arg(format!("--net={namespace}"))
        .args(["nft", "list", "chain", "ip", table, chain])
        .output()
        .expect("nft");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rule = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let counted = words.iter().position(|word| *word == "counter");
        let left_out = counted.map_or(0..0, |at| at..at + 5);
        let kept = words.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
        kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
    };
    let lines = text.lines().map(rule);
    lines
        .filter(|line| !line.is_empty() && !line.ends_with('{') && *line != "}" && !line.starts_with("type "))
        .collect()
}

/// What `inspect` says of a chain.
fn read_back(seen: &Value, place: &str, chain: &str) -> Vec<String> {
    let rules = seen["network"].as_array().expect("rules").iter();
    rules
        .filter(|rule| rule["place"] == place && rule["chain"] == chain)
        .map(|rule| rule["rule"].as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn network_rules_are_those_that_nft_lists() {
    let machine = Machine::take();
    let town = Town::new("ruled", RULED, &[("s.md", README)]);
    town.ok(&["up", "-d"]);
    let run = fs::read_dir("/run/pactown").expect("instances").flatten();
    let run = run.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("ruled-"))
    });
    let netns = run.expect("an instance").join("netns");
    let at = |name: &str| netns.join(name).display().to_string();
    let seen = ["web", "api", "alone"].map(|name| looked_at(&town, &["inspect", name, "--json"]));
    let [web, api, alone] = &seen;
    for chain in ["martians", "inbound", "loopback"] {
        assert!(!listed(&at("web"), "pactown", chain).is_empty(), "{chain}");
        assert_eq!(
            read_back(web, "sandbox", chain),
            listed(&at("web"), "pactown", chain),
            "{chain}"
        );
    }
    let address = |name: &str| {
        town.service(name)["address"]
            .as_str()
            .expect("an address")
            .to_owned()
    };
    let mut forward = listed(&at(".router"), "pactown", "forward");
    // Addresses for builds are nobody's of these.
    let own = ["web", "api", "alone"].map(|name| format!("{} ", address(name)));
    forward.retain(|rule| !rule.contains("saddr") || own.iter().any(|one| rule.contains(one.as_str())));
    let of = |one: &Value| read_back(one, "router", "forward");
    let mut all: Vec<String> = seen.iter().flat_map(of).collect();
    assert!(
        forward.len() > 8 && forward.iter().all(|rule| all.contains(rule)),
        "{forward:#?}\n{all:#?}"
    );
    all.retain(|rule| !forward.contains(rule));
    assert_eq!(all, Vec::<String>::new(), "nothing that nft does not list");
    let edge = format!(
        "ip saddr {} ip daddr {} tcp dport 8001 accept",
        address("web"),
        address("api")
    );
    assert!(of(web).contains(&edge) && of(api).contains(&edge), "{web}");
    assert!(!of(alone).contains(&edge), "it is none of its business");
    let out = format!("oifname \"up0\" ip saddr {} accept", address("web"));
    assert!(
        of(web).contains(&out)
            && !of(alone)
                .iter()
                .any(|rule| rule.starts_with("oifname") && rule.ends_with("accept"))
    );
    let text = town.ok(&["inspect", "web"]);
    assert!(
        text.contains("tcp dport 8001 accept") && text.contains("NETWORK OF"),
        "{text}"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}

/// The number of `systemd-analyze` for the settings that are printed; `None` where it is not installed.
fn systemd(town: &Town, service: &str) -> Option<(String, String)> {
    let text = town.ok(&["inspect", service, "--score"]);
    let unit: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let file = town.path().join("looked-at.service");
    fs::write(&file, format!("{}\nExecStart=/bin/true\n", unit.join("\n"))).expect("unit");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(&file)
        .output()
        .ok()?;
    let verdict = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = verdict
        .lines()
        .find_map(|line| {
            line.split_once(".service: ")?
                .1
                .split(' ')
                .next()
                .map(str::to_owned)
        })
        .unwrap_or_else(|| panic!("{verdict}{}", String::from_utf8_lossy(&output.stderr)));
    let ours = text
        .lines()
        .find_map(|line| line.strip_prefix("exposure "))
        .expect("a number");
    Some((ours.to_owned(), number))
}

#[test]
fn what_is_in_force_is_read_from_the_kernel_and_scored_as_systemd_does() {
    let machine = Machine::take();
    let town = Town::new("looked-at", YAML, &[("s.md", README)]);
    let (_, told) = town.expect(1, &["inspect", "open"]);
    assert!(told.contains("not running"), "{told}");
    town.ok(&["up", "-d"]);
    let seen = looked_at(&town, &["inspect", "open", "--json"]);
    let pid = children(town.pid("open"))[0];
    assert_eq!(seen["pid"], pid);
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        assert_eq!(seen["namespaces"][kind]["id"], namespace(pid, kind));
        assert_eq!(seen["namespaces"][kind]["shared"], false, "{kind}");
    }
    assert_eq!(seen["capabilities"]["CapBnd"], 0);
    assert_eq!(seen["no_new_privileges"], true);
    assert_eq!(
        seen["seccomp_filters"].to_string(),
        status_field(pid, "Seccomp_filters")
    );
    assert!(seen["uid_map"][0][1].as_u64().expect("a map") >= 100_000);
    let limits = &seen["limits"];
    assert_eq!(
        (limits["memory"].as_str(), limits["processes"].as_str()),
        (Some("67108864"), Some("40"))
    );
    assert_eq!(seen["descriptors"].as_object().expect("descriptors").len(), 3);
    let masked: Vec<&str> = seen["masked"]
        .as_array()
        .expect("paths")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        masked.contains(&"/proc/kcore") && masked.contains(&"/proc/kallsyms") || masked.len() > 10,
        "{masked:?}"
    );
    for mount in seen["mounts"].as_array().expect("mounts") {
        let flags = mount["flags"].as_array().expect("flags");
        assert!(flags.contains(&"nosuid".into()), "{mount}");
        let devices = ["/dev", "/dev/pts"].contains(&mount["target"].as_str().expect("a path"));
        assert!(devices || flags.contains(&"nodev".into()), "{mount}");
    }
    let table = town.ok(&["inspect", "open"]);
    assert!(
        table.contains("Landlock") && table.contains("/proc/sys"),
        "{table}"
    );
    for (service, most) in [("open", 0.6), ("closed", 0.6)] {
        let score = looked_at(&town, &["inspect", service, "--score", "--json"]);
        let exposure = score["exposure"].as_f64().expect("a number");
        assert!(exposure <= most, "{service}: {exposure}");
        match systemd(&town, service) {
            Some((ours, theirs)) => assert_eq!(ours, theirs, "{service}"),
            None => skipped("systemd's own number", "systemd-analyze is not installed"),
        }
    }
    town.ok(&["down"]);
    machine.assert_clean();
}
