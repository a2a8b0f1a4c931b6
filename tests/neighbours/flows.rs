//! A service that opens connections without an end.

use super::*;

const YAML: &str = "
name: flows
services:
  b: {readme: b.md, port: 8000}
  greedy: {readme: idle.md, depends_on: [b]}
  allowed: {readme: idle.md, depends_on: [b], limits: {connections: 6000}}
  c: {readme: idle.md, depends_on: [b]}
";

/// Takes every connection and keeps it.
const KEEPER: &str = "# Keeper

```python markpact:file path=keep.py
import select, socket
listener = socket.create_server(('0.0.0.0', 8000), backlog=4096)
kept, poll = {}, select.epoll()
poll.register(listener, select.EPOLLIN)
while True:
    for fd, _ in poll.poll():
        if fd == listener.fileno():
            one = listener.accept()[0]
            kept[one.fileno()] = one
            poll.register(one, select.EPOLLIN)
        else:
            poll.unregister(fd)
            kept.pop(fd).close()
```

```sh markpact:run
exec python3 keep.py
```
";

const IDLE: &str = "# Idle

```sh markpact:run
exec sleep 1000
```
";

/// Opens so many connections and keeps them; says how many came about and how many were refused at once. When asked to,
/// lets go of all and opens as many anew.
const OPEN: &str = "
import collections, errno, socket, sys
for again in range(int(sys.argv[2])):
    kept, said = [], collections.Counter()
    for _ in range(int(sys.argv[1])):
        s = socket.socket()
        s.settimeout(5)
        try:
            s.connect(('b', 8000)); kept.append(s); said['ok'] += 1
        except OSError as e:
            said[errno.errorcode.get(e.errno, str(e))] += 1; s.close()
    print(*(f'{what} {count}' for what, count in sorted(said.items())), flush=True)
    if len(sys.argv) > 3: sys.stdin.read()
    for s in kept: s.close()
";

#[test]
fn who_opens_more_connections_than_it_may_is_refused_alone() {
    let machine = Machine::take();
    let town = Town::new("flows", YAML, &[("b.md", KEEPER), ("idle.md", IDLE)]);
    town.ok(&["up", "-d"]);
    let open = |service: &str, most: &str, times: &str| {
        let words = ["exec", "-T", service, "python3", "-c", OPEN, most, times];
        town.ok(&words).trim().to_owned()
    };
    let mut greedy = town
        .command(&[
            "exec", "-T", "greedy", "python3", "-c", OPEN, "20000", "1", "keep",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("exec");
    let mut told = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(greedy.stdout.as_mut().expect("an output")),
        &mut told,
    )
    .expect("a line");
    assert_eq!(told.trim(), "ECONNREFUSED 15904 ok 4096");
    assert_eq!(open("c", "100", "1"), "ok 100", "its neighbour is none the worse");
    assert_eq!(open("allowed", "5000", "1"), "ok 5000", "who may open more does");
    let seen: serde_json::Value =
        serde_json::from_str(&town.ok(&["inspect", "greedy", "--json"])).expect("json");
    let rules = seen["network"].as_array().expect("rules");
    let counts = |rule: &&serde_json::Value| {
        rule["rule"]
            .as_str()
            .is_some_and(|text| text.contains("ct count over 4096"))
    };
    let rule = rules.iter().find(counts).expect("the rule that counts");
    assert!(rule["packets"].as_u64() >= Some(15_904), "{rule}");
    drop(greedy.stdin.take());
    assert!(greedy.wait().expect("exec").success());
    // Both ends close some thousand connections first.
    eventually("what it closed is gone", Duration::from_secs(20), || {
        open("greedy", "1000", "1") == "ok 1000"
    });
    let again = open("greedy", "1000", "12");
    let lines: Vec<&str> = again.lines().collect();
    assert_eq!(lines, ["ok 1000"; 12], "what is closed does not count");
    town.ok(&["down"]);
    machine.assert_clean();
}
