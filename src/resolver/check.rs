//! The health check of a service that names none: a TCP connection to the port that its file writes down. Pure.

use super::is_job;
use crate::config::ecosystem::{HealthCheck, Probe, Service};
use crate::desired::Desired;

/// Gives every service that has no check its default one.
pub fn default_checks(desired: &mut Desired) {
    let found: Vec<(String, HealthCheck)> = desired
        .ecosystem
        .services
        .iter()
        .filter(|(name, service)| service.health.is_none() && !service.unchecked && !is_job(desired, name))
        .filter_map(|(name, service)| {
            let port = written_port(service)?;
            Some((name.clone(), HealthCheck::new(Probe::Tcp { port })))
        })
        .collect();
    for (name, check) in found {
        if let Some(service) = desired.ecosystem.services.get_mut(&name) {
            service.health = Some(check);
        }
    }
}

/// The TCP port that the file says the service listens on. A port from `base_port` is an offer: a service that never
/// listens has one too.
fn written_port(service: &Service) -> Option<u16> {
    let published = service.ports.iter().find(|mapping| !mapping.udp);
    match service.port_explicit {
        true => Some(service.port),
        false => published.map(|mapping| mapping.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ecosystem::{Condition, Place, PortMapping};
    use crate::resolver::tests::desired;

    fn probes(mut wish: Desired) -> Vec<Option<Probe>> {
        default_checks(&mut wish);
        let services = wish.ecosystem.services.into_values();
        services
            .map(|service| service.health.map(|check| check.probe))
            .collect()
    }

    #[test]
    fn only_a_written_port_is_asked() {
        let mut wish = desired(&[
            ("auto", 8000, &[]),
            ("own", 8001, &[]),
            ("off", 8002, &[]),
            ("exec", 8003, &[]),
        ]);
        for name in ["own", "off", "exec"] {
            wish.ecosystem.services[name].port_explicit = true;
        }
        wish.ecosystem.services["auto"].port_explicit = false;
        wish.ecosystem.services["off"].unchecked = true;
        let command = vec!["true".to_owned()];
        let exec = Probe::Exec { command };
        wish.ecosystem.services["exec"].health = Some(HealthCheck::new(exec.clone()));
        assert_eq!(
            probes(wish),
            [None, Some(Probe::Tcp { port: 8001 }), None, Some(exec)]
        );
    }

    #[test]
    fn a_published_tcp_port_counts_and_a_job_is_never_asked() {
        let mut wish = desired(&[("game", 8000, &[]), ("seed", 8001, &[]), ("api", 8002, &["seed"])]);
        let mapping = |port, udp| PortMapping {
            host: [127, 0, 0, 1].into(),
            host_port: port,
            port,
            udp,
            place: Place::default(),
        };
        wish.ecosystem
            .services
            .values_mut()
            .for_each(|service| service.port_explicit = false);
        wish.ecosystem.services["game"].ports = vec![mapping(53, true), mapping(80, false)];
        wish.ecosystem.services["seed"].port_explicit = true;
        wish.ecosystem.services["api"].depends_on[0].condition = Some(Condition::Completed);
        assert_eq!(probes(wish), [Some(Probe::Tcp { port: 80 }), None, None]);
    }
}
