//! Services → the sandboxes that they consist of. Pure; the one place that says which sandbox is whose.
//!
//! A **service** is an entry of the file: its README, port, name on the network, published ports. A **unit** is one
//! sandbox of it. A plain service is one unit of the same name; a replicated one is `api-1`, `api-2`, … and as many of
//! them as the file says, or as somebody has asked for since.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::config::Ecosystem;
use crate::config::ecosystem::{
    MOST_REPLICAS, Service, ServiceName, UnitName, replica_number, taken_by_replica, unit_name,
};

/// How many replicas of which services were asked for by hand. It wins over the file.
pub type Scale = IndexMap<ServiceName, u32>;

/// One sandbox of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The service.
    pub service: ServiceName,
    /// Its number; `None` = the one sandbox of a plain service.
    pub replica: Option<u32>,
}

impl Seat {
    /// Whose sandbox `unit` is, by its name alone: also one that is not in the roster any more. `None`: of no service of
    /// the ecosystem.
    pub fn named(ecosystem: &Ecosystem, unit: &str) -> Option<Self> {
        if ecosystem.services.contains_key(unit) {
            return Some(Self {
                service: unit.to_owned(),
                replica: None,
            });
        }
        ecosystem.services.keys().find_map(|service| {
            let replica = Some(replica_number(service, unit)?);
            let service = service.clone();
            Some(Self { service, replica })
        })
    }

    /// The name of the sandbox.
    pub fn unit(&self) -> UnitName {
        unit_name(&self.service, self.replica)
    }
}

/// A service together with one of its sandboxes.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The service.
    pub service: &'a Service,
    /// The sandbox's number; `None` = the one of a plain service.
    pub replica: Option<u32>,
}

impl<'a> Member<'a> {
    /// The sandbox `unit`, also one that is not in the roster any more.
    pub fn named(ecosystem: &'a Ecosystem, unit: &str) -> Option<Self> {
        let seat = Seat::named(ecosystem, unit)?;
        Some(Self {
            service: ecosystem.services.get(&seat.service)?,
            replica: seat.replica,
        })
    }

    /// The name of the sandbox.
    pub fn unit(&self) -> UnitName {
        unit_name(&self.service.name, self.replica)
    }
}

/// All units of an ecosystem, in the file's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    units: IndexMap<UnitName, Seat>,
}

impl Roster {
    /// The units of `ecosystem`, scaled.
    ///
    /// # Errors
    /// A number is too high, or a replica would have the name of a service; one line.
    pub fn of(ecosystem: &Ecosystem, scale: &Scale) -> Result<Self, String> {
        let mut units = IndexMap::new();
        for (name, service) in &ecosystem.services {
            let by_hand = scale.get(name).copied();
            if let Some(count) = by_hand {
                check(ecosystem, name, count)?;
            }
            if service.schedule.is_some() && by_hand.or(service.replicas).is_some() {
                return Err(format!(
                    "'{name}' is a job on a schedule, and cannot have replicas"
                ));
            }
            for seat in seats(name, by_hand.or(service.replicas)) {
                units.insert(seat.unit(), seat);
            }
        }
        Ok(Self { units })
    }

    /// The units of `ecosystem` as its file says.
    pub fn of_file(ecosystem: &Ecosystem) -> Self {
        let services = ecosystem.services.iter();
        let seats = services.flat_map(|(name, service)| seats(name, service.replicas));
        Self {
            units: seats.map(|seat| (seat.unit(), seat)).collect(),
        }
    }

    /// Every unit.
    pub fn units(&self) -> impl Iterator<Item = (&UnitName, &Seat)> {
        self.units.iter()
    }

    /// Whether there is this unit.
    pub fn has(&self, unit: &str) -> bool {
        self.units.contains_key(unit)
    }

    /// The units of a service, by number.
    pub fn of_service<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a UnitName> {
        let own = move |(_, seat): &(&UnitName, &Seat)| seat.service == service;
        self.units.iter().filter(own).map(|(unit, _)| unit)
    }

