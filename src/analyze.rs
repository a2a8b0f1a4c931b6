//! Where the time of a start went: from the events of each service's last run to its steps, and to the chain of services
//! that everything else waited for. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::ecosystem::UnitName;
use crate::events::{Event, Kind};

/// One service's start. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Start {
    /// The service, or one of its replicas.
    pub service: UnitName,
    /// From the `up` until it was ready (or ended, when it is a job).
    pub at_ms: u64,
    /// Layers, ids, network and bundle.
    pub prepare_ms: u64,
    /// From there until its dependencies were there.
    pub wait_ms: u64,
    /// The sandbox.
    pub create_ms: u64,
    /// From its process's start until it was ready.
    pub ready_ms: u64,
    /// The dependency that was ready last before it could start.
    pub after: Option<UnitName>,
}

impl Start {
    /// What it took itself: all but waiting.
    pub fn own_ms(&self) -> u64 {
        self.prepare_ms + self.create_ms + self.ready_ms
    }
}

/// Moments of one service, microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    preparing: Option<i64>,
    prepared: Option<i64>,
    starting: Option<i64>,
    started: Option<i64>,
    ready: Option<i64>,
    /// The clock asked for it, not the `up`.
    due: bool,
}

/// The starts of the services that became ready, in the order in which they did. `needs` are the dependencies of each.
pub fn starts(events: &[Event], needs: &BTreeMap<UnitName, Vec<UnitName>>) -> Vec<Start> {
    let moments = moments(events);
    let ready = |name: &str| moments.get(name).and_then(|moments| moments.ready);
    let up = events
        .iter()
        .filter(|event| event.kind == Kind::Up)
        .filter_map(Event::usec);
    let ups: Vec<i64> = up.collect();
    let start = |name: &str, own: &Moments| {
        let (began, ready_at) = (own.preparing.filter(|_| !own.due)?, own.ready?);
        let asked = ups
            .iter()
            .rev()
            .find(|up| **up <= began)
            .copied()
            .unwrap_or(began);
        let prepared = own.prepared.unwrap_or(began);
        let starting = own.starting.unwrap_or(prepared);
        let started = own.started.unwrap_or(starting);
        let before = needs.get(name).into_iter().flatten();
        let before = before.filter_map(|need| Some((ready(need)?, need)));
        // What was ready before it was even prepared did not keep it waiting.
        let last = before.filter(|(at, _)| *at >= prepared && *at <= starting).max();
        Some((
            ready_at,
            Start {
                service: name.to_owned(),
                at_ms: between(asked, ready_at),
                prepare_ms: between(began, prepared),
                wait_ms: between(prepared, starting),
                create_ms: between(starting, started),
                ready_ms: between(started, ready_at),
                after: last.map(|(_, need)| need.clone()),
            },
        ))
    };
    let mut all: Vec<(i64, Start)> = moments
        .iter()
        .filter_map(|(name, own)| start(name, own))
        .collect();
    all.sort_by(|(a, one), (b, other)| (a, &one.service).cmp(&(b, &other.service)));
    all.into_iter().map(|(_, start)| start).collect()
}

/// The last service to become ready, what it waited for, what that waited for, and so on.
pub fn critical_chain(starts: &[Start]) -> Vec<&Start> {
    let mut chain: Vec<&Start> = starts.last().into_iter().collect();
    while let Some(after) = chain.last().and_then(|start| start.after.as_ref())
        && let Some(next) = starts.iter().find(|start| start.service == *after)
        && chain.len() <= starts.len()
    {
        chain.push(next);
    }
    chain
}

