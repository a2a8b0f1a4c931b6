//! `logs`: what services have written, and what they write now.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use regex::bytes::RegexSet;

use super::follow::{self, Signals};
use super::{Context, privilege, wish};
use crate::caller::Caller;
use crate::cli;
use crate::config;
use crate::config::Ecosystem;
use crate::config::ecosystem::{UnitName, replica_number};
use crate::error::Error;
use crate::instance::{Instance, LOG_ROOT};
use crate::logs::{Event, Follower, History, Merge, Reader, RunChoice, Runs, Selected, Selection, Watch};
use crate::output::{LogStyle, LogView};
use crate::roster::{Roster, Seat};

pub(super) fn run(context: &Context, arguments: &cli::LogsArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let (instance, file) = wish::instance(context, None)?;
    let ecosystem = config::load(&file, &Caller::detect().env).ok();
    let ecosystem = ecosystem.map(|loaded| loaded.ecosystem);
    let units = units(&instance, ecosystem.as_ref(), arguments)?;
    let paths: Vec<PathBuf> = units.iter().map(|name| instance.log_file(name)).collect();
    // Before the first look: what comes while the past is shown is not missed.
    let watch = match arguments.of.follow {
        true => Some(Watch::new(paths.iter().map(PathBuf::as_path)).map_err(cannot_follow)?),
        false => None,
    };
    let sources = sources(&paths, &units, arguments)?;
    let seat = |unit: &UnitName| {
        let named = ecosystem
            .as_ref()
            .and_then(|ecosystem| Seat::named(ecosystem, unit));
        named.unwrap_or_else(|| Seat {
            service: unit.clone(),
            replica: None,
        })
    };
    let several = arguments.of.services.len() != 1 || units.len() > 1;
    let seats = units.iter().map(seat).collect();
    let mut view = context.output.logs(seats, style(context, arguments, several));
    match watch {
        Some(watch) => attend(Follower::of(watch, sources).map_err(cannot_follow)?, &mut view),
        None => show(Merge::new(sources), &mut view),
    }
}

fn style(context: &Context, arguments: &cli::LogsArguments, several: bool) -> LogStyle {
    LogStyle {
        prefixed: several,
        timestamps: arguments.timestamps,
        json: context.json,
        raw: arguments.raw,
        rules: true,
    }
}

/// Those that are named, with all replicas of a service, or all that have a log. One that is followed may have none yet,
/// when the file has it.
fn units(
    instance: &Instance,
    ecosystem: Option<&Ecosystem>,
    arguments: &cli::LogsArguments,
) -> Result<Vec<UnitName>, Error> {
    let mut known = logged(instance);
    if let Some(ecosystem) = ecosystem.filter(|_| arguments.of.follow) {
        let roster = Roster::of_file(ecosystem);
        known.extend(roster.units().map(|(unit, _)| unit.clone()));
    }
    let named = &arguments.of.services;
    if named.is_empty() {
        return Ok(known.into_iter().collect());
    }
    let is_service = |unit: &str| ecosystem.is_some_and(|ecosystem| ecosystem.services.contains_key(unit));
    let mut found: Vec<UnitName> = Vec::new();
    for name in named {
        let own = known.iter().filter(|unit| *unit == name);
        let replicas = known
            .iter()
            .filter(|unit| !is_service(unit))
            .filter_map(|unit| Some((replica_number(name, unit)?, unit)));
        let replicas: BTreeMap<u32, &UnitName> = replicas.collect();
        let meant: Vec<_> = own.chain(replicas.into_values()).collect();
        if meant.is_empty() {
            return Err(no_log(name, &known));
        }
        for unit in meant {
            if !found.contains(unit) {
                found.push(unit.clone());
            }
        }
    }
    Ok(found)
}

