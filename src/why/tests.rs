//! The catalogue, cause by cause, from facts as they are read.

use super::*;
use crate::config::ecosystem::Probe;
use crate::control::api::ServiceStatus;
use crate::events::Witness;
use crate::roster::Seat;
use crate::why::facts::{Config, Peer};

fn facts(state: Phase, cause: Option<&str>) -> Facts {
    let mut row = ServiceStatus::resting(&Seat {
        service: "api".to_owned(),
        replica: None,
    });
    (row.state, row.cause) = (state, cause.map(str::to_owned));
    Facts {
        name: "api".into(),
        row,
        alive: true,
        config: Config {
            file: "saas.pactown.yaml".into(),
            line: 3,
            readme: "api/README.md".into(),
            blocks: vec![("main.py".into(), 20)],
            run_line: Some(30),
            port: 8000,
            port_explicit: true,
            probe: Some(Probe::Http {
                path: "/health".into(),
                port: 8000,
                headers: Vec::new(),
                expect: (200, 399),
                body: None,
            }),
            memory: 64 << 20,
            pids: 40,
            depends_on: vec!["db".into()],
            inbound: vec![8000],
            ..Config::default()
        },
        peers: ["db", "cache", "api"]
            .map(|name| Peer {
                name: name.into(),
                port: 9000,
                address: None,
            })
            .to_vec(),
        exit_code: None,
        ran_ms: None,
        ended_usec: None,
        oom: false,
        peak: None,
        details: Vec::new(),
        log: Vec::new(),
        witness: None,
        waits_for: Vec::new(),
        root: None,
        now_usec: 0,
    }
}

/// Facts of one that ended with this code and these last lines.
fn ended(code: i32, log: &str) -> Facts {
    Facts {
        exit_code: Some(code),
        ran_ms: Some(200),
        log: log.lines().map(str::to_owned).collect(),
        ..facts(Phase::Failed, Some(&format!("exited with code {code}")))
    }
}

#[track_caller]
fn is(facts: &Facts, kind: Cause, cause: &str) -> Diagnosis {
    let diagnosis = diagnose(facts);
    assert_eq!(
        (diagnosis.kind, diagnosis.cause.as_str()),
        (kind, cause),
        "{diagnosis:?}"
    );
    diagnosis
}

#[test]
fn an_end_is_told_with_its_decisive_line() {
    let log =
        "up\nTraceback (most recent call last):\n  File \"/app/main.py\", line 3, in <module>\nKeyError: 'X'";
    is(
        &ended(1, log),
        Cause::Exited,
        "exited with code 1 after 0.2 s: KeyError: 'X' (main.py:3 = api/README.md:23)",
    );
    is(&ended(137, ""), Cause::Exited, "killed by SIGKILL after 0.2 s");
}

#[test]
fn limits_are_named_with_what_to_write() {
    let mut out = ended(137, "");
    out.oom = true;
    let told = is(&out, Cause::Memory, "out of memory: its limit is 64.0 MiB");
    assert_eq!(
        told.next,
        ["write `limits: {memory: 128M}` below 'api' (saas.pactown.yaml:3)"]
    );
    let log = "RuntimeError: can't start new thread";
    let told = is(
        &ended(1, log),
        Cause::Processes,
        "too many processes and threads: its limit is 40",
    );
    assert!(told.next[0].contains("pids: 80"), "{told:?}");
    is(
        &ended(1, "OSError: [Errno 24] Too many open files"),
        Cause::Files,
        "too many open files",
    );
    let log = "OSError: [Errno 28] No space left on device: '/tmp/x'";
    is(&ended(1, log), Cause::Disk, "no space left: /tmp/x");
}

#[test]
fn what_the_sandbox_refuses_is_named() {
    let log = "PermissionError: [Errno 13] Permission denied: '/etc/x'";
    is(&ended(1, log), Cause::Permission, "permission denied: /etc/x");
    let log = "sh: 1: cannot create /usr/x: Read-only file system";
    is(&ended(2, log), Cause::Permission, "read-only: /usr/x");
    is(
        &ended(159, ""),
        Cause::Forbidden,
        "made a system call that no sandbox allows (SIGSYS)",
    );
    let log = "mount: /mnt: Operation not permitted";
    is(
        &ended(1, log),
        Cause::Forbidden,
        "tried what no sandbox allows: operation not permitted",
    );
    is(
        &ended(127, "sh: 1: serve: not found"),
        Cause::Program,
        "the program 'serve' is not there (api/README.md:31)",
    );
}

#[test]
fn connections_that_are_not_declared_are_told_from_those_that_are() {
    let log = "  get(\"http://cache:9000/\")\nConnectionRefusedError: [Errno 111] Connection refused";
    is(&ended(1, log), Cause::Undeclared, "'cache' is not in depends_on");
    let log = "Error: getaddrinfo ENOTFOUND cahce";
    is(
        &ended(1, log),
        Cause::UnknownName,
        "there is no host 'cahce'; did you mean 'cache'?",
    );
    let log = "  get(\"http://db:9000/\")\nConnectionRefusedError: [Errno 111] Connection refused";
    assert_eq!(diagnose(&ended(1, log)).kind, Cause::Exited, "db is declared");
    is(
        &ended(1, "OSError: [Errno 98] Address already in use"),
        Cause::Port,
        "something in its own sandbox listens on that port already",
    );
}

