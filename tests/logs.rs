//! Logs: nothing of what a service writes is lost or comes twice, and it can be found again.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};

/// Counts on where it was stopped: what it wrote last is in its volume.
const COUNTER: &str = "# Counter

```python markpact:file path=count.py
import os, signal, time
place = '/data/next'
number = int(open(place).read()) if os.path.exists(place) else 0
ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(1))
while not ending:
    os.write(1, f'count {number}\\n'.encode())
    number += 1
    if number % 50 == 0:
        time.sleep(0.002)
open(place, 'w').write(str(number))
```

```sh markpact:run
exec python3 count.py
```
";

const YAML: &str = "name: logs\nservices:\n  s: {readme: s.md, volumes: [\"d:/data\"]}\n";

fn numbers<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<u64> {
    let number = |line: &str| line.split_once("count ")?.1.parse().ok();
    lines.into_iter().filter_map(number).collect()
}

fn town(script: &str) -> Town {
    let readme = format!("# S\n\n```sh markpact:run\n{script}\n```\n");
    Town::new("logs", YAML, &[("s.md", &readme)])
}

#[test]
fn following_goes_through_restarts_without_a_gap_or_a_double() {
    let machine = Machine::take();
    let town = Town::new("logs", YAML, &[("s.md", COUNTER)]);
    // Before there is anything to follow.
    let mut child = town.spawn(&["logs", "-f", "s"]);
    let stdout = child.stdout.take().expect("stdout");
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines();
        lines.map(|line| line.expect("line")).collect::<Vec<_>>()
    });
    for verb in [["up", "-d"], ["restart", "s"], ["restart", "s"]] {
        town.ok(&verb);
        eventually("this run counts", Duration::from_secs(10), || {
            town.ok(&["logs", "--run", "last", "s"]).contains("count ")
        });
    }
    town.ok(&["stop", "s"]);
    let whole = town.ok(&["logs", "s"]);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("signal");
    assert_eq!(child.wait().expect("wait").code(), Some(130));
    let seen = numbers(reader.join().expect("reader").iter().map(String::as_str));
    assert!(seen.len() > 100, "{}", seen.len());
    assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());
    assert_eq!(seen, numbers(whole.lines()), "the same as afterwards");

    let runs = |choice: &str| numbers(town.ok(&["logs", "--run", choice, "s"]).lines());
    let last = runs("last");
    assert!(last.len() < seen.len() && seen.ends_with(&last));
    assert_eq!(runs("all"), seen);
    let objects = town.ok(&["logs", "--json", "s"]);
    let objects: Vec<Value> = objects
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let mut found: Vec<u64> = objects
        .iter()
        .filter_map(|object| object["run"].as_u64())
        .collect();
    assert_eq!(found.len(), seen.len(), "every line belongs to a run");
    found.dedup();
    assert_eq!(found.len(), 3, "{found:?}");
    let joined: Vec<u64> = found.iter().flat_map(|run| runs(&run.to_string())).collect();
    assert_eq!(joined, seen, "the runs are the whole");
    let (_, told) = town.expect(1, &["logs", "--run", "99", "s"]);
    assert!(told.contains("no log has a run 99"), "{told}");
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
}

