//! `stats`, `top` and `ui` against other witnesses: the control groups' own files, and a real terminal.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::observe::{children, eventually, patient};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: busy
services:
  burner: {readme: burner.md}
  hoarder: {readme: hoarder.md}
";

const BURNER: &str = "# Burner\n\n```sh markpact:run\nwhile :; do :; done\n```\n";

const HOARDER: &str = "# Hoarder

```sh markpact:run
exec python3 -u -c \"
import time
hoard = b'x' * (50 << 20)
print('hoarded', flush=True)
time.sleep(1000)\"
```
";

fn busy() -> Town {
    Town::new("busy", YAML, &[("burner.md", BURNER), ("hoarder.md", HOARDER)])
}

/// A file of the control group that a process is in, found the way any other program would.
fn group_file(pid: i32, controller: &str, v1: &str, v2: &str) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let path = |line: &str| line.splitn(3, ':').nth(2).expect("a path").to_owned();
    let own = groups.lines().find(|line| {
        let controllers = line.split(':').nth(1).unwrap_or("");
        controllers.split(',').any(|name| name == controller)
    });
    let file: PathBuf = match own {
        Some(line) => format!("/sys/fs/cgroup/{controller}{}/{v1}", path(line)).into(),
        None => {
            let line = groups.lines().find(|line| line.starts_with("0::")).expect("v2");
            format!("/sys/fs/cgroup{}/{v2}", path(line)).into()
        }
    };
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn cpu_usec(pid: i32) -> u64 {
    let text = group_file(pid, "cpuacct", "cpuacct.usage", "cpu.stat");
    match text.trim().parse::<u64>() {
        Ok(nanoseconds) => nanoseconds / 1000,
        Err(_) => {
            let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
            line.expect("usage_usec").parse().expect("a number")
        }
    }
}

fn memory(pid: i32) -> u64 {
    let text = group_file(pid, "memory", "memory.usage_in_bytes", "memory.current");
    text.trim().parse().expect("bytes")
}

#[test]
fn stats_say_what_the_control_groups_say() {
    let machine = Machine::take();
    let town = busy();
    let (_, told) = town.expect(1, &["stats", "--no-stream"]);
    assert!(
        told.contains("not running") && told.contains("pactown up"),
        "{told}"
    );
    town.ok(&["up", "-d"]);
    eventually("the memory is taken", Duration::from_secs(10), || {
        town.ok(&["logs", "hoarder"]).contains("hoarded")
    });
    let (burner, hoarder) = (town.pid("burner"), town.pid("hoarder"));

    let (started, before) = (Instant::now(), cpu_usec(burner));
    let text = town.ok(&["stats", "--json", "--no-stream"]);
    let (after, passed) = (cpu_usec(burner), started.elapsed());
    let samples: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object per line"))
        .collect();
    let of = |name: &str| {
        let found = samples.iter().find(|sample| sample["service"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {text}"))
    };
    assert_eq!(samples.len(), 2, "{text}");

    let usec = of("burner")["cpu_usec"].as_u64().expect("cpu_usec");
    assert!((before..=after).contains(&usec), "{before} {usec} {after}");
    let witnessed = (after - before) as f64 / passed.as_micros() as f64 * 100.0;
    let percent = of("burner")["cpu_percent"].as_f64().expect("cpu_percent");
    assert!(
        percent > 5.0 && (percent - witnessed).abs() < 25.0,
        "{percent} {witnessed}"
    );
    assert!(of("hoarder")["cpu_percent"].as_f64().expect("cpu_percent") < 10.0);

    let bytes = of("hoarder")["memory_bytes"].as_u64().expect("memory_bytes");
    let witnessed = memory(hoarder);
    assert!(
        bytes >= 50 << 20 && bytes.abs_diff(witnessed) < 4 << 20,
        "{bytes} {witnessed}"
    );
    let pids = group_file(hoarder, "pids", "pids.current", "pids.current");
    assert_eq!(of("hoarder")["pids"].to_string(), pids.trim());
    assert!(of("hoarder")["rx_bytes"].is_u64() && of("hoarder")["uptime_s"].as_f64() > Some(0.0));

    let table = town.ok(&["stats", "--no-stream", "burner"]);
    assert!(table.contains("burner") && !table.contains("hoarder"), "{table}");
    town.expect(2, &["stats", "nobody"]);
    town.expect(2, &["ui"]);
    town.expect(2, &["top"]);

    let stream = town.spawn(&["stats", "--json", "--interval", "200ms"]);
    town.ok(&["down"]);
    let output = stream.wait_with_output().expect("stats");
    assert_eq!(output.status.code(), Some(0), "it ends with the ecosystem");
    machine.assert_clean();
}

/// What stands on a terminal that was shown this: text, line ends, cursor positions and clearing.
fn screen(shown: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut y, mut x) = (0, 0);
    let mut rest = shown.chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' => y += 1,
            '\r' => x = 0,
            '\u{1b}' => {
                let mut text = String::new();
                while !text.ends_with(|c: char| c.is_ascii_alphabetic()) {
                    text.extend(rest.next().or(Some('m')).filter(|c| *c != '['));
                }
                let numbers = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                if text.ends_with('H') {
                    let (line, column) = numbers.split_once(';').unwrap_or(("1", "1"));
                    y = line.parse::<usize>().expect("line") - 1;
                    x = column.parse::<usize>().expect("column") - 1;
                } else if text.ends_with('J') || text == "?1049h" || text == "?1049l" {
                    lines.clear();
                }
            }
            c => {
                let line = {
                    lines.resize(lines.len().max(y + 1), Vec::new());
                    &mut lines[y]
                };
                line.resize(line.len().max(x + 1), ' ');
                line[x] = c;
                x += 1;
            }
        }
    }
    lines.iter().map(|line| line.iter().collect()).collect()
}

