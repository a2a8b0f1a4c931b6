//! `examples/shop`, cold, warm and after an edit of one line, against the same steps by hand: virtual environments, pip,
//! npm and processes. In one sitting, each figure with the ratio of its own round.
//!
//! `cargo bench --bench builds`. Needs the network, for packages; caches of pip and npm are off on both sides. Nothing here
//! is a test: a slow machine is not a defect.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pactown::markpact::recipe::DepsLanguage;
use pactown::markpact::{self, Recipe};

const ROUNDS: u32 = 3;
/// Service, port, path of its check, and what it is told of others. A port of 0 is a job.
type Step = (
    &'static str,
    u16,
    &'static str,
    &'static [(&'static str, &'static str)],
);
/// In start order.
const SERVICES: [Step; 5] = [
    ("database", 8201, "/health", &[]),
    ("migrate", 0, "", &[("DATABASE_URL", "http://127.0.0.1:8201")]),
    (
        "api",
        8202,
        "/health",
        &[("STORE_URL", "http://127.0.0.1:8201"), ("CURRENCY", "EUR")],
    ),
    ("web", 8203, "/health", &[("API_URL", "http://127.0.0.1:8202")]),
    (
        "gateway",
        8200,
        "/gateway/health",
        &[
            ("API_URL", "http://127.0.0.1:8202"),
            ("WEB_URL", "http://127.0.0.1:8203"),
        ],
    ),
];

fn main() {
    let root = std::env::temp_dir().join(format!("pactown-builds-{}", std::process::id()));
    let mut figures: [Vec<(f64, f64)>; 3] = Default::default();
    for round in 0..ROUNDS {
        let (town, hand) = (
            root.join(format!("town-{round}")),
            root.join(format!("hand-{round}")),
        );
        copy(Path::new("examples/shop"), &town);
        distinguish(&town, round);
        let cold = (by_pactown(&town), by_hand_cold(&town, &hand));
        figures[0].push(cold);
        pactown(&town, &["down"]);
        let warm = by_pactown(&town);
        // It has the same ports.
        pactown(&town, &["down"]);
        let (seconds, children) = start_by_hand(&town, &hand);
        drop(children);
        figures[1].push((warm, seconds));
        figures[2].push(edited(&town, &hand));
        pactown(&town, &["down", "--volumes", "--yes"]);
    }
    println!(
        "examples/shop until all is healthy; medians of {ROUNDS} rounds, ratio = pactown / by hand of the same round"
    );
    for (what, rounds) in [
        "cold build and start",
        "warm start",
        "start after an edit of one line",
    ]
    .iter()
    .zip(&mut figures)
    {
        let mut ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours / theirs).collect();
        let (mut ours, mut theirs): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
        println!(
            "{what}: by hand {:.2} s, pactown {:.2} s, ratio {:.2}",
            median(&mut theirs),
            median(&mut ours),
            median(&mut ratios)
        );
    }
    fs::remove_dir_all(&root).expect("remove");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
    let status = Command::new("cp")
        .arg("-r")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp");
    assert!(status.success());
    let _ = fs::remove_dir_all(to.join(".pactown-sandboxes"));
}

/// The same dependencies in other words: nothing of them is in the cache.
fn distinguish(town: &Path, round: u32) {
    let mark = format!("{}{round}", std::process::id());
    let mut changed = 0;
    for (name, ..) in SERVICES {
        let path = town.join(name).join("README.md");
        let before = fs::read_to_string(&path).expect("a README");
        let text = before
            .replace(
                "requests==2.32.3\n",
                &format!("requests==2.32.3 ; python_version != '{mark}'\n"),
            )
            .replace(
                "httpx==0.28.1\n",
                &format!("httpx==0.28.1 ; python_version != '{mark}'\n"),
            );
        let text = match text.contains("```javascript markpact:deps") {
            true => format!("{text}\n```ini markpact:file path=.npmrc\n; {mark}\n```\n"),
            false => text,
        };
        changed += usize::from(text != before);
        fs::write(path, text).expect("a README");
    }
    assert_eq!(
        changed, 4,
        "every service with dependencies has others than in the round before"
    );
}

fn pactown(town: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_pactown"))
        .args(arguments)
        .current_dir(town)
        .stdin(Stdio::null())
        .output()
        .expect("pactown");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "pactown {arguments:?}: {told}");
}

/// Seconds of `up` until everything is healthy.
fn by_pactown(town: &Path) -> f64 {
    let started = Instant::now();
    pactown(town, &["up", "-d"]);
    started.elapsed().as_secs_f64()
}

fn recipe(town: &Path, service: &str) -> Recipe {
    markpact::read(&town.join(service).join("README.md")).expect("a README")
}

