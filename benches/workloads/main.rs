//! What the sandbox costs a program that runs in it: start-up, request rate, CPU work and bulk TCP, against the same
//! program bare, in turns in one run.
//!
//! `cargo bench --bench workloads` prints medians, and ratios of the same round; with `-- start`, `rate` or `bulk` only that
//! part. As root. Bare means a plain process of an
//! ordinary user; for rate and CPU it runs in the very network namespace of the sandbox, behind one more published port,
//! so that every packet takes the same way. Load comes from wrk, redis-benchmark and iperf3; what is not installed is
//! said and left out.

mod bulk;
mod rate;
mod start;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bulk::bulk;
use rate::{rate, redis_gets, requests, work};
use start::start_up;

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
