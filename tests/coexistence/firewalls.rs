//! Firewalls that drop by default.

use super::*;

/// ufw's and firewalld's shape, and one of the host's own.
const FIREWALLS: [&str; 3] = [
    "table ip filter {
        chain before { ct state established,related accept; iifname lo accept; }
        chain INPUT { type filter hook input priority 0; policy drop; jump before; }
        chain FORWARD { type filter hook forward priority 0; policy drop; jump before; }
        chain OUTPUT { type filter hook output priority 0; policy drop; ct state established,related,new accept; }
    }",
    "table inet firewalld {
        chain filter_INPUT { type filter hook input priority 10; policy accept;
            ct state established,related accept; iifname lo accept; ct state invalid drop; reject with icmpx admin-prohibited; }
        chain filter_FORWARD { type filter hook forward priority 10; policy accept;
            ct state established,related accept; ct status dnat accept; iifname lo accept; ct state invalid drop;
            reject with icmpx admin-prohibited; }
    }",
    "table inet mine {
        chain in { type filter hook input priority -5; policy drop; ct state established,related accept; iif lo accept; }
        chain through { type filter hook forward priority -5; policy drop; ct state established,related accept; }
    }",
];

#[test]
fn firewalls_that_drop_by_default_let_sandboxes_out_and_stay_as_they_are() {
    let machine = Machine::take();
    for rules in FIREWALLS {
        let host = Host::new();
        host.run(&format!("nft '{rules}'"));
        assert_coexists(&host, "walled");
    }
    machine.assert_clean();
}

#[test]
fn a_firewall_that_is_loaded_anew_is_told_again() {
    let machine = Machine::take();
    let host = Host::new();
    let rules = FIREWALLS[0];
    host.run(&format!("nft '{rules}'"));
    let before = host.listing();
    let town = town(&host, "reloaded", "");
    town.ok(&["up", "-d"]);
    host.run(&format!("nft 'delete table ip filter; {rules}'"));
    eventually("the way out is open again", Duration::from_secs(5), || {
        fetched(&town, "web", &format!("http://{FAR}/")) == NEAR
    });
    assert_works(&host, &town);
    let told = town.ok(&["events"]);
    assert!(told.contains("exceptions in another firewall's rules"), "{told}");
    town.ok(&["down"]);
    host.assert_as(&before, "after `down`");
    drop((town, host));
    machine.assert_clean();
}

/// What is published beyond loopback is published as far as the host's firewall lets others in.
#[test]
fn a_port_for_others_stays_the_firewalls_to_open() {
    let machine = Machine::take();
    let host = Host::new();
    host.run(&format!("nft '{}'", FIREWALLS[0]));
    let town = town(&host, "guarded", ", ports: [\"0.0.0.0:8080:8000\"]");
    town.ok(&["up", "-d"]);
    let ask = || host.outside.within(|| http_get((NEAR, 8080), "/"));
    assert!(ask().is_err(), "the firewall says nothing of it");
    host.run("nft insert rule ip filter FORWARD iifname wan0 tcp dport 8000 accept");
    assert!(ask().is_ok(), "{:?}", ask());
    town.ok(&["down"]);
    drop((town, host));
    machine.assert_clean();
}
