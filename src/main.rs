//! The `pactown` program: the roles that the keeper starts, and the command line.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The keeper clones processes: it must begin before any thread does.
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("__keeper") => keeper(&arguments[2..]),
        Some("__supervisor") => supervisor(&arguments[2..]),
        Some("__proxy") => with_the_keeper(proxy),
        Some("__forwarder") => with_the_keeper(|| forwarder(&arguments[2..])),
        _ => pactown::commands::main(),
    }
}

/// `__keeper DIRECTORY SUPERVISOR-ARGUMENT…`
fn keeper(arguments: &[OsString]) -> ExitCode {
    match arguments.split_first() {
        Some((directory, supervisor)) => {
            let logs = Path::new(pactown::instance::LOG_ROOT);
            pactown_runtime::keeper::run(Path::new(directory), supervisor.to_vec(), logs)
        }
        None => ExitCode::FAILURE,
    }
}

/// `__supervisor DIRECTORY READER-UID`
fn supervisor(arguments: &[OsString]) -> ExitCode {
    let reader = arguments.get(1).and_then(|uid| uid.to_str()?.parse().ok());
    match (arguments.first(), reader) {
        (Some(directory), Some(reader)) => pactown::supervisor::run(Path::new(directory), reader),
        _ => ExitCode::FAILURE,
    }
}

/// Runs a helper, which ends with the keeper, its parent, however that ends (PR_SET_PDEATHSIG of prctl(2)).
fn with_the_keeper(helper: impl FnOnce() -> ExitCode) -> ExitCode {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let armed = set_parent_process_death_signal(Some(Signal::KILL));
    // It may have ended before.
    let orphaned = getppid().is_none_or(|parent| parent.is_init());
    // What it needs of files is open already, but for what names are resolved by, which it may read.
    let confined = pactown_runtime::confine::confine(&[], &[]);
    match armed.is_ok() && !orphaned && confined.is_ok() {
        true => helper(),
        false => ExitCode::FAILURE,
    }
}

/// `__proxy`, with a listening socket as stdin and the file of its rules as stdout.
fn proxy() -> ExitCode {
    let sockets = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|socket| Ok((socket, std::io::stdout().as_fd().try_clone_to_owned()?)));
    let outcome = sockets.and_then(|(socket, talk)| pactown::proxy::run(socket.into(), talk.into()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// `__forwarder UPSTREAM…`, with a UDP socket as stdin and a listening TCP socket as stdout.
fn forwarder(arguments: &[OsString]) -> ExitCode {
    let upstreams: Vec<_> = arguments
        .iter()
        .filter_map(|address| address.to_str()?.parse().ok())
        .collect();
    let sockets = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|udp| Ok((udp, std::io::stdout().as_fd().try_clone_to_owned()?)));
    let outcome =
        sockets.and_then(|(udp, tcp)| pactown_netns::forwarder::run(udp.into(), tcp.into(), &upstreams));
    if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
