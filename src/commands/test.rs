//! `test`: the tests that stand in the READMEs, asked of the running ecosystem, or of one that is brought up for them
//! and taken down again.

mod suites;
mod town;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::evidence::Recorder;
use super::follow::{self, Signals};
use super::{Context, privilege, up, wish};
use crate::cli;
use crate::error::Error;
use crate::output;
use crate::testing::{self, Outcome, coverage, junit};

use suites::Plan;
use town::Town;

pub(super) fn run(context: &Context, arguments: &cli::TestArguments) -> Result<(), Error> {
    let mut plan = suites::load(context, arguments)?;
    if arguments.coverage {
        return show_coverage(context, &plan);
    }
    plan.refuse_nothing(arguments)?;
    privilege::require_root()?;
    super::evidence::check(arguments.bundle.as_deref())?;
    wish::unlock(context, &mut plan.desired, &plan.services)?;
    if arguments.watch {
        return follow::block_on(watch::stay(context, arguments, plan));
    }
    let recorder = Recorder::new("test", arguments.bundle.as_deref(), &plan.desired)?;
    let tell = |outcomes: &[Outcome], time| {
        recorder.add("tests.json", &outcomes);
        report(context, arguments, &plan, outcomes, time)
    };
    let result = follow::block_on(once(context, arguments, &plan, &recorder, &tell));
    recorder.finish(context, result.map(drop))
}

/// Tests that passed, and the READMEs that they stand in.
pub(super) struct Proved {
    pub(super) outcomes: Vec<Outcome>,
    /// As they were before the first test began.
    pub(super) readmes: BTreeMap<PathBuf, String>,
}

/// The tests of an ecosystem or of a README, run as `test` runs them; each one's end is told.
///
/// # Errors
/// As [`run`]; a test failed.
pub(super) fn prove(context: &Context, targets: &[String]) -> Result<Proved, Error> {
    let arguments = cli::TestArguments::of(targets.to_vec());
    let mut plan = suites::load(context, &arguments)?;
    plan.refuse_nothing(&arguments)?;
    let files = plan.suites.iter().map(|suite| suite.readme.clone());
    let readmes = files.filter_map(|file| Some((file.clone(), std::fs::read_to_string(file).ok()?)));
    let readmes = readmes.collect();
    privilege::require_root()?;
    wish::unlock(context, &mut plan.desired, &plan.services)?;
    let (recorder, quiet) = (Recorder::new("test", None, &plan.desired)?, |_: &[Outcome], _| {
        Ok(())
    });
    let outcomes = follow::block_on(once(context, &arguments, &plan, &recorder, &quiet))?;
    Ok(Proved { outcomes, readmes })
}

/// Is told what the tests said, and how long they took.
type Reporter<'a> = dyn Fn(&[Outcome], Duration) -> Result<(), Error> + 'a;

/// Everything from the first namespace to the last.
async fn once(
    context: &Context,
    arguments: &cli::TestArguments,
    plan: &Plan,
    recorder: &Recorder<'_>,
    report: &Reporter<'_>,
) -> Result<Vec<Outcome>, Error> {
    // Caught before anything exists: an early Ctrl-C must be followed by an end in order too.
    let mut signals = Signals::catch()?;
    let started = Instant::now();
    let left = || {
        arguments
            .timeout
            .map(|limit| limit.saturating_sub(started.elapsed()))
    };
    let mut town = Town::enter(context, plan, recorder, &mut signals, arguments.timeout).await?;
    let result = ask(context, arguments, plan, &mut town, &mut signals, left()).await;
    town.record(context, recorder).await;
    let reported = match &result {
        Ok(outcomes) => report(outcomes, started.elapsed()),
        Err(_) => Ok(()),
    };
    town.leave(&mut signals).await?;
    reported?;
    let outcomes = result?;
    match outcomes.iter().any(Outcome::has_failed) {
        // Everything worth saying was said.
        true => Err(Error::Failed(String::new())),
        false => Ok(outcomes),
    }
}

/// Runs the tests, until they are over, a signal comes, time is up, or the ecosystem is gone.
async fn ask(
    context: &Context,
    arguments: &cli::TestArguments,
    plan: &Plan,
    town: &mut Town<'_>,
    signals: &mut Signals,
    limit: Option<Duration>,
) -> Result<Vec<Outcome>, Error> {
    let site = town.site().await?;
    let base = here();
    let tell = |outcome: &Outcome| {
        if !context.json {
            let place = junit::shown(&base, &outcome.file);
            context.output.test(&place, outcome);
        }
    };
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        outcomes = testing::run::all(&site, &plan.suites, usize::from(arguments.jobs), &tell) => Ok(outcomes),
        error = town.hold() => Err(error),
        number = signals.next() => Err(Error::Child(128 + number)),
        () = over => Err(Error::Timeout(format!(
            "the tests were not over within {}",
            humantime::format_duration(arguments.timeout.unwrap_or_default())
        ))),
    }
}

fn report(
    context: &Context,
    arguments: &cli::TestArguments,
    plan: &Plan,
    outcomes: &[Outcome],
    time: Duration,
) -> Result<(), Error> {
    let base = here();
    if let Some(path) = &arguments.junit {
        let text = junit::render(&plan.desired.ecosystem.name, &base, outcomes);
        write(path, &output::masked(&text), plan)?;
    }
    let on_github = std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true");
    if (arguments.github || on_github) && !context.json {
        for outcome in outcomes {
            let place = junit::shown(&base, &outcome.file);
            context.output.annotation(&place, outcome);
        }
    }
    if context.json {
        let (passed, failed, skipped) = testing::count(outcomes);
        return context.output.json(&json!({
            "passed": passed, "failed": failed, "skipped": skipped,
            "seconds": time.as_secs_f64(), "tests": outcomes,
        }));
    }
    context.output.tests(outcomes, time);
    Ok(())
}

/// The file is the invoking user's, also under `sudo`.
fn write(path: &Path, text: &str, plan: &Plan) -> Result<(), Error> {
    let caller = &plan.desired.caller;
    File::create(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            std::os::unix::fs::fchown(&file, Some(caller.uid), Some(caller.gid))
        })
        .map_err(|error| Error::Environment {
            message: format!("cannot write `{}`: {error}", path.display()),
            hint: None,
        })
}

fn show_coverage(context: &Context, plan: &Plan) -> Result<(), Error> {
    let rows = coverage::of(&plan.desired, &plan.suites);
    if context.json {
        return context.output.json(&rows);
    }
    let base = here();
    let named: Vec<_> = rows
        .iter()
        .map(|row| (junit::shown(&base, &row.file), row))
        .collect();
    context.output.coverage(&named);
    Ok(())
}

/// What paths are told from.
fn here() -> PathBuf {
    up::absolute(Path::new("."))
}
