//! `restart`, `auto_restart` and `on_unhealthy`: what happens to a service that fails. Words in, values out.

use super::ecosystem::{OnUnhealthy, Restart};
use super::report::Report;
use super::tree::{Node, Value};

const HELP: &str = "write 'no', 'on-failure', 'on-failure:5', 'always' or 'unless-stopped'";

/// Words for [`OnUnhealthy`].
pub(crate) const ON_UNHEALTHY: &[(&str, OnUnhealthy)] = &[
    ("none", OnUnhealthy::None),
    ("restart", OnUnhealthy::Restart),
    ("stop", OnUnhealthy::Stop),
];

/// The policy of this service: `restart` wins over the older `auto_restart`.
pub(crate) fn restart(node: &Node, report: &Report) -> Restart {
    let old = node
        .get("auto_restart")
        .and_then(|value| report.boolean("auto_restart", value));
    let written = node.get("restart").and_then(|value| written(value, report));
    written.unwrap_or(match old {
        Some(true) => Restart::OnFailure(None),
        Some(false) => Restart::No,
        None => Restart::Proven,
    })
}

fn written(node: &Node, report: &Report) -> Option<Restart> {
    let policy = match &node.value {
        Value::Bool(false) => Some(Restart::No),
        Value::Text(text) => policy(text),
        _ => None,
    };
    if policy.is_none() {
        report.wrong("restart", "a restart policy", node, HELP);
    }
    policy
}

/// What is done when a running service fails its health check.
pub(crate) fn on_unhealthy(node: &Node, report: &Report) -> OnUnhealthy {
    node.get("on_unhealthy")
        .and_then(|value| report.choice("on_unhealthy", value, ON_UNHEALTHY))
        .unwrap_or_default()
}

/// The policy of a word, here and in a README's `workload` block.
pub(crate) fn policy(text: &str) -> Option<Restart> {
    match text.split_once(':') {
        Some(("on-failure", most)) => {
            let most = most.parse().ok().filter(|most| *most > 0)?;
            Some(Restart::OnFailure(Some(most)))
        }
        Some(_) => None,
        None => match text {
            "no" | "never" => Some(Restart::No),
            "on-failure" => Some(Restart::OnFailure(None)),
            "always" => Some(Restart::Always),
            "unless-stopped" => Some(Restart::UnlessStopped),
            _ => None,
        },
    }
}

/// The word of a policy; none for what nobody wrote.
pub(crate) fn word(policy: Restart) -> Option<String> {
    Some(match policy {
        Restart::Proven => return None,
        Restart::No => "no".to_owned(),
        Restart::OnFailure(None) => "on-failure".to_owned(),
        Restart::OnFailure(Some(most)) => format!("on-failure:{most}"),
        Restart::Always => "always".to_owned(),
        Restart::UnlessStopped => "unless-stopped".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for text in ["no", "on-failure", "on-failure:5", "always", "unless-stopped"] {
            assert_eq!(word(policy(text).unwrap()).as_deref(), Some(text));
        }
        for text in ["on-failure:0", "on-failure:x", "always:3", "", "yes"] {
            assert_eq!(policy(text), None, "{text}");
        }
    }
}
