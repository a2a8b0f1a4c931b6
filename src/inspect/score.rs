//! The exposure of a systemd unit that would hold a service in the same way: its settings, and the number that
//! `systemd-analyze security --offline=yes` gives them. A setting is claimed only when what was read from the kernel shows
//! its effect. Pure.

use serde::Serialize;

use super::Inspection;
use super::settings::{EGRESS, NEVER, SETTINGS};

/// The translation of one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// 0.0 (nothing is exposed) to 10.0, rounded up to a tenth as systemd does.
    pub exposure: f64,
    /// The settings of the unit that hold.
    pub settings: Vec<String>,
    /// What is not claimed, and why.
    pub exposed: Vec<Exposed>,
}

/// A setting that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// The setting.
    pub setting: &'static str,
    /// Why not.
    pub why: &'static str,
    /// What it adds, in parts of [`WEIGHT`].
    pub weight: u64,
}

/// Sum of the weights of systemd 252.
const WEIGHT: u64 = 56_460;

/// The score of a service.
pub fn score(it: &Inspection) -> Score {
    let closed = !it.network.is_empty() && !it.network.iter().any(|rule| rule.opens);
    let (held, open): (Vec<_>, Vec<_>) = SETTINGS.iter().partition(|setting| (setting.holds)(it));
    let mut settings: Vec<String> = held.iter().map(|setting| setting.text.to_owned()).collect();
    let mut exposed: Vec<Exposed> = NEVER.to_vec();
    match closed {
        true => settings.push("IPAddressDeny=any".to_owned()),
        false => exposed.push(EGRESS),
    }
    exposed.extend(open.iter().map(|setting| Exposed {
        setting: setting.text,
        why: setting.why,
        weight: setting.weight,
    }));
    exposed.sort_by_key(|one| std::cmp::Reverse(one.weight));
    let sum: u64 = exposed.iter().map(|one| one.weight).sum();
    Score {
        exposure: (sum * 100).div_ceil(WEIGHT) as f64 / 10.0,
        settings,
        exposed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number when nothing but these is exposed.
    fn exposure<'a>(open: impl Iterator<Item = &'a Exposed>) -> u64 {
        let sum: u64 = open.map(|one| one.weight).sum();
        (sum * 100).div_ceil(WEIGHT)
    }

    #[test]
    fn the_default_is_0_6_and_its_filter_is_what_brings_it_there() {
        assert_eq!(exposure(NEVER.iter()), 6);
        let is = |one: &&Exposed, setting: &str| one.setting.starts_with(setting);
        let without = |settings: &[&str]| {
            let left = NEVER.iter();
            exposure(left.filter(|one| !settings.iter().any(|setting| is(one, setting))))
        };
        // None of the others would break less and bring more.
        assert_eq!(without(&["MemoryDenyWriteExecute", "UMask", "ProcSubset"]), 6);
        assert_eq!(without(&["SystemCallFilter=~@resources"]), 5);
        // A list of addresses that names what is outside counts half, no list and no filter the whole.
        let list = |weight| Exposed { weight, ..EGRESS };
        assert_eq!(exposure(NEVER.iter().chain([&list(500)])), 7);
        assert_eq!(exposure(NEVER.iter().chain([&list(1000)])), 8);
    }

    #[test]
    fn the_weights_are_whole() {
        // What systemd weighs in one number and is split here, or the other way round: a set of system calls counts 9 or
        // 10 of 10, the umask 5, the devices 5 of 10.
        let rounding = 70 + 50;
        let held: u64 = SETTINGS.iter().map(|setting| setting.weight).sum();
        let open: u64 = NEVER.iter().chain([&EGRESS]).map(|one| one.weight).sum();
        assert_eq!(held + open + rounding, WEIGHT);
    }
}
