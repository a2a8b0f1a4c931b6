//! `--bundle FILE` of `up` and `test`: what is known of a run is taken while it runs, and written into one archive at the
//! end, whatever the end is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;

use serde_json::json;

use super::{Context, doctor, report};
use crate::caller::Caller;
use crate::control::api::ServiceStatus;
use crate::desired::Desired;
use crate::error::{Error, chain};
use crate::evidence::{self, EXTENSIONS, Evidence, FORMAT, MANIFEST, Manifest};
use crate::instance::Instance;
use crate::logs::{History, Reader, Selected, Selection, Source};
use crate::why::{diagnose, facts};
use crate::{audit, events, inspect};

/// Most bytes of one service's log; the newest stay.
const LOG: usize = 4 << 20;
/// What is in the name of a variable whose value is masked, besides the secrets of the file.
const SENSITIVE: [&str; 7] = [
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "TOKEN",
    "API_KEY",
    "PRIVATE_KEY",
    "CREDENTIAL",
];

/// The archive of one command; nothing is done when none is wanted.
pub(super) struct Recorder<'a> {
    command: &'static str,
    path: Option<&'a Path>,
    /// Of the wish: for what is written when nothing ran.
    desired: &'a Desired,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    evidence: Evidence,
    /// As it ran; another instance than the wish's for tests.
    ran: Option<Desired>,
    left_out: Vec<String>,
}

impl<'a> Recorder<'a> {
    /// For a command that runs `desired`.
    ///
    /// # Errors
    /// The file's name or folder will not do.
    pub(super) fn new(
        command: &'static str,
        path: Option<&'a Path>,
        desired: &'a Desired,
    ) -> Result<Self, Error> {
        let mut state = State::default();
        if let Some(path) = path {
            check(Some(path))?;
            let hidden = state.evidence.hide(sensitive(desired).iter().map(String::as_str));
            hidden.map_err(|error| Error::Internal {
                message: "cannot mask the bundle".to_owned(),
                source: Some(Box::new(error)),
            })?;
        }
        Ok(Self {
            command,
            path,
            desired,
            state: RefCell::new(state),
        })
    }

    /// Whether there will be an archive.
    pub(super) fn is_wanted(&self) -> bool {
        self.path.is_some()
    }

    /// Takes what only a running ecosystem tells.
    pub(super) fn take(&self, context: &Context, desired: &Desired, rows: &[ServiceStatus], plan: &[String]) {
        if !self.is_wanted() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let ran = desired.without_values();
        state.evidence.add_text("plan.txt", &lines(plan));
        // On a thread of its own: netlink brings an event loop, and callers are in one.
        let live = std::thread::scope(|scope| scope.spawn(|| live(&ran, rows)).join());
        match live {
            Ok(parts) => parts.into_iter().for_each(|(name, value)| {
                state.evidence.add_json(&name, &value);
            }),
            Err(_) => context.output.notice("the bundle lacks what the kernel tells"),
        }
        state.written(&ran);
        state.ran = Some(ran);
    }

    /// Adds what is only known to the command.
    pub(super) fn add(&self, name: &str, value: &impl serde::Serialize) {
        if self.is_wanted() {
            self.state.borrow_mut().evidence.add_json(name, value);
        }
    }

    /// Writes the archive, and answers with the command's own result; that the archive cannot be written is an error
    /// where there is no other.
    pub(super) fn finish(&self, context: &Context, result: Result<(), Error>) -> Result<(), Error> {
        let Some(path) = self.path else {
            return result;
        };
        let mut state = self.state.borrow_mut();
        // Once more: with the ends that came since. A copy for tests has taken its logs with it.
        if let Some(ran) = state
            .ran
            .clone()
            .filter(|ran| events::file(&ran.instance).exists())
        {
            state.written(&ran);
        }
        state.files(self.desired);
        state.evidence.add_json("host.json", &host());
        let manifest = self.manifest(&state, result.as_ref().err());
        state.evidence.add_json(MANIFEST, &manifest);
        match evidence::write(path, &state.evidence, &self.desired.caller) {
            Ok(()) => {
                context
                    .output
                    .notice(&format!("`pactown open {}` shows what happened", path.display()));
                result
            }
            Err(error) => {
                let message = format!("cannot write `{}`: {error}", path.display());
                if result.is_err() {
                    context.output.notice(&message);
                }
                result.and(Err(Error::Environment { message, hint: None }))
            }
        }
    }

    fn manifest(&self, state: &State, error: Option<&Error>) -> Manifest {
        let ran = state.ran.as_ref().unwrap_or(self.desired);
        Manifest {
            format: FORMAT.to_owned(),
            command: self.command.to_owned(),
            ecosystem: ran.ecosystem.name.clone(),
            instance: ran.instance.name.clone(),
            written: format!("{:.0}", jiff::Timestamp::now()),
            pactown: env!("CARGO_PKG_VERSION").to_owned(),
            exit_code: error.map_or(0, Error::exit_code),
            message: match error {
                None | Some(Error::Child(_)) => String::new(),
                Some(error) => chain(error),
            },
            left_out: state.left_out.clone(),
        }
    }
}

