//! Network namespaces that a test makes for itself, by ip(8): hosts and networks of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sched::{CloneFlags, setns};

const DIRECTORY: &str = "/run/netns";

/// Whether this program was the first of the machine to use ip-netns(8), which then mounts its directory.
static FIRST: AtomicBool = AtomicBool::new(false);

/// A namespace, deleted on drop.
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    /// A new one, with `lo` up.
    pub(crate) fn new(name: &str) -> Self {
        if !is_mounted() {
            FIRST.store(true, Ordering::Relaxed);
        }
        let name = format!("{name}-{}", std::process::id());
        ip(&format!("netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name for ip(8).
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// ip(8) in it, which must succeed.
    #[track_caller]
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name));
    }

    /// Does something from inside.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path()).expect("the namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&file, CloneFlags::CLONE_NEWNET).expect("setns");
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
        let empty = fs::read_dir(DIRECTORY).is_ok_and(|mut entries| entries.next().is_none());
        if empty && FIRST.swap(false, Ordering::Relaxed) {
            let _ = nix::mount::umount2(DIRECTORY, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

/// ip(8), which must succeed.
#[track_caller]
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("ip");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {arguments}: {errors}");
}

fn is_mounted() -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(DIRECTORY))
}