#[test]
fn a_service_that_lives_and_is_not_ready_is_told_by_its_sockets() {
    let late = |answer: &str, listening: &[&str]| Facts {
        witness: Some(Witness {
            listening: listening.iter().map(|text| (*text).to_owned()).collect(),
            ..Witness::default()
        }),
        ..facts(Phase::Failed, Some(&format!("not healthy within 1 s: {answer}")))
    };
    let refused = "GET /health on port 8000: connection refused";
    is(
        &late(refused, &[]),
        Cause::NotListening,
        "runs, but nothing listens on port 8000",
    );
    is(
        &late(refused, &["0.0.0.0:9000"]),
        Cause::WrongPort,
        "listens on port 9000, not on 8000: it ignores $PORT",
    );
    let inside = late(refused, &["127.0.0.1:8000"]);
    assert_eq!(
        diagnose(&inside).kind,
        Cause::BadAnswer,
        "pactown leads to loopback"
    );
    is(
        &late(refused, &["[::1]:8000"]),
        Cause::Loopback,
        "listens on [::1]:8000 only, where nothing from outside of its sandbox arrives",
    );
    let mut other = inside;
    other.config.inbound.clear();
    assert_eq!(
        diagnose(&other).kind,
        Cause::Loopback,
        "a port that is not declared"
    );
    let wrong = "GET /health on port 8000 answered 404; / is answered well: wrong path?";
    is(&late(wrong, &["0.0.0.0:8000"]), Cause::BadAnswer, wrong);
    let slow = late("GET /health on port 8000: no answer", &["0.0.0.0:8000"]);
    is(
        &slow,
        Cause::Slow,
        "takes the connection, but does not answer within the check's 1s: GET /health on port 8000",
    );
    let mut starved = slow;
    starved.witness.as_mut().unwrap().throttled = 0.9;
    is(
        &starved,
        Cause::Cpu,
        "is short of CPU: it reached its limit in 90 % of the time",
    );
}

#[test]
fn what_blocks_is_shown_instead_of_what_is_blocked() {
    let blocked = Facts {
        root: Some(Box::new(Diagnosis {
            service: "db".into(),
            ..diagnose(&ended(3, "no seeds"))
        })),
        ..facts(Phase::Blocked, Some("blocked by db (exited with code 3)"))
    };
    let told = is(
        &blocked,
        Cause::Blocked,
        "blocked by db: exited with code 3 after 0.2 s: no seeds",
    );
    assert_eq!(told.next, ["pactown logs api"]);
    let waiting = Facts {
        waits_for: vec!["db (starting)".into()],
        ..facts(Phase::Waiting, None)
    };
    is(&waiting, Cause::Waiting, "waits for db (starting)");
}

#[test]
fn a_loop_tells_the_cause_of_its_last_end() {
    let mut looping = ended(1, "boom");
    looping.row.state = Phase::Backoff;
    looping.row.restarts = 5;
    looping.row.next_try_usec = Some(3_200_000);
    let told = is(&looping, Cause::Exited, "exited with code 1 after 0.2 s: boom");
    assert_eq!(told.evidence, ["restarted 5 times, next try in 3.2 s"]);
}

#[test]
fn a_loop_is_seen_while_it_runs_and_forgotten_when_it_held() {
    let mut looping = ended(1, "");
    looping.row = ServiceStatus {
        restarts: 2,
        ..facts(Phase::Running, None).row
    };
    (looping.ended_usec, looping.now_usec) = (Some(1_000_000), 3_000_000);
    let cause = "restarted 2 times; last, it exited with code 1 after 0.2 s";
    is(&looping, Cause::Exited, cause);
    looping.row.state = Phase::Preparing;
    is(&looping, Cause::Exited, cause);
    looping.row.state = Phase::Running;
    looping.now_usec = 100_000_000;
    is(&looping, Cause::Well, "runs as it should");
}

#[test]
fn rest_is_no_failure() {
    let mut stopped = facts(Phase::Stopped, None);
    stopped.row.run = 2;
    is(&stopped, Cause::Stopped, "stopped by hand");
    stopped.alive = false;
    is(&stopped, Cause::Stopped, "the ecosystem is not running");
    let mut well = facts(Phase::Running, None);
    well.row.health = Health::Healthy;
    assert!(!diagnose(&well).kind.is_wrong());
    assert!(!diagnose(&facts(Phase::Completed, None)).kind.is_wrong());
}

#[test]
fn ports_installers_and_programs_speak_for_themselves() {
    is(
        &facts(Phase::Failed, Some("api: port 8000 in use by python3 (pid 7)")),
        Cause::Port,
        "port 8000 in use by python3 (pid 7)",
    );
    let mut install = facts(
        Phase::Failed,
        Some("/p/api/README.md:7: installing `nosuch` failed (exit code 1)"),
    );
    install.details = vec!["ERROR: no version".into(), String::new()];
    let told = is(
        &install,
        Cause::Install,
        "installing `nosuch` failed (exit code 1) (api/README.md:7)",
    );
    assert_eq!(told.evidence, ["ERROR: no version"]);
    is(
        &facts(Phase::Failed, Some("cannot mount /x: no such device")),
        Cause::Sandbox,
        "cannot mount /x: no such device",
    );
}
