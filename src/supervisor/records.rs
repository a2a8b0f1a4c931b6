//! Where each service stands, kept on disk in line with [`step`](super::step)'s state: a supervisor that dies leaves
//! the old or the new record, and the next one goes on from it.

use serde_json::Value;

use super::agenda::Appointment;
use super::engine::Engine;
use super::tell;
use crate::error::chain;
use crate::state::{self, NetworkRecord, ServiceRecord};

impl Engine {
    /// Writes down what has changed since the last time.
    pub(super) fn write_down(&mut self) {
        let names: Vec<_> = self.state.units.keys().cloned().collect();
        for name in names {
            let Some(record) = self.record_of(&name) else {
                continue;
            };
            // A service that nothing was ever asked of needs no record.
            let unit = &self.state.units[&name];
            let idle = record.process.is_none() && unit.run == 0 && !unit.is_armed();
            if self.written.get(&name) == Some(&record) || (idle && !self.written.contains_key(&name)) {
                continue;
            }
            if let Err(error) = state::write(&self.instance.service_record(&name), &record) {
                tell(&chain(&error));
            }
            self.written.insert(name, record);
        }
    }

    fn record_of(&self, name: &str) -> Option<ServiceRecord> {
        let unit = self.state.units.get(name)?;
        Some(ServiceRecord {
            name: name.to_owned(),
            standing: serde_json::to_value(unit.standing()).unwrap_or(Value::Null),
            process: self.running.get(name).copied(),
            exit: self.exits.get(name).cloned(),
            appointment: self.appointments.get(name).map(Appointment::kept),
            fingerprint: self.fingerprints.get(name).cloned().unwrap_or_default(),
        })
    }

    /// Removes the record of a service that is no longer part of the ecosystem.
    pub(super) fn strike(&mut self, name: &str) {
        self.written.remove(name);
        if let Err(error) = state::remove(&self.instance.service_record(name)) {
            tell(&chain(&error));
        }
    }

    /// Keeps the network's record in line.
    pub(super) fn write_network(&self) {
        let write = |network: &NetworkRecord| state::write(&self.instance.network_record(), network);
        if let Some(Err(error)) = self.network.as_ref().map(write) {
            tell(&chain(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::de::DeserializeOwned;

    use super::*;
    use crate::desired::Desired;
    use crate::resolver::tests::desired;
    use crate::roster::Roster;
    use crate::state::{InstanceRecord, ProcessRecord};
    use crate::supervisor::step::resume::resume;
    use crate::supervisor::step::{Event, Want, step};
    use crate::supervisor::traits;
    use crate::supervisor::unit::{End, Stage, Traits, Unit};
    use crate::supervisor::units::State;

    /// Every shortened form of the text, and as many as `flips` with one bit turned; what still can be read.
    fn damaged<T: DeserializeOwned>(record: &impl serde::Serialize, flips: usize) -> Vec<T> {
        let text = serde_json::to_vec(record).expect("text");
        let cut = (0..text.len()).map(|length| text[..length].to_vec());
        let flipped = (0..flips).map(|nth| {
            let mut text = text.clone();
            // Strides without a common factor with most lengths: all places come, in no order.
            let at = (nth * 7919) % text.len();
            text[at] ^= 1 << (nth % 8);
            text
        });
        let all = cut.chain(flipped);
        all.filter_map(|text| serde_json::from_slice(&text).ok())
            .collect()
    }

    const FLIPS: usize = 10_000;

    fn traits_of(desired: &Desired, no_health: bool) -> Vec<(String, Traits)> {
        traits::all(desired, &Roster::of_file(&desired.ecosystem), no_health)
    }

    #[test]
    fn a_damaged_record_of_a_service_is_refused_or_harmless() {
        let traits = traits_of(&desired(&[("db", 1, &[])]), false);
        let mut unit = Unit::new(traits[0].1.clone());
        (unit.run, unit.stage) = (3, Stage::Running { ready: true });
        let record = ServiceRecord {
            name: "db".to_owned(),
            standing: serde_json::to_value(unit.standing()).expect("standing"),
            process: Some(ProcessRecord {
                pid: 4242,
                start_time: 77,
                started_at_usec: 1_000_000,
            }),
            exit: None,
            appointment: Some(crate::state::AppointmentRecord::default()),
            fingerprint: Value::Null,
        };
        let read: Vec<ServiceRecord> = damaged(&record, FLIPS);
        assert!(!read.is_empty() && read.len() < FLIPS);
        for record in read {
            let Ok(standing) = serde_json::from_value(record.standing) else {
                continue;
            };
            let mut heir = Unit::new(traits[0].1.clone());
            resume(&mut heir, standing, true, false);
            let mut state = State::default();
            state.units.insert("db".to_owned(), heir);
            step(&mut state, Event::Stop(vec!["db".to_owned()]));
            record.process.map(|process| process.age());
        }
    }

    #[test]
    fn a_damaged_record_of_the_instance_is_refused_or_harmless() {
        let record = InstanceRecord {
            desired: desired(&[("web", 8000, &["api"]), ("api", 8001, &[])]),
            wanted: vec!["api".to_owned(), "web".to_owned()],
            scale: crate::roster::Scale::new(),
            no_health: false,
            attached: false,
            ending: false,
        };
        for record in damaged::<InstanceRecord>(&record, FLIPS) {
            let want = Want {
                units: traits_of(&record.desired, record.no_health),
                run: record.wanted,
                ..Want::default()
            };
            let mut state = State::default();
            step(&mut state, Event::Want(want));
            let grace = Some(Duration::ZERO);
            step(&mut state, Event::Down { kill: true, grace });
            assert!(
                state
                    .units
                    .values()
                    .all(|unit| !matches!(unit.stage, Stage::Rest(End::Completed)))
            );
        }
    }

    #[test]
    fn a_damaged_record_of_the_network_is_refused_or_of_the_same_shape() {
        let subnet = "10.89.0.0/24";
        let text = format!(
            r#"{{"spec":{{"instance":"x-1","tag":"0123abcd","directory":"/run/pactown/x-1/netns","subnet":{}}},"addresses":{{"db":"10.89.0.2"}},"builds":["10.89.0.200"],"published":{{"db":[{{"host":"127.0.0.1","host_port":8000,"port":8000,"transport":"tcp"}}]}}}}"#,
            serde_json::to_string(&pactown_netns::Subnet {
                network: std::net::Ipv4Addr::new(10, 89, 0, 0),
                prefix: 24,
            })
            .expect(subnet),
        );
        let record: NetworkRecord = serde_json::from_str(&text).expect("a record");
        for record in damaged::<NetworkRecord>(&record, FLIPS) {
            let again = serde_json::to_vec(&record).expect("text");
            assert_eq!(
                serde_json::from_slice::<NetworkRecord>(&again).expect("the same"),
                record
            );
        }
    }
}
