//! Services that are called by name: those that are there and not declared, and names that nobody has. Pure.

use super::facts::Peer;
use super::{Cause, Diagnosis, Facts, log};

/// A service that is there, and that this one did not declare.
pub(super) fn undeclared(facts: &Facts) -> Option<Diagnosis> {
    let line = log::symptom(
        &facts.log,
        &[
            "Connection refused",
            "ECONNREFUSED",
            "Name or service not known",
            "getaddrinfo",
            "ENOTFOUND",
            "EAI_AGAIN",
            "Temporary failure in name resolution",
            "bad address",
            "could not resolve",
        ],
    )?;
    let peer = facts.peers.iter().find(|peer| facts.speaks_of(peer))?;
    Some(
        facts
            .says(
                Cause::Undeclared,
                &format!("'{}' is not in depends_on", peer.name),
            )
            .shows([line.to_owned()])
            .shows(facts.located().and_then(|decisive| decisive.place))
            .next(format!(
                "write `depends_on: [{}]` below '{}' ({})",
                peer.name,
                facts.name,
                facts.place()
            )),
    )
}

/// A name that nobody has; perhaps a service's, misspelt.
pub(super) fn unknown_name(facts: &Facts) -> Option<Diagnosis> {
    let line = log::symptom(
        &facts.log,
        &[
            "Name or service not known",
            "getaddrinfo",
            "ENOTFOUND",
            "EAI_AGAIN",
            "name resolution",
            "bad address",
            "could not resolve",
        ],
    )?;
    let labels = log::labels(&facts.log);
    let pair = nearest(&labels, &facts.peers);
    let (cause, next) = match pair {
        Some((label, peer)) => (
            format!("there is no host '{label}'; did you mean '{}'?", peer.name),
            format!(
                "write '{}' in {}, and have it in `depends_on`",
                peer.name, facts.config.readme
            ),
        ),
        None => (
            "looked for a host that does not exist".to_owned(),
            format!("pactown env {}", facts.name),
        ),
    };
    Some(
        facts
            .says(Cause::UnknownName, &cause)
            .shows([line.to_owned()])
            .shows(facts.located().and_then(|decisive| decisive.place))
            .next(next),
    )
}

/// The word that comes nearest to the name of a service without being it.
fn nearest<'a>(labels: &[&'a str], peers: &'a [Peer]) -> Option<(&'a str, &'a Peer)> {
    let pairs = labels
        .iter()
        .flat_map(|label| peers.iter().map(move |peer| (*label, peer)));
    let likeness = |(label, peer): &(&str, &Peer)| strsim::jaro_winkler(label, &peer.name);
    pairs
        .filter(|(label, peer)| label.to_lowercase() != peer.name)
        .filter(|pair| likeness(pair) > 0.85)
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

impl Facts {
    /// Whether the log names a service that is not declared, by its name, its address or the port on loopback.
    fn speaks_of(&self, peer: &Peer) -> bool {
        if self.config.depends_on.contains(&peer.name) || peer.name == self.name {
            return false;
        }
        let named = [
            format!("//{}:", peer.name),
            format!("//{}/", peer.name),
            format!("//{}\"", peer.name),
            format!("//{}'", peer.name),
            format!("ENOTFOUND {}", peer.name),
            format!("EAI_AGAIN {}", peer.name),
            format!("'{}'", peer.name),
            format!("\"{}\"", peer.name),
        ];
        let on_loopback = [
            format!("127.0.0.1:{}", peer.port),
            format!("localhost:{}", peer.port),
        ];
        let address = peer.address.map(|address| format!("{address}:"));
        let words = named.iter().chain(&on_loopback).chain(&address);
        let words: Vec<&str> = words.map(String::as_str).collect();
        log::find(&self.log, &words).is_some()
    }
}
