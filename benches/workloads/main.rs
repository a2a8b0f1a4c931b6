//! What the sandbox costs a program that runs in it: start-up, request rate, CPU work and bulk TCP, against the same
//! program bare, in turns in one run.
//!
//! `cargo bench --bench workloads` prints medians, and ratios of the same round; with `-- start`, `rate` or `bulk` only that
//! part. As root. Bare means a plain process of an
//! ordinary user; for rate and CPU it runs in the very network namespace of the sandbox, behind one more published port,
//! so that every packet takes the same way. Load comes from wrk, redis-benchmark and iperf3; what is not installed is
//! said and left out.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Inside: published, and asked by pactown itself.
const PORT: u16 = 20_200;
/// Published too; the bare program listens there.
const BARE_PORT: u16 = 20_201;
/// Nobody's: for bare programs on the host.
const FREE_PORT: u16 = 20_202;
const START_ROUNDS: usize = 25;
const RATE_ROUNDS: usize = 24;
const BULK_ROUNDS: usize = 16;

/// A server that is measured. Its command takes its port from `PORT` and its files from the working directory.
struct Server {
    name: &'static str,
    program: &'static str,
    command: &'static str,
    /// How it is loaded, and what must be installed for that.
    load: Option<(&'static str, Load)>,
}

/// One slice of load on a port.
type Load = fn(u16) -> Done;

/// What a slice of load came to.
struct Done {
    count: f64,
    /// A second.
    rate: f64,
}

static SERVERS: [Server; 5] = [
    Server {
        name: "nginx, a text",
        program: "/usr/sbin/nginx",
        command: "sed \"s/PORT/$PORT/; s/root html/return 200 text/\" nginx.conf > \"nginx-$PORT.conf\"; exec /usr/sbin/nginx -p \"$PWD\" -e stderr -c \"$PWD/nginx-$PORT.conf\"",
        load: Some(("wrk", requests)),
    },
    Server {
        name: "nginx, a file",
        program: "/usr/sbin/nginx",
        command: "sed \"s/PORT/$PORT/\" nginx.conf > \"nginx-$PORT.conf\"; exec /usr/sbin/nginx -p \"$PWD\" -e stderr -c \"$PWD/nginx-$PORT.conf\"",
        load: Some(("wrk", requests)),
    },
    Server {
        name: "node http",
        program: "/usr/bin/node",
        command: "exec /usr/bin/node server.js",
        load: Some(("wrk", requests)),
    },
    Server {
        name: "redis",
        program: "/usr/bin/redis-server",
        command: "exec /usr/bin/redis-server --port $PORT --bind 0.0.0.0 --protected-mode no --save ''",
        load: Some(("redis-benchmark", redis_gets)),
    },
    Server {
        name: "python CPU work",
        program: "/usr/bin/python3",
        command: "exec /usr/bin/python3 work.py",
        load: Some(("python3", work)),
    },
];

const FILES: [(&str, &str); 4] = [
    (
        "nginx.conf",
        "daemon off;\npid nginx-PORT.pid;\nworker_processes 1;\nerror_log stderr;\nevents { worker_connections 512; }\n\
         http {\n  access_log off;\n  client_body_temp_path /tmp/PORT-body;\n  proxy_temp_path /tmp/PORT-proxy;\n  \
         fastcgi_temp_path /tmp/PORT-fastcgi;\n  uwsgi_temp_path /tmp/PORT-uwsgi;\n  scgi_temp_path /tmp/PORT-scgi;\n  \
         server { listen PORT; root html; }\n}\n",
    ),
    ("html/index.html", "a page of some bytes\n"),
    (
        "server.js",
        "require('http').createServer((_, answer) => answer.end('a page of some bytes\\n')).listen(process.env.PORT);\n",
    ),
    (
        "work.py",
        "import hashlib, json, os, zlib
from http.server import BaseHTTPRequestHandler, HTTPServer

def work():
    total = sum(number * number % 7 for number in range(300_000))
    text = json.dumps([{'kite': number} for number in range(20_000)]).encode()
    for _ in range(4):
        packed = zlib.compress(text, 6)
        total += len(hashlib.sha256(packed * 8).hexdigest())
    blocks = [bytearray(1 << 20) for _ in range(32)]
    return total + len(blocks)

class Worker(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/work':
            work()
        body = b'done'
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

HTTPServer(('0.0.0.0', int(os.environ['PORT'])), Worker).serve_forever()
",
    ),
];

fn main() {
    let site = Site::new();
    println!("load average: {}", loads());
    if is_wanted("start") {
        println!("start-up until the first answer, medians of {START_ROUNDS} rounds:");
        servers().for_each(|server| start_up(&site, server));
    }
    if is_wanted("rate") {
        println!("rate and CPU, medians of {RATE_ROUNDS} rounds in turns:");
        servers().for_each(|server| rate(&site, server));
    }
    if is_wanted("bulk") {
        bulk(&site);
    }
    println!("load average: {}", loads());
}

/// Without arguments everything is.
fn is_wanted(part: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .peekable();
    words.peek().is_none() || words.any(|word| word == part)
}

fn servers() -> impl Iterator<Item = &'static Server> {
    SERVERS.iter().filter(|server| is_there(server.program))
}

fn loads() -> String {
    let text = fs::read_to_string("/proc/loadavg").expect("loadavg");
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn is_there(program: &str) -> bool {
    let places = ["", "/usr/bin/", "/usr/sbin/"];
    let there = places
        .iter()
        .any(|place| Path::new(&format!("{place}{program}")).is_file());
    if !there {
        println!("  {program} is not installed: left out");
    }
    there
}

/// A directory with the servers' files, and the ecosystem that is written there.
struct Site {
    directory: PathBuf,
}

impl Site {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("pactown-bench-{}", std::process::id()));
        for (name, text) in FILES {
            let path = directory.join("bare").join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs::write(path, text).expect("file");
        }
        for place in ["bare", "bare/html"] {
            fs::set_permissions(directory.join(place), fs::Permissions::from_mode(0o777)).expect("mode");
        }
        Self { directory }
    }