#[test]
fn a_flood_is_rotated_and_followed() {
    let machine = Machine::take();
    let town = town("seq -f 'count %.0f' 0 1499999; echo end; exec sleep 1000");
    let mut child = town.spawn(&["logs", "-f", "s"]);
    let mut out = BufReader::new(child.stdout.take().expect("stdout"));
    town.ok(&["up", "-d"]);
    let (mut line, mut next) = (String::new(), 0_u64);
    while out.read_line(&mut line).expect("read") > 0 && line != "end\n" {
        if line.contains("lines are missing") {
            panic!("a follower on this machine keeps up with seq");
        }
        assert_eq!(line, format!("count {next}\n"));
        next += 1;
        line.clear();
    }
    assert_eq!(next, 1_500_000);
    // Nobody reads any more: it ends, though nothing is written.
    drop(out);
    eventually("the follower has gone", Duration::from_secs(5), || {
        child.try_wait().expect("wait").is_some()
    });
    let directory = town.logs().join("s");
    let files: Vec<_> = fs::read_dir(&directory).expect("logs").flatten().collect();
    assert_eq!(files.len(), 5, "{files:?}");
    for file in &files {
        assert!(file.metadata().expect("metadata").len() <= 10 << 20, "{file:?}");
    }
    let kept = numbers(town.ok(&["logs", "s"]).lines());
    assert!(kept.len() > 500_000, "{}", kept.len());
    assert!(
        kept.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "in order across files"
    );
    assert_eq!(kept.last(), Some(&1_499_999));
    assert_eq!(town.ok(&["logs", "-n", "2", "s"]), "count 1499999\nend\n");

    // A reader that has enough.
    let mut child = town
        .command(&["logs", "s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    drop(child.stdout.take());
    let mut told = String::new();
    child
        .stderr
        .take()
        .expect("stderr")
        .read_to_string(&mut told)
        .expect("read");
    child.wait().expect("wait");
    assert_eq!(told, "");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn long_lines_and_strange_bytes_are_whole() {
    let machine = Machine::take();
    let town = town(
        "head -c 1048576 /dev/zero | tr '\\0' x; echo\nprintf 'a\\377b\\033[2Jc\\n'\nprintf 'no newline'; exec sleep 1000",
    );
    town.ok(&["up", "-d"]);
    eventually("both lines are there", Duration::from_secs(10), || {
        town.run(&["logs", "s"])
            .stdout
            .split(|byte| *byte == b'\n')
            .count()
            >= 3
    });
    let text = town.ok(&["logs", "s"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].len() == 1 << 20 && lines[0].bytes().all(|byte| byte == b'x'));
    assert_eq!(lines[1], "a\\xffb\u{1b}[2Jc");
    let raw = town.run(&["logs", "--raw", "s"]).stdout;
    assert_eq!(&raw[(1 << 20) + 1..], b"a\xffb\x1b[2Jc\n");
    // On a terminal the same is only shown.
    let command = format!("{} logs --grep 2J s", env!("CARGO_BIN_EXE_pactown"));
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(town.path())
        .stdin(Stdio::null())
        .output()
        .expect("script");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("a\\xffb\\x1b[2Jc") && !shown.contains("\u{1b}[2J"),
        "{shown:?}"
    );
    assert!(shown.contains("── s run "), "{shown:?}");
    town.ok(&["stop", "s"]);
    assert!(town.ok(&["logs", "s"]).ends_with("no newline\n"));
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn lines_are_found_by_text_with_their_neighbours() {
    let machine = Machine::take();
    let yaml = "name: logs\nservices:\n  s: {readme: s.md}\n  t: {readme: t.md}\n";
    let readme = |script: &str| format!("# S\n\n```sh markpact:run\n{script}\nexec sleep 1000\n```\n");
    let (s, t) = (
        readme("seq 1 30; echo error: five >&2; echo ready"),
        readme("echo other error; echo ready"),
    );
    let town = Town::new("logs", yaml, &[("s.md", &s), ("t.md", &t)]);
    town.ok(&["up", "-d"]);
    eventually("all was written", Duration::from_secs(10), || {
        town.ok(&["logs", "--grep", "^ready$"]).lines().count() == 2
    });
    assert_eq!(
        town.ok(&[
            "logs",
            "s",
            "--grep",
            "^10$",
            "--grep",
            "^2[05]$",
            "--context",
            "1"
        ]),
        "9\n10\n11\n--\n19\n20\n21\n--\n24\n25\n26\n"
    );
    let objects = town.ok(&["logs", "--json", "--grep", "error"]);
    let objects: Vec<Value> = objects
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    assert_eq!(objects.len(), 2);
    let mut streams: Vec<_> = objects
        .iter()
        .map(|object| (object["service"].as_str(), object["stream"].as_str()))
        .collect();
    streams.sort_unstable();
    assert_eq!(
        streams,
        [(Some("s"), Some("stderr")), (Some("t"), Some("stdout"))]
    );
    let keys: Vec<&str> = objects[0]
        .as_object()
        .expect("object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["ts", "service", "replica", "run", "stream", "line"]);
    assert!(objects[0]["replica"].is_null() && objects[0]["run"].is_u64());
    let times: Vec<_> = town
        .ok(&["logs", "--json"])
        .lines()
        .map(|line| {
            let object: Value = serde_json::from_str(line).expect("json");
            object["ts"].as_str().expect("ts").to_owned()
        })
        .collect();
    assert!(times.len() == 34 && times.is_sorted(), "{times:?}");
    assert_eq!(town.ok(&["logs", "--until", "1h"]), "");
    let newest = times.iter().filter(|time| **time >= times[33]).count();
    assert!(newest < 34, "{times:?}");
    let since = town.ok(&["logs", "--since", &times[33]]);
    assert_eq!(since.lines().count(), newest, "{since}");
    town.expect(2, &["logs", "--grep", "("]);
    town.expect(2, &["logs", "--context", "1"]);
    town.expect(2, &["logs", "--run", "first"]);
    town.expect(1, &["logs", "nobody"]);
    town.expect(1, &["logs", "-f", "nobody"]);
    town.ok(&["down"]);
    machine.assert_clean();
}
