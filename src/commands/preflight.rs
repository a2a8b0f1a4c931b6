//! What the host must have, tried before anything is made.

use super::Context;
use crate::config::ecosystem::Isolation;
use crate::desired::Desired;
use crate::error::Error;
use crate::remains;

/// Refuses with what is missing and how to get it; `isolation: best-effort` says so and goes on. An instance that
/// runs is proof enough.
///
/// # Errors
/// The first feature that is missing, with the others named.
pub(super) fn check(context: &Context, desired: &Desired) -> Result<(), Error> {
    if remains::is_alive(&desired.instance.run_dir()) {
        return Ok(());
    }
    let missing = missing();
    let Some((_, _, remedy)) = missing.first() else {
        return Ok(());
    };
    let list: Vec<String> = missing
        .iter()
        .map(|(name, why, _)| format!("{name} ({why})"))
        .collect();
    let message = format!("this host lacks {}", list.join(", "));
    if desired.ecosystem.isolation == Isolation::BestEffort {
        context
            .output
            .notice(&format!("{message}; going on, as `isolation: best-effort` says"));
        return Ok(());
    }
    Err(Error::Environment {
        message,
        hint: Some(format!("{remedy}; `pactown doctor` lists everything")),
    })
}

/// What is tried: name, why it is not there, how to get it.
pub(super) type Feature = (&'static str, Option<String>, &'static str);

/// Everything that sandboxes and networks need of the host, tried now.
pub(super) fn features() -> Vec<Feature> {
    let own = pactown_runtime::support::features()
        .into_iter()
        .map(|feature| (feature.name, feature.missing, feature.remedy));
    let network = pactown_netns::support::features()
        .into_iter()
        .map(|feature| (feature.name, feature.missing, feature.remedy));
    own.chain(network).collect()
}

/// Name, reason and remedy of each feature that is not there.
fn missing() -> Vec<(&'static str, String, &'static str)> {
    features()
        .into_iter()
        .filter_map(|(name, missing, remedy)| Some((name, missing?, remedy)))
        .collect()
}
