//! This terminal as the terminal of a process elsewhere: raw, its size followed, restored at the end.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::termios::{OptionalActions, Termios};

/// The carrying; restores the terminal when it is finished or dropped.
pub(super) struct RawTerminal {
    before: Termios,
    output: Option<JoinHandle<()>>,
}

impl RawTerminal {
    /// Makes the terminal raw and carries bytes both ways between it and `master`.
    pub(super) fn start(master: OwnedFd) -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let (input, size) = (master.try_clone()?, master.try_clone()?);
        resize(&size);
        // The size follows this terminal's; the thread ends with the program.
        std::thread::spawn(move || follow_size(&size));
        std::thread::spawn(move || copy(&io::stdin(), &input));
        let output = std::thread::spawn(move || print(master));
        Ok(Self {
            before,
            output: Some(output),
        })
    }

    /// What the process wrote last is shown, then the terminal is as it was.
    pub(super) fn finish(mut self) {
        if let Some(output) = self.output.take() {
            let _ = output.join();
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn resize(master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout()) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

fn follow_size(master: &OwnedFd) {
    let _ = super::follow::block_on(async {
        let kind = tokio::signal::unix::SignalKind::window_change();
        if let Ok(mut changes) = tokio::signal::unix::signal(kind) {
            while changes.recv().await.is_some() {
                resize(master);
            }
        }
        Ok(())
    });
}

fn copy(from: &impl AsFd, to: &impl AsFd) {
    let mut buffer = [0; 4096];
    while let Ok(count) = rustix::io::read(from, &mut buffer) {
        if count == 0 || rustix::io::write(to, &buffer[..count]).is_err() {
            return;
        }
    }
}

/// Until the other side is closed, which a pty tells with EIO.
fn print(master: OwnedFd) {
    let mut master = std::fs::File::from(master);
    let mut buffer = [0; 4096];
    let mut stdout = io::stdout();
    while let Ok(count) = master.read(&mut buffer) {
        let shown = stdout.write_all(&buffer[..count]).and_then(|()| stdout.flush());
        if count == 0 || shown.is_err() {
            return;
        }
    }
}
