//! A keeper of the test's own, and specs for it. Runs the `keeper` example; looks at the kernel, not at our own state.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Process, Spec};
use pactown_runtime::client::Client;
use pactown_runtime::error::Failure;
use pactown_runtime::protocol::{Call, ExitRecord, ExitStatus, LogFile, What};
use serde_json::json;

/// First host id of the tests' ranges, below every range of the product's.
const IDS: u32 = 1_900_000_000;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A keeper in a directory of its own; everything ends with it.
pub(crate) struct House {
    pub(crate) directory: PathBuf,
    pub(crate) client: Client,
    number: u32,
}

impl House {
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::Uid::effective().is_root(),
            "these tests make sandboxes: run them as root"
        );
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = PathBuf::from(format!(
            "/var/tmp/pactown-runtime-test-{}-{number}",
            std::process::id()
        ));
        fs::create_dir_all(&directory).expect("directory");
        let status = Command::new(program())
            .arg("__spawn")
            .arg(&directory)
            .status()
            .expect("keeper example");
        assert!(status.success());
        let client = Client::connect(&directory.join("keeper.sock")).expect("connect");
        client.call(Call::Subscribe, &[]).expect("subscribe");
        Self {
            directory,
            client,
            number,
        }
    }

    /// Host id of id 0 inside.
    pub(crate) fn base(&self) -> u32 {
        IDS + self.number * 65_536
    }

    /// Path of the cgroup of all sandboxes, relative to a hierarchy's root.
    fn group(&self) -> String {
        format!("pactown-runtime-test-{}-{}", std::process::id(), self.number)
    }

    /// Path of the cgroup of a sandbox, relative to a hierarchy's root.
    pub(crate) fn cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.group())
    }

    /// The directories of that cgroup that exist: in the one hierarchy of v2, or in those of v1.
    pub(crate) fn groups(&self, id: &str) -> Vec<PathBuf> {
        existing(&self.cgroup(id))
    }

    /// A spec that runs a shell script as uid 1000, with everything that the product asks for.
    pub(crate) fn spec(&self, id: &str, script: &str) -> Spec {
        let map = json!([{ "containerID": 0, "hostID": self.base(), "size": 65_536 }]);
        let bind = |path: &str| json!({ "destination": path, "type": "bind", "source": path, "options": ["rbind", "ro", "nosuid", "nodev"] });
        let files = self.directory.join(format!("{id}.files"));
        for part in ["lower", "data/upper", "data/work"] {
            fs::create_dir_all(files.join(part)).expect("directory");
        }
        let upper_map = json!([
            { "containerID": 0, "hostID": 0, "size": 1 },
            { "containerID": 4321, "hostID": self.base() + 1000, "size": 1 },
        ]);
        nix::unistd::chown(&files.join("data/upper"), Some(4321.into()), Some(4321.into())).expect("chown");
        let spec = json!({
            "ociVersion": "1.2.0",
            "hostname": id,
            "root": { "path": self.directory.join(format!("{id}.root")), "readonly": true },
            "process": {
                "args": ["sh", "-c", script], "cwd": "/app", "user": { "uid": 1000, "gid": 1000 },
                "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "GREETING=hello"], "noNewPrivileges": true,
                "rlimits": [{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }],
            },
            "mounts": [
                { "destination": "/", "type": "tmpfs", "options": ["nosuid", "nodev", "size=1048576", "mode=0755"] },
                bind("/usr"),
                { "destination": "/bin", "type": "symlink", "source": "usr/bin" },
                { "destination": "/lib", "type": "symlink", "source": "usr/lib" },
                { "destination": "/lib64", "type": "symlink", "source": "usr/lib64" },
                { "destination": "/proc", "type": "proc", "options": ["nosuid", "nodev", "noexec"] },
                { "destination": "/sys", "type": "sysfs", "options": ["nosuid", "nodev", "noexec", "ro"] },
                { "destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["nosuid", "nodev", "noexec", "ro"] },
                { "destination": "/dev", "type": "dev", "options": ["nosuid", "noexec"] },
                { "destination": "/dev/pts", "type": "devpts",
                  "options": ["nosuid", "noexec", "ptmxmode=0666", "mode=0620", format!("gid={}", self.base() + 5)] },
                { "destination": "/dev/shm", "type": "tmpfs", "options": ["nosuid", "nodev", "size=65536", "mode=1777"] },
                { "destination": "/dev/mqueue", "type": "mqueue", "options": ["nosuid", "nodev", "noexec"] },
                { "destination": "/tmp", "type": "tmpfs", "options": ["nosuid", "nodev", "size=1048576", "mode=1777"] },
                { "destination": "/app", "type": "overlay", "source": "overlay", "uidMappings": upper_map, "gidMappings": upper_map,
                  "options": ["nosuid", "nodev", format!("lowerdir={}", files.join("lower").display()),
                              format!("upperdir={}", files.join("data/upper").display()),
                              format!("workdir={}", files.join("data/work").display())] },
            ],
            "linux": {
                "uidMappings": map, "gidMappings": map, "cgroupsPath": self.cgroup(id),
                "namespaces": [{ "type": "mount" }, { "type": "pid" }, { "type": "ipc" }, { "type": "uts" },
                               { "type": "cgroup" }, { "type": "user" }, { "type": "network" }],
                "resources": { "memory": { "limit": 134_217_728, "swap": 134_217_728 }, "pids": { "limit": 64 },
                               "cpu": { "quota": 50_000, "period": 100_000 } },
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
                "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    { "names": ["keyctl", "mount", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
                    { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
                ] },
            },
        });
        serde_json::from_value(spec).expect("spec")
    }

    /// Creates a sandbox from the spec; its pid 1 on the host.
    pub(crate) fn create(&self, id: &str, spec: &Spec) -> Result<i32, Failure> {
        let bundle = self.directory.join(format!("{id}.bundle"));
        fs::create_dir_all(&bundle).expect("bundle");
        spec.save(bundle.join("config.json")).expect("config.json");
        let log = LogFile {
            path: self.log_path(id),
            max_bytes: 1 << 30,
            files: 3,
            run: 1,
        };
        match self
            .client
            .call(
                Call::Create {
                    id: id.to_owned(),
                    bundle,
                    log,
                },
                &[],
            )?
            .0
        {
            What::Created { pid, .. } => Ok(pid),
            other => panic!("{other:?}"),
        }
    }

    /// Creates it and waits for its end.
    pub(crate) fn run(&self, id: &str, script: &str) -> (ExitRecord, String) {
        self.create(id, &self.spec(id, script)).expect("create");
        let record = self.wait(id);
        (record, self.output(id))
    }

    /// Waits for the end of a sandbox.
    pub(crate) fn wait(&self, wanted: &str) -> ExitRecord {
        loop {
            match self
                .client
                .receive()
                .expect("receive")
                .expect("the keeper lives")
                .0
                .what
            {
                What::Exited { id, status } if id == wanted => return status,
                _ => {}
            }
        }
    }

    /// Runs a command in a sandbox with its output in files; exit status and stdout.
    pub(crate) fn exec(&self, id: &str, args: &[&str]) -> Result<(ExitStatus, String), Failure> {
        let out = self
            .directory
            .join(format!("exec-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let file = fs::File::create(&out).expect("file");
        let null = fs::File::open("/dev/null").expect("null");
        let mut process = Process::default();
        process
            .set_args(Some(args.iter().map(|word| (*word).to_owned()).collect()))
            .set_env(None)
            .set_cwd("/".into());
        let call = Call::Exec {
            id: id.to_owned(),
            process: Box::new(process),
        };
        let client = Client::connect(&self.directory.join("keeper.sock")).expect("connect");
        client.call(call, &[null.as_fd(), file.as_fd(), file.as_fd()])?;
        loop {
            if let What::ExecExited { status } = client
                .receive()
                .expect("receive")
                .expect("the keeper lives")
                .0
                .what
            {
                return Ok((
                    status,
                    fs::read_to_string(&out).expect("output").trim().to_owned(),
                ));
            }
        }
    }

    pub(crate) fn log_path(&self, id: &str) -> PathBuf {
        self.directory.join("logs").join(id).join("current.log")
    }

    /// What the service printed, without times and marks.
    pub(crate) fn output(&self, id: &str) -> String {
        let text = fs::read_to_string(self.log_path(id)).expect("log");
        let own = text.lines().filter(|line| !line.contains(" system "));
        own.map(|line| line.splitn(4, ' ').nth(3).unwrap_or(""))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Host pid of the keeper.
    pub(crate) fn keeper(&self) -> i32 {
        let output = Command::new("pgrep")
            .args(["-o", "-f", &format!("__keeper {}", self.directory.display())])
            .output()
            .expect("pgrep");
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .expect("one keeper")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.client.send(Call::Shutdown, &[]);
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.directory.join("keeper.sock").exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = fs::remove_dir_all(&self.directory);
        // Who makes the groups of sandboxes removes the one above them; the keeper has removed theirs.
        for group in existing(&self.group()) {
            let removed = fs::remove_dir(&group);
            assert!(
                removed.is_ok() || std::thread::panicking(),
                "{}: {removed:?}",
                group.display()
            );
        }
    }
}

/// The directories of a cgroup that exist: in the one hierarchy of v2, or in those of v1.
fn existing(group: &str) -> Vec<PathBuf> {
    let mounts = fs::read_dir("/sys/fs/cgroup").expect("cgroup").flatten();
    let roots = mounts
        .map(|entry| entry.path())
        .chain([PathBuf::from("/sys/fs/cgroup")]);
    let groups = roots.map(|root| root.join(group));
    groups.filter(|group| group.is_dir()).collect()
}

/// The `keeper` example, built beside this test.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    own.ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .expect("target")
        .join("examples/keeper")
}

/// Whether a process has ended: gone, or waiting to be reaped by a parent that is not ours.
pub(crate) fn has_ended(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