/// Seconds from nothing to healthy: all services install at the same time, then they start in order.
fn by_hand_cold(town: &Path, hand: &Path) -> f64 {
    pactown(town, &["down"]);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (name, ..) in SERVICES {
            scope.spawn(move || install(&recipe(town, name), &hand.join(name)));
        }
    });
    let (_, children) = start_by_hand(town, hand);
    let seconds = started.elapsed().as_secs_f64();
    drop(children);
    seconds
}

/// Files, then a virtual environment or `node_modules`.
fn install(recipe: &Recipe, directory: &Path) {
    fs::create_dir_all(directory).expect("a directory");
    write(recipe, directory);
    for block in &recipe.deps {
        let names: Vec<&String> = block.requirements.iter().map(|(_, name)| name).collect();
        match block.language {
            DepsLanguage::Python => {
                shell(directory, "python3 -m venv .venv", &[]);
                shell(
                    directory,
                    ".venv/bin/python -m pip install -q --no-cache-dir \"$@\"",
                    &names,
                );
            }
            DepsLanguage::Node => shell(
                directory,
                "npm install --silent --no-audit --no-fund --cache \"$PWD/.npm\" -- \"$@\"",
                &names,
            ),
            other => panic!("{other:?}: nobody does that by hand here"),
        }
    }
}

/// The database's file is in a volume of the sandbox; here it is below the service's own directory.
fn write(recipe: &Recipe, directory: &Path) {
    let data = directory.join("data");
    fs::create_dir_all(&data).expect("a directory");
    for file in &recipe.files {
        let path = directory.join(&file.path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let content = file
            .content
            .replace("/var/lib/shop", data.to_str().expect("utf-8"));
        fs::write(path, content).expect("a file");
    }
}

fn shell(directory: &Path, script: &str, arguments: &[&String]) {
    let status = Command::new("sh")
        .args(["-ec", script, "sh"])
        .args(arguments)
        .current_dir(directory)
        .stdout(Stdio::null())
        .status()
        .expect("sh");
    assert!(status.success(), "{script}");
}

/// Processes that are killed on drop.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts everything as plain processes, each once those that it needs answer.
fn start_by_hand(town: &Path, hand: &Path) -> (f64, Children) {
    let started = Instant::now();
    let mut children = Children(Vec::new());
    for (name, port, path, env) in SERVICES {
        let mut child = start(&recipe(town, name), &hand.join(name), port, env);
        if port == 0 {
            assert!(child.wait().expect("its end").success(), "{name}");
        } else {
            wait_for(port, path, &mut child);
            children.0.push(child);
        }
    }
    (started.elapsed().as_secs_f64(), children)
}

fn start(recipe: &Recipe, directory: &Path, port: u16, env: &[(&str, &str)]) -> Child {
    let run = recipe.run.as_ref().expect("a run block");
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("sh")
        .args(["-c", &run.command])
        .current_dir(directory)
        .env("PORT", port.to_string())
        .env(
            "PATH",
            format!("{}:{path}", directory.join(".venv/bin").display()),
        )
        .envs(env.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh")
}

/// One line of the page's server is another one: seconds until it answers again, both ways.
fn edited(town: &Path, hand: &Path) -> (f64, f64) {
    pactown(town, &["up", "-d"]);
    let readme = town.join("web/README.md");
    let text = fs::read_to_string(&readme).expect("a README");
    let edited = text.replacen(
        "const express = require",
        "/* edited */ const express = require",
        1,
    );
    assert_ne!(text, edited);
    fs::write(&readme, edited).expect("a README");
    let ours = by_pactown(town);
    pactown(town, &["down"]);
    let (_, mut children) = start_by_hand(town, hand);
    let started = Instant::now();
    let (name, port, path, env) = SERVICES[3];
    write(&recipe(town, name), &hand.join(name));
    let web = &mut children.0[2];
    web.kill().expect("kill");
    web.wait().expect("its end");
    *web = start(&recipe(town, name), &hand.join(name), port, env);
    wait_for(port, path, web);
    (ours, started.elapsed().as_secs_f64())
}

/// Returns when the path answers with 200, and it is `child` that does.
fn wait_for(port: u16, path: &str, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < deadline, "port {port} never answered");
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let mut answer = [0; 64];
            let asked = stream
                .write_all(request.as_bytes())
                .and_then(|()| stream.read(&mut answer));
            if asked.is_ok_and(|length| String::from_utf8_lossy(&answer[..length]).contains(" 200 ")) {
                assert!(
                    child.try_wait().expect("a look").is_none(),
                    "another program has port {port}"
                );
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
