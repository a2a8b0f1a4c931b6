//! Two network phases: a build reaches package hosts and nothing else, by a proxy that tells what was asked; a closed run
//! reaches nothing and answers all the same.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::observe::{eventually, http_get, patient};
use crate::support::town::{Machine, Town};

/// An address of this host that is no loopback: what is outside for a sandbox, and needs no network.
fn address() -> IpAddr {
    let listed = output("ip", &["-4", "-o", "addr", "show", "scope", "global"]);
    let text = listed
        .split_whitespace()
        .skip_while(|word| *word != "inet")
        .nth(1);
    let address = text.and_then(|text| text.split('/').next());
    address
        .and_then(|text| text.parse().ok())
        .expect("an address of this host")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Pids of the proxies of builds; pgrep(1) ends with 1 when there are none.
fn proxies() -> Vec<String> {
    let found = Command::new("pgrep").args(["-f", "__proxy"]).output();
    let text = String::from_utf8(found.expect("pgrep").stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

/// A server that says whom it has seen, and answers once it may.
struct Server {
    address: SocketAddr,
    seen: mpsc::Receiver<String>,
    go: mpsc::Sender<()>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind((address(), 0)).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (tell, seen) = mpsc::channel();
        let (go, may) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let _ = tell.send(String::from_utf8_lossy(&request[..length]).into_owned());
                if may.recv().is_err() {
                    return;
                }
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
            }
        });
        Self { address, seen, go }
    }

    fn seen(&self) -> String {
        self.seen
            .recv_timeout(patient(Duration::from_secs(60)))
            .expect("a request")
    }
}

fn in_router(town: &Town, script: &str) -> String {
    output(
        "nsenter",
        &[
            &format!("--net={}", town.netns(".router").display()),
            "sh",
            "-c",
            script,
        ],
    )
}

fn yaml(more: &str) -> String {
    format!(
        "name: phases\nservices:\n  api:\n    readme: api.md\n    port: 18941\n    health_check: /\n{more}"
    )
}

fn readme(setup: &str) -> String {
    format!(
        "# Api\n\n```sh markpact:setup\n# {}\npython3 - <<'EOF'\n{setup}\nEOF\n```\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n",
        std::process::id()
    )
}

fn audit(town: &Town) -> Value {
    serde_json::from_str(&town.ok(&["audit", "--json"])).expect("json")
}

#[test]
fn a_build_reaches_the_hosts_that_are_allowed_by_its_proxy_and_by_nothing_else() {
    let machine = Machine::take_with_new_layers();
    let server = Server::start();
    let (host, port) = (server.address.ip(), server.address.port());
    let setup = format!(
        "import http.client, os, socket, urllib.request\n\
         text = urllib.request.urlopen('http://{host}:{port}/plain?x=1').read()\n\
         proxy = os.environ['HTTPS_PROXY'].split('//')[1].split(':')\n\
         tunnel = http.client.HTTPConnection(proxy[0], int(proxy[1]))\n\
         tunnel.set_tunnel('{host}', {port})\n\
         tunnel.request('GET', '/tunnelled')\n\
         text += tunnel.getresponse().read()\n\
         for target in (('{host}', {port}), ('192.0.2.99', 443), (proxy[0], 22)):\n    \
             try:\n        socket.create_connection(target, 10); text += b'!'\n    \
             except OSError as error: text += type(error).__name__.encode()\n\
         try: socket.getaddrinfo('localhost.example.org', 80); text += b'!'\n\
         except socket.gaierror: text += b'nameless'\n\
         open('/app/said', 'wb').write(text)"
    );
    let town = Town::new(
        "allowed",
        &yaml(&format!("    build_hosts: ['{host}:{port}']\n")),
        &[("api.md", &readme(&setup))],
    );
    let up = town.spawn(&["up", "-d"]);
    let request = server.seen();
    assert!(
        request.starts_with("GET /plain?x=1 HTTP/1.1"),
        "as a server wants it: {request}"
    );
    assert!(!request.to_lowercase().contains("proxy"), "{request}");
    // While the build waits: the kernel's own lists.
    let listening = in_router(&town, "ss -Hltn");
    assert!(
        listening.contains(":3128 "),
        "the proxy listens at the router: {listening}"
    );
    let rules = in_router(&town, "nft list table ip pactown");
    let input = rules.split("chain input").nth(1).expect("a chain");
    let allowed = input
        .lines()
        .filter(|line| line.contains("dport 3128") && line.contains("accept"));
    assert_eq!(allowed.count(), 1, "one build, one port: {rules}");
    let pid = proxies().first().expect("a proxy").to_owned();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let field = |name: &str| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        field("Uid:").contains("65534") && field("CapEff:").ends_with("0000000000000000"),
        "{status}"
    );
    server.go.send(()).expect("the server");
    assert!(server.seen().starts_with("GET /tunnelled"));
    server.go.send(()).expect("the server");
    let ended = up.wait_with_output().expect("its end");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let said = town.inside("api", "cat said");
    assert_eq!(
        said,
        format!("hellohello{0}{0}{0}nameless", "ConnectionRefusedError")
    );
    let told = audit(&town);
    let contact = &told[0]["build"][0]["contacts"][0];
    assert_eq!(contact["host"], host.to_string());
    assert_eq!(
        (
            &contact["port"],
            &contact["count"],
            &contact["denied"],
            &contact["addresses"][0]
        ),
        (&port.into(), &2.into(), &0.into(), &Value::from(host.to_string()))
    );
    assert_eq!(proxies(), Vec::<String>::new(), "the proxy goes with its build");
    drop(town);
    machine.assert_clean();
}