impl State {
    /// What is written down on disk: events and logs of this life.
    fn written(&mut self, ran: &Desired) {
        let all = events::read(&ran.instance);
        let life = events::of_this_life(&all);
        let since = life.first().and_then(|event| event.usec());
        let since = since.and_then(|usec| jiff::Timestamp::from_microsecond(usec).ok());
        self.evidence.add_lines("events.ndjson", life);
        self.left_out.clear();
        for unit in super::logs::logged(&ran.instance) {
            let (lines, skipped) = log(&ran.instance, &unit, since);
            self.evidence.add_lines(&format!("logs/{unit}.ndjson"), lines);
            if skipped > 0 {
                self.left_out
                    .push(format!("{skipped} lines of the log of {unit}"));
            }
        }
    }

    /// The files that it was made from.
    fn files(&mut self, desired: &Desired) {
        let lock = crate::lockfile::Lockfile::beside(&desired.ecosystem.file);
        for path in [&desired.ecosystem.file, &lock] {
            let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
            self.file(&format!("files/{}", plain(&name)), path);
        }
        for (service, recipe) in &desired.recipes {
            self.file(&format!("files/{service}.md"), &recipe.readme);
        }
    }

    fn file(&mut self, name: &str, path: &Path) {
        if let Ok(text) = std::fs::read_to_string(path) {
            self.evidence.add_text(name, &text);
        }
    }
}

/// The name as one that archives may have.
fn plain(name: &str) -> String {
    let one = |c: char| match c.is_ascii_alphanumeric() || "-_.".contains(c) {
        true => c,
        false => '_',
    };
    name.chars().map(one).collect::<String>().replace("..", "__")
}

/// Whether there can be an archive of this name.
///
/// # Errors
/// It has another ending, or no folder.
pub(super) fn check(path: Option<&Path>) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if !EXTENSIONS.iter().any(|end| name.ends_with(end)) || path.is_dir() {
        return Err(Error::Usage {
            message: format!("'{}' is no name for the archive", path.display()),
            hint: Some("write a file such as failure.tar.gz".to_owned()),
        });
    }
    let folder = super::up::absolute(path);
    let folder = folder.parent().unwrap_or(Path::new("/"));
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Error::Usage {
            message: format!("there is no folder `{}`", folder.display()),
            hint: Some("make it first".to_owned()),
        }),
    }
}

/// Values that are secrets by the names of their variables: of the caller, of the file, and the token of the registry.
fn sensitive(desired: &Desired) -> Vec<String> {
    let is_sensitive = |name: &str| {
        let name = name.to_uppercase();
        SENSITIVE.iter().any(|word| name.contains(word))
    };
    let ecosystem = &desired.ecosystem;
    let caller = Caller::detect().env;
    let (variables, _) = crate::config::variables(&ecosystem.file, &caller);
    let own = ecosystem.services.values().flat_map(|service| &service.env);
    let named = own.chain(&variables).filter(|(name, _)| is_sensitive(name));
    let values = named.map(|(_, value)| value.clone());
    values.chain(ecosystem.registry.token.clone()).collect()
}

/// What runs, and what the kernel knows of it.
fn live(desired: &Desired, rows: &[ServiceStatus]) -> Vec<(String, serde_json::Value)> {
    let facts = facts::gather(&desired.instance, desired, Some(rows));
    let why: Vec<_> = facts.iter().map(diagnose).collect();
    let mut parts = vec![
        ("services.json".to_owned(), json!(rows)),
        ("why.json".to_owned(), json!(why)),
        (
            "report.json".to_owned(),
            json!(report::gather(&desired.instance, rows)),
        ),
        ("audit.json".to_owned(), json!(audit::of(desired))),
    ];
    parts.extend(rows.iter().filter_map(|row| {
        let rules = inspect::rules(&desired.instance, &row.name, &row.seat()).ok()?;
        let group = desired.instance.cgroup(&row.name);
        let found = inspect::look(&row.name, row.pid?, &group, rules, row.notices.clone()).ok()?;
        Some((format!("inspect/{}.json", row.name), json!(found)))
    }));
    parts
}

/// The newest lines of one log since then, as `logs --json` shows them, and how many were left out.
fn log(
    instance: &Instance,
    unit: &str,
    since: Option<jiff::Timestamp>,
) -> (VecDeque<serde_json::Value>, usize) {
    let selection = Selection {
        since: since.map(|time| format!("{time:.9}")),
        ..Selection::default()
    };
    let reader = Reader::new(&History::open(&instance.log_file(unit)), false);
    let mut source = Selected::new(reader, selection, (0, u64::MAX), 0);
    let (mut lines, mut size, mut skipped) = (VecDeque::new(), 0, 0);
    while let Ok(Some(line)) = source.next_line() {
        size += line.text.len();
        lines.push_back(line);
        while size > LOG {
            size -= lines.pop_front().map_or(size, |line| line.text.len());
            skipped += 1;
        }
    }
    let object = |line: crate::logs::Line| {
        json!({
            "ts": line.time, "unit": unit, "run": line.run,
            "stream": line.stream.name(), "line": line.text(),
        })
    };
    (lines.into_iter().map(object).collect(), skipped)
}

/// Versions, and what this machine has and lacks.
fn host() -> serde_json::Value {
    let name = rustix::system::uname();
    json!({
        "pactown": env!("CARGO_PKG_VERSION"),
        "kernel": name.release().to_string_lossy(),
        "machine": name.machine().to_string_lossy(),
        "features": doctor::rows(),
    })
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
