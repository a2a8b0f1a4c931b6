//! Bytes over TCP.

use super::*;

/// TCP into the sandbox by its address, and the other way, against one veth pair between two plain namespaces.
pub(super) fn bulk(site: &Site) {
    if !is_there("iperf3") {
        return;
    }
    println!("bulk TCP (iperf3), medians of {BULK_ROUNDS} rounds in turns:");
    site.write("exec /usr/bin/iperf3 -s -p $PORT");
    site.run(&["up", "-d"]);
    let inside = site.row()["address"].as_str().expect("an address").to_owned();
    let hop = Hop::new();
    let port = PORT.to_string();
    let server = site.bare(
        &["nsenter", "--net=/run/netns/ptbench"],
        "exec /usr/bin/iperf3 -s -p $PORT",
        PORT,
    );
    std::thread::sleep(Duration::from_millis(500));
    for (name, direction) in [("into the sandbox", None), ("out of the sandbox", Some("-R"))] {
        let mut rates = Pairs::default();
        let mut economies = Pairs::default();
        let slice = |address: &str| bulk_slice(address, &port, direction);
        for round in 0..BULK_ROUNDS {
            let [ours, plain] = in_turns(round, || slice(&inside), || slice(Hop::FAR));
            rates.push(plain[0], ours[0]);
            economies.push(plain[1], ours[1]);
        }
        println!("  {name:<18} {} Gbit a second of time", rates.told(1, 2));
        println!(
            "  {:<18} {} Gbit a second of both ends' CPU time",
            "",
            economies.told(1, 2)
        );
    }
    drop(server);
    drop(hop);
    site.run(&["down"]);
}

/// Gbit a second, and Gbit for each second of CPU time of sender and receiver.
fn bulk_slice(address: &str, port: &str, direction: Option<&str>) -> [f64; 2] {
    let mut words = vec!["-c", address, "-p", port, "-t", "1", "-J"];
    words.extend(direction);
    let report: serde_json::Value = serde_json::from_str(&output("iperf3", &words)).expect("json");
    let end = &report["end"];
    let number = |place: &str| {
        end.pointer(place)
            .and_then(serde_json::Value::as_f64)
            .expect("a number")
    };
    let rate = number("/sum_received/bits_per_second") / 1e9;
    let percent =
        number("/cpu_utilization_percent/host_total") + number("/cpu_utilization_percent/remote_total");
    [rate, rate / percent * 100.0]
}

/// A network namespace with one veth pair to the host.
struct Hop;

impl Hop {
    const FAR: &'static str = "10.63.255.2";

    fn new() -> Self {
        ip("netns add ptbench");
        ip("link add ptbench0 type veth peer name eth0 netns ptbench");
        ip("addr add 10.63.255.1/30 dev ptbench0");
        ip("link set ptbench0 up");
        ip("-n ptbench addr add 10.63.255.2/30 dev eth0");
        ip("-n ptbench link set eth0 up");
        Self
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        // Not asserted: this is run while a failure is told, too.
        for words in [["link", "del", "ptbench0"], ["netns", "del", "ptbench"]] {
            let _ = Command::new("ip").args(words).status();
        }
    }
}

fn ip(words: &str) {
    output("ip", &words.split(' ').collect::<Vec<_>>());
}
