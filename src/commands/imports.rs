//! What an ecosystem takes from a registry, before it is read: found and fetched, shown to whoever starts it, written down.

use std::path::Path;
use std::process::{Command, Stdio};

use super::lock;
use super::registry::{Found, Part};
use super::{Context, supply, wish};
use crate::caller::Caller;
use crate::cli::SupplyArguments;
use crate::config;
use crate::config::Ecosystem;
use crate::config::ecosystem::Egress;
use crate::error::Error;
use crate::imports;
use crate::lockfile::{ArtifactLock, Lockfile, NAME};
use crate::markpact;
use crate::output;
use crate::registry::name::Reference;
use crate::registry::text::plain;

/// Lines of a command that are shown.
const SHOWN: usize = 8;

/// Why it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is going to run: what is new is asked about, unless it is trusted.
    Start {
        /// `--trust`.
        trust: bool,
        /// `--locked` or `--offline`: nothing is looked for.
        fixed: bool,
    },
    /// It is going to be locked.
    Lock {
        /// Whatever is locked already.
        update: bool,
    },
}

impl Purpose {
    /// Of a verb that starts services.
    pub(super) fn start(trust: bool, supply: &SupplyArguments) -> Self {
        Self::Start {
            trust,
            fixed: supply.locked || supply.offline,
        }
    }
}

/// Makes the lock hold what the file takes from its registry, and the READMEs be there. A file with problems is left to
/// whoever reads it next.
///
/// # Errors
/// Nothing fits, something is not what the lock says, or nobody agrees to run what is new.
pub(super) fn settle(context: &Context, named: Option<&Path>, purpose: Purpose) -> Result<(), Error> {
    let caller = Caller::detect();
    let Ok(file) = wish::locate(context, named) else {
        return Ok(());
    };
    let Ok(loaded) = config::load_open(&file, &caller.env) else {
        return Ok(());
    };
    let ecosystem = loaded.ecosystem;
    let Ok(before) = supply::read(&ecosystem.file) else {
        return Ok(());
    };
    let locked = before.as_ref().map_or(&[][..], |lock| &lock.artifacts);
    if is_settled(&ecosystem, locked, purpose) {
        return Ok(());
    }
    let found = find(&ecosystem, purpose)?;
    let new: Vec<&Part> = found
        .artifacts
        .iter()
        .filter(|part| !locked.contains(&part.lock))
        .collect();
    show(context, &ecosystem, &found.place, &new);
    agree(&new, purpose)?;
    let artifacts = found.artifacts.into_iter().map(|part| part.lock).collect();
    let lock = before
        .clone()
        .unwrap_or_else(|| Lockfile::new(Vec::new()))
        .with(artifacts);
    match before.as_ref() == Some(&lock) {
        true => Ok(()),
        false => lock::write(&Lockfile::beside(&ecosystem.file), &lock.text(), &caller),
    }
}

fn is_settled(ecosystem: &Ecosystem, locked: &[ArtifactLock], purpose: Purpose) -> bool {
    match purpose {
        Purpose::Start { fixed: true, .. } => return true,
        Purpose::Start { .. } if ecosystem.imports.is_empty() => return true,
        Purpose::Lock { .. } if ecosystem.imports.is_empty() => return locked.is_empty(),
        Purpose::Lock { update: true } => return false,
        _ => {}
    }
    let own = imports::own(ecosystem);
    let has = |text: &str, needed: bool| {
        let Ok(reference) = text.parse::<Reference>() else {
            return false;
        };
        if needed && own.contains(&reference.name.as_str()) {
            return true;
        }
        let artifact = reference.artifact("").map(|artifact| artifact.to_string());
        let lock = locked.iter().find(|lock| artifact.as_ref() == Ok(&lock.name));
        lock.is_some_and(|lock| lock.fits(&reference.selector))
    };
    let direct = ecosystem
        .imports
        .iter()
        .all(|import| has(&format!("{}@{}", import.artifact, import.range), false));
    let mut wanted = locked.iter().flat_map(|own| &own.wants);
    direct && wanted.all(|want| has(want, true)) && imports::missing(&ecosystem.file, locked).is_empty()
}

/// In a process of its own, which acts as the user who typed the command, and stays so.
fn find(ecosystem: &Ecosystem, purpose: Purpose) -> Result<Found, Error> {
    let failed = |message: String| Error::Environment { message, hint: None };
    let mut command = Command::new("/proc/self/exe");
    command.args(["registry", "resolve"]).arg(&ecosystem.file);
    if purpose == (Purpose::Lock { update: true }) {
        command.arg("--update");
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("the registry cannot be asked: {error}")))?;
    match output.status.code() {
        Some(0) => serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("what the registry has cannot be read: {error}"))),
        // It has said why.
        code => Err(Error::Child(code.unwrap_or(1))),
    }
}

/// What a stranger wrote, before it runs for the first time.
fn show(context: &Context, ecosystem: &Ecosystem, place: &str, new: &[&Part]) {
    for part in new {
        let ArtifactLock {
            name,
            version,
            digest,
            ..
        } = &part.lock;
        let mut lines = vec![format!("{name}@{version} {digest} from {}", plain(place))];
        if let Some(evidence) = &part.evidence {
            lines.push(format!("  tests    {evidence}"));
        }
        lines.push(format!("  README   {}", part.readme.display()));
        lines.extend(runs(&part.readme));
        lines.push(format!("  network  {}", network(ecosystem, name)));
        context.output.notice(&lines.join("\n"));
    }
}

fn runs(readme: &Path) -> Vec<String> {
    let Ok(recipe) = markpact::read(readme) else {
        return Vec::new();
    };
    let setup = recipe.setup.iter().map(|block| ("setup", block.text.clone()));
    let run = recipe.run.iter().map(|run| ("runs", run.command.clone()));
    let mut shown = Vec::new();
    for (what, text) in setup.chain(run) {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        for (index, line) in lines.iter().take(SHOWN).enumerate() {
            let what = if index == 0 { what } else { "" };
            shown.push(format!("  {what:<8} {}", plain(line)));
        }
        if lines.len() > SHOWN {
            shown.push(format!("  {:<8} … {} more lines", "", lines.len() - SHOWN));
        }
    }
    shown
}

/// What the file allows it.
fn network(ecosystem: &Ecosystem, artifact: &str) -> String {
    let import = ecosystem
        .imports
        .iter()
        .find(|import| import.artifact == artifact);
    let service = import.and_then(|import| ecosystem.services.get(&import.service));
    match service.map(|service| &service.egress) {
        Some(Egress::All) => "open: 'egress: all'".to_owned(),
        Some(Egress::Only(list)) => format!("only {}", list.join(", ")),
        Some(Egress::None) | None => "closed".to_owned(),
    }
}

fn agree(new: &[&Part], purpose: Purpose) -> Result<(), Error> {
    let Purpose::Start { trust: false, .. } = purpose else {
        return Ok(());
    };
    if new.is_empty() {
        return Ok(());
    }
    match output::ask("run this? [y/N] ").as_deref() {
        Some("y" | "Y" | "yes") => Ok(()),
        _ => Err(Error::Usage {
            message: format!(
                "nobody agreed to run {}",
                new.iter()
                    .map(|part| part.lock.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            hint: Some(format!(
                "look at it, then `pactown lock` writes it into `{NAME}`, or start with --trust"
            )),
        }),
    }
}