    /// The ecosystem of one server.
    fn write(&self, command: &str) {
        let yaml = format!(
            "name: workbench\nservices:\n  app: {{readme: app.md, port: {PORT}, ports: ['{BARE_PORT}:{BARE_PORT}']}}\n  idle: {{readme: idle.md}}\n"
        );
        let mut readme = "# Server\n\n".to_owned();
        for (name, text) in FILES {
            readme.push_str(&format!("```text markpact:file path={name}\n{text}```\n\n"));
        }
        readme.push_str(&format!("```sh markpact:run\n{command}\n```\n"));
        let idle = "# Idle\n\n```sh markpact:run\nexec sleep 100000\n```\n";
        for (name, text) in [
            ("saas.pactown.yaml", yaml.as_str()),
            ("app.md", &readme),
            ("idle.md", idle),
        ] {
            fs::write(self.directory.join(name), text).expect("file");
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pactown"));
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env("NO_COLOR", "1");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("pactown");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "pactown {arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Row of the service.
    fn row(&self) -> serde_json::Value {
        let rows: serde_json::Value = serde_json::from_str(&self.run(&["ps", "--json"])).expect("json");
        let rows = rows.as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["name"] == "app").expect("app")
    }

    /// The server as a plain process of nobody, `before` in front of its command line.
    fn bare(&self, before: &[&str], command: &str, port: u16) -> Bare {
        let user = [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
        ];
        let port = format!("PORT={port}");
        let rest = ["env", "-i", "PATH=/usr/bin:/bin", &port, "sh", "-c", command];
        let words: Vec<&str> = before.iter().chain(&user).chain(&rest).copied().collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .current_dir(self.directory.join("bare"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawn");
        Bare(child)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.command(&["down", "--volumes", "--yes"]).output();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A plain process; it ends, with its group, when this is dropped.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).expect("a pid"));
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Milliseconds from the command to the first answer: a plain process, and `pactown start` in an ecosystem that is up.
fn start_up(site: &Site, server: &Server) {
    site.write(server.command);
    site.run(&["up", "-d"]);
    let (mut bare, mut inside, mut more) = (vec![], vec![], vec![]);
    for _ in 0..START_ROUNDS {
        site.run(&["stop", "app"]);
        let plainly = || Started::Bare(site.bare(&[], server.command, FREE_PORT));
        let start = || Started::Command(site.command(&["start", "app"]).spawn().expect("start"));
        let (plain, ours) = (first_answer(plainly, FREE_PORT), first_answer(start, PORT));
        bare.push(plain);
        inside.push(ours);
        more.push(ours - plain);
    }
    site.run(&["down"]);
    println!(
        "  {:<16} bare {:.1} ms, sandbox {:.1} ms, {:+.1} ms ({:+.1} ms between the fastest tenths)",
        server.name,
        quantile(&bare, 0.5),
        quantile(&inside, 0.5),
        quantile(&more, 0.5),
        quantile(&inside, 0.1) - quantile(&bare, 0.1)
    );
}

/// What `first_answer` began: ended or waited for after the answer.
enum Started {
    Bare(Bare),
    Command(Child),
}

fn first_answer(start: impl FnOnce() -> Started, port: u16) -> f64 {
    let began = Instant::now();
    let started = start();
    let answered = answers(port);
    let took = began.elapsed().as_secs_f64() * 1000.0;
    let told = match started {
        Started::Bare(bare) => {
            drop(bare);
            String::new()
        }
        Started::Command(child) => {
            let output = child.wait_with_output().expect("start");
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        }
    };
    assert!(answered, "nothing answered on port {port}: {told}");
    took
}

fn wait_for(port: u16) {
    assert!(answers(port), "nothing answered on port {port}");
}

/// Whether something is answered on the port within a minute: any byte to a request that every server here understands.
fn answers(port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        // A first packet that comes too early is not waited for: its repetition would come a second later.
        let address = ([127, 0, 0, 1], port).into();
        if let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(10)) {
            let mut byte = [0];
            // An HTTP request; to redis it is an unknown command, which it answers with an error.
            let asked = stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .and_then(|()| stream.write_all(b"GET / HTTP/1.0\r\n\r\n"))
                .and_then(|()| stream.read_exact(&mut byte));
            if asked.is_ok() {
                return true;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// The load on the sandbox and on the bare program in the same network namespace, in turns.
fn rate(site: &Site, server: &Server) {
    let Some((tool, load)) = server.load.filter(|(tool, _)| is_there(tool)) else {
        return;
    };
    site.write(server.command);
    site.run(&["up", "-d"]);
    let init = site.row()["pid"].to_string();
    let enter = ["nsenter", "--target", &init, "--net"];
    let bare = site.bare(&enter, server.command, BARE_PORT);
    let roots = [bare.0.id().to_string(), init];
    for port in [PORT, BARE_PORT] {
        wait_for(port);
        load(port);
    }
    let mut rates = Pairs::default();
    let mut economies = Pairs::default();
    for round in 0..RATE_ROUNDS {
        let slice = |port: u16, root: &str| {
            let before = cpu_seconds(root);
            let done = load(port);
            [done.rate, done.count / (cpu_seconds(root) - before)]
        };
        let [inside, plain] = in_turns(round, || slice(PORT, &roots[1]), || slice(BARE_PORT, &roots[0]));
        rates.push(plain[0], inside[0]);
        economies.push(plain[1], inside[1]);
    }
    drop(bare);
    site.run(&["down"]);
    println!(
        "  {:<16} {} a second of time ({tool})",
        server.name,
        rates.told(0, 3)
    );
    println!(
        "  {:<16} {} a second of the server's CPU time",
        "",
        economies.told(0, 3)
    );
}

/// CPU time that a process and its descendants, as they are now, have had.
fn cpu_seconds(root: &str) -> f64 {
    let mut total = 0.0;
    for task in fs::read_dir(format!("/proc/{root}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        // Nanoseconds on a CPU (kernel: scheduler/sched-stats.rst).
        let own = read("schedstat");
        total += own
            .split(' ')
            .next()
            .and_then(|word| word.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1e9;
        total += read("children").split_whitespace().map(cpu_seconds).sum::<f64>();
    }
    total
}

/// Figures of both sides, round by round.
#[derive(Default)]
struct Pairs {
    plain: Vec<f64>,
    ours: Vec<f64>,
    ratios: Vec<f64>,
}

impl Pairs {
    fn push(&mut self, plain: f64, ours: f64) {
        self.plain.push(plain);
        self.ours.push(ours);
        self.ratios.push(ours / plain);
    }

    /// Medians, and between which values the middle half of the ratios lies.
    fn told(&self, digits: usize, of_ratio: usize) -> String {
        format!(
            "bare {:.digits$}, sandbox {:.digits$}, ratio {:.of_ratio$} (half of the rounds {:.of_ratio$} to {:.of_ratio$})",
            quantile(&self.plain, 0.5),
            quantile(&self.ours, 0.5),
            quantile(&self.ratios, 0.5),
            quantile(&self.ratios, 0.25),
            quantile(&self.ratios, 0.75)
        )
    }
}

/// Neither is always the first.
fn in_turns<T>(round: usize, one: impl Fn() -> T, two: impl Fn() -> T) -> [T; 2] {
    if round.is_multiple_of(2) {
        let first = one();
        [first, two()]
    } else {
        let second = two();
        [one(), second]
    }
}

/// Requests over HTTP.
fn requests(port: u16) -> Done {
    let address = format!("http://127.0.0.1:{port}/");
    let text = output("wrk", &["-t", "1", "-c", "16", "-d", "1s", &address]);
    assert!(!text.contains("Non-2xx"), "{text}");
    let line = |words: &str| {
        let found = text.lines().find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("wrk: {text}")).trim()
    };
    let count = line(" requests in ").split(' ').next().expect("a word");
    let rate = line("Requests/sec:").rsplit(' ').next().expect("a word");
    Done {
        count: count.parse().expect("a number"),
        rate: rate.parse().expect("a number"),
    }
}

/// GETs.
fn redis_gets(port: u16) -> Done {
    const COUNT: &str = "60000";
    let port = port.to_string();
    let text = output(
        "redis-benchmark",
        &["-p", &port, "-t", "get", "-n", COUNT, "-c", "16", "--csv"],
    );
    let line = text.lines().find(|line| line.starts_with("\"GET\""));
    let field = line
        .and_then(|line| line.split(',').nth(1))
        .unwrap_or_else(|| panic!("redis: {text}"));
    Done {
        count: COUNT.parse().expect("a number"),
        rate: field.trim_matches('"').parse().expect("a number"),
    }
}

/// Pieces of work: arithmetic, JSON, compression, hashes, fresh memory.
fn work(port: u16) -> Done {
    const COUNT: u32 = 4;
    let began = Instant::now();
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.write_all(b"GET /work HTTP/1.0\r\n\r\n").expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        assert!(answer.ends_with("done"), "{answer}");
    }
    Done {
        count: COUNT.into(),
        rate: f64::from(COUNT) / began.elapsed().as_secs_f64(),
    }
}

/// TCP into the sandbox by its address, and the other way, against one veth pair between two plain namespaces.
fn bulk(site: &Site) {
    if !is_there("iperf3") {
        return;
    }
    println!("bulk TCP (iperf3), medians of {BULK_ROUNDS} rounds in turns:");
    site.write("exec /usr/bin/iperf3 -s -p $PORT");
    site.run(&["up", "-d"]);
    let inside = site.row()["address"].as_str().expect("an address").to_owned();
    let hop = Hop::new();
    let port = PORT.to_string();
    let server = site.bare(
        &["nsenter", "--net=/run/netns/ptbench"],
        "exec /usr/bin/iperf3 -s -p $PORT",
        PORT,
    );
    std::thread::sleep(Duration::from_millis(500));
    for (name, direction) in [("into the sandbox", None), ("out of the sandbox", Some("-R"))] {
        let mut rates = Pairs::default();
        let mut economies = Pairs::default();
        let slice = |address: &str| bulk_slice(address, &port, direction);
        for round in 0..BULK_ROUNDS {
            let [ours, plain] = in_turns(round, || slice(&inside), || slice(Hop::FAR));
            rates.push(plain[0], ours[0]);
            economies.push(plain[1], ours[1]);
        }
        println!("  {name:<18} {} Gbit a second of time", rates.told(1, 2));
        println!(
            "  {:<18} {} Gbit a second of both ends' CPU time",
            "",
            economies.told(1, 2)
        );
    }
    drop(server);
    drop(hop);
    site.run(&["down"]);
}

/// Gbit a second, and Gbit for each second of CPU time of sender and receiver.
fn bulk_slice(address: &str, port: &str, direction: Option<&str>) -> [f64; 2] {
    let mut words = vec!["-c", address, "-p", port, "-t", "1", "-J"];
    words.extend(direction);
    let report: serde_json::Value = serde_json::from_str(&output("iperf3", &words)).expect("json");
    let end = &report["end"];
    let number = |place: &str| {
        end.pointer(place)
            .and_then(serde_json::Value::as_f64)
            .expect("a number")
    };
    let rate = number("/sum_received/bits_per_second") / 1e9;
    let percent =
        number("/cpu_utilization_percent/host_total") + number("/cpu_utilization_percent/remote_total");
    [rate, rate / percent * 100.0]
}

/// A network namespace with one veth pair to the host.
struct Hop;

impl Hop {
    const FAR: &'static str = "10.63.255.2";

    fn new() -> Self {
        ip("netns add ptbench");
        ip("link add ptbench0 type veth peer name eth0 netns ptbench");
        ip("addr add 10.63.255.1/30 dev ptbench0");
        ip("link set ptbench0 up");
        ip("-n ptbench addr add 10.63.255.2/30 dev eth0");
        ip("-n ptbench link set eth0 up");
        Self
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        ip("link del ptbench0");
        ip("netns del ptbench");
    }
}

fn ip(words: &str) {
    output("ip", &words.split(' ').collect::<Vec<_>>());
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
    text
}

/// The value below which that part of them lies.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(values.len() as f64 * part) as usize]
}
