//! Who needs whom: services → start order, stop order, and the environment each one finds. Pure.
//!
//! A [`Graph`] exists only for an ecosystem without cycles. What is done with the order is decided in
//! [`crate::supervisor`].

mod check;
mod environment;
mod graph;
mod render;

pub use check::default_checks;
pub use environment::{Source, Variable, environment, variables};
pub use graph::{Graph, condition, is_job, restart_policy};
pub use render::{Format, render};

use crate::config::Ecosystem;
use crate::config::ecosystem::ServiceName;
use crate::diagnostics::Problems;
use crate::roster::services_of;

/// The services that are meant by `names`, of services or of their replicas, with what they need, in start order;
/// without names, all.
///
/// # Errors
/// Services need each other in a circle.
pub fn needed(ecosystem: &Ecosystem, names: &[String]) -> Result<Vec<ServiceName>, Problems> {
    let graph = Graph::of(ecosystem)?;
    Ok(match names {
        [] => graph.start_order(),
        names => graph.with_needs(&services_of(ecosystem, names)),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::ecosystem::{Dependency, Place, Schedule};
    use crate::desired::Desired;
    use crate::desired::tests::{empty, service as plain};
    use crate::roster::Member;

    /// A wish of services with port and dependencies; the n-th dependency stands on line n + 1.
    pub(crate) fn desired(services: &[(&str, u16, &[&str])]) -> Desired {
        let mut desired = empty();
        let mut line = 0;
        for (name, port, needs) in services {
            let mut service = plain(name);
            service.port = *port;
            for need in *needs {
                line += 1;
                service.depends_on.push(Dependency {
                    name: (*need).to_owned(),
                    version: "*".into(),
                    endpoint: None,
                    env_var: None,
                    condition: None,
                    required: true,
                    restart: false,
                    port: None,
                    place: Place { line, column: 1 },
                });
            }
            desired.ecosystem.services.insert((*name).to_owned(), service);
        }
        desired
    }

    pub(crate) fn member<'a>(desired: &'a Desired, unit: &str) -> Member<'a> {
        Member::named(&desired.ecosystem, unit).unwrap()
    }

    #[test]
    fn orders_follow_the_needs_and_the_file() {
        let wish = desired(&[
            ("web", 1, &["api", "db"]),
            ("api", 2, &["db"]),
            ("db", 3, &[]),
            ("mail", 4, &[]),
        ]);
        let graph = Graph::of(&wish.ecosystem).unwrap();
        assert_eq!(graph.waves(), [vec!["db", "mail"], vec!["api"], vec!["web"]]);
        assert_eq!(graph.stop_order(), ["web", "api", "mail", "db"]);
        assert_eq!(graph.with_needs(&["api".into()]), ["db", "api"]);
        assert_eq!(graph.with_dependents(&["api".into()]), ["api", "web"]);
    }

    #[test]
    fn who_is_named_by_a_replica_is_needed_with_all_that_it_needs() {
        let mut wish = desired(&[("web", 1, &["api"]), ("api", 2, &["db"]), ("db", 3, &[])]);
        wish.ecosystem.services["api"].replicas = Some(2);
        let needed = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            needed(&wish.ecosystem, &names).unwrap()
        };
        assert_eq!(needed(&["api-2"]), ["db", "api"]);
        assert_eq!(needed(&["db", "api"]), ["db", "api"]);
        assert_eq!(needed(&[]), ["db", "api", "web"]);
    }

    #[test]
    fn a_cycle_is_named_in_order_with_its_lines() {
        let wish = desired(&[
            ("a", 1, &["b"]),
            ("b", 2, &["c"]),
            ("c", 3, &["a", "d"]),
            ("d", 4, &[]),
        ]);
        let problems = Graph::of(&wish.ecosystem).unwrap_err();
        let text = problems.to_string();
        assert!(text.contains("a → b → c → a"), "{text}");
        assert!(text.contains("lines 1, 2, 3"), "{text}");
        let twice = desired(&[("a", 1, &["a"]), ("x", 2, &["y"]), ("y", 3, &["x"])]);
        assert_eq!(Graph::of(&twice.ecosystem).unwrap_err().0.len(), 2);
    }

    #[test]
    fn nothing_waits_for_the_clock() {
        let mut wish = desired(&[
            ("web", 1, &["db", "report"]),
            ("report", 2, &["db"]),
            ("db", 3, &[]),
        ]);
        let schedule = Schedule::new("@daily".to_owned());
        wish.ecosystem.services["report"].schedule = Some(schedule);
        let problems = Graph::of(&wish.ecosystem).unwrap_err().to_string();
        assert_eq!(
            problems,
            "/p/saas.pactown.yaml:2:1: nothing can wait for 'report': it is run on a schedule (take it out of 'depends_on', or its 'schedule' away)"
        );
        wish.ecosystem.services["web"].depends_on.pop();
        assert!(Graph::of(&wish.ecosystem).is_ok() && is_job(&wish, "report"));
    }

    #[test]
    fn all_formats_name_every_service() {
        let wish = desired(&[("web", 1, &["db"]), ("db", 3, &[])]);
        let graph = Graph::of(&wish.ecosystem).unwrap();
        for format in [Format::Text, Format::Mermaid, Format::Dot, Format::Json] {
            let text = render(&wish, &graph, format);
            assert!(
                text.contains("web") && text.contains("db") && text.ends_with('\n'),
                "{text}"
            );
        }
    }
}