/// A shell on a terminal of its own, made by `script`: what it shows, and a keyboard.
struct Console {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Console {
    /// Runs `pactown` with these arguments, between two looks at the terminal's settings.
    fn run(town: &Town, environment: &str, arguments: &str) -> Self {
        let script = format!(
            "stty rows 24 cols 80; echo BEFORE; stty -a; {environment} {} {arguments}; echo CODE $?; echo AFTER; stty -a; echo END",
            env!("CARGO_BIN_EXE_pactown")
        );
        let mut child = std::process::Command::new("script")
            .args(["-qfec", &script, "/dev/null"])
            .current_dir(town.path())
            .env("TERM", "xterm-256color")
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is needed as a witness");
        let mut stdout = child.stdout.take().expect("stdout");
        let shown = Arc::new(Mutex::new(String::new()));
        let reader = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = stdout.read(&mut buffer) {
                if count == 0 {
                    return;
                }
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                reader.lock().expect("reader").push_str(&text);
            }
        });
        Self { child, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("reader").clone()
    }

    /// Waits until the text stands on the screen.
    #[track_caller]
    fn shows(&self, text: &str) {
        let deadline = Instant::now() + patient(Duration::from_secs(15));
        while !screen(&self.shown()).iter().any(|line| line.contains(text)) {
            let lines = screen(&self.shown()).join("\n");
            assert!(Instant::now() < deadline, "no {text:?} on\n{lines}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Gives the terminal another size, as its window does.
    fn resize(&self, lines: u16, columns: u16) {
        let terminal = fs::read_link(format!("/proc/{}/fd/0", self.program())).expect("a terminal");
        let (lines, columns) = (lines.to_string(), columns.to_string());
        let done = std::process::Command::new("stty")
            .arg("-F")
            .arg(terminal)
            .args(["rows", &lines, "cols", &columns])
            .status();
        assert!(done.expect("stty").success());
    }

    fn press(&mut self, keys: &str) {
        let keyboard = self.child.stdin.as_mut().expect("stdin");
        keyboard.write_all(keys.as_bytes()).expect("a key");
        keyboard.flush().expect("a key");
    }

    /// The program on the terminal.
    fn program(&self) -> Pid {
        let shell = children(i32::try_from(self.child.id()).expect("pid"));
        let program = shell.iter().flat_map(|shell| children(*shell)).next();
        Pid::from_raw(program.expect("a program on the terminal"))
    }

    /// Its end: the exit code is as expected, the alternate screen is left, the cursor is shown, and the terminal's
    /// settings are what they were. What was shown.
    #[track_caller]
    fn ends(mut self, code: i32) -> String {
        self.shows("END");
        let _ = self.child.wait();
        let shown = self.shown();
        assert!(shown.contains(&format!("CODE {code}\r\n")), "{shown:?}");
        let settings = |from: &str, to: &str| {
            let text = shown.split_once(from).expect("settings").1;
            let end = text.find(to).unwrap_or_else(|| panic!("no {to:?}: {shown:?}"));
            text[..end].to_owned()
        };
        let before = settings("BEFORE\r\n", "\u{1b}[?1049h");
        assert!(
            before.contains("icanon") && !before.contains("-icanon"),
            "{before}"
        );
        let after = settings("AFTER\r\n", "END");
        assert_eq!(before.trim(), after.trim());
        let entered = shown.find("\u{1b}[?1049h").expect("entered");
        let left = shown.find("\u{1b}[?1049l").expect("left");
        let said = shown.find("CODE").expect("code");
        assert!(entered < left && left < said, "{shown:?}");
        assert!(shown[left..].contains("\u{1b}[?25h"), "the cursor: {shown:?}");
        shown
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn views_draw_and_give_the_terminal_back() {
    let machine = Machine::take();
    let town = busy();
    town.ok(&["up", "-d"]);

    let mut ui = Console::run(&town, "", "ui");
    ui.shows("hoarder");
    ui.press("j");
    ui.shows("hoarded");
    ui.resize(30, 130);
    let beside = |ui: &Console| {
        let lines = screen(&ui.shown());
        lines
            .iter()
            .any(|line| line.contains("PORTS") && line.contains("── logs"))
    };
    eventually("wide: beside each other", Duration::from_secs(5), || beside(&ui));
    ui.resize(24, 80);
    eventually("narrow: below each other", Duration::from_secs(5), || {
        !beside(&ui)
    });
    ui.press("g");
    ui.shows("Wave 1: burner, hoarder");
    ui.press("w");
    ui.shows("supervisor");
    let before = town.service("hoarder")["run"].clone();
    town.edit(
        "saas.pactown.yaml",
        "hoarder.md}",
        "hoarder.md, env: {LEVEL: high}}",
    );
    ui.press("r");
    ui.shows("restart done");
    assert_ne!(town.service("hoarder")["run"], before, "r restarts");
    assert_eq!(
        town.inside("hoarder", "echo $LEVEL"),
        "high",
        "from the file as it is now"
    );
    town.edit("saas.pactown.yaml", "env: {LEVEL: high}", "evn: {}");
    let before = town.service("hoarder")["run"].clone();
    ui.press("r");
    ui.shows("unknown key 'evn'");
    assert_eq!(
        town.service("hoarder")["run"],
        before,
        "a broken file changes nothing"
    );
    town.edit("saas.pactown.yaml", ", evn: {}", "");
    ui.press("s");
    eventually("s stops", Duration::from_secs(15), || {
        town.service("hoarder")["state"] == "stopped"
    });
    ui.press("\u{3}");
    ui.shows("leave?");
    ui.press("\u{1b}");
    // Both at once would be one key: alt and q.
    eventually("escape closes the window", Duration::from_secs(5), || {
        !screen(&ui.shown()).iter().any(|line| line.contains("leave?"))
    });
    ui.press("q");
    let shown = ui.ends(0);
    assert!(
        !shown.contains("\u{1b}[31m") && !shown.contains("\u{1b}[38;5;"),
        "NO_COLOR"
    );
    assert_eq!(
        town.service("burner")["state"],
        "running",
        "leaving stops nothing"
    );

    for (view, signal) in [
        ("ui", Signal::SIGTERM),
        ("ui", Signal::SIGHUP),
        ("top", Signal::SIGTERM),
    ] {
        let console = Console::run(&town, "", view);
        console.shows("burner");
        kill(console.program(), signal).expect("signal");
        console.ends(128 + signal as i32);
    }
    let mut top = Console::run(&town, "", "top");
    top.shows("burner");
    top.press("n");
    top.shows("↓");
    top.press("q");
    top.ends(0);

    let mut ui = Console::run(&town, "", "ui");
    ui.shows("burner");
    ui.press("\u{3}");
    ui.shows("leave?");
    ui.press("s");
    let shown = ui.ends(0);
    assert!(shown.contains("everything is stopped"), "{shown:?}");
    assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none");
    machine.assert_clean();
}

#[test]
#[cfg(feature = "failpoints")]
fn a_panic_gives_the_terminal_back() {
    let machine = Machine::take();
    let town = busy();
    town.ok(&["up", "-d"]);
    for view in ["ui", "top"] {
        let console = Console::run(&town, "PACTOWN_FAILPOINTS=ui:draw=panic", view);
        let shown = console.ends(101);
        let left = shown.find("\u{1b}[?1049l").expect("left");
        let said = shown.find("panicked").expect("the message");
        assert!(left < said, "the message stays on the screen: {shown:?}");
    }
    town.ok(&["down"]);
    machine.assert_clean();
}