/// The sandboxes that have written a log; beside their directories lie the events of the whole.
pub(super) fn logged(instance: &Instance) -> BTreeSet<UnitName> {
    let entries = std::fs::read_dir(Path::new(LOG_ROOT).join(&instance.name));
    let directories = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir());
    directories
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn no_log(name: &str, known: &BTreeSet<UnitName>) -> Error {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let known = match known.as_slice() {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    Error::Failed(format!(
        "service '{name}' has no log (there are logs of: {known})"
    ))
}

/// The wanted lines of each log.
fn sources(
    paths: &[PathBuf],
    services: &[UnitName],
    arguments: &cli::LogsArguments,
) -> Result<Vec<Selected<Reader>>, Error> {
    let selection = selection(arguments)?;
    let (mut sources, mut runs, mut found) = (Vec::new(), BTreeSet::new(), services.is_empty());
    for (path, name) in paths.iter().zip(services) {
        let history = History::open(path);
        let range = match arguments.run {
            RunChoice::All => Some((0, u64::MAX)),
            choice => {
                let own = Runs::of(&history).map_err(|error| cannot_read(name, &error))?;
                runs.extend(own.numbers());
                own.range(choice)
            }
        };
        found |= range.is_some();
        // Of a log without this run, nothing.
        let range = range.unwrap_or((u64::MAX, 0));
        let skip = skipped(&history, &selection, range, arguments.tail);
        let skip = skip.map_err(|error| cannot_read(name, &error))?;
        let reader = Reader::new(&history, arguments.of.follow);
        sources.push(Selected::new(reader, selection.clone(), range, skip));
    }
    match arguments.run {
        RunChoice::Number(number) if !found => Err(no_run(number, &runs)),
        _ => Ok(sources),
    }
}

/// How many of the wanted lines stand before the last `tail`. Counted first, so that none of them has to be kept.
fn skipped(
    history: &History,
    selection: &Selection,
    range: (u64, u64),
    tail: Option<usize>,
) -> io::Result<usize> {
    let Some(tail) = tail else { return Ok(0) };
    let all = Selected::new(Reader::new(history, false), selection.clone(), range, 0).count()?;
    Ok(all.saturating_sub(tail))
}

fn selection(arguments: &cli::LogsArguments) -> Result<Selection, Error> {
    let moment = |time: Option<Timestamp>| time.map(|time| format!("{time:.9}"));
    let grep = match arguments.grep.as_slice() {
        [] => None,
        expressions => Some(RegexSet::new(expressions).map_err(|error| Error::Usage {
            message: format!("these expressions cannot be used together: {error}"),
            hint: Some("give fewer or shorter ones".to_owned()),
        })?),
    };
    Ok(Selection {
        since: moment(arguments.since),
        until: moment(arguments.until),
        grep,
        context: arguments.context,
    })
}

fn show(mut merge: Merge<Selected<Reader>>, view: &mut LogView) -> Result<(), Error> {
    loop {
        match merge.next_line() {
            Ok(Some((index, line))) => view.show(index, &line),
            Ok(None) => break,
            Err(error) => {
                view.flush();
                return Err(cannot_follow(error));
            }
        }
    }
    view.flush();
    Ok(())
}

/// Until Ctrl-C, or until nobody reads any more.
fn attend(follower: Follower, view: &mut LogView) -> Result<(), Error> {
    let stdout = crate::output::standard_output().map_err(cannot_follow)?;
    let mut follower = follower.until_closed(stdout);
    let stopper = follower.stopper();
    std::thread::spawn(move || {
        let waited = follow::block_on(async { Ok(Signals::catch()?.next().await) });
        stopper.stop();
        waited
    });
    loop {
        match follower.next_event().map_err(cannot_follow)? {
            Event::Line(index, line) => view.show(index, &line),
            Event::Idle => view.flush(),
            Event::End => break,
        }
    }
    view.flush();
    Err(Error::Child(130))
}

fn no_run(number: u64, runs: &BTreeSet<u64>) -> Error {
    let runs: Vec<String> = runs.iter().map(u64::to_string).collect();
    let there = if runs.is_empty() {
        "none".to_owned()
    } else {
        runs.join(", ")
    };
    Error::Failed(format!("no log has a run {number} (there are: {there})"))
}

fn cannot_read(name: &str, error: &io::Error) -> Error {
    Error::Environment {
        message: format!("cannot read the log of '{name}': {error}"),
        hint: None,
    }
}

fn cannot_follow(error: io::Error) -> Error {
    let few = error.raw_os_error() == Some(nix::libc::EMFILE);
    Error::Environment {
        message: format!("cannot read the logs: {error}"),
        hint: few.then(|| "`sysctl fs.inotify.max_user_instances` may be too low".to_owned()),
    }
}
