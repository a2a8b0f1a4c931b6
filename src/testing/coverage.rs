//! What no test speaks of: READMEs, and endpoints that the files declare. Pure.

use indexmap::IndexMap;
use serde::Serialize;

use super::Suite;
use crate::config::ecosystem::{Probe, ServiceName};
use crate::desired::Desired;
use crate::markpact::test_case::{Ask, TestCase};

/// One service's README and what is tested of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Coverage {
    /// The service.
    pub(crate) service: ServiceName,
    /// Its README.
    pub(crate) file: std::path::PathBuf,
    /// How many tests there are.
    pub(crate) tests: usize,
    /// The endpoints that are declared: the path of its health check, `METHOD /path` in the README's text, and
    /// `as NAME` for every service that depends on it.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// A declared endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Endpoint {
    /// `GET /health`, or `as web`.
    pub(crate) name: String,
    /// Line of the README that names it; 0 when the ecosystem file does.
    pub(crate) line: usize,
    /// Whether a test asks it.
    pub(crate) tested: bool,
}

/// All services of the wish; `suites` are all tests.
pub(crate) fn of(desired: &Desired, suites: &[Suite]) -> Vec<Coverage> {
    let services = desired.ecosystem.services.keys();
    services.map(|name| of_service(desired, suites, name)).collect()
}

fn of_service(desired: &Desired, suites: &[Suite], name: &ServiceName) -> Coverage {
    let recipe = &desired.recipes[name];
    let suite = suites.iter().find(|suite| suite.service == *name);
    let cases = suite.map_or(&[][..], |suite| &suite.cases);
    // By name: the file and the README may speak of the same one.
    let mut endpoints: IndexMap<String, (usize, bool)> = IndexMap::new();
    let health = desired.ecosystem.services[name].health.as_ref();
    if let Some(Probe::Http { path, .. }) = health.map(|check| &check.probe) {
        endpoints.insert(format!("GET {path}"), (0, is_asked(cases, "GET", path)));
    }
    for (line, method, path) in &recipe.endpoints {
        let tested = is_asked(cases, method, path);
        endpoints
            .entry(format!("{method} {path}"))
            .or_insert((*line, tested));
    }
    for dependent in suite.iter().flat_map(|suite| &suite.dependents) {
        let tested = cases.iter().any(|case| case.from.as_ref() == Some(dependent));
        endpoints.insert(format!("as {dependent}"), (0, tested));
    }
    Coverage {
        service: name.clone(),
        file: recipe.readme.clone(),
        tests: cases.len(),
        endpoints: endpoints
            .into_iter()
            .map(|(name, (line, tested))| Endpoint { name, line, tested })
            .collect(),
    }
}

fn is_asked(cases: &[TestCase], method: &str, path: &str) -> bool {
    cases.iter().any(|case| match &case.ask {
        Ask::Http(test) => test.method == method && fits(path, &test.path),
        Ask::Shell(test) => test.command.contains(path) && path != "/",
    })
}

/// Whether a request for `asked` is one for the endpoint `declared`, in which `{id}`, `:id` and `<id>` are any segment.
fn fits(declared: &str, asked: &str) -> bool {
    let path = |text: &str| text.split(['?', '#']).next().unwrap_or_default().to_owned();
    let (declared, asked) = (path(declared), path(asked));
    let any = |segment: &str| segment.starts_with(['{', ':', '<', '$']);
    let (declared, asked) = (declared.split('/'), asked.split('/'));
    declared.clone().count() == asked.clone().count()
        && declared
            .zip(asked)
            .all(|(declared, asked)| any(declared) || declared == asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_any_segment() {
        assert!(fits("/items/{id}", "/items/7?full=1"));
        assert!(fits("/items/:id/tags", "/items/${id}/tags"));
        assert!(!fits("/items/{id}", "/items"));
        assert!(!fits("/items", "/item"));
        assert!(fits("/", "/?a"));
    }
}
