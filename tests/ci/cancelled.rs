//! A CI job that is cancelled: the signals that runners send, once and twice, early and late. Nothing stays.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::eventually;
use crate::support::town::{Machine, Town};

/// Does not listen to the signal that asks it to end.
const STUBBORN: &str = "# S

```sh markpact:run
trap '' TERM
while :; do sleep 0.2; done
```

```sh markpact:test
sleep 97
```
";

const YAML: &str = "
name: cancelled
services:
  one: {readme: s.md, stop_grace: 60}
  two: {readme: s.md, stop_grace: 60, depends_on: [one]}
";

/// Whether a process has this command line, as the kernel tells it.
fn runs(line: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .any(|words| String::from_utf8_lossy(&words).replace('\0', " ").trim() == line)
}

#[test]
fn a_second_signal_ends_what_does_not_end_and_nothing_is_left() {
    let machine = Machine::take();
    let town = Town::new("cancelled", YAML, &[("s.md", STUBBORN)]);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        for verb in ["up", "test"] {
            let mut child = town.spawn(&[verb]);
            let pid = Pid::from_raw(child.id().cast_signed());
            eventually("it runs", Duration::from_secs(30), || match verb {
                "up" => town
                    .services()
                    .iter()
                    .any(|row| row["name"] == "two" && row["state"] == "running"),
                _ => runs("sleep 97"),
            });
            kill(pid, signal).expect("a signal");
            // The first one is being obeyed: a service that was told to end has not.
            std::thread::sleep(Duration::from_millis(300));
            assert!(
                child.try_wait().expect("a look").is_none(),
                "{signal} {verb}: it waits for its services"
            );
            kill(pid, signal).expect("another signal");
            let code = child.wait().expect("an end").code();
            assert_eq!(code, Some(128 + signal as i32), "{signal} {verb}");
            assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none", "{signal} {verb}");
            machine.assert_clean();
        }
    }
}

#[test]
fn a_signal_at_any_moment_of_the_start_leaves_nothing() {
    let machine = Machine::take();
    let town = Town::copy_of("examples/hello");
    for (number, pause) in [0, 20, 60, 120, 200, 300, 450, 700].into_iter().enumerate() {
        let signal = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGKILL][number % 4];
        let verb = ["up", "test"][number / 4];
        let mut child = town.spawn(&[verb]);
        std::thread::sleep(Duration::from_millis(pause));
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("a signal");
        child.wait().expect("an end");
        // Of one that was killed the supervisor sees the end a moment later.
        let what = format!("nothing is left of `{verb}` after {signal} at {pause} ms");
        eventually(&what, Duration::from_secs(30), || {
            town.run(&["doctor", "--leaks"]).stdout == b"none\n" && town.ok(&["ls", "--json"]).trim() == "[]"
        });
        machine.assert_clean();
    }
}
