//! The system calls of pactown itself, from the first to the last of an instance, as strace(1) sees them.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use crate::support::town::{Machine, Town};

const YAML: &str = "
name: traced
services:
  s: {readme: s.md, mounts: ['./mine:/mine']}
";

/// Says what would be done on the host if anybody took it for a command.
const README: &str = "# $(touch CANARY) `touch CANARY`

```sh markpact:file path=x.sh
touch /tmp/inside
```

```sh markpact:run
sh x.sh; exec sleep 1000
```
";

/// Process and call of each line, the ones that were interrupted put together.
fn calls(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (pid, call) = line.split_once(' ')?;
        Some((pid.to_owned(), call.trim_start().to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// The first argument in quotes.
fn path(call: &str) -> &str {
    call.split('"').nth(1).unwrap_or_default()
}

#[test]
fn nothing_of_a_sandbox_is_executed_outside_and_no_path_of_proc_written_once_it_is_built() {
    let machine = Machine::take();
    let town = Town::new("traced", YAML, &[("s.md", README), ("mine/file", "x\n")]);
    let trace = town.path().join("trace");
    let sleeps =
        "while :; do for f in /proc/[0-9]*/comm; do read -r c <$f && [ $c = sleep ] && exit; done; done";
    let script = format!(
        "\"$0\" up -d && \"$0\" exec -T s true && \"$0\" exec -T s sh -c '{sleeps}' && \"$0\" logs s && \"$0\" down"
    );
    let status = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-s",
            "200",
            "-e",
            "trace=execve,execveat,openat,open,creat,pivot_root,setns",
            "-o",
        ])
        .arg(&trace)
        .args(["sh", "-c", &script, env!("CARGO_BIN_EXE_pactown")])
        .current_dir(town.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("strace is needed").success());
    let text = fs::read_to_string(&trace).expect("a trace");
    let all = calls(&text);
    // Pid 1 of a sandbox changes its root; whoever enters one has joined its mount namespace.
    let is_entry = |call: &str| {
        call.starts_with("pivot_root(") || (call.starts_with("setns(") && call.contains("CLONE_NEWNS"))
    };
    let mut inside = BTreeSet::new();
    let (mut programs, mut built) = (BTreeSet::new(), 0);
    for (pid, call) in &all {
        if is_entry(call) {
            inside.insert(pid.clone());
            built += 1;
        }
        let starts = call.starts_with("execve(") || call.starts_with("execveat(");
        if starts && call.ends_with("= 0") {
            programs.insert(path(call).to_owned());
        }
        let writes = call.starts_with("openat(") && (call.contains("O_WRONLY") || call.contains("O_RDWR"));
        assert!(
            !(inside.contains(pid) && writes && path(call).starts_with("/proc")),
            "{pid} {call}"
        );
    }
    assert!(built >= 2, "a sandbox was built and entered");
    let strange = |program: &&String| {
        let own = program.starts_with("/proc/self/") || program.as_str() == env!("CARGO_BIN_EXE_pactown");
        let of_the_service = ["sh", "sleep", "touch", "true"]
            .iter()
            .any(|name| program.ends_with(&format!("/{name}")));
        !own && !of_the_service
    };
    let strange: Vec<&String> = programs.iter().filter(strange).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(
        programs.iter().any(|program| program.ends_with("/sleep")),
        "{programs:?}"
    );
    assert!(!town.path().join("CANARY").exists());
    machine.assert_clean();
}
