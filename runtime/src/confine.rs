//! What a helper of pactown's own gives up once it is there: nobody outside takes it away, and nothing that it reads should
//! be able to use it. For the calling thread and what it makes from then on; the helper has no other thread yet.

use std::path::Path;

pub use caps::Capability;
use caps::{CapSet, CapsHashSet};
use oci_spec::runtime::{LinuxSeccompAction, LinuxSeccompBuilder, LinuxSyscallBuilder};

use crate::error::{During, Failure, FailureKind, Result};
use crate::landlock::Rules;
use crate::seccomp::Filter;
use crate::sys;

/// Calls by which a process becomes another program, gets into others, or to other namespaces, mounts, keys and modules.
/// What is left are files, sockets and memory.
const REFUSED: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "chroot",
    "delete_module",
    "execve",
    "execveat",
    "finit_module",
    "fsopen",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "personality",
    "pidfd_getfd",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "reboot",
    "request_key",
    "setns",
    "swapoff",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
];

/// No program can be started, no privilege is left but `keep`, and files can be written below `writable` alone. A path that
/// is not there grants nothing.
///
/// # Errors
/// A step that the kernel knows failed. Landlock is left out where the kernel has none, as in sandboxes.
pub fn confine(writable: &[&Path], keep: &[Capability]) -> Result<()> {
    give_up_capabilities(&keep.iter().copied().collect())?;
    rustix::thread::set_no_new_privs(true).during(|| "set no_new_privs".to_owned())?;
    if let Some(domain) = Rules::writing_below(writable).prepare()? {
        use std::os::fd::AsFd;
        sys::landlock_restrict(domain.as_fd()).during(|| "enter the Landlock domain".to_owned())?;
    }
    filter()?.load().during(|| "load the seccomp filter".to_owned())
}

/// Also those that a program which it starts could get: the bounding set, which takes CAP_SETPCAP to empty.
fn give_up_capabilities(keep: &CapsHashSet) -> Result<()> {
    let has = |set| caps::read(None, set).during(|| "read the capabilities".to_owned());
    if has(CapSet::Effective)?.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::runtime::thread_all_supported().difference(keep) {
            caps::drop(None, CapSet::Bounding, *capability).during(|| "empty the bounding set".to_owned())?;
        }
    }
    let left: CapsHashSet = has(CapSet::Permitted)?.intersection(keep).copied().collect();
    caps::clear(None, CapSet::Ambient).during(|| "empty the ambient set".to_owned())?;
    let sets = [
        (CapSet::Inheritable, &CapsHashSet::new()),
        (CapSet::Effective, &left),
        (CapSet::Permitted, &left),
    ];
    sets.into_iter().try_for_each(|(set, kept)| {
        caps::set(None, set, kept).during(|| "give up the capabilities".to_owned())
    })
}

fn filter() -> Result<Filter> {
    let built = |error: oci_spec::OciSpecError| {
        Failure::new(
            FailureKind::Environment,
            "make the seccomp profile",
            error.to_string(),
        )
    };
    let names: Vec<String> = REFUSED.iter().map(|name| (*name).to_owned()).collect();
    let refused = LinuxSyscallBuilder::default()
        .names(names)
        .action(LinuxSeccompAction::ScmpActErrno)
        .build()
        .map_err(built)?;
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .syscalls(vec![refused])
        .build()
        .map_err(built)?;
    Filter::compile(&profile)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_is_named_can_be_written_and_no_program_started() {
        let place = std::env::temp_dir().join(format!("pactown-confine-{}", std::process::id()));
        let (open, shut) = (place.join("open"), place.join("shut"));
        for directory in [&open, &shut] {
            fs::create_dir_all(directory).unwrap();
        }
        // A thread of its own is confined, and ends.
        let outcome = std::thread::scope(|scope| {
            let confined = scope.spawn(|| {
                confine(&[&open], &[]).unwrap();
                let status = fs::read_to_string("/proc/thread-self/status").unwrap();
                let program = std::process::Command::new("true").status();
                let landlock = crate::landlock::version().is_ok();
                (
                    fs::write(open.join("file"), "x").is_ok(),
                    fs::write(shut.join("file"), "x").is_err() || !landlock,
                    program.is_err(),
                    status,
                )
            });
            confined.join().unwrap()
        });
        fs::remove_dir_all(&place).unwrap();
        let (may, may_not, no_program, status) = outcome;
        assert!(may && may_not && no_program);
        for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.contains(line), "{line}\n{status}");
        }
    }
}
