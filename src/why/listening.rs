//! A service that lives and is not ready: who listens, where, and what it answers. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Cause, Diagnosis, Facts};
use crate::config::ecosystem::Probe;
use crate::events::Witness;
use crate::events::decide::STARVED;

/// Why its check does not pass, or never passed in time.
pub(super) fn not_ready(facts: &Facts) -> Diagnosis {
    let answer = facts.row.cause.as_deref().unwrap_or_default();
    let port = facts.probed();
    let witness = facts.witness.as_ref();
    if answer.contains(" answered ") {
        return bad_answer(facts, answer);
    }
    if let Some(starved) = witness.filter(|witness| witness.throttled >= STARVED) {
        return short_of_cpu(facts, starved);
    }
    if let Some((port, witness)) = port.zip(witness) {
        let addresses: Vec<SocketAddr> = addresses(witness);
        if let Some(diagnosis) = unreachable(facts, port, &addresses) {
            return diagnosis;
        }
    }
    if answer.ends_with("no answer") {
        return slow(facts, answer);
    }
    let kind = if answer.is_empty() {
        Cause::Waiting
    } else {
        Cause::BadAnswer
    };
    let words = if answer.is_empty() {
        "its check has not passed yet"
    } else {
        answer
    };
    facts
        .says(kind, words)
        .shows(facts.last_line())
        .next(facts.logs())
}

/// It runs without a check: whether anything listens is still worth a word, when it wrote down that something should.
pub(super) fn unasked(facts: &Facts) -> Option<Diagnosis> {
    let witness = facts.witness.as_ref()?;
    let addresses = addresses(witness);
    let elsewhere = !addresses.is_empty() && addresses.iter().all(|one| one.port() != facts.config.port);
    if facts.config.job || !facts.config.port_explicit || !elsewhere {
        return None;
    }
    unreachable(facts, facts.config.port, &addresses)
}

fn addresses(witness: &Witness) -> Vec<SocketAddr> {
    witness
        .listening
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// Nothing that a probe could reach listens on `port`.
fn unreachable(facts: &Facts, port: u16, addresses: &[SocketAddr]) -> Option<Diagnosis> {
    let on_port: Vec<&SocketAddr> = addresses.iter().filter(|one| one.port() == port).collect();
    if on_port.is_empty() {
        return Some(match addresses.first() {
            None => silent(facts, port),
            Some(other) => elsewhere(facts, port, other),
        });
    }
    if on_port.iter().any(|one| is_reached(facts, one)) {
        return None;
    }
    let cause = format!(
        "listens on {} only, where nothing from outside of its sandbox arrives",
        on_port[0]
    );
    let next = format!("let {} listen on 0.0.0.0:{port}", facts.config.readme);
    Some(facts.says(Cause::Loopback, &cause).next(next))
}

/// Connections to the declared ports arrive at 127.0.0.1, those to others at the sandbox's own address.
fn is_reached(facts: &Facts, address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    if facts.config.inbound.contains(&address.port()) {
        return ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST);
    }
    !ip.is_loopback()
}

fn silent(facts: &Facts, port: u16) -> Diagnosis {
    facts
        .says(
            Cause::NotListening,
            &format!("runs, but nothing listens on port {port}"),
        )
        .shows(facts.last_line())
        .next(format!("let {} listen on $PORT ({port})", facts.config.readme))
        .next(facts.logs())
}

fn elsewhere(facts: &Facts, port: u16, other: &SocketAddr) -> Diagnosis {
    let used = other.port();
    let cause = format!("listens on port {used}, not on {port}: it ignores $PORT");
    facts
        .says(Cause::WrongPort, &cause)
        .shows([format!("listening: {other}")])
        .next(format!(
            "let {} listen on $PORT, or write `port: {used}` below '{}' ({})",
            facts.config.readme,
            facts.name,
            facts.place()
        ))
}

fn bad_answer(facts: &Facts, answer: &str) -> Diagnosis {
    let bare = answer.split_once(": ").map_or(answer, |(before, after)| {
        if before.starts_with("not healthy within") {
            after
        } else {
            answer
        }
    });
    let diagnosis = facts.says(Cause::BadAnswer, bare).shows(facts.last_line());
    if bare.contains("wrong path?") {
        let check = format!(
            "write the path that answers in `health_check` of '{}' ({})",
            facts.name,
            facts.place()
        );
        return diagnosis.next(check);
    }
    diagnosis.next(facts.logs())
}

fn slow(facts: &Facts, answer: &str) -> Diagnosis {
    let limit = facts.config.probe_timeout.unwrap_or(Duration::from_secs(1));
    let question = answer.trim_end_matches(": no answer");
    let question = question
        .split_once(": ")
        .map_or(question, |(_, question)| question);
    let cause = format!("takes the connection, but does not answer within the check's {limit:?}: {question}");
    facts
        .says(Cause::Slow, &cause)
        .shows(facts.last_line())
        .next(format!(
            "give it longer: `health_check: {{…, timeout: {}s}}` of '{}' ({})",
            limit.as_secs().max(1) * 5,
            facts.name,
            facts.place()
        ))
        .next(facts.logs())
}

fn short_of_cpu(facts: &Facts, witness: &Witness) -> Diagnosis {
    let cpus = facts
        .config
        .cpus
        .map_or_else(String::new, |cpus| format!(" ({cpus} CPUs)"));
    let share = (witness.throttled * 100.0).round();
    facts
        .says(
            Cause::Cpu,
            &format!("is short of CPU: it reached its limit{cpus} in {share} % of the time"),
        )
        .shows(facts.row.cause.clone())
        .next(format!(
            "write a higher `limits: {{cpus: {}}}` below '{}' ({})",
            facts.config.cpus.map_or(1.0, |cpus| (cpus * 2.0).max(0.5)),
            facts.name,
            facts.place()
        ))
}

impl Facts {
    /// The port that its check asks; none for a command.
    fn probed(&self) -> Option<u16> {
        match &self.config.probe {
            Some(Probe::Http { port, .. } | Probe::Tcp { port }) => Some(*port),
            Some(Probe::Exec { .. } | Probe::Log { .. } | Probe::Notify { .. }) | None => None,
        }
    }
}
