//! A disposable ecosystem: files in a directory of its own, the real binary, and a ledger that must balance.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::layers::NewLayers;
use super::ledger::Ledger;
use super::observe::{eventually, processes};

/// Serialises everything that changes the machine, also across test programs: the ledger sees the whole machine.
pub(crate) struct Machine {
    before: Ledger,
    _layers: Option<NewLayers>,
    /// Given back last.
    _lock: Flock<fs::File>,
}

impl Machine {
    /// Waits for its turn and takes the ledger.
    pub(crate) fn take() -> Self {
        assert!(
            nix::unistd::Uid::effective().is_root(),
            "these tests make sandboxes: run them as root"
        );
        let file = fs::File::create("/run/lock/pactown-tests.lock").expect("lock file");
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .expect("lock");
        Self {
            before: Ledger::take(),
            _layers: None,
            _lock: lock,
        }
    }

    /// The same; layers that are made meanwhile are nobody's afterwards.
    pub(crate) fn take_with_new_layers() -> Self {
        let machine = Self::take();
        Self {
            _layers: Some(NewLayers::watch()),
            ..machine
        }
    }

    /// Panics when the machine is not as it was.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        let mut after = Ledger::take();
        // A namespace of a build or a test elsewhere is gone in a moment; one of ours would stay.
        let mut looks = 40;
        while looks > 0 && self.before.differs_by_others(&after) {
            std::thread::sleep(std::time::Duration::from_millis(250));
            after = Ledger::take();
            looks -= 1;
        }
        self.before.assert_unchanged(&after);
    }
}

