//! User namespaces, made by a short-lived holder and kept as a descriptor. Used for sandboxes and for id-mapped mounts.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::runtime::LinuxIdMapping;

use crate::error::{During, Result};
use crate::layer::Layer;
use crate::sys::{self, Cloned};

/// Makes a user namespace with these maps. No process stays in it; it lives as long as the descriptor.
/// Nested user namespaces are closed in it: `user.max_user_namespaces` is 0 (user_namespaces(7), namespaces(7)).
pub fn create(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd> {
    let (ready, mut go) =
        std::io::pipe().during(|| "make a pipe for the user namespace's holder".to_owned())?;
    match sys::clone3(libc::CLONE_NEWUSER, None).during(|| "create a user namespace".to_owned())? {
        Cloned::Child => {
            drop(go);
            hold(ready)
        }
        Cloned::Parent(pid, _pidfd) => {
            drop(ready);
            let namespace = write_maps(pid, uids, gids);
            // The holder writes its sysctl only after the maps exist: before, it has no id to do so with.
            let told = namespace.is_ok() && go.write_all(b"1").is_ok();
            drop(go);
            let status = waitpid(Pid::from_raw(pid), None)
                .during(|| "wait for the user namespace's holder".to_owned())?;
            let closed = told && status == nix::sys::wait::WaitStatus::Exited(Pid::from_raw(pid), 0);
            match namespace {
                Ok(_) if !closed => Err(std::io::Error::other(format!("{status:?}")))
                    .during(|| "close nested user namespaces (`user.max_user_namespaces`)".to_owned()),
                other => other,
            }
        }
    }
}

/// The holder's life: wait for the maps, forbid nested namespaces, end. System calls only, on success and on failure:
/// neither a short path nor an OS error allocates, so it may be made in a process with threads.
fn hold(mut ready: std::io::PipeReader) -> ! {
    let mut byte = [0];
    let mapped = ready.read_exact(&mut byte).is_ok();
    let closed =
        mapped && (Layer::Nested.is_off() || fs::write("/proc/sys/user/max_user_namespaces", "0").is_ok());
    sys::exit_now(i32::from(!closed))
}

fn write_maps(pid: i32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd> {
    let namespace =
        fs::File::open(format!("/proc/{pid}/ns/user")).during(|| "open the new user namespace".to_owned())?;
    fs::write(format!("/proc/{pid}/uid_map"), lines(uids))
        .during(|| format!("write the uid map `{}`", lines(uids).trim()))?;
    fs::write(format!("/proc/{pid}/gid_map"), lines(gids))
        .during(|| format!("write the gid map `{}`", lines(gids).trim()))?;
    Ok(namespace.into())
}

/// The maps as the kernel reads them: `inside outside count`, a line each (at most 340).
pub(crate) fn lines(mappings: &[LinuxIdMapping]) -> String {
    mappings
        .iter()
        .map(|m| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size()))
        .collect()
}
