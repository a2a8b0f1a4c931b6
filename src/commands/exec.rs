//! `exec`: one more process in a running sandbox, with this terminal or these pipes; or a README as a one-off job.

use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, ProcessBuilder};
use pactown_runtime::client::Client;
use pactown_runtime::error::FailureKind;
use pactown_runtime::protocol::{Call, ExitStatus, What};

use super::terminal::RawTerminal;
use super::{Context, privilege, run, wish};
use crate::cli;
use crate::config::ecosystem::{UnitName, replica_number, unit_name};
use crate::error::Error;
use crate::instance::Instance;
use crate::state;

pub(super) fn run(context: &Context, arguments: &cli::ExecArguments) -> Result<(), Error> {
    if is_readme(&arguments.service) {
        if arguments.command.is_empty() {
            return run::job(context, Path::new(&arguments.service));
        }
        return Err(Error::Usage {
            message: format!(
                "'{}' is a README, and a README takes no command",
                arguments.service
            ),
            hint: Some("name a running service, or leave the command away".to_owned()),
        });
    }
    privilege::require_root()?;
    let (instance, _) = wish::instance(context, None)?;
    let command = Command {
        words: arguments.command.clone(),
        env: arguments.env.clone(),
        directory: arguments.workdir.clone().unwrap_or_else(|| "/".into()),
        no_tty: arguments.no_tty,
    };
    inside(&instance, &arguments.service, command)
}

/// What is to run.
pub(super) struct Command {
    /// The program and its arguments; none: a shell.
    pub(super) words: Vec<String>,
    /// Variables besides the service's own, as `NAME=VALUE`.
    pub(super) env: Vec<String>,
    /// Where; `/` is the service's own directory.
    pub(super) directory: PathBuf,
    /// This terminal is not for it.
    pub(super) no_tty: bool,
}

/// Runs the command in the sandbox of `service`, and ends as it does.
///
/// # Errors
/// Nothing runs, the command cannot be started, or its exit code.
pub(super) fn inside(instance: &Instance, service: &str, command: Command) -> Result<(), Error> {
    let client = Client::connect(&instance.keeper_socket())
        .map_err(|_| Error::Failed("the ecosystem is not running".to_owned()))?;
    let terminal = !command.no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let call = Call::Exec {
        id: sandbox(instance, service),
        process: Box::new(process(command, terminal)?),
    };
    let sent = if terminal {
        client.send(call, &[])
    } else {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        client.send(call, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
    };
    sent.map_err(|error| Error::Failed(format!("the keeper cannot be reached: {error}")))?;
    let status = attend(&client)?;
    match status.code() {
        0 => Ok(()),
        code => Err(Error::Child(code)),
    }
}

/// The sandbox that a name means: of a service with replicas the first that runs. Asked of the records: a command must
/// work though no supervisor does.
fn sandbox(instance: &Instance, name: &str) -> UnitName {
    let records = state::services(instance);
    let running = records.iter().filter(|record| record.process.is_some());
    let names: Vec<&str> = running.map(|record| record.name.as_str()).collect();
    if names.contains(&name) {
        return name.to_owned();
    }
    let numbered = names.iter().filter_map(|unit| replica_number(name, unit));
    unit_name(name, numbered.min())
}

/// A path that exists, or that ends as READMEs do.
fn is_readme(text: &str) -> bool {
    let path = Path::new(text);
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
        || path.is_file()
}

fn process(command: Command, terminal: bool) -> Result<Process, Error> {
    let Command {
        mut words, mut env, ..
    } = command;
    if words.is_empty() {
        words.push("/bin/sh".to_owned());
    }
    if terminal && let Ok(term) = std::env::var("TERM") {
        env.push(format!("TERM={term}"));
    }
    ProcessBuilder::default()
        .args(words)
        .env(env)
        .cwd(command.directory)
        .terminal(terminal)
        .build()
        .map_err(|error| Error::Usage {
            message: error.to_string(),
            hint: None,
        })
}

/// Waits for the process; carries the terminal to and fro when it has one.
fn attend(client: &Client) -> Result<ExitStatus, Error> {
    let mut session = None;
    let lost = |cause: String| Error::Failed(format!("the connection to the keeper was lost: {cause}"));
    while let Some((event, descriptors)) = client.receive().map_err(|error| lost(error.to_string()))? {
        match event.what {
            What::ExecStarted { .. } => session = descriptors.into_iter().next().map(carry).transpose()?,
            What::ExecExited { status } => {
                if let Some(session) = session {
                    session.finish();
                }
                return Ok(status);
            }
            What::Failed { step, causes, kind } => return Err(failure(&step, &causes, kind)),
            _ => {}
        }
    }
    Err(lost("it is gone".to_owned()))
}

fn carry(master: OwnedFd) -> Result<RawTerminal, Error> {
    RawTerminal::start(master).map_err(|source| Error::Internal {
        message: "cannot use this terminal".to_owned(),
        source: Some(Box::new(source)),
    })
}

/// Shells' codes for a command that does not exist or cannot be executed.
fn failure(step: &str, causes: &[String], kind: FailureKind) -> Error {
    let message = format!("cannot {step}: {}", causes.join(": "));
    match kind {
        FailureKind::NotFound => Error::Command { message, code: 127 },
        FailureKind::NotExecutable => Error::Command { message, code: 126 },
        FailureKind::Environment => Error::Environment { message, hint: None },
        FailureKind::Request => Error::Failed(message),
    }
}
