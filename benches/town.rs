//! The figures of `docs/benchmarks.md`: whole ecosystems against the same work as bare processes, in one sitting.
//!
//! `cargo bench --bench town` prints medians and ratios. Nothing here is a test: a slow machine is not a defect.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SERVICES: usize = 50;
const ROUNDS: usize = 3;

fn main() {
    let directory = std::env::temp_dir().join(format!("pactown-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("directory");
    write_ecosystem(&directory, SERVICES);
    println!("medians of {ROUNDS} rounds; ratio = pactown / baseline of the same round\n");
    fifty_services(&directory);
    short_commands(&directory);
    throughput(&directory);
    fs::remove_dir_all(&directory).expect("remove");
}

fn write_ecosystem(directory: &Path, services: usize) {
    let mut yaml = "name: bench\nservices:\n".to_owned();
    for number in 0..services {
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
        .stdin(Stdio::null())
        .env("NO_COLOR", "1");
    let output = command.output().expect("pactown");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "pactown {arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Start of 50 servers until all have answered, memory of what pactown adds, and `down`.
fn fifty_services(directory: &Path) {
    let (mut bare, mut town, mut ratios, mut downs, mut memory) = (vec![], vec![], vec![], vec![], vec![]);
    let ports: Vec<u16> = (0..SERVICES)
        .map(|n| 20_000 + u16::try_from(n).expect("port"))
        .collect();
    run(directory, &["up", "-d"]);
    run(directory, &["down"]);
    for _ in 0..ROUNDS {
        let plain = bare_servers(directory, &ports);
        let started = Instant::now();
        run(directory, &["up", "-d"]);
        ports.iter().for_each(|port| wait_for(*port));
        let ours = started.elapsed().as_secs_f64();
        memory.push(own_pss());
        let started = Instant::now();
        run(directory, &["down"]);
        downs.push(started.elapsed().as_secs_f64());
        bare.push(plain);
        town.push(ours);
        ratios.push(ours / plain);
    }
    println!(
        "{SERVICES} × python3 -m http.server until all answer: bare {:.2} s, pactown {:.2} s, ratio {:.2}",
        median(&mut bare),
        median(&mut town),
        median(&mut ratios)
    );
    println!(
        "memory of keeper, supervisor and {SERVICES} inits (PSS): {:.1} MB",
        median(&mut memory)
    );
    println!("down of {SERVICES} services: {:.2} s", median(&mut downs));
}

/// Seconds until that many bare servers have answered.
fn bare_servers(directory: &Path, ports: &[u16]) -> f64 {
    let started = Instant::now();
    let mut children: Vec<Child> = ports.iter().map(|port| bare_server(directory, *port)).collect();
    ports.iter().for_each(|port| wait_for(*port));
    let elapsed = started.elapsed().as_secs_f64();
    for child in &mut children {
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
    elapsed
}

fn bare_server(directory: &Path, port: u16) -> Child {
    let mut command = Command::new("python3");
    command
        .args(["-m", "http.server", &port.to_string()])
        .current_dir(directory);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3")
}

/// Returns when `GET /` on the port has been answered.
fn wait_for(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < deadline, "port {port} never answered");
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut answer = String::new();
            let asked = stream
                .write_all(b"GET / HTTP/1.0\r\n\r\n")
                .and_then(|()| stream.read_to_string(&mut answer));
            if asked.is_ok() && answer.starts_with("HTTP/1.0 200") {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Proportional set size in MB of every process of pactown's own (keeper, supervisor, inits; not the services).
fn own_pss() -> f64 {
    let mut total = 0_u64;
    for entry in fs::read_dir("/proc").expect("proc").flatten() {
        let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if command.contains("__keeper") || command.contains("__supervisor") || name.starts_with("pactown:") {
            let rollup = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
            let line = rollup
                .lines()
                .find(|line| line.starts_with("Pss:"))
                .unwrap_or("Pss: 0 kB");
            total += line
                .split_whitespace()
                .nth(1)
                .and_then(|kb| kb.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    total as f64 / 1000.0
}

/// `--help` and `ps` with 20 services.
fn short_commands(directory: &Path) {
    let twenty = directory.join("twenty");
    fs::create_dir_all(&twenty).expect("directory");
    write_ecosystem(&twenty, 20);
    run(&twenty, &["up", "-d"]);
    let time = |arguments: &[&str]| {
        let timed = |_| {
            let started = Instant::now();
            run(&twenty, arguments);
            started.elapsed().as_secs_f64() * 1000.0
        };
        median(&mut (0..21).map(timed).collect::<Vec<f64>>())
    };
    println!("pactown --help: {:.1} ms", time(&["--help"]));
    println!("pactown ps with 20 services: {:.1} ms", time(&["ps"]));
    println!(
        "pactown up -d, nothing changed, 20 services: {:.1} ms",
        time(&["up", "-d"])
    );
    run(&twenty, &["down"]);
}

const SINK: &str = "# Sink

```python markpact:file path=sink.py
import os, socket, threading
server = socket.create_server(('0.0.0.0', int(os.environ['PORT'])))
def swallow(peer):
    view = memoryview(bytearray(1 << 20))
    while peer.recv_into(view):
        pass
while True:
    threading.Thread(target=swallow, args=(server.accept()[0],)).start()
```

```sh markpact:run
exec python3 sink.py
```
";

/// Turns of the TCP measurement.
const TURNS: usize = 100;

/// TCP throughput into a sandbox: through the published port against the sandbox's own address (the same veth).
fn throughput(directory: &Path) {
    let place = directory.join("sink");
    fs::create_dir_all(&place).expect("directory");
    let yaml = "name: sink\nservices:\n  sink: {readme: s.md, port: 20100, health_check: {tcp: 20100}}\n";
    fs::write(place.join("saas.pactown.yaml"), yaml).expect("yaml");
    fs::write(place.join("s.md"), SINK).expect("readme");
    run(&place, &["up", "-d"]);
    let rows: serde_json::Value = serde_json::from_str(&run(&place, &["ps", "--json"])).expect("json");
    let address = rows[0]["address"].as_str().expect("address").to_owned();
    let published = u16::try_from(rows[0]["ports"][0]["host_port"].as_u64().expect("port")).expect("port");
    // Two connections that live through the whole measurement, in short turns: whatever slows the machine down
    // for a moment then slows both.
    let mut direct = TcpStream::connect((address.as_str(), 20100)).expect("connect");
    let mut through = TcpStream::connect(("127.0.0.1", published)).expect("connect");
    let mut times = [vec![], vec![], vec![]];
    for turn in 0..TURNS {
        // Neither is always the first.
        let (one, two) = if turn % 2 == 0 {
            (send_on(&mut direct), send_on(&mut through))
        } else {
            let two = send_on(&mut through);
            (send_on(&mut direct), two)
        };
        for (times, value) in times.iter_mut().zip([one, two, two / one]) {
            times.push(value);
        }
    }
    let [direct, through, ratio] = times.map(|mut values| median(&mut values));
    println!(
        "TCP into a sandbox: by its address {:.1} Gbit/s, published {:.1} Gbit/s, ratio {:.2}",
        direct, through, ratio
    );
    run(&place, &["down"]);
}

/// Gbit/s sent in a fifth of a second.
fn send_on(stream: &mut TcpStream) -> f64 {
    let block = vec![0_u8; 1 << 20];
    let (started, mut sent) = (Instant::now(), 0_usize);
    while started.elapsed() < Duration::from_millis(200) {
        stream.write_all(&block).expect("send");
        sent += block.len();
    }
    sent as f64 * 8.0 / started.elapsed().as_secs_f64() / 1e9
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
