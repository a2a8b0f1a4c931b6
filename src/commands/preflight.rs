//! What the host must have, tried before anything is made.

use super::Context;
use crate::config::ecosystem::Isolation;
use crate::desired::Desired;
use crate::error::Error;
use crate::host::HostFacts;
use crate::{remains, spec};

/// Refuses with what is missing and how to get it; `isolation: best-effort` says so and goes on. An instance that
/// runs is proof enough.
///
/// # Errors
/// The first feature that is missing, with the others named.
pub(super) fn check(context: &Context, desired: &Desired) -> Result<(), Error> {
    limits(desired)?;
    if remains::is_alive(&desired.instance.run_dir()) {
        return Ok(());
    }
    open_files(desired)?;
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

/// A limit that is written and cannot be applied is an error, whatever `isolation` says.
fn limits(desired: &Desired) -> Result<(), Error> {
    let lacks = spec::lacks(&desired.ecosystem, &HostFacts::machine());
    let Some(first) = lacks.first() else {
        return Ok(());
    };
    let all: Vec<&str> = lacks.iter().map(|lack| lack.what.as_str()).collect();
    Err(Error::Environment {
        message: all.join("; "),
        hint: Some(first.next.clone()),
    })
}

/// Descriptors that the keeper holds for one service: pipes, pidfd, user namespace, mounts, ports.
const PER_SERVICE: u64 = 12;
/// Descriptors that keeper and supervisor need for themselves, and while they make something.
const OWN: u64 = 64;

/// Lets keeper and supervisor, which inherit it, have as many descriptors as this process may; too few for all services
/// are an error now, not in the middle. Services have a limit of their own.
fn open_files(desired: &Desired) -> Result<(), Error> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(most) = getrlimit(Resource::Nofile).maximum else {
        return Ok(());
    };
    let services = desired.ecosystem.services.len() as u64;
    let needed = OWN + PER_SERVICE * services;
    if most < needed {
        return Err(Error::Environment {
            message: format!("{services} services need {needed} open files, and the limit is {most}"),
            hint: Some(format!(
                "raise it with `ulimit -Hn {needed}`, or `LimitNOFILE=` of the unit"
            )),
        });
    }
    let all = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Nofile, all).map_err(|error| Error::Environment {
        message: format!("cannot raise the limit of open files: {error}"),
        hint: None,
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
