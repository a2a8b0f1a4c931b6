//! The figures of `docs/benchmarks.md` on the registry: a README from `pactown registry serve` and the same bytes as a
//! static file from nginx; durable publishes; search over ten thousand artifacts; memory.
//!
//! `cargo bench --bench registry` prints medians and ratios; nginx is needed. Nothing here is a test: a slow machine is
//! not a defect.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(2);
const CLIENTS: usize = 16;
const ARTIFACTS: u64 = 10_000;
const SEARCHES: usize = 1000;

fn main() {
    let directory = std::env::temp_dir().join(format!("pactown-bench-registry-{}", std::process::id()));
    fs::create_dir_all(directory.join("www")).expect("directory");
    let readme = "# Api\n\nSome words about it, and how it is used.\n".repeat(40);
    let body = format!("{{\"content\":{}}}", quoted(&readme));
    fs::write(directory.join("www/readme"), &body).expect("file");
    let (mut server, address) = serve(&directory.join("store"));
    let (mut nginx, static_address) = nginx(&directory);
    publish_one(address, "api", "1.0.0", &readme);
    println!("medians of {ROUNDS} rounds, {CLIENTS} connections\n");
    compare_reads(address, static_address);
    let next = AtomicU64::new(0);
    let rates = rounds(|| publishes(address, &next, TIME));
    println!(
        "durable publish, {CLIENTS} clients       {:>9.0} /s",
        median(rates)
    );
    let rates = rounds(|| alone(address, &next));
    println!("durable publish, one client        {:>9.0} /s", median(rates));
    // Of a server that has published nothing itself, over exactly that many.
    let (mut filler, filling) = serve(&directory.join("full"));
    fill(filling);
    let (mut full, searched) = serve(&directory.join("full"));
    searches(searched, ARTIFACTS);
    println!("resident memory, filling           {:>9} KiB", resident(&filler));
    println!("resident memory, searched          {:>9} KiB", resident(&full));
    for child in [&mut server, &mut filler, &mut full, &mut nginx] {
        let _ = child.kill();
        let _ = child.wait();
    }
    let _ = fs::remove_dir_all(&directory);
}

fn compare_reads(address: SocketAddr, static_address: SocketAddr) {
    let (mut ours, mut theirs, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let own = reads(address, "/v1/artifacts/default/api/1.0.0/readme");
        let other = reads(static_address, "/readme");
        ours.push(own);
        theirs.push(other);
        ratios.push(own / other);
    }
    println!("README, pactown                    {:>9.0} /s", median(ours));
    println!("the same bytes, nginx              {:>9.0} /s", median(theirs));
    println!("ratio                              {:>9.2}", median(ratios));
}

fn searches(address: SocketAddr, count: u64) {
    for (what, path) in [
        ("one hit", "/v1/artifacts?search=word4321&limit=20"),
        ("part of a name", "/v1/artifacts?search=name-77&limit=20"),
        ("every README", "/v1/artifacts?search=everywhere&limit=20"),
        ("a page of the list", "/v1/artifacts?limit=20"),
    ] {
        let mut connection = Connection::new(address);
        let mut times: Vec<Duration> = (0..SEARCHES)
            .map(|_| {
                let start = Instant::now();
                connection.get(path);
                start.elapsed()
            })
            .collect();
        times.sort();
        println!(
            "search over {count}, {what:<20} p50 {:?}, p99 {:?}",
            times[SEARCHES / 2],
            times[SEARCHES * 99 / 100]
        );
    }
}

fn serve(store: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pactown"))
        .args([
            "registry",
            "serve",
            "--port",
            "0",
            "--anonymous",
            "publish",
            "--no-access-log",
            "--storage",
        ])
        .arg(store)
        .stderr(Stdio::piped())
        .spawn()
        .expect("pactown");
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().expect("stderr"))
        .read_line(&mut line)
        .expect("a line");
    let address = line
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("an address");
    (child, address.parse().expect("an address"))
}

fn nginx(directory: &Path) -> (Child, SocketAddr) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port")
        .port();
    let text = format!(
        "daemon off; worker_processes auto; pid {0}/pid; error_log {0}/error; events {{}}
         http {{ access_log off; keepalive_requests 1000000000; default_type application/json;
         server {{ listen 127.0.0.1:{port}; root {0}/www; }} }}",
        directory.display()
    );
    let file: PathBuf = directory.join("nginx.conf");
    fs::write(&file, text).expect("file");
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(directory.join("error"))
        .spawn()
        .expect("nginx");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    (child, address)
}

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        Self {
            stream: BufReader::new(stream),
        }
    }

    fn get(&mut self, path: &str) -> u16 {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    }

    fn post(&mut self, path: &str, body: &str) -> u16 {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(format!("{head}{body}").as_bytes())
    }

    fn send(&mut self, request: &[u8]) -> u16 {
        self.stream.get_mut().write_all(request).expect("sent");
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("a line");
            match line.trim_end() {
                "" => break,
                text if status == 0 => status = text[9..12].parse().expect("a status"),
                text => {
                    if let Some(value) = text.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                }
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        status
    }
}

/// Requests per second of all clients together.
fn together(time: Duration, act: impl Fn(&mut Connection) + Sync, address: SocketAddr) -> f64 {
    let start = Instant::now();
    let count: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut connection, mut count) = (Connection::new(address), 0);
                    while start.elapsed() < time {
                        act(&mut connection);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .sum()
    });
    count as f64 / start.elapsed().as_secs_f64()
}

fn reads(address: SocketAddr, path: &str) -> f64 {
    together(TIME, |connection| assert_eq!(connection.get(path), 200), address)
}

fn publication(number: u64) -> String {
    let readme = format!(
        "# Number {number}\n\nword{number} and words that are everywhere.\n{}",
        "More text of it.\n".repeat(100)
    );
    format!(
        "{{\"name\":\"name-{number}\",\"version\":\"1.0.0\",\"description\":\"About {number}\",\"readme_content\":{}}}",
        quoted(&readme)
    )
}

fn publishes(address: SocketAddr, next: &AtomicU64, time: Duration) -> f64 {
    let publish = |connection: &mut Connection| {
        let body = publication(next.fetch_add(1, Ordering::Relaxed));
        assert_eq!(connection.post("/v1/publish", &body), 200);
    };
    together(time, publish, address)
}

/// Publishes all that is searched.
fn fill(address: SocketAddr) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::new(address);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= ARTIFACTS {
                        break;
                    }
                    assert_eq!(connection.post("/v1/publish", &publication(number)), 200);
                }
            });
        }
    });
}

fn alone(address: SocketAddr, next: &AtomicU64) -> f64 {
    let (start, mut count, mut connection) = (Instant::now(), 0, Connection::new(address));
    while start.elapsed() < TIME {
        let body = publication(next.fetch_add(1, Ordering::Relaxed));
        assert_eq!(connection.post("/v1/publish", &body), 200);
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn publish_one(address: SocketAddr, name: &str, version: &str, readme: &str) {
    let body = format!(
        "{{\"name\":\"{name}\",\"version\":\"{version}\",\"readme_content\":{}}}",
        quoted(readme)
    );
    assert_eq!(Connection::new(address).post("/v1/publish", &body), 200);
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn rounds(act: impl Fn() -> f64) -> Vec<f64> {
    (0..ROUNDS).map(|_| act()).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn resident(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("KiB")
}
