//! The kill storm: SIGKILL to supervisor, keeper, command line, an init, or several, at random moments of up, steady state,
//! restart and down. After each round the promise of the case holds (docs/reliability.md), the next command works at
//! its first try, and after it nothing is left.
//!
//! `PACTOWN_STORM_ROUNDS=300 cargo test --test suite storm -- --nocapture` is the long form; `PACTOWN_STORM_SEED` repeats one.

use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::observe::{eventually, processes};
use crate::support::town::{Machine, Town};

const ROUNDS: u64 = 16;
const SOON: Duration = Duration::from_secs(20);

const YAML: &str = "
name: storm
services:
  seed: {readme: seed.md}
  db: {readme: server.md, port: 8000, health_check: /, restart: always, depends_on: [seed]}
  api: {readme: server.md, port: 8001, health_check: /, restart: always, depends_on: [db]}
  web: {readme: server.md, port: 8002, restart: always, depends_on: [api]}
";
const SEED: &str =
    "# Seed\n\n```yaml markpact:workload\nkind: job\n```\n\n```sh markpact:run\necho begun\n```\n";
const SERVER: &str = "# Server\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n";

/// What is being done when the kill comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Up,
    Steady,
    Restart,
    Down,
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Supervisor,
    Keeper,
    CommandLine,
    Init,
    SupervisorAndInit,
    SupervisorAndCommandLine,
    Everything,
}

/// Numbers that look random and come again with the seed (Knuth, MMIX).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).expect("small")]
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_round_keeps_its_promise_and_leaves_nothing() {
    let machine = Machine::take();
    let seed = number("PACTOWN_STORM_SEED", 1);
    let mut dice = Dice(seed);
    for round in 1..=number("PACTOWN_STORM_ROUNDS", ROUNDS) {
        let phase = dice.pick(&[Phase::Up, Phase::Steady, Phase::Restart, Phase::Down]);
        let victim = dice.pick(&[
            Victim::Supervisor,
            Victim::Keeper,
            Victim::CommandLine,
            Victim::Init,
            Victim::SupervisorAndInit,
            Victim::SupervisorAndCommandLine,
            Victim::Everything,
        ]);
        let pause = Duration::from_millis(dice.roll(700));
        println!("seed {seed} round {round}: {phase:?}, {victim:?} after {pause:?}");
        let town = Town::new("storm", YAML, &[("seed.md", SEED), ("server.md", SERVER)]);
        play(&town, phase, victim, pause);
        machine.assert_clean();
    }
}

fn play(town: &Town, phase: Phase, victim: Victim, pause: Duration) {
    if phase != Phase::Up {
        town.ok(&["up", "-d"]);
    }
    let before = pids(town);
    let mut command = match phase {
        Phase::Up => Some(town.spawn(&["up", "-d"])),
        Phase::Restart => Some(town.spawn(&["restart", "db"])),
        Phase::Down => Some(town.spawn(&["down"])),
        Phase::Steady => None,
    };
    sleep(pause);
    strike(town, victim, command.as_mut());
    if let Some(mut command) = command {
        command.wait().expect("wait");
    }
    promise(town, phase, victim, &before);
    if phase != Phase::Down {
        town.ok(&["up", "-d"]);
        eventually("all is up", SOON, || town.all_settled());
    }
    town.ok(&["down"]);
    assert_eq!(town.ok(&["doctor", "--leaks"]).trim(), "none");
}

/// Host pids of the services' inits, as far as there are any.
fn pids(town: &Town) -> Vec<(String, i64)> {
    let rows = town.run(&["ps", "--json"]);
    let rows: serde_json::Value = serde_json::from_slice(&rows.stdout).unwrap_or_default();
    let row = |row: &serde_json::Value| Some((row["name"].as_str()?.to_owned(), row["pid"].as_i64()?));
    rows.as_array().into_iter().flatten().filter_map(row).collect()
}

fn strike(town: &Town, victim: Victim, command: Option<&mut Child>) {
    let supervisors = || processes("pactown:super", "storm-");
    let keepers = || processes("pactown:keeper", "storm-");
    let inits = || {
        let all = pids(town).into_iter();
        all.map(|(_, pid)| i32::try_from(pid).expect("a pid")).take(1)
    };
    let cli: Vec<i32> = command.iter().map(|child| child.id().cast_signed()).collect();
    let targets: Vec<i32> = match victim {
        Victim::Supervisor => supervisors(),
        Victim::Keeper => keepers(),
        Victim::CommandLine => cli,
        Victim::Init => inits().collect(),
        Victim::SupervisorAndInit => inits().chain(supervisors()).collect(),
        Victim::SupervisorAndCommandLine => supervisors().into_iter().chain(cli).collect(),
        Victim::Everything => keepers().into_iter().chain(supervisors()).chain(cli).collect(),
    };
    for pid in targets {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn promise(town: &Town, phase: Phase, victim: Victim, before: &[(String, i64)]) {
    match victim {
        Victim::Supervisor | Victim::SupervisorAndCommandLine | Victim::CommandLine
            if phase == Phase::Steady =>
        {
            eventually("a supervisor answers", SOON, || {
                town.run(&["ps"]).status.success()
            });
            assert_eq!(pids(town), before, "no service is touched");
            assert!(town.all_settled(), "health is remembered");
        }
        Victim::Init | Victim::SupervisorAndInit if phase == Phase::Steady => {
            eventually("what was killed runs again, and only that", SOON, || {
                let now = pids(town);
                let changed = now.iter().filter(|one| !before.contains(one)).count();
                now.len() == before.len() && changed == 1
            });
        }
        Victim::Keeper | Victim::Everything => {
            eventually("nothing runs without the keeper", SOON, || {
                before.iter().all(|(_, pid)| {
                    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                    status.is_empty() || status.contains("State:\tZ") || status.contains("State:\tX")
                })
            });
        }
        // In the middle of a change the next command's success is the promise.
        _ => {}
    }
}
