//! Whose a published port is: its service's, and nobody else's, whatever options others set on their sockets.

use super::*;

const YAML: &str = "
name: ports
services:
  owner: {readme: owner.md, port: 8000}
  thief: {readme: thief.md, port: 8000}
  modest: {readme: modest.md}
";

/// A server that says its name, and listens on a low port that nobody on the host has.
fn server(name: &str, low: u16) -> String {
    format!(
        "# {name}

It wants to be found at port {low} of the host.

```python markpact:file path=say.py
import socket
for port in (8000, {low}):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('0.0.0.0', port)); s.listen(64)
    if port == 8000: listener = s
while True:
    one = listener.accept()[0]
    one.sendall(b'{name}'); one.close()
```

```sh markpact:run
exec python3 say.py
```
"
    )
}

/// Tries to listen on each address with the options that let others in; `ok` or why not.
const STEAL: &str = "
import errno, socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(',', 1)
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try: s.bind((host, int(port))); s.listen(1); print('ok')
    except OSError as e: print(errno.errorcode.get(e.errno, str(e)))
    s.close()
";

/// Who answers.
const ASK: &str = "
import socket, sys
print(*{socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5).recv(64).decode() for _ in range(200)})
";

#[test]
fn a_published_port_is_taken_over_by_nobody() {
    let machine = Machine::take();
    let low = (600..1024).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let low = low.expect("a low port that is free");
    let files = ["owner", "thief", "modest"].map(|name| (format!("{name}.md"), server(name, low)));
    let files = files
        .each_ref()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    let town = Town::new("ports", YAML, &files);
    town.ok(&["up", "-d"]);
    let port = published(&town, "owner");
    assert_ne!(port, published(&town, "thief"));
    assert_eq!(python(None, ASK, &[&port.to_string()]), "owner");
    let arguments = targets(&[("127.0.0.1", port), ("0.0.0.0", port)]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_eq!(
        python(None, STEAL, &arguments),
        ["EADDRINUSE"; 2].join("\n"),
        "not even by root of the host"
    );
    // A port that nobody has: the same program gets it.
    assert_eq!(python(None, STEAL, &["127.0.0.1,0"]), "ok");
    for service in ["thief", "modest"] {
        let said = connect_from(
            &town,
            service,
            &[("127.0.0.1", 8000), (&address(&town, "owner"), 8000)],
        );
        assert_eq!(
            said,
            ["ok", "ECONNREFUSED"],
            "its own, and not that of {service}'s neighbour"
        );
    }
    // Low ports are published by the ecosystem's file alone: what a README listens on or writes leads to none.
    let rows = town.services();
    let ports = rows.iter().filter_map(|row| row["ports"].as_array()).flatten();
    let ports: Vec<u64> = ports.filter_map(|port| port["host_port"].as_u64()).collect();
    assert!(
        ports.len() >= 2 && ports.iter().all(|port| *port >= 1024),
        "{ports:?}"
    );
    let free = format!("127.0.0.1,{low}");
    assert_eq!(python(None, STEAL, &[&free]), "ok", "{low} is still free");
    town.ok(&["down"]);
    // And not even by it when somebody else has the port.
    let demand = format!("readme: modest.md, ports: ['{low}']");
    town.edit("saas.pactown.yaml", "readme: modest.md", &demand);
    let held = TcpListener::bind(("127.0.0.1", low)).expect("a listener");
    let (_, told) = town.expect(1, &["up", "-d"]);
    assert!(told.contains(&format!("{low} in use by")), "{told}");
    drop(held);
    town.run(&["down"]);
    machine.assert_clean();
}
