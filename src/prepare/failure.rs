//! What to say when preparation fails: the installer's own last lines and the README's line.

use std::path::PathBuf;

use pactown_runtime::protocol::ExitStatus;

use super::layers::LayerError;
use super::{Content, LayerPlan, RunnerError, python};
use crate::proxy::Contact;
use crate::toolchain::Missing;

/// Lines of an installer that are kept for the message.
pub(super) const TAIL: usize = 20;

/// A layer that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The installer ended with an error: the README's fault, or the network's.
    #[error("{}:{line}: {what} failed ({})", .readme.display(), ended(.status))]
    Install {
        /// The README.
        readme: PathBuf,
        /// The line of the requirement that failed, or of the first one.
        line: usize,
        /// What was being done: `installing` that requirement or the language's dependencies, `setting up`.
        what: String,
        /// How the installer ended.
        status: ExitStatus,
        /// Its last lines.
        tail: Vec<String>,
        /// What to do, where that is known.
        hint: Option<String>,
    },
    /// A toolchain is not there.
    #[error("{missing}")]
    Missing {
        /// Which one.
        missing: Missing,
    },
    /// Nothing may be fetched, and the layer is not in the cache.
    #[error("the {kind} dependencies are not in the cache: {what}")]
    NotCached {
        /// Which layer.
        kind: &'static str,
        /// What is in it.
        what: String,
    },
    /// The toolchain is not the one that the lock names.
    #[error(
        "`{}` has {language} {wanted}, and this machine has {present}",
        crate::lockfile::NAME
    )]
    Toolchain {
        /// Whose toolchain.
        language: crate::lockfile::Language,
        /// The version in the lock.
        wanted: String,
        /// The version here.
        present: String,
    },
    /// What was installed cannot be written down.
    #[error("the {kind} dependencies cannot be locked: {cause}")]
    Unresolved {
        /// Which layer.
        kind: &'static str,
        /// Why not.
        cause: String,
    },
    /// The store of layers could not be used.
    #[error("cannot make the {kind} layer")]
    Layer {
        /// Which layer.
        kind: &'static str,
        /// Which step.
        #[source]
        source: LayerError,
    },
    /// The build sandbox could not be made.
    #[error("cannot run the build sandbox of the {kind} layer")]
    Sandbox {
        /// Which layer.
        kind: &'static str,
        /// Why not.
        #[source]
        source: RunnerError,
    },
}

impl From<Missing> for PrepareError {
    fn from(missing: Missing) -> Self {
        Self::Missing { missing }
    }
}

impl PrepareError {
    /// Lines to print below the message.
    pub fn details(&self) -> &[String] {
        match self {
            Self::Install { tail, .. } => tail,
            _ => &[],
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Install { hint, .. } => hint.as_deref(),
            Self::Missing { missing } => Some(missing.remedy),
            Self::NotCached { .. } => Some("run it once without `--offline`"),
            Self::Toolchain { .. } => {
                Some("install that version, or renew the lock with `pactown lock --update`")
            }
            _ => None,
        }
    }
}

fn ended(status: &ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(9) => "killed, perhaps out of memory".to_owned(),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
        ExitStatus::Unknown => "it was ended from outside".to_owned(),
    }
}

/// The failure of `plan`'s installer, whose last lines are `tail`.
pub(super) fn install(
    plan: &LayerPlan,
    readme: PathBuf,
    status: ExitStatus,
    tail: Vec<String>,
    denied: &[&Contact],
) -> PrepareError {
    let wanted = plan.requirements();
    let culprit = culprit(wanted, &tail);
    let (line, what) = match (&plan.content, culprit) {
        (Content::Setup(_), _) => (plan.line(), "setting up".to_owned()),
        (Content::Build(_), _) => (plan.line(), "building".to_owned()),
        (_, Some((line, name))) => (*line, format!("installing `{name}`")),
        (_, None) => (
            plan.line(),
            format!("installing the {} dependencies", plan.kind()),
        ),
    };
    let said = tail.join("\n");
    PrepareError::Install {
        readme,
        line,
        what,
        status,
        tail,
        hint: refused(denied)
            .or_else(|| lacking(&said))
            .or_else(|| hint(plan, status)),
    }
}

/// What to do about hosts that the build wanted and was refused.
fn refused(denied: &[&Contact]) -> Option<String> {
    let hosts: Vec<String> = denied
        .iter()
        .map(|contact| match contact.port {
            80 | 443 => contact.host.clone(),
            port => format!("{}:{port}", contact.host),
        })
        .collect();
    (!hosts.is_empty()).then(|| {
        format!(
            "its build asked for {}, where no packages come from; `build_hosts: [{}]` of the service allows it",
            hosts.join(", "),
            hosts.join(", ")
        )
    })
}

