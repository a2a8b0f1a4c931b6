//! Health endpoints that accept and never answer, or answer a byte at a time.

use std::time::{Duration, Instant};

use super::{SERVER, SOON, descriptors, python, the};
use crate::support::observe::{eventually, patient};
use crate::support::town::{Machine, Town};

/// Accepts everything; sends `TEXT` a byte every 50 ms, for ever, when it has one.
const LISTENER: &str = "import os, socket, threading, time
server = socket.create_server((\"0.0.0.0\", int(os.environ[\"PORT\"])))
def drip(client):
    client.sendall(b\"HTTP/1.1 200 OK\\r\\nx: \") if TEXT else None
    try:
        while True:
            if TEXT: client.send(b\"x\")
            time.sleep(0.05)
    except OSError: pass
while True:
    client, _ = server.accept()
    threading.Thread(target=drip, args=(client,), daemon=True).start()";

#[test]
fn an_endpoint_that_hangs_fails_its_service_in_time_and_holds_up_nobody() {
    for (kind, text) in [("never answers", "False"), ("drips", "True")] {
        let machine = Machine::take();
        let yaml = "
name: hang
services:
  other: {readme: server.md, port: 8000, health_check: /}
  needs: {readme: server.md, port: 8000, health_check: /, depends_on: [other]}
  hang: {readme: hang.md, port: 8000, timeout: 4, health_check: {http: /, interval: 100ms, timeout: 300ms}}
";
        let hang = python(&LISTENER.replace("TEXT", text));
        let town = Town::new("hang", yaml, &[("server.md", SERVER), ("hang.md", &hang)]);
        let started = Instant::now();
        let mut up = town.spawn(&["up", "-d"]);
        eventually("the others are ready", SOON, || {
            let rows = town.run(&["ps", "--json"]);
            let rows: serde_json::Value = serde_json::from_slice(&rows.stdout).unwrap_or_default();
            let ready = |name: &str| {
                let rows = rows.as_array().into_iter().flatten();
                rows.clone()
                    .any(|row| row["name"] == name && row["health"] == "healthy")
            };
            ready("other") && ready("needs")
        });
        let waits = up.try_wait().expect("wait").is_none();
        assert!(waits, "{kind}: nobody waited for it ({:?})", started.elapsed());
        let output = up.wait_with_output().expect("wait");
        let took = started.elapsed();
        let told =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{kind}: {told}");
        assert!(told.contains("GET / on port 8000: no answer"), "{kind}: {told}");
        assert!(
            took > Duration::from_secs(4) && took < patient(Duration::from_secs(6)),
            "{kind}: {took:?}"
        );
        let supervisor = the("pactown:super", "hang-");
        assert!(
            descriptors(supervisor) < 64,
            "{kind}: no connection of a probe is left"
        );
        town.ok(&["down"]);
        machine.assert_clean();
    }
}
