//! What the kernel refused to a program and all its descendants, as strace(1) saw it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A run block that begins with this waits until somebody is there to watch.
pub(super) const HOLD: &str = "kill -STOP $$";

/// errno names of a denial: by the filter, by a mask or Landlock, by a read-only mount.
const DENIED: [&str; 4] = ["EPERM", "ENOSYS", "EACCES", "EROFS"];

/// Denials that programs expect and do without: the call, the errno, who asks, and what it does then.
pub(super) const EXPECTED: &[(&str, &str, &str)] = &[
    ("clone3", "ENOSYS", "glibc asks first, and falls back to clone"),
    ("io_uring_setup", "EPERM", "libuv asks first, and uses epoll"),
    (
        "set_mempolicy",
        "EPERM",
        "libnuma, which ps loads, asks at its start whether there is one",
    ),
];

/// Call and errno → the first line of the trace.
#[derive(Default)]
pub(super) struct Denials(BTreeMap<(String, String), String>);

impl Denials {
    /// Takes the denials of one process's trace.
    fn read(&mut self, trace: &str) {
        for line in trace.lines() {
            if let Some(denied) = denied(line) {
                self.0.entry(denied).or_insert_with(|| line.to_owned());
            }
        }
    }

    /// Those that `other` does not have.
    pub(super) fn without(mut self, other: &Self) -> Self {
        self.0.retain(|denied, _| !other.0.contains_key(denied));
        self
    }

    /// For the table.
    pub(super) fn summary(&self) -> String {
        let names: Vec<String> = self
            .0
            .keys()
            .map(|(call, errno)| format!("{call} {errno}"))
            .collect();
        match names.is_empty() {
            true => "no denial of its own".to_owned(),
            false => format!("denied only inside: {}", names.join(", ")),
        }
    }

    /// Those that nobody expects.
    pub(super) fn surprises(&self, program: &str) -> Vec<String> {
        let expected = |(call, errno): &(String, String)| {
            EXPECTED
                .iter()
                .any(|(name, number, _)| name == call && number == errno)
        };
        let of = |(_, line): (_, &String)| format!("{program}: {line}");
        self.0
            .iter()
            .filter(|(denied, _)| !expected(denied))
            .map(of)
            .collect()
    }
}

/// The one of `pids` that is stopped.
pub(super) fn held(pids: &[i32]) -> Option<i32> {
    let stopped = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    pids.iter().copied().find(stopped)
}

/// A tracer at work.
pub(super) struct Traced {
    strace: Child,
    file: PathBuf,
}

impl Traced {
    /// Follows a held process, which then goes on, and its descendants.
    pub(super) fn attach(pid: i32, file: &Path) -> Self {
        let mut strace = Command::new("strace")
            // One file for each process: in a common one, calls that others interrupt fall in two.
            .args(["-ff", "-Z", "-o"])
            .arg(file)
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace");
        let mut told = BufReader::new(strace.stderr.take().expect("piped"));
        let mut line = String::new();
        told.read_line(&mut line).expect("a line");
        assert!(line.contains("attached"), "strace: {line}");
        // Read to the end, or it would wait for us.
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        kill(Pid::from_raw(pid), Signal::SIGCONT).expect("SIGCONT");
        Self {
            strace,
            file: file.to_owned(),
        }
    }

    /// After the last of them has ended.
    pub(super) fn denials(mut self) -> Denials {
        self.strace.wait().expect("strace");
        let name = self
            .file
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let directory = self.file.parent().expect("a directory");
        let mut found = Denials::default();
        for entry in fs::read_dir(directory).expect("traces").flatten() {
            if entry.file_name().to_string_lossy().starts_with(&name) {
                found.read(&String::from_utf8_lossy(&fs::read(entry.path()).expect("trace")));
            }
        }
        found
    }
}

/// `openat(AT_FDCWD, "/x", O_RDONLY) = -1 EACCES (…)`.
fn denied(line: &str) -> Option<(String, String)> {
    let (call, rest) = line.split_once('(')?;
    let errno = rest.rsplit_once(" = -1 ")?.1.split(' ').next()?;
    DENIED
        .contains(&errno)
        .then(|| (call.to_owned(), errno.to_owned()))
}

#[test]
fn the_trace_is_understood() {
    let of = |line: &str| denied(line).map(|(call, errno)| format!("{call} {errno}"));
    assert_eq!(
        of("openat(AT_FDCWD, \"/x = -1\", O_RDONLY) = -1 EACCES (Permission denied)").as_deref(),
        Some("openat EACCES")
    );
    assert_eq!(
        of("clone3({flags=CLONE_VM}, 88)      = -1 ENOSYS (Function not implemented)").as_deref(),
        Some("clone3 ENOSYS")
    );
    assert_eq!(
        of("access(\"/etc/ld.so.preload\", R_OK) = -1 ENOENT (No such file)"),
        None
    );
    assert_eq!(of("+++ exited with 0 +++"), None);
}