/// The failure of `plan`, of which nothing is there and nothing may be fetched.
pub(super) fn not_cached(plan: &LayerPlan) -> PrepareError {
    PrepareError::NotCached {
        kind: plan.kind(),
        what: plan.summary(),
    }
}

/// Which package of the distribution has what a compiler or an installer missed.
fn lacking(said: &str) -> Option<String> {
    const WORDS: [(&str, &str); 6] = [
        ("linker `cc` not found", "gcc libc6-dev"),
        ("executable file not found in $PATH: gcc", "gcc libc6-dev"),
        ("exec: \"gcc\": executable file not found", "gcc libc6-dev"),
        ("the zip extension and unzip", "unzip"),
        ("requires ext-mbstring", "php-mbstring"),
        ("requires ext-dom", "php-xml"),
    ];
    let found = WORDS.iter().find(|(word, _)| said.contains(word));
    found.map(|(_, packages)| format!("install what it needs: `apt install {packages}`"))
}

fn hint(plan: &LayerPlan, status: ExitStatus) -> Option<String> {
    match (&plan.content, status) {
        (Content::Python { python, .. }, ExitStatus::Code(python::NO_PIP)) => {
            let name = python.program.file_name()?.to_string_lossy().into_owned();
            Some(format!("install pip for it: `apt install {name}-venv`"))
        }
        _ if plan.locked().is_some() => Some(format!(
            "`{}` decides what is installed; `pactown lock --update` resolves it anew",
            crate::lockfile::NAME
        )),
        _ => None,
    }
}

/// The requirement that the last complaint names; the lines are looked at from the end.
fn culprit<'a>(wanted: &'a [(usize, String)], tail: &[String]) -> Option<&'a (usize, String)> {
    let complains = |line: &str| {
        let line = line.to_ascii_lowercase();
        ["error", "err!", "no matching", "404", "not found", "failed"]
            .iter()
            .any(|word| line.contains(word))
    };
    tail.iter().rev().filter(|line| complains(line)).find_map(|line| {
        let words: Vec<String> = line.split(|c: char| !is_name(c)).map(normal).collect();
        wanted
            .iter()
            .find(|(_, requirement)| words.contains(&normal(name(requirement))))
    })
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.@/".contains(c)
}

/// The package of a requirement: `flask` of `Flask[async]>=2 ; …`, `@scope/x` of `@scope/x@^1`.
fn name(requirement: &str) -> &str {
    let start = usize::from(requirement.starts_with('@'));
    let end = requirement[start..]
        .find(|c: char| " \t<>=!~;[@^,:".contains(c))
        .map_or(requirement.len(), |end| start + end);
    &requirement[..end]
}

/// Python's names are the same with `-`, `_` and `.` (PEP 503); npm's `name@version` in messages is the name.
fn normal(name: &str) -> String {
    let end = name
        .char_indices()
        .skip(1)
        .find(|(_, c)| *c == '@')
        .map_or(name.len(), |(end, _)| end);
    name[..end]
        .trim_end_matches(['.', '-'])
        .to_ascii_lowercase()
        .replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wanted: &[&str], tail: &[&str]) -> Option<usize> {
        let wanted: Vec<_> = wanted
            .iter()
            .enumerate()
            .map(|(line, name)| (line, (*name).to_owned()))
            .collect();
        let tail: Vec<_> = tail.iter().map(|line| (*line).to_owned()).collect();
        culprit(&wanted, &tail).map(|(line, _)| *line)
    }

    #[test]
    fn the_requirement_that_the_installer_names_is_found() {
        let pip = [
            "Collecting flask",
            "ERROR: Could not find a version that satisfies the requirement no_such.pkg==9 (from versions: none)",
            "ERROR: No matching distribution found for no_such.pkg==9",
        ];
        assert_eq!(found(&["flask>=2", "no-such-pkg==9"], &pip), Some(1));
        let npm = [
            "npm error code ETARGET",
            "npm error notarget No matching version found for express@99.0.0.",
        ];
        assert_eq!(found(&["left-pad", "express@99.0.0"], &npm), Some(1));
        let scoped = ["npm error 404  '@none/such@1' is not in this registry."];
        assert_eq!(found(&["a", "@none/such@1"], &scoped), Some(1));
        assert_eq!(found(&["flask"], &["error: subprocess-exited-with-error"]), None);
    }
}