/// An ecosystem in a directory of its own, brought down and removed on drop.
pub(crate) struct Town {
    directory: PathBuf,
    environment: Vec<(String, String)>,
    /// The file of the network namespace that is its host's.
    network: Option<PathBuf>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Town {
    /// Writes `saas.pactown.yaml` and the given files (path, content).
    pub(crate) fn new(name: &str, yaml: &str, files: &[(&str, &str)]) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("pactown-test-{}-{number}-{name}", std::process::id()));
        let town = Self {
            directory,
            environment: Vec::new(),
            network: None,
        };
        town.write("saas.pactown.yaml", yaml);
        for (path, content) in files {
            town.write(path, content);
        }
        town
    }

    /// A copy of a directory of the repository (an example or a fixture).
    pub(crate) fn copy_of(path: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("pactown-test-{}-{number}-copy", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let status = Command::new("cp")
            .arg("-r")
            .arg(&source)
            .arg(&directory)
            .status()
            .expect("cp");
        assert!(status.success(), "copy {}", source.display());
        let _ = fs::remove_dir_all(directory.join(".pactown-sandboxes"));
        Self {
            directory,
            environment: Vec::new(),
            network: None,
        }
    }

    /// Adds a variable to every later command.
    pub(crate) fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// On a host with another network from now on.
    pub(crate) fn on(mut self, network: &Path) -> Self {
        self.network = Some(network.to_owned());
        self
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Writes a file below the directory.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        fs::write(path, content).expect("file");
    }

    /// Replaces text in a file; it must be there.
    #[track_caller]
    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.directory.join(path)).expect("file");
        assert!(text.contains(from), "{path} does not contain {from:?}");
        self.write(path, &text.replace(from, to));
    }

    /// The program with these arguments, in the ecosystem's directory. It ends with its terminal, also when the tests do not
    /// (nohup(1)).
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_pactown");
        let mut command = match &self.network {
            None => {
                let mut command = Command::new("env");
                command.args(["--default-signal=HUP", program]);
                command
            }
            Some(network) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", network.display())).arg(program);
                command
            }
        };
        command
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .env("NO_COLOR", "1");
        command.env_remove("PACTOWN_FAILPOINTS");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("run pactown")
    }

    /// Runs, expects this exit code, and returns stdout and stderr.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "pactown {arguments:?}\n--- stdout\n{out}\n--- stderr\n{err}"
        );
        (out, err)
    }

    /// Runs, expects success, and returns stdout.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.expect(0, arguments).0
    }

    /// `up -d` in a mount namespace of its own, in which `script` has changed something before.
    pub(crate) fn up_on_another_host(&self, script: &str) -> Output {
        let script = format!("{script}; exec \"$@\"");
        Command::new("unshare")
            .args([
                "-m",
                "sh",
                "-c",
                &script,
                "sh",
                env!("CARGO_BIN_EXE_pactown"),
                "up",
                "-d",
            ])
            .current_dir(&self.directory)
            .env("NO_COLOR", "1")
            .output()
            .expect("unshare")
    }

    /// Starts in the background with captured output.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn pactown")
    }

    /// `ps --json`, as an array.
    #[track_caller]
    pub(crate) fn services(&self) -> Vec<Value> {
        let text = self.ok(&["ps", "--json"]);
        serde_json::from_str::<Value>(&text)
            .expect("ps prints json")
            .as_array()
            .expect("an array")
            .clone()
    }

    /// Whether there are services, and every one is healthy.
    pub(crate) fn all_healthy(&self) -> bool {
        let rows = self.services();
        !rows.is_empty() && rows.iter().all(|row| row["health"] == "healthy")
    }

    /// Whether every service is healthy, or completed, or runs without a check.
    pub(crate) fn all_settled(&self) -> bool {
        let settled = |row: &Value| {
            row["state"] == "completed" || (row["state"] == "running" && row["health"] != "starting")
        };
        self.services().iter().all(settled)
    }

    /// The row of one service.
    #[track_caller]
    pub(crate) fn service(&self, name: &str) -> Value {
        let rows = self.services();
        rows.into_iter()
            .find(|row| row["name"] == name)
            .unwrap_or_else(|| panic!("no service {name}"))
    }

    /// Host pid of a service's pid 1.
    #[track_caller]
    pub(crate) fn pid(&self, name: &str) -> i32 {
        i32::try_from(self.service(name)["pid"].as_i64().expect("a pid")).expect("a pid")
    }

    /// `127.0.0.1:<published port>` of a service.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> String {
        let row = self.service(name);
        format!(
            "127.0.0.1:{}",
            row["ports"][0]["host_port"].as_u64().expect("a published port")
        )
    }

    /// Name of the instance, which exists.
    #[track_caller]
    pub(crate) fn instance(&self) -> String {
        let rows: Value = serde_json::from_str(&self.ok(&["ls", "--json"])).expect("JSON");
        let here = fs::canonicalize(self.path()).expect("path");
        let ours = |row: &&Value| {
            row["file"]
                .as_str()
                .is_some_and(|file| Path::new(file).starts_with(&here))
        };
        let row = rows.as_array().expect("rows").iter().find(ours);
        let name = row.and_then(|row| row["name"].as_str());
        name.unwrap_or_else(|| panic!("{rows}")).to_owned()
    }

    /// Directory of the instance's logs and events.
    #[track_caller]
    pub(crate) fn logs(&self) -> PathBuf {
        Path::new("/var/log/pactown").join(self.instance())
    }

    /// The file of the network namespace of the instance's router, or of a sandbox.
    #[track_caller]
    pub(crate) fn netns(&self, name: &str) -> PathBuf {
        Path::new("/run/pactown")
            .join(self.instance())
            .join("netns")
            .join(name)
    }

    /// Kills the supervisor; returns when another one answers.
    #[track_caller]
    pub(crate) fn succeed_the_supervisor(&self) {
        let instance = self.instance();
        let before = processes("pactown:super", &instance);
        assert_eq!(before.len(), 1, "{before:?}");
        kill(Pid::from_raw(before[0]), Signal::SIGKILL).expect("kill");
        eventually("another supervisor is there", Duration::from_secs(30), || {
            let now = processes("pactown:super", &instance);
            now.len() == 1 && now != before && self.run(&["ps"]).status.success()
        });
    }

    /// The output of a shell command inside a service, trimmed.
    #[track_caller]
    pub(crate) fn inside(&self, service: &str, script: &str) -> String {
        self.ok(&["exec", service, "sh", "-c", script]).trim().to_owned()
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        let _ = self.run(&["down", "--volumes", "--yes"]);
        if std::env::var_os("PACTOWN_KEEP_FAILED").is_none() || !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
