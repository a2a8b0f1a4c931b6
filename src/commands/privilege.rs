//! Commands that make or change sandboxes need root: an ordinary user's command asks `sudo` for it and goes on there.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::error::Error;

/// Variables that keep their meaning for the command under `sudo`.
const KEPT: &str = "NO_COLOR,CLICOLOR_FORCE,PATH,LANG,LC_ALL,TZ,GITHUB_ACTIONS";

/// Returns when this process is root's. Otherwise becomes `sudo` with the same command.
///
/// # Errors
/// There is no `sudo`.
pub(super) fn require_root() -> Result<(), Error> {
    if nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|error| refused(&error.to_string()))?;
    let mut command = Command::new("sudo");
    command
        .arg(format!("--preserve-env={KEPT}"))
        .arg("--")
        .arg(program)
        .args(std::env::args_os().skip(1));
    // Only returns when it cannot become sudo.
    let error = command.exec();
    Err(refused(&error.to_string()))
}

fn refused(cause: &str) -> Error {
    Error::Environment {
        message: format!("pactown needs root to make namespaces, and cannot ask sudo for it ({cause})"),
        hint: Some("run the command as root".to_owned()),
    }
}
