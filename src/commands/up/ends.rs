//! Whose end ends an attached `up` (`--abort-on-exit`, `--exit-code-from`), and with which exit code. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Ecosystem;
use crate::config::ecosystem::{ServiceName, UnitName};
use crate::control::api::{Phase, ServiceStatus};
use crate::error::Error;

/// The rows of all sandboxes.
type Rows = BTreeMap<UnitName, ServiceStatus>;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends {
    /// Any end counts.
    any: bool,
    /// The service whose exit code is the command's.
    code_of: Option<ServiceName>,
    /// Jobs of these names may complete: others wait for them.
    awaited: BTreeSet<ServiceName>,
}

impl Ends {
    /// As the flags say; a name implies that any end counts.
    pub(super) fn of(ecosystem: &Ecosystem, any: bool, code_of: Option<&str>) -> Self {
        let services = ecosystem.services.values();
        let needs = services.flat_map(|service| &service.depends_on);
        Self {
            any: any || code_of.is_some(),
            code_of: code_of.map(str::to_owned),
            awaited: needs.map(|need| need.name.clone()).collect(),
        }
    }

    /// The first sandbox whose end ends everything; that of the named service before others.
    pub(super) fn cause<'r>(&self, rows: &'r Rows) -> Option<&'r ServiceStatus> {
        let mut ended = rows.values().filter(|row| self.any && self.has_ended(row));
        let first = ended.next()?;
        let named = |row: &&ServiceStatus| self.code_of.as_ref() == Some(&row.service);
        Some(ended.find(named).filter(|_| !named(&first)).unwrap_or(first))
    }

    /// An end that nobody asked for, also one after which it would be started again.
    fn has_ended(&self, row: &ServiceStatus) -> bool {
        match (row.state, &self.code_of) {
            (Phase::Failed | Phase::Backoff, _) => true,
            // The clock starts it again.
            (Phase::Completed, _) if row.next_run.is_some() => false,
            (Phase::Completed, Some(name)) => row.service == *name,
            (Phase::Completed, None) => !self.awaited.contains(&row.service),
            _ => false,
        }
    }

    /// What the command ends with, once everything is down; `by` was the cause.
    pub(super) fn verdict(&self, by: &ServiceStatus, rows: &Rows) -> Result<(), Error> {
        let Some(name) = &self.code_of else {
            return match by.state {
                Phase::Completed => Ok(()),
                _ => Err(Error::Failed(format!("{} {}", by.name, told(by)))),
            };
        };
        let codes = rows.values().filter(|row| row.service == *name);
        let codes: Vec<i32> = codes.filter_map(|row| row.exit_code).collect();
        match codes.iter().find(|code| **code != 0).or(codes.first()) {
            Some(0) => Ok(()),
            Some(code) => Err(Error::Child(*code)),
            None => Err(Error::Failed(format!(
                "{name} never ran: {} {}",
                by.name,
                told(by)
            ))),
        }
    }

    /// A line on the named service, when another one was the cause.
    pub(super) fn remark(&self, by: &ServiceStatus, rows: &Rows) -> Option<String> {
        let name = self.code_of.as_ref().filter(|name| **name != by.service)?;
        let mut own = rows.values().filter(|row| row.service == *name);
        let row = own.find(|row| row.exit_code.is_some())?;
        Some(format!("{} {}, {} {}", by.name, told(by), row.name, told(row)))
    }
}

/// How it ended, behind its name.
pub(super) fn told(row: &ServiceStatus) -> String {
    match (row.exit_code, &row.cause) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(cause)) => format!("failed: {cause}"),
        (None, None) => "failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ecosystem::{Dependency, Place};
    use crate::control::api::Health;
    use crate::desired::tests::{empty, service};
    use crate::output::tests::row;

    fn rows(all: &[(&str, Phase, Option<i32>)]) -> Rows {
        let one = |(name, state, exit_code): &(&str, Phase, Option<i32>)| {
            let mut row = row(name, *state, Health::None);
            row.exit_code = *exit_code;
            (row.name.clone(), row)
        };
        all.iter().map(one).collect()
    }

    fn ecosystem() -> Ecosystem {
        let mut ecosystem = empty().ecosystem;
        for name in ["db", "migrate", "e2e"] {
            ecosystem.services.insert(name.into(), service(name));
        }
        let needed = Dependency {
            name: "migrate".into(),
            version: "*".into(),
            endpoint: None,
            env_var: None,
            condition: None,
            required: true,
            restart: false,
            port: None,
            place: Place::default(),
        };
        ecosystem.services["e2e"].depends_on.push(needed);
        ecosystem
    }

    #[test]
    fn nothing_ends_what_was_not_asked_to() {
        let ends = Ends::of(&ecosystem(), false, None);
        assert!(ends.cause(&rows(&[("db", Phase::Failed, Some(1))])).is_none());
    }

    #[test]
    fn an_end_counts_but_for_a_job_that_others_wait_for() {
        let ends = Ends::of(&ecosystem(), true, None);
        let cause = |all: &[_]| ends.cause(&rows(all)).map(|row| row.name.clone());
        assert_eq!(cause(&[("migrate", Phase::Completed, Some(0))]), None);
        assert_eq!(cause(&[("db", Phase::Running, Some(1))]), None, "an earlier run");
        assert_eq!(cause(&[("db", Phase::Backoff, Some(1))]).as_deref(), Some("db"));
        let done = rows(&[("e2e", Phase::Completed, Some(0))]);
        let by = ends.cause(&done).expect("an end");
        assert!(ends.verdict(by, &done).is_ok());
        let died = rows(&[("db", Phase::Failed, Some(9))]);
        let error = ends
            .verdict(ends.cause(&died).expect("an end"), &died)
            .unwrap_err();
        assert_eq!(
            (error.exit_code(), error.to_string().as_str()),
            (1, "db ended with code 9")
        );
    }

    #[test]
    fn the_code_is_that_of_the_named_one_whoever_was_first() {
        let ends = Ends::of(&ecosystem(), false, Some("e2e"));
        let both = rows(&[("db", Phase::Failed, Some(1)), ("e2e", Phase::Failed, Some(7))]);
        assert_eq!(ends.cause(&both).expect("an end").name, "e2e");
        let first = rows(&[("db", Phase::Failed, Some(1)), ("e2e", Phase::Running, None)]);
        let by = ends.cause(&first).expect("an end").clone();
        assert_eq!(by.name, "db");
        let down = rows(&[("db", Phase::Failed, Some(1)), ("e2e", Phase::Stopped, Some(143))]);
        assert_eq!(ends.verdict(&by, &down).unwrap_err().exit_code(), 143);
        assert_eq!(
            ends.remark(&by, &down).as_deref(),
            Some("db ended with code 1, e2e ended with code 143")
        );
        let never = ends.verdict(&by, &first).unwrap_err();
        assert_eq!(never.to_string(), "e2e never ran: db ended with code 1");
    }
}
