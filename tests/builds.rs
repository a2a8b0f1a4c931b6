//! Builds between services, instances and deaths: what is equal is built once, and what is half is never seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::{eventually, patient, processes};
use crate::support::town::{Machine, Town};
use crate::support::wheels::Wheels;

const LAYERS: &str = "/var/cache/pactown/layers";

fn service(title: &str) -> String {
    format!(
        "# {title}\n\n```python markpact:deps\ngreet\n```\n\n```sh markpact:run\nexec python -m http.server $PORT\n```\n"
    )
}

fn yaml(name: &str, port: u16) -> String {
    format!(
        "name: {name}\nservices:\n  api: {{readme: api.md, port: {port}, health_check: /}}\n  web: {{readme: web.md, port: {}, health_check: /}}\n",
        port + 1
    )
}

fn town(name: &str, port: u16) -> Town {
    let (api, web) = (service("Api"), service("Another page"));
    Town::new(name, &yaml(name, port), &[("api.md", &api), ("web.md", &web)])
}

fn installs(text: &str) -> usize {
    text.matches("Successfully installed").count()
}

#[test]
fn two_services_of_equal_dependencies_build_once_and_a_changed_one_builds_one_layer() {
    let machine = Machine::take_with_new_layers();
    let (town, wheels) = Wheels::of(town("equal", 18951));
    wheels.add("greet", &format!("1.{}", std::process::id()), "", "");
    wheels.add("polite", "1", "", "");
    let (out, err) = town.expect(0, &["up", "-d"]);
    assert_eq!(installs(&format!("{out}{err}")), 1, "{out}{err}");
    // Both have it, and it is one directory on the disk.
    let inode = |service: &str| town.inside(service, "stat -c %i /app/.venv/bin/activate");
    assert_eq!(inode("api"), inode("web"));
    let (out, err) = town.expect(0, &["up", "-d", "--force-recreate"]);
    assert_eq!(installs(&format!("{out}{err}")), 0, "warm: {out}{err}");
    town.edit("web.md", "greet\n", "greet\npolite\n");
    let plan = town.ok(&["up", "-n"]);
    let row = |service: &str| {
        plan.lines()
            .find(|line| line.starts_with(&format!("{service} ")))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        row("web").contains("python (to be made)") && row("api").contains("python (cached)"),
        "{plan}"
    );
    let (out, err) = town.expect(0, &["up", "-d"]);
    assert_eq!(installs(&format!("{out}{err}")), 1, "{out}{err}");
    drop(town);
    machine.assert_clean();
}

#[test]
fn two_instances_that_come_up_at_the_same_time_build_once() {
    let machine = Machine::take_with_new_layers();
    let (one, wheels) = Wheels::of(town("first", 18955));
    wheels.add("greet", &format!("1.{}", std::process::id()), "", "");
    let path = wheels.path().to_str().expect("utf-8");
    let two = town("second", 18961)
        .with_env("PIP_NO_INDEX", "1")
        .with_env("PIP_FIND_LINKS", path)
        .with_env("PIP_CONFIG_FILE", "/dev/null");
    let both = [one.spawn(&["up", "-d"]), two.spawn(&["up", "-d"])];
    let texts = both.map(|child| {
        let output = child.wait_with_output().expect("its end");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{text}");
        text
    });
    assert_eq!(
        texts.iter().map(|text| installs(text)).sum::<usize>(),
        1,
        "{texts:?}"
    );
    drop((one, two));
    machine.assert_clean();
}

/// The directory `part` of a build that is being made, or of layers that are there.
fn parts(part: &str, making: bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(LAYERS).into_iter().flatten().flatten();
    let of_kind =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".making-") == making);
    let below = if making { Path::new("upper") } else { Path::new("") };
    of_kind
        .map(|entry| entry.path().join(below).join(part))
        .filter(|path| path.is_dir())
        .collect()
}

/// How often a build is killed: in the long form, with `PACTOWN_FAULTS=long`, a hundred times.
fn times() -> u32 {
    if std::env::var("PACTOWN_FAULTS").is_ok_and(|form| form == "long") {
        100
    } else {
        6
    }
}

#[test]
fn a_build_that_is_killed_at_any_moment_leaves_no_half_layer_and_the_next_one_succeeds() {
    let machine = Machine::take_with_new_layers();
    let part = format!("part-{}", std::process::id());
    let readme = format!(
        "# Api\n\n```sh markpact:setup\nmkdir {part}\nfor n in $(seq 300); do echo $n > {part}/$n; done\necho whole > {part}/whole\n```\n\n```sh markpact:run\ntest -e {part}/whole && exec python3 -m http.server $PORT\n```\n"
    );
    let yaml = "name: killed\nservices:\n  api: {readme: api.md, port: 18967, health_check: /}\n";
    for round in 0..times() {
        // Another text, another layer: one that was finished in time is no help for the next round.
        let readme = readme
            .replace("# Api", &format!("# Api {round}"))
            .replace("mkdir", &format!("# {round}\nmkdir"));
        let town = Town::new("killed", yaml, &[("api.md", &readme)]);
        let mut up = town.spawn(&["up"]);
        let end = Instant::now() + patient(Duration::from_secs(30));
        while parts(&part, true).is_empty()
            && parts(&part, false).len() <= usize::try_from(round).expect("few")
        {
            assert!(Instant::now() < end, "the build did not begin");
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(u64::from(round % 40) * 7));
        for comm in ["pactown:super", "pactown:keeper"] {
            for pid in processes(comm, "killed-") {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = up.kill();
        let _ = up.wait();
        for half in parts(&part, false) {
            assert!(
                half.join("whole").exists(),
                "round {round}: {} is half a layer",
                half.display()
            );
        }
        town.ok(&["up", "-d"]);
        assert_eq!(
            town.inside("api", &format!("cat {part}/whole")),
            "whole",
            "round {round}"
        );
        drop(town);
    }
    let proxies = || {
        Command::new("pgrep")
            .args(["-f", "__proxy"])
            .output()
            .expect("pgrep")
    };
    eventually(
        "the proxies of killed builds end",
        Duration::from_secs(10),
        || proxies().stdout.is_empty(),
    );
    assert!(parts(&part, true).is_empty(), "something is left half-made");
    let layers = parts(&part, false);
    assert_eq!(
        layers.len(),
        usize::try_from(times()).expect("few"),
        "one layer each round"
    );
    for layer in layers {
        let _ = fs::remove_dir_all(layer.parent().expect("a layer"));
    }
    machine.assert_clean();
}
