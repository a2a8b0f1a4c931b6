//! System calls that fail once in every process of an `up`: a message that says which step, and nothing left.

use std::io::Read;
use std::process::{Command, Stdio};

use super::{SERVER, is_long};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: inject
services:
  s: {readme: s.md, port: 8000, health_check: /}
";

/// `up -d` in which the `nth` call of each process fails: exit code, what was told, and whether all was healthy then.
fn up_with(town: &Town, call: &str, nth: u32) -> (i32, String, bool) {
    // The tracer stays as long as the ecosystem does: the exit code comes by the same way as the text.
    let script = format!(
        "{} up -d --timeout=20s 2>&1; echo code $?; exec >&-",
        env!("CARGO_BIN_EXE_pactown")
    );
    let mut tracer = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error=EIO:when={nth}")])
        .args(["sh", "-c", &script])
        .current_dir(town.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is needed");
    let mut out = tracer.stdout.take().expect("stdout");
    let (mut told, mut buffer) = (String::new(), [0; 4096]);
    while !told.lines().any(|line| line.starts_with("code ")) {
        let count = out.read(&mut buffer).expect("read");
        assert_ne!(count, 0, "{call} {nth}: {told}");
        told += &String::from_utf8_lossy(&buffer[..count]);
    }
    let code = told.lines().find_map(|line| line.strip_prefix("code "));
    let code = code.expect("a code").trim().parse().expect("a number");
    let rows = town.run(&["ps", "--json"]);
    let healthy = rows.status.success() && town.all_healthy();
    town.ok(&["down"]);
    drop(out);
    tracer.wait().expect("strace ends with what it traces");
    (code, told, healthy)
}

#[test]
fn a_call_that_fails_once_is_told_and_leaves_nothing() {
    let calls = ["mount", "move_mount", "setns", "openat2", "clone3"];
    let times: &[u32] = if is_long() { &[1, 2, 3, 5, 8, 13] } else { &[2] };
    let mut failed = 0;
    let extra: &[(&str, u32)] = if is_long() {
        &[]
    } else {
        &[("mount", 1), ("setns", 1), ("openat2", 5)]
    };
    let runs = calls
        .iter()
        .flat_map(|call| times.iter().map(move |nth| (*call, *nth)));
    for (call, nth) in runs.chain(extra.iter().copied()) {
        let machine = Machine::take();
        let town = Town::new("inject", YAML, &[("s.md", SERVER)]);
        let (code, told, healthy) = up_with(&town, call, nth);
        println!("{call} {nth}: {told}");
        assert!(!told.contains("panicked"), "{call} {nth}: {told}");
        if code != 0 {
            failed += 1;
            // The step stands before the kernel's word.
            let named = |line: &str| {
                let step = line.strip_prefix("error: ").unwrap_or("");
                step.find("Input/output error")
                    .or(step.find("EIO"))
                    .is_some_and(|at| at > 10)
            };
            assert!(told.lines().any(named), "{call} {nth}: {told}");
        }
        assert_eq!(code == 0, healthy, "{call} {nth}: {told}");
        assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none", "{call} {nth}");
        machine.assert_clean();
    }
    assert!(failed > 3, "the faults were felt");
}

#[test]
fn an_answer_of_the_keeper_that_is_lost_keeps_nobody_waiting() {
    // Each process sends its own: of the keeper, the numbers are those of its answers.
    let times: &[u32] = if is_long() {
        &[1, 2, 3, 4, 5, 6, 7, 8]
    } else {
        &[2, 5]
    };
    for nth in times {
        let machine = Machine::take();
        let town = Town::new("inject", YAML, &[("s.md", SERVER)]);
        let (code, told, healthy) = up_with(&town, "sendmsg", *nth);
        println!("sendmsg {nth}: {code} {told}");
        assert!(
            !told.contains("not ready within"),
            "{nth}: it waited in vain: {told}"
        );
        assert!(code != 0 || healthy, "{nth}: {told}");
        assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none", "{nth}");
        machine.assert_clean();
    }
}
