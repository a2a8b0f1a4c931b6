//! What is tested: an ecosystem's READMEs or one of them, chosen and checked. Pure apart from reading the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::{self, TestArguments};
use crate::commands::imports::{self, Purpose};
use crate::commands::{Context, run, supply, up, wish};
use crate::config::ecosystem::{Place, ServiceName};
use crate::desired::Desired;
use crate::diagnostics::{Problem, Problems, Severity};
use crate::error::Error;
use crate::markpact::recipe::WorkloadKind;
use crate::markpact::template;
use crate::markpact::test_case::TestCase;
use crate::resolver;
use crate::testing::{Suite, junit};

/// The tests, and the ecosystem that they need.
pub(super) struct Plan {
    /// What shall run.
    pub(super) desired: Desired,
    /// The tests that are asked for.
    pub(super) suites: Vec<Suite>,
    /// The services that must run for them; empty = all.
    pub(super) services: Vec<ServiceName>,
    /// Whether it is one README, which is an ecosystem of its own.
    pub(super) is_alone: bool,
}

/// Reads the files and chooses.
///
/// # Errors
/// All problems of the files, a service or filter that names nothing.
pub(super) fn load(context: &Context, arguments: &TestArguments) -> Result<Plan, Error> {
    let (mut desired, named, is_alone) = match arguments.targets.as_slice() {
        [one] if is_readme(one) => (alone(context, Path::new(one), arguments)?, Vec::new(), true),
        targets => {
            let (config, services) = cli::split_config(targets);
            if !arguments.coverage {
                let purpose = Purpose::start(arguments.trust, &arguments.supply);
                imports::settle(context, config.as_deref(), purpose)?;
            }
            let wish = wish::load(context, config.as_deref())?;
            wish::known(&wish, &services)?;
            (wish.desired, services, false)
        }
    };
    if !is_alone && !arguments.coverage {
        supply::settle(context, &mut desired, &named, &arguments.supply)?;
    }
    let mut suites = suites(&desired);
    check(&desired, &suites)?;
    suites.retain(|suite| named.is_empty() || named.contains(&suite.service));
    let all = suites.iter().map(|suite| suite.cases.len()).sum::<usize>();
    choose(&mut suites, &arguments.filter);
    let chosen = suites.iter().map(|suite| suite.cases.len()).sum::<usize>();
    let services = match named.is_empty() && chosen == all {
        true => Vec::new(),
        false => needed(&suites),
    };
    Ok(Plan {
        desired,
        suites,
        services,
        is_alone,
    })
}

impl Plan {
    /// A run without tests proves nothing.
    pub(super) fn refuse_nothing(&self, arguments: &TestArguments) -> Result<(), Error> {
        if self.suites.iter().any(|suite| !suite.cases.is_empty()) {
            return Ok(());
        }
        Err(match arguments.filter.is_empty() {
            true => Error::Usage {
                message: "there is no test".to_owned(),
                hint: Some(
                    "add a `markpact:test` block with a line such as 'GET /health EXPECT 200'".to_owned(),
                ),
            },
            false => Error::Usage {
                message: format!("no test contains '{}'", arguments.filter.join("' or '")),
                hint: Some("a test is called 'README:LINE METHOD /path', as the run shows it".to_owned()),
            },
        })
    }
}

fn is_readme(text: &str) -> bool {
    let extension = Path::new(text).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
}

fn alone(context: &Context, readme: &Path, arguments: &TestArguments) -> Result<Desired, Error> {
    let mut desired = run::on_its_own(context, readme, arguments.supply)?;
    resolver::default_checks(&mut desired);
    Ok(desired)
}

/// All tests of all services.
fn suites(desired: &Desired) -> Vec<Suite> {
    let suite = |(name, recipe): (&ServiceName, &crate::markpact::Recipe)| Suite {
        service: name.clone(),
        readme: recipe.readme.clone(),
        port: desired.ecosystem.services[name].port,
        dependents: dependents(desired, name),
        cases: recipe.tests.clone(),
    };
    desired.recipes.iter().map(suite).collect()
}

fn dependents(desired: &Desired, name: &str) -> Vec<ServiceName> {
    let services = desired.ecosystem.services.values();
    services
        .filter(|other| other.depends_on.iter().any(|dependency| dependency.name == name))
        .map(|other| other.name.clone())
        .collect()
}

/// Whoever is to ask must be there, and run when it is asked.
fn check(desired: &Desired, suites: &[Suite]) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for suite in suites {
        for case in &suite.cases {
            let who = case.from.as_ref().unwrap_or(&suite.service);
            let cause = match desired.recipes.get(who) {
                None => format!("there is no service '{who}' to ask as"),
                Some(recipe) if recipe.workload.kind == WorkloadKind::Job => {
                    format!("'{who}' is a job: it has ended when tests run")
                }
                Some(_) => continue,
            };
            problems.push(problem(desired, suite, case, cause));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Problems(problems)),
    }
}

fn problem(desired: &Desired, suite: &Suite, case: &TestCase, message: String) -> Problem {
    let services = desired.recipes.iter();
    let stays: Vec<&str> = services
        .filter(|(_, recipe)| recipe.workload.kind == WorkloadKind::Service)
        .map(|(name, _)| name.as_str())
        .collect();
    let help = match stays.is_empty() {
        true => "a test needs a service that stays".to_owned(),
        false => format!("write as= with one of {}", stays.join(", ")),
    };
    Problem {
        severity: Severity::Error,
        file: suite.readme.clone(),
        place: Place {
            line: case.line,
            column: 1,
        },
        length: 1,
        message,
        help: Some(help),
        source: None,
    }
}

/// Leaves the tests that a filter names, and those whose answers give them values.
fn choose(suites: &mut [Suite], filters: &[String]) {
    if filters.is_empty() {
        return;
    }
    let base = up::absolute(Path::new("."));
    for suite in suites {
        let place = junit::shown(&base, &suite.readme);
        let is_named = |case: &TestCase| {
            let called = format!("{place}:{} {}", case.line, case.title()).to_lowercase();
            filters
                .iter()
                .any(|filter| called.contains(&filter.to_lowercase()))
        };
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let mut kept = Vec::new();
        // From the end: what gives a value stands above those that use it.
        for case in suite.cases.drain(..).rev() {
            let gives = case.gives().iter().any(|name| wanted.contains(*name));
            if gives || is_named(&case) {
                let used = case.templates().into_iter().flat_map(template::names);
                wanted.extend(used.map(str::to_owned));
                kept.push(case);
            }
        }
        kept.reverse();
        suite.cases = kept;
    }
}

/// The services that are asked, and those that ask.
pub(super) fn needed(suites: &[Suite]) -> Vec<ServiceName> {
    let with_tests = suites.iter().filter(|suite| !suite.cases.is_empty());
    let names = with_tests.flat_map(|suite| {
        let askers = suite.cases.iter().filter_map(|case| case.from.clone());
        std::iter::once(suite.service.clone()).chain(askers)
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Files that decide what is tested.
pub(super) fn files(plan: &Plan) -> Vec<PathBuf> {
    let readmes = plan.desired.recipes.values().map(|recipe| recipe.readme.clone());
    let mut files: Vec<PathBuf> = readmes.collect();
    files.push(plan.desired.ecosystem.file.clone());
    files
}
