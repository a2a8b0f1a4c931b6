//! The same program bare: a plain process of an ordinary user, with the same layers in `/app` and the same environment,
//! but without seccomp, Landlock, user namespace, masks and control groups. What it is refused, the sandbox need not allow.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use super::denials;
use crate::support::observe::{children, eventually};
use crate::support::town::Town;

/// A root of its own over the host's, which stays as it is; `/app` as in the sandbox; then the user. Arguments: a
/// directory, the layers (`:` between them), and the command with its environment.
const SCRIPT: &str = r#"
set -e
bare=$1; layers=$2; shift 2
mkdir -p "$bare"/up "$bare"/work "$bare"/root "$bare"/app "$bare"/app-work
mount -t overlay overlay -o "lowerdir=/,upperdir=$bare/up,workdir=$bare/work" "$bare/root"
for place in sys dev; do mount --rbind "/$place" "$bare/root/$place"; done
mount -t proc proc "$bare/root/proc"
mkdir -p "$bare/root/app" "$bare/root/home/app"
mount -t overlay overlay -o "metacopy=on,lowerdir=$layers,upperdir=$bare/app,workdir=$bare/app-work" "$bare/root/app"
for place in tmp run var/tmp; do mount -t tmpfs tmpfs "$bare/root/$place"; done
chmod 1777 "$bare"/root/tmp "$bare"/root/var/tmp
chown 1000:1000 "$bare"/root/run "$bare"/root/home/app
chown -R 1000:1000 "$bare"/root/app
chmod 755 "$bare"/root/root
printf '127.0.0.1 localhost app peer\n' > "$bare/root/etc/hosts"
printf 'app:x:1000:1000:app:/home/app:/bin/sh\n' >> "$bare/root/etc/passwd"
ip link set lo up
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
chroot "$bare/root" setpriv --reuid 1000 --regid 1000 --clear-groups env -i -C /app "$@" &
wait $!
"#;

/// A bare program and the namespaces that end with it.
pub(super) struct Bare {
    unshare: Child,
    directory: PathBuf,
}

impl Bare {
    /// Starts what the spec of `service` says, held at its first instruction.
    pub(super) fn start(town: &Town, service: &str) -> Self {
        let spec: Value = serde_json::from_str(&town.ok(&["spec", service])).expect("spec");
        let directory = town.path().join("bare");
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                SCRIPT,
                "sh",
            ])
            .arg(&directory)
            .arg(layers(&spec))
            .args(words(&spec["process"]["env"]))
            .args(words(&spec["process"]["args"]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let unshare = command.spawn().expect("unshare");
        Self { unshare, directory }
    }

    fn init(&self) -> Option<i32> {
        children(i32::try_from(self.unshare.id()).expect("a pid"))
            .first()
            .copied()
    }

    /// The process that waits for its tracer.
    pub(super) fn held(&self) -> i32 {
        let mut held = None;
        eventually("the bare program waits", Duration::from_secs(20), || {
            held = self.init().and_then(|init| denials::held(&children(init)));
            held.is_some()
        });
        held.expect("a process")
    }

    /// Runs `work` on a thread in its network namespace.
    pub(super) fn inside_its_network(&self, work: impl FnOnce() + Send) {
        let init = self.init().expect("it runs");
        let network = File::open(format!("/proc/{init}/ns/net")).expect("namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(network, CloneFlags::CLONE_NEWNET).expect("setns");
                work();
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// Whether it has not ended.
    pub(super) fn lives(&self) -> bool {
        self.init().is_some_and(|init| !children(init).is_empty())
    }

    /// Until it has ended by itself.
    pub(super) fn wait(&self) {
        eventually("the bare program ends", Duration::from_secs(600), || {
            !self.lives()
        });
    }

    /// What it wrote to `/app`.
    pub(super) fn app(&self) -> PathBuf {
        self.directory.join("app")
    }
}

impl Drop for Bare {
    /// Its namespaces and all in them end with it.
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn layers(spec: &Value) -> String {
    let mounts = spec["mounts"].as_array().expect("mounts");
    let overlay = mounts
        .iter()
        .find(|mount| mount["destination"] == "/app")
        .expect("/app");
    let options = words(&overlay["options"]);
    let lower = options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    lower.expect("layers").to_owned()
}

fn words(list: &Value) -> Vec<String> {
    let word = |word: &Value| word.as_str().expect("a word").to_owned();
    list.as_array().expect("a list").iter().map(word).collect()
}
