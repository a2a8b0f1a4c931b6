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