/// The moments of each service's last start.
fn moments(events: &[Event]) -> BTreeMap<UnitName, Moments> {
    let mut all: BTreeMap<UnitName, Moments> = BTreeMap::new();
    for event in events {
        let (Some(unit), Some(at)) = (event.unit(), event.usec()) else {
            continue;
        };
        let own = all.entry(unit).or_default();
        match event.kind {
            Kind::Due => {
                *own = Moments {
                    due: true,
                    ..Moments::default()
                }
            }
            Kind::Preparing => {
                *own = Moments {
                    preparing: Some(at),
                    // Told right before.
                    due: own.due && own.preparing.is_none(),
                    ..Moments::default()
                }
            }
            Kind::Prepared => own.prepared = Some(at),
            Kind::Starting => own.starting = Some(at),
            // Without a check it is ready then; a later word counts more.
            Kind::Started => (own.started, own.ready) = (Some(at), Some(at)),
            Kind::Ready | Kind::Completed => own.ready = Some(at),
            Kind::Failed | Kind::Blocked => own.ready = None,
            _ => {}
        }
    }
    // A check that has not passed: it never was ready.
    for event in events.iter().filter(|event| event.kind == Kind::Unhealthy) {
        let own = event.unit().and_then(|name| all.get_mut(&name));
        if let Some(own) = own.filter(|own| own.ready == own.started) {
            own.ready = None;
        }
    }
    all
}

fn between(from: i64, until: i64) -> u64 {
    u64::try_from((until - from) / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::time_of;

    fn event(ms: u64, service: &str, kind: Kind) -> Event {
        Event {
            ts: time_of(ms * 1000),
            service: (!service.is_empty()).then(|| service.to_owned()),
            run: Some(1),
            ..Event::new(kind)
        }
    }

    /// `db` takes 30 to prepare and 500 to be ready; `api` waits for it; `web` needs nobody.
    fn events() -> Vec<Event> {
        vec![
            event(1000, "", Kind::Up),
            event(1000, "db", Kind::Preparing),
            event(1000, "api", Kind::Preparing),
            event(1000, "web", Kind::Preparing),
            event(1020, "web", Kind::Prepared),
            event(1020, "web", Kind::Starting),
            event(1025, "web", Kind::Started),
            event(1030, "db", Kind::Prepared),
            event(1030, "db", Kind::Starting),
            event(1040, "db", Kind::Started),
            event(1060, "api", Kind::Prepared),
            event(1540, "db", Kind::Ready),
            event(1541, "api", Kind::Starting),
            event(1550, "api", Kind::Started),
            event(1600, "api", Kind::Ready),
        ]
    }

    fn needs() -> BTreeMap<UnitName, Vec<UnitName>> {
        BTreeMap::from([("api".to_owned(), vec!["db".to_owned()])])
    }

    #[test]
    fn each_start_is_cut_into_its_steps() {
        let starts = starts(&events(), &needs());
        let names: Vec<_> = starts.iter().map(|start| start.service.as_str()).collect();
        assert_eq!(names, ["web", "db", "api"], "in the order of readiness");
        let api = &starts[2];
        assert_eq!(
            (
                api.at_ms,
                api.prepare_ms,
                api.wait_ms,
                api.create_ms,
                api.ready_ms
            ),
            (600, 60, 481, 9, 50)
        );
        assert_eq!(api.after.as_deref(), Some("db"));
        assert_eq!(api.own_ms(), 119);
    }

    #[test]
    fn the_chain_leads_from_the_last_one_to_the_first_cause() {
        let starts = starts(&events(), &needs());
        let chain: Vec<_> = critical_chain(&starts)
            .iter()
            .map(|one| one.service.as_str())
            .collect();
        assert_eq!(chain, ["api", "db"]);
        assert!(critical_chain(&[]).is_empty());
    }

    #[test]
    fn a_dependency_that_was_ready_before_is_not_in_the_chain_and_a_failure_has_no_start() {
        let mut all = events();
        all.push(event(1700, "late", Kind::Preparing));
        all.push(event(1800, "late", Kind::Prepared));
        all.push(event(1800, "late", Kind::Starting));
        all.push(event(1810, "late", Kind::Started));
        let needs = BTreeMap::from([("late".to_owned(), vec!["db".to_owned()])]);
        assert_eq!(starts(&all, &needs).last().unwrap().after, None);
        let mut nightly = all.clone();
        nightly.push(event(9000, "night", Kind::Due));
        nightly.push(event(9000, "night", Kind::Preparing));
        nightly.push(event(9100, "night", Kind::Started));
        nightly.push(event(9200, "night", Kind::Completed));
        assert_eq!(
            starts(&nightly, &needs),
            starts(&all, &needs),
            "the clock is no up"
        );
        all.push(event(1900, "late", Kind::Failed));
        assert_eq!(starts(&all, &needs).last().unwrap().service, "api");
    }
}
