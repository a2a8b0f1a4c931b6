//! Rules of the network while other programs flush and delete them and the supervisor dies: what is published answers,
//! what is forbidden stays so.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{SERVER, SOON, is_long, signal};
use crate::support::observe::{eventually, http_get, processes};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: flushed
services:
  db: {readme: s.md, port: 8000}
  api: {readme: s.md, port: 8001, depends_on: [db]}
";

/// Tries for as long as it lives to reach, from `db`, the service that does not belong to it and the host; says `OPEN`
/// when it can.
const SCAN: &str = "
import socket, sys
def tries(address):
    try:
        socket.create_connection(address, 0.1).close()
        print(\"OPEN\", address, flush=True)
    except OSError:
        pass
print(\"begun\", flush=True)
while True:
    for address in [(sys.argv[1], 8001), (sys.argv[2], int(sys.argv[3]))]:
        tries(address)
";

/// Everything that another program may do to the rules of this machine, as far as it concerns only ours.
fn flush() {
    let script =
        "nft list tables | grep pactown_ | while read table; do nft flush $table; nft delete $table; done
        nft list tables | grep -qv pactown_ || nft flush ruleset";
    let output = Command::new("sh").args(["-c", script]).output().expect("sh");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("Operation not permitted"), "{told}");
}

/// This machine's address towards others, which is not the one that services know it by.
fn own_address() -> String {
    let output = Command::new("hostname").arg("-I").output().expect("hostname");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().expect("an address").to_owned()
}

#[test]
fn rules_stay_whoever_flushes_them_and_whoever_dies() {
    let machine = Machine::take();
    let town = Town::new("flushed", YAML, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("bind");
    let host_port = listener.local_addr().expect("address").port().to_string();
    let api = town.service("api")["address"]
        .as_str()
        .expect("address")
        .to_owned();
    let scan = [
        "exec",
        "db",
        "python3",
        "-c",
        SCAN,
        &api,
        &own_address(),
        &host_port,
    ];
    let mut scan = town.spawn(&scan);
    let published = town.address("api");
    let requests = if is_long() { 10_000 } else { 1000 };
    let enough = AtomicBool::new(false);
    let failed: Vec<String> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                flush();
                for pid in processes("pactown:super", "flushed-") {
                    signal(pid, Signal::SIGKILL);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let failed = (0..requests)
            .filter_map(|_| http_get(&published, "/").err())
            .collect();
        enough.store(true, Ordering::Relaxed);
        failed
    });
    assert_eq!(failed, Vec::<String>::new());
    let _ = scan.kill();
    let output = scan.wait_with_output().expect("scan");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(told.trim(), "begun", "what is forbidden stays so");
    eventually("another supervisor is there", SOON, || {
        town.run(&["ps"]).status.success()
    });
    town.ok(&["down"]);
    machine.assert_clean();
}

fn notices(town: &Town) -> Vec<String> {
    let events = town.ok(&["events", "--json"]);
    let causes = events.lines().filter_map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).expect("json");
        Some(event["cause"].as_str()?.to_owned())
    });
    causes.filter(|cause| cause.contains("another program")).collect()
}

#[test]
fn a_link_that_is_taken_away_is_put_back_and_told_and_not_fought_for() {
    let machine = Machine::take();
    let town = Town::new("flushed", YAML, &[("s.md", SERVER)]);
    town.ok(&["up", "-d"]);
    let published = town.address("api");
    let take = "link=$(ip -o link | grep -o 'pt[0-9a-f]\\{8\\}' | head -1); ip link delete $link; echo $link";
    let take = || {
        let output = Command::new("sh").args(["-ec", take]).output().expect("sh");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let link = take();
    eventually("it answers again", Duration::from_secs(5), || {
        http_get(&published, "/").is_ok()
    });
    let told = notices(&town);
    assert_eq!(
        told,
        [format!("another program took away the link `{link}`; restored")]
    );
    let end = std::time::Instant::now() + Duration::from_secs(4);
    let mut taken = 0;
    while std::time::Instant::now() < end {
        taken += usize::from(!take().is_empty());
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = notices(&town);
    assert!((5..=8).contains(&taken), "put back {taken} times");
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[4].contains("goes on"), "{told:?}");
    eventually("after a pause it answers again", SOON, || {
        http_get(&published, "/").is_ok()
    });
    town.ok(&["down"]);
    machine.assert_clean();
}