    /// What is meant by these names: all units of a service, or one unit.
    pub fn meant(&self, names: &[String]) -> Vec<UnitName> {
        let meant = |(unit, seat): &(&UnitName, &Seat)| names.contains(unit) || names.contains(&seat.service);
        self.units
            .iter()
            .filter(meant)
            .map(|(unit, _)| unit.clone())
            .collect()
    }
}

fn seats(service: &str, replicas: Option<u32>) -> Vec<Seat> {
    let seat = |replica| Seat {
        service: service.to_owned(),
        replica,
    };
    match replicas {
        None => vec![seat(None)],
        Some(count) => (1..=count).map(|number| seat(Some(number))).collect(),
    }
}

fn check(ecosystem: &Ecosystem, service: &str, count: u32) -> Result<(), String> {
    if count > MOST_REPLICAS {
        return Err(format!(
            "'{service}' cannot have {count} replicas: at most {MOST_REPLICAS}"
        ));
    }
    if unit_name(service, Some(count)).len() > 63 {
        return Err(format!(
            "the names of the replicas of '{service}' would be longer than 63 characters"
        ));
    }
    let names = ecosystem.services.keys().map(String::as_str);
    match taken_by_replica(service, count, names) {
        Some(taken) => Err(format!(
            "'{taken}' would be a replica of '{service}', and is a service already"
        )),
        None => Ok(()),
    }
}

/// The services of these units, each once.
pub fn services_of(ecosystem: &Ecosystem, units: &[UnitName]) -> Vec<ServiceName> {
    let mut found: Vec<ServiceName> = Vec::new();
    for seat in units.iter().filter_map(|unit| Seat::named(ecosystem, unit)) {
        if !found.contains(&seat.service) {
            found.push(seat.service);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::tests::desired;

    fn units(roster: &Roster) -> Vec<&str> {
        roster.units().map(|(unit, _)| unit.as_str()).collect()
    }

    #[test]
    fn a_service_is_one_unit_of_its_name_or_as_many_as_were_asked_for() {
        let mut wish = desired(&[("db", 1, &[]), ("api", 2, &[]), ("off", 3, &[])]);
        wish.ecosystem.services["api"].replicas = Some(2);
        wish.ecosystem.services["off"].replicas = Some(0);
        let file = Roster::of_file(&wish.ecosystem);
        assert_eq!(units(&file), ["db", "api-1", "api-2"]);
        let scale = Scale::from([("api".to_owned(), 1), ("off".to_owned(), 2)]);
        let scaled = Roster::of(&wish.ecosystem, &scale).unwrap();
        assert_eq!(units(&scaled), ["db", "api-1", "off-1", "off-2"]);
        assert_eq!(
            scaled.meant(&["off".into(), "db".into()]),
            ["db", "off-1", "off-2"]
        );
        assert_eq!(scaled.meant(&["off-2".into()]), ["off-2"]);
    }

    #[test]
    fn a_name_says_whose_it_is() {
        let wish = desired(&[("api", 1, &[]), ("api-7", 2, &[]), ("a", 3, &[])]);
        let seat = |unit: &str| {
            let seat = Seat::named(&wish.ecosystem, unit)?;
            Some((seat.service, seat.replica))
        };
        assert_eq!(seat("api"), Some(("api".into(), None)));
        assert_eq!(seat("api-2"), Some(("api".into(), Some(2))));
        assert_eq!(seat("api-7"), Some(("api-7".into(), None)));
        assert_eq!(seat("api-7-1"), Some(("api-7".into(), Some(1))));
        for strange in ["api-02", "api-0", "api--1", "api-", "api-x", "apis", ".forwarder"] {
            assert_eq!(seat(strange), None, "{strange}");
        }
    }

    #[test]
    fn no_replica_takes_the_name_of_a_service() {
        let wish = desired(&[("api", 1, &[]), ("api-3", 2, &[])]);
        let scaled = |count| Roster::of(&wish.ecosystem, &Scale::from([("api".to_owned(), count)]));
        assert!(scaled(2).is_ok());
        assert!(scaled(3).unwrap_err().contains("'api-3'"));
        assert!(scaled(MOST_REPLICAS + 1).unwrap_err().contains("at most"));
    }
}
