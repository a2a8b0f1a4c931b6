//! What supervision costs with 50 services: adoption after the supervisor's death, listings under load, an idle minute.
//!
//! `cargo bench --bench supervision` prints medians. As root. `PACTOWN_BENCH_IDLE=600` makes the idle time ten minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SERVICES: usize = 50;
const ROUNDS: usize = 5;

fn main() {
    let directory = std::env::temp_dir().join(format!("pactown-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("directory");
    write_ecosystem(&directory);
    run(&directory, &["up", "-d"]);
    idle();
    adoption(&directory);
    listings(&directory);
    run(&directory, &["down"]);
    fs::remove_dir_all(&directory).expect("remove");
}

/// Servers with checks.
fn write_ecosystem(directory: &Path) {
    let mut yaml = "name: bench\nservices:\n".to_owned();
    for number in 0..SERVICES {
        yaml.push_str(&format!(
            "  s{number}: {{readme: s.md, port: {}, health_check: /}}\n",
            20_000 + number
        ));
    }
    let readme = "# Server\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n";
    fs::write(directory.join("saas.pactown.yaml"), yaml).expect("yaml");
    fs::write(directory.join("s.md"), readme).expect("readme");
}

fn run(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pactown"));
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null());
    let output = command.env("NO_COLOR", "1").output().expect("pactown");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "pactown {arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// CPU of the supervisor and the keeper, and growth of the supervisor's memory, while nobody asks.
fn idle() {
    let seconds = std::env::var("PACTOWN_BENCH_IDLE").map_or(60, |text| text.parse().expect("seconds"));
    std::thread::sleep(Duration::from_secs(15));
    let processes = [process("pactown:super"), process("pactown:keeper")];
    let before = processes.map(|pid| (ticks(pid), resident(pid)));
    std::thread::sleep(Duration::from_secs(seconds));
    let after = processes.map(|pid| (ticks(pid), resident(pid)));
    for (index, name) in ["supervisor", "keeper"].iter().enumerate() {
        let percent = (after[index].0 - before[index].0) as f64 / seconds as f64;
        let growth = after[index].1 as i64 - before[index].1 as i64;
        println!(
            "idle, {SERVICES} healthy services, {seconds} s: {name} {percent:.2} % of a core, {growth:+} kB resident"
        );
    }
}

/// From SIGKILL of the supervisor until another one answers with every service as it was.
fn adoption(directory: &Path) {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let before = rows(directory);
        let pid = process("pactown:super");
        let started = Instant::now();
        assert!(
            Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .expect("kill")
                .success()
        );
        while process_or("pactown:super") == Some(pid) {}
        while rows(directory) != before {
            assert!(started.elapsed() < Duration::from_secs(30), "never adopted");
        }
        times.push(started.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("adoption of {SERVICES} services: {:.2} s", median(&mut times));
}

/// Name, pid and health of every service; empty while nobody answers.
fn rows(directory: &Path) -> Vec<(String, i64, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pactown"));
    let output = command
        .args(["ps", "--json"])
        .current_dir(directory)
        .output()
        .expect("pactown");
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let row = |row: &serde_json::Value| {
        let health = row["health"].as_str().unwrap_or_default().to_owned();
        (row["name"].to_string(), row["pid"].as_i64().unwrap_or(0), health)
    };
    rows.as_array().into_iter().flatten().map(row).collect()
}

/// Listings while every core is busy.
fn listings(directory: &Path) {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut load: Vec<_> = (0..cores)
        .map(|_| {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
                .expect("sh")
        })
        .collect();
    for arguments in [
        &["ps"][..],
        &["logs", "-n", "10", "s1"],
        &["events", "-n", "10"],
        &["why"],
    ] {
        let timed = |_| {
            let started = Instant::now();
            run(directory, arguments);
            started.elapsed().as_secs_f64() * 1000.0
        };
        let mut times: Vec<f64> = (0..21).map(timed).collect();
        println!(
            "pactown {} under load: {:.1} ms",
            arguments[0],
            median(&mut times)
        );
    }
    for child in &mut load {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn process(name: &str) -> i32 {
    process_or(name).unwrap_or_else(|| panic!("no process {name}"))
}

/// The process of this name; other instances must not run meanwhile.
fn process_or(name: &str) -> Option<i32> {
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let comm = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/comm"))).unwrap_or_default();
        comm.trim() == name
    })
}

/// CPU time in clock ticks (proc_pid_stat(5), fields 14 and 15): a hundredth of a second each.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .collect();
    [11, 12]
        .iter()
        .map(|at| fields[*at].parse::<u64>().expect("ticks"))
        .sum()
}

/// Resident memory in kB.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .expect("kB")
        .parse()
        .expect("a number")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
