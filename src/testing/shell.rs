//! One command of a test: a process of its own in a running sandbox, held as the service is. What it writes is kept,
//! and it ends with its time, with the test run, or when nobody waits for it any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::{Process, ProcessBuilder};
use pactown_runtime::client::Client;
use pactown_runtime::protocol::{Call, ExitStatus, What};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::sleep;

use super::judge::Values;
use crate::markpact::test_case::ShellTest;

/// How much of the output is kept, in bytes: its end.
const KEPT: usize = 64 * 1024;

/// What came of a command.
#[derive(Debug)]
pub(super) struct Ended {
    /// `None`: time was up.
    pub(super) status: Option<ExitStatus>,
    /// What it wrote to both of its outputs.
    pub(super) output: String,
}

/// Ends the command when the test is given up.
struct Hangup(Client);

impl Drop for Hangup {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Runs the command in `sandbox` of the keeper at `socket`, with `values` in its environment.
///
/// # Errors
/// It cannot be started; why.
pub(super) async fn run(
    socket: &Path,
    sandbox: &str,
    test: &ShellTest,
    values: &Values,
    limit: Duration,
) -> Result<Ended, String> {
    let words = |error: io::Error| error.to_string();
    let client = Client::connect(socket).map_err(|_| "the ecosystem is not running".to_owned())?;
    let _connection = Hangup(client.clone());
    let (sender, mut receiver) = pipe::pipe().map_err(words)?;
    let sender = sender.into_blocking_fd().map_err(words)?;
    let (sandbox, process) = (sandbox.to_owned(), process(test, values)?);
    let ending = tokio::task::spawn_blocking(move || execute(&client, sandbox, process, sender));
    let mut output = Vec::new();
    let ended = {
        let reading = read(&mut receiver, &mut output);
        tokio::select! {
            ended = ending => Some(ended),
            () = async { reading.await; std::future::pending().await } => None,
            () = sleep(limit) => None,
        }
    };
    let status = match ended {
        Some(ended) => Some(ended.map_err(|error| error.to_string())??),
        None => None,
    };
    // What was written before its end is in the pipe by now; whoever else holds it is not waited for.
    drain(&receiver, &mut output);
    Ok(Ended {
        status,
        output: String::from_utf8_lossy(&output).into_owned(),
    })
}

/// Keeps the end of what comes, until nobody can write any more.
async fn read(receiver: &mut pipe::Receiver, output: &mut Vec<u8>) {
    let mut chunk = [0; 8192];
    while let Ok(count @ 1..) = receiver.read(&mut chunk).await {
        output.extend_from_slice(&chunk[..count]);
        if output.len() > 2 * KEPT {
            output.drain(..output.len() - KEPT);
        }
    }
}

/// What is in the pipe.
fn drain(receiver: &pipe::Receiver, output: &mut Vec<u8>) {
    let mut chunk = [0; 8192];
    while let Ok(count @ 1..) = receiver.try_read(&mut chunk) {
        output.extend_from_slice(&chunk[..count]);
    }
}

fn process(test: &ShellTest, values: &Values) -> Result<Process, String> {
    let assignment = |(name, value): (&String, &String)| format!("{name}={value}");
    ProcessBuilder::default()
        .args(vec![test.shell.clone(), "-c".to_owned(), test.command.clone()])
        .env(values.iter().map(assignment).collect::<Vec<_>>())
        .cwd("/")
        .build()
        .map_err(|error| error.to_string())
}

fn execute(client: &Client, id: String, process: Process, output: OwnedFd) -> Result<ExitStatus, String> {
    let words = |error: io::Error| error.to_string();
    let null = File::open("/dev/null").map_err(words)?;
    let process = Box::new(process);
    client
        .send(
            Call::Exec { id, process },
            &[null.as_fd(), output.as_fd(), output.as_fd()],
        )
        .map_err(words)?;
    // The command's own is the last one: its end is the end of the output.
    drop(output);
    while let Some((event, _)) = client.receive().map_err(words)? {
        match event.what {
            What::ExecExited { status } => return Ok(status),
            What::Failed { step, causes, .. } => return Err(format!("cannot {step}: {}", causes.join(": "))),
            _ => {}
        }
    }
    Err("the keeper is gone".to_owned())
}
