//! What health checks ask inside one sandbox and hear from it: commands (over a keeper connection of their own, so that
//! giving up ends the command), its log, and its sd_notify socket. What the answers mean is decided in
//! [`crate::health`].

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oci_spec::runtime::{Process, ProcessBuilder};
use pactown_runtime::client::Client;
use pactown_runtime::protocol::{Call, ExitStatus, What};

use super::inbox::Ear;
use crate::health::Inside;
use crate::logs::{self, Follower, Line, Stopper, Stream};

/// One run of one sandbox.
pub(super) struct Contact {
    socket: PathBuf,
    sandbox: String,
    log: PathBuf,
    ear: Option<Arc<Ear>>,
}

impl Contact {
    /// The present run of `sandbox` of the keeper at `socket`, which writes to `log`.
    pub(super) fn new(socket: &Path, sandbox: &str, log: PathBuf, ear: Option<Arc<Ear>>) -> Self {
        Self {
            socket: socket.to_owned(),
            sandbox: sandbox.to_owned(),
            log,
            ear,
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

impl Inside for Contact {
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

    async fn logged(&self, text: &str) -> Result<(), String> {
        wait_for_line(&self.log, text).await
    }

    async fn notified(&self) -> Result<(), String> {
        let ear = self.ear.as_ref().ok_or("it has no socket")?;
        ear.inbox().await?.ready().await;
        Ok(())
    }

    async fn silent(&self, limit: Duration) -> String {
        if let Some(ear) = &self.ear
            && let Ok(inbox) = ear.inbox().await
        {
            return inbox.silent(limit).await;
        }
        // Not the service's fault: nothing is known against it.
        std::future::pending().await
    }

    fn said(&self) -> Option<String> {
        self.ear.as_ref()?.status()
    }
}

/// Ends the follower when nobody waits for it any more.
struct Listening(Stopper);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Waits until a line of the last run in `log` contains `text`.
async fn wait_for_line(log: &Path, text: &str) -> Result<(), String> {
    // Followed first and read second: no line falls between.
    let mut follower = Follower::new(std::slice::from_ref(&log.to_owned()))
        .map_err(|error| format!("its log cannot be followed: {error}"))?;
    let stopper = follower.stopper();
    let _listening = Listening(stopper.clone());
    let (log, text) = (log.to_owned(), text.to_owned());
    let looked = tokio::task::spawn_blocking(move || {
        if logs::last_run_has(&log, |line| is_wanted(line, &text))? {
            return Ok(true);
        }
        let mut found = false;
        follower.run(&mut |_, line| {
            if !found && is_wanted(&line, &text) {
                found = true;
                stopper.stop();
            }
        })?;
        Ok::<_, std::io::Error>(found)
    });
    match looked.await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err("its log ended".to_owned()),
        Ok(Err(error)) => Err(format!("its log cannot be read: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

fn is_wanted(line: &Line, text: &str) -> bool {
    line.stream != Stream::System && line.text().contains(text)
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn only_a_line_of_the_present_run_counts() {
        let log = std::env::temp_dir()
            .join(format!("pactown-probe-{}", std::process::id()))
            .join("current.log");
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        let old = "T system F starting\nT stdout F ready\nT system F starting\nT system F ready\n";
        fs::write(&log, old).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let wait = wait_for_line(&log, "ready");
            tokio::pin!(wait);
            let early = tokio::time::timeout(Duration::from_millis(100), &mut wait).await;
            assert!(early.is_err(), "it was the run before, and the keeper");
            let mut file = File::options().append(true).open(&log).unwrap();
            file.write_all(b"T stdout P now re\nT stderr F no\nT stdout F ady\n")
                .unwrap();
            wait.await.unwrap();
            wait_for_line(&log, "now ready").await.unwrap();
        });
        fs::remove_dir_all(log.parent().unwrap()).unwrap();
    }
}