#[test]
fn a_build_that_asks_for_another_host_fails_with_its_name_and_the_audit_knows_it() {
    let machine = Machine::take_with_new_layers();
    let setup = "import urllib.request\nurllib.request.urlopen('http://elsewhere.example/secret')";
    let town = Town::new("denied", &yaml(""), &[("api.md", &readme(setup))]);
    let (_, err) = town.expect(1, &["up", "-d"]);
    assert!(
        err.contains("pactown: refused elsewhere.example:80: no package host"),
        "{err}"
    );
    assert!(
        err.contains("`build_hosts: [elsewhere.example]` of the service allows it"),
        "{err}"
    );
    assert!(err.contains("api.md:3: setting up failed"), "{err}");
    let told = audit(&town);
    assert_eq!(told[0]["build"][0]["layer"], "setup");
    let contact = &told[0]["build"][0]["contacts"][0];
    assert_eq!(
        (&contact["host"], &contact["count"], &contact["denied"]),
        (&"elsewhere.example".into(), &0.into(), &1.into())
    );
    let text = town.ok(&["audit"]);
    assert!(
        text.contains("build api: setup: elsewhere.example:80 (refused once)"),
        "{text}"
    );
    town.write(
        "saas.pactown.yaml",
        &yaml("    build_hosts: ['http://x', 'a b', 'x:0']\n"),
    );
    let (_, err) = town.expect(1, &["validate"]);
    assert_eq!(
        err.matches("in 'build_hosts' is no NAME[:PORT]").count(),
        3,
        "{err}"
    );
    drop(town);
    machine.assert_clean();
}

#[test]
fn hermetic_closes_the_run_and_published_ports_answer() {
    let machine = Machine::take_with_new_layers();
    let town = Town::new("hermetic", &yaml(""), &[("api.md", &readme("pass"))]);
    // Whether the router lets the service's address out.
    let is_open = || {
        let address = town.service("api")["address"]
            .as_str()
            .expect("an address")
            .to_owned();
        let rules = in_router(&town, "nft list table ip pactown");
        let out = |line: &str| {
            line.contains("oifname") && line.contains(&format!("saddr {address} ")) && line.contains("accept")
        };
        rules.lines().any(out)
    };
    town.ok(&["up", "-d"]);
    assert!(is_open());
    town.ok(&["up", "-d", "--hermetic"]);
    assert!(!is_open());
    assert!(http_get(town.address("api"), "/").is_ok());
    let started = Instant::now();
    let tried =
        "python3 -c 'import socket; socket.create_connection((\"192.0.2.99\", 80), 20)' 2>&1 | tail -1";
    assert!(town.inside("api", tried).contains("Connection refused"));
    assert!(started.elapsed() < patient(Duration::from_secs(5)));
    let text = town.ok(&["audit"]);
    assert!(
        text.contains("run   api: may reach nothing; nothing is open"),
        "{text}"
    );
    // The file is read again, and says nothing of it.
    town.ok(&["restart", "api"]);
    assert!(!is_open());
    town.ok(&["up", "-d"]);
    assert!(is_open());
    drop(town);
    machine.assert_clean();
}

