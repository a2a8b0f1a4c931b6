//! A registry for a test: the real program on a free port with a store of its own, and the plainest HTTP client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// A folder that is removed with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pactown-registry-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, without anything of the caller's that it would look at.
pub(crate) fn pactown(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pactown"));
    for name in [
        "PACTOWN_REGISTRY_URL",
        "PACTOWN_REGISTRY_TOKEN",
        "SUDO_UID",
        "SUDO_GID",
        "http_proxy",
        "HTTP_PROXY",
    ] {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// What it printed, when it ended with this code.
#[track_caller]
pub(crate) fn ends(code: i32, command: &mut Command) -> (String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("pactown");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(stdout), text(stderr));
    assert_eq!(
        status.code(),
        Some(code),
        "{command:?}\n--- stdout\n{out}\n--- stderr\n{err}"
    );
    (out, err)
}

/// A running server.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// On a free port, over the store in `storage`.
    pub(crate) fn start(storage: &Path, arguments: &[&str]) -> Self {
        let storage = storage.to_str().expect("UTF-8");
        let mut all = vec![
            "registry",
            "serve",
            "--port",
            "0",
            "--no-access-log",
            "--storage",
            storage,
        ];
        all.extend(arguments);
        Self::of(&mut pactown(Path::new("/"), &all))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("a server");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
        let address = loop {
            let line = lines.next().expect("it says where it listens").expect("UTF-8");
            if let Some((_, rest)) = line.split_once("://") {
                break rest
                    .split(' ')
                    .next()
                    .expect("an address")
                    .parse()
                    .expect("an address");
            }
        };
        // Whatever else it says must not block it.
        std::thread::spawn(move || lines.count());
        Self { child, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("an end");
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_send("GET", path, &[], None).expect("an answer")
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: Option<&Value>) -> Answer {
        let body = body.map(ToString::to_string);
        self.try_send(method, path, headers, body.as_deref().map(str::as_bytes))
            .expect("an answer")
    }

    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: Option<&[u8]>,
    ) -> std::io::Result<Answer> {
        let host = format!("Host: {}", self.address);
        let mut lines = vec![
            format!("{method} {path} HTTP/1.1"),
            "Connection: close".to_owned(),
        ];
        if !headers
            .iter()
            .any(|line| line.to_lowercase().starts_with("host:"))
        {
            lines.push(host);
        }
        if let Some(body) = body {
            if !headers
                .iter()
                .any(|line| line.to_lowercase().starts_with("content-type:"))
            {
                lines.push("Content-Type: application/json".to_owned());
            }
            lines.push(format!("Content-Length: {}", body.len()));
        }
        lines.extend(headers.iter().map(|line| (*line).to_owned()));
        let mut raw = format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes();
        raw.extend_from_slice(body.unwrap_or_default());
        self.raw(&raw)
    }

    /// Bytes as they are, and what comes back until the other end closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> std::io::Result<Answer> {
        raw(self.address, bytes)
    }
    pub(crate) fn publish(&self, name: &str, version: &str, readme: &str) -> Answer {
        let body = json!({"name": name, "version": version, "readme_content": readme});
        self.send("POST", "/v1/publish", &[], Some(&body))
    }

    /// KiB of memory that it holds now.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        Some(Self {
            status: head.split(' ').nth(1)?.parse().ok()?,
            body: bytes[end + 4..].to_vec(),
            head,
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Bytes as they are to anybody, and what comes back until the other end closes.
fn raw(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // A server that has seen enough may close before all is sent, and its answer still counts.
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if answer.is_empty() => return Err(sent.err().unwrap_or(error)),
            Err(_) => break,
        }
    }
    Answer::parse(&answer).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// What somebody answers to a plain GET.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    let headers = headers.join("\r\n");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n\r\n");
    raw(address, request.as_bytes()).expect("an answer")
}

/// SHA-256 by another hand.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    child
        .stdin
        .take()
        .expect("input")
        .write_all(bytes)
        .expect("written");
    let output = child.wait_with_output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}
