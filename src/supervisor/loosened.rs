//! What the file loosens of the isolation of services, and what this host does not apply: never silent.

use crate::config::ecosystem::{Service, ServiceName};
use crate::desired::Desired;

/// What `up` says of these services, once.
pub(super) fn told(desired: &Desired, wanted: &[ServiceName]) -> Vec<String> {
    let services = wanted
        .iter()
        .filter_map(|name| desired.ecosystem.services.get(name));
    let named = |service: &Service| {
        let lines = service.loosened().into_iter();
        lines
            .map(|line| format!("{}: {line}", service.name))
            .collect::<Vec<_>>()
    };
    lacking().into_iter().chain(services.flat_map(named)).collect()
}

/// What `ps` says of one service.
pub(super) fn of(service: Option<&Service>) -> Vec<String> {
    let lines = service.into_iter().flat_map(Service::loosened);
    lacking().into_iter().chain(lines).collect()
}

fn lacking() -> Option<String> {
    let why = pactown_runtime::landlock::version().err()?;
    Some(format!("Landlock is not applied: {why}"))
}