#[test]
fn the_audit_shows_what_a_service_is_connected_to() {
    let machine = Machine::take_with_new_layers();
    let run = "# Api\n\n```sh markpact:run\nexec python3 - <<'EOF'\nimport os, socket\nserver = socket.create_server((\"0.0.0.0\", int(os.environ[\"PORT\"])))\nothers = []\nudp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nudp.connect((\"192.0.2.7\", 9999))\nwhile True: others.append(server.accept())\nEOF\n```\n";
    let yaml = yaml("").replace("    health_check: /\n", "");
    let town = Town::new("connected", &yaml, &[("api.md", run)]);
    town.ok(&["up", "-d"]);
    eventually("the connection is seen", Duration::from_secs(20), || {
        let told = audit(&town);
        let open = &told[0]["run"]["open"];
        open.as_array().is_some_and(|open| {
            open.iter()
                .any(|one| one["address"] == "192.0.2.7" && one["port"] == 9999 && one["unit"] == "api")
        })
    });
    drop(town);
    machine.assert_clean();
}

/// What was tried and is over: told by the kernel's own count while it runs, and by the events after the end.
#[test]
fn the_audit_tells_what_was_reached_when_it_is_long_over_and_after_the_end() {
    let machine = Machine::take_with_new_layers();
    let run = "# Api\n\n```sh markpact:run\nexec python3 - <<'EOF'\nimport socket\nfor _ in range(3):\n    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp: udp.sendto(b'x', (\"192.0.2.7\", 9999))\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp: udp.sendto(b'x', (\"192.0.2.8\", 53))\nprint(\"sent\", flush=True)\nimport time\ntime.sleep(1000)\nEOF\n```\n";
    let yaml = yaml("").replace("health_check: /", "health_check: none");
    let town = Town::new("reached", &yaml, &[("api.md", run)]);
    town.ok(&["up", "-d"]);
    eventually("it has sent", Duration::from_secs(20), || {
        town.ok(&["logs", "api"]).contains("sent")
    });
    let expected = |told: &Value| {
        let reached = told[0]["run"]["reached"].as_array().expect("recorded").clone();
        let rows: Vec<String> = reached
            .iter()
            .map(|one| {
                let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
                format!(
                    "{} {}:{}/{} {}",
                    word("unit"),
                    word("address"),
                    one["port"],
                    word("transport"),
                    one["count"]
                )
            })
            .collect();
        assert_eq!(rows, ["api 192.0.2.7:9999/udp 3", "api 192.0.2.8:53/udp 1"]);
    };
    expected(&audit(&town));
    let witness = in_router(&town, "nft list set ip contacts seen");
    assert!(witness.contains("counter packets 3"), "{witness}");
    // A change of the rules, which are replaced as a whole, does not make it forget.
    town.ok(&["restart", "api"]);
    eventually("it has sent again", Duration::from_secs(20), || {
        audit(&town)[0]["run"]["reached"][0]["count"] == 6
    });
    town.ok(&["down"]);
    let text = town.ok(&["audit"]);
    assert!(
        text.contains("run   api: has reached 192.0.2.7:9999/udp (6 times), 192.0.2.8:53/udp (2 times)"),
        "{text}"
    );
    // What is refused is not reached.
    town.ok(&["up", "-d", "--hermetic"]);
    eventually("it has tried", Duration::from_secs(20), || {
        town.ok(&["logs", "--run", "last", "api"]).contains("sent")
            || town.ok(&["logs", "--run", "last", "api"]).contains("Error")
    });
    assert!(town.ok(&["audit"]).contains("run   api: has reached nothing"));
    drop(town);
    machine.assert_clean();
}
