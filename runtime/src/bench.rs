//! What `benches/launch.rs` compares with: the least that the kernel asks for a process in namespaces of its own.
//! No part of the product.

use std::ffi::CStr;
use std::io;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys::{self, Cloned};

/// Runs a program in all seven new namespaces, with nothing set up in them, and waits for its end.
/// Only for programs with one thread.
///
/// # Errors
/// What the kernel says; or an end other than exit code 0.
pub fn bare(program: &CStr) -> io::Result<()> {
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    match sys::clone3(flags, None)? {
        Cloned::Child => {
            let _ = nix::unistd::execve(program, &[program], &[c"PATH=/usr/bin:/bin"]);
            sys::exit_now(127)
        }
        Cloned::Parent(pid, _pidfd) => match waitpid(Pid::from_raw(pid), None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(io::Error::other(format!("{other:?}"))),
        },
    }
}
