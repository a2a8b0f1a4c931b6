//! Health probes that run a command inside: a keeper connection of their own, so that giving up ends the command.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, ProcessBuilder};
use pactown_runtime::client::Client;
use pactown_runtime::protocol::{Call, ExitStatus, What};

use crate::health::Inside;

/// Runs commands in one sandbox.
pub(super) struct Commands {
    socket: PathBuf,
    sandbox: String,
}

impl Commands {
    /// Commands for `sandbox` of the keeper at `socket`.
    pub(super) fn new(socket: &Path, sandbox: &str) -> Self {
        Self {
            socket: socket.to_owned(),
            sandbox: sandbox.to_owned(),
        }
    }
}

/// Ends the command when the probe is given up.
struct Hangup(Client);

impl Drop for Hangup {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Inside for Commands {
    async fn run(&self, command: &[String]) -> Result<(), String> {
        let client = Client::connect(&self.socket).map_err(|error| error.to_string())?;
        let connection = Hangup(client.clone());
        let process = process(command)?;
        let sandbox = self.sandbox.clone();
        let ended = tokio::task::spawn_blocking(move || execute(&client, sandbox, process)).await;
        drop(connection);
        match ended.map_err(|error| error.to_string())?? {
            ExitStatus::Code(0) => Ok(()),
            ExitStatus::Code(code) => Err(format!("exited with code {code}")),
            ExitStatus::Signal(signal) => Err(format!("was ended by signal {signal}")),
            ExitStatus::Unknown => Err("was ended from outside".to_owned()),
        }
    }
}

fn process(command: &[String]) -> Result<Process, String> {
    ProcessBuilder::default()
        .args(command.to_vec())
        .env(Vec::new())
        .cwd("/")
        .build()
        .map_err(|error| error.to_string())
}

fn execute(client: &Client, id: String, process: Process) -> Result<ExitStatus, String> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| error.to_string())?;
    let process = Box::new(process);
    client
        .send(
            Call::Exec { id, process },
            &[null.as_fd(), null.as_fd(), null.as_fd()],
        )
        .map_err(|error| error.to_string())?;
    while let Some((event, _)) = client.receive().map_err(|error| error.to_string())? {
        match event.what {
            What::ExecExited { status } => return Ok(status),
            What::Failed { step, causes, .. } => return Err(format!("cannot {step}: {}", causes.join(": "))),
            _ => {}
        }
    }
    Err("the keeper is gone".to_owned())
}
