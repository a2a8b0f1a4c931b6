//! Many at once: orphans that die, services that start.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{SERVER, SOON, descriptors, is_long, python, readme, the};
use crate::support::observe::{eventually, http_get, namespace, patient, status_field};
use crate::support::town::{Machine, Town};

const ORPHANS: &str = "import os, time
for number in range(5000):
    child = os.fork()
    if child == 0:
        os.fork()
        os._exit(0)
    os.waitpid(child, 0)
print(\"flooded\")
time.sleep(1000)";

/// Zombies in the pid namespace of `init`.
fn zombies(init: i32) -> usize {
    let space = namespace(init, "pid");
    let here = |pid: &i32| {
        let link = fs::read_link(format!("/proc/{pid}/ns/pid"));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'));
        state && link.is_ok_and(|link| link.display().to_string() == space)
    };
    let entries = fs::read_dir("/proc").expect("proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(here).count()
}

#[test]
fn orphans_are_reaped() {
    let machine = Machine::take();
    let yaml = "name: orphans\nservices:\n  s: {readme: s.md}\n";
    let town = Town::new("orphans", yaml, &[("s.md", &python(ORPHANS))]);
    town.ok(&["up", "-d"]);
    let (init, supervisor) = (town.pid("s"), the("pactown:super", "orphans-"));
    eventually("all have been there", Duration::from_secs(60), || {
        town.ok(&["logs", "s"]).contains("flooded")
    });
    eventually("pid 1 has buried them", Duration::from_secs(1), || {
        zombies(init) <= 10
    });
    assert_eq!(status_field(supervisor, "State").chars().next(), Some('S'));
    town.ok(&["down"]);
    machine.assert_clean();
}

/// A web server of one page, in C: what is measured with it is not its interpreter.
const STATIC: &str = r#"
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("PORT")))};
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&at, sizeof at) || listen(s, 128)) return 1;
    for (;;) {
        char request[4097];
        int c = accept(s, 0, 0), length = 0, n = 1;
        if (c < 0) continue;
        while (n > 0 && length < 4096) {
            n = read(c, request + length, 4096 - length);
            request[length += n > 0 ? n : 0] = 0;
            if (strstr(request, "\r\n\r\n")) break;
        }
        if (length > 0)
            (void)!write(c, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n", 41);
        close(c);
    }
}
"#;

/// An ecosystem of `many` such servers, all of which are asked how they are.
fn servers(many: usize) -> Town {
    let mut yaml = "name: many\nservices:\n".to_owned();
    for number in 0..many {
        let port = 21_000 + number;
        yaml += &format!(
            "  s{number}: {{readme: s.md, port: {port}, health_check: /, mounts: [\"./bin:/srv\"]}}\n"
        );
    }
    let run = readme("exec /srv/server");
    let town = Town::new("many", &yaml, &[("s.md", &run), ("bin/server.c", STATIC)]);
    let compiled = Command::new("cc")
        .args(["-O1", "-o", "server", "server.c"])
        .current_dir(town.path().join("bin"))
        .status();
    assert!(compiled.expect("cc").success());
    town
}

/// From the making of each sandbox until its program runs, in the order of the starts, milliseconds.
fn launches(town: &Town) -> Vec<i64> {
    let events = town.ok(&["events", "--json"]);
    let mut starting = HashMap::new();
    let mut took = Vec::new();
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("json");
        let time: jiff::Timestamp = event["ts"].as_str().expect("a time").parse().expect("RFC 3339");
        let service = event["service"].as_str().unwrap_or_default().to_owned();
        match event["kind"].as_str() {
            Some("starting") => drop(starting.insert(service, time)),
            Some("started") => took.push((time - starting[&service]).get_milliseconds()),
            _ => {}
        }
    }
    took
}

/// Asks each service `times` times, eight at the same time.
fn ask(town: &Town, times: usize) {
    let addresses: Vec<String> = town
        .services()
        .iter()
        .map(|row| format!("127.0.0.1:{}", row["ports"][0]["host_port"]))
        .collect();
    let ask = |part: &[String]| {
        let all = part
            .iter()
            .flat_map(|address| std::iter::repeat_n(address, times));
        all.filter_map(|address| http_get(address, "/").err())
            .collect::<Vec<_>>()
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let parts = addresses.chunks(addresses.len().div_ceil(8));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || ask(part))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("thread"));
        joined.flatten().collect()
    });
    assert_eq!(failed, Vec::<String>::new());
}

#[test]
fn sixty_or_two_hundred_servers_start_answer_and_end() {
    let machine = Machine::take();
    let (many, times) = if is_long() { (200, 1000) } else { (60, 20) };
    let town = servers(many);
    let started = Instant::now();
    town.ok(&["up", "-d"]);
    let up = started.elapsed();
    assert!(town.all_healthy());
    assert_eq!(town.services().len(), many);
    let (keeper, supervisor) = (the("pactown:keeper", "many-"), the("pactown:super", "many-"));
    for (name, pid) in [("keeper", keeper), ("supervisor", supervisor)] {
        let open = descriptors(pid);
        println!(
            "{name}: {open} descriptors, {} resident, {} of its own",
            status_field(pid, "VmRSS"),
            status_field(pid, "RssAnon")
        );
        assert!(open <= 12 * many, "{name}: {open} descriptors");
    }
    ask(&town, times);
    // Without the program's own code: a debug build has more than twice as much, and it is the kernel's to drop.
    let resident = status_field(supervisor, "RssAnon");
    let kilobytes: usize = resident.trim_end_matches(" kB").parse().expect("kB");
    assert!(kilobytes <= 32 << 10, "{resident}");
    eventually("threads that have nothing to do end", SOON, || {
        let threads: usize = status_field(supervisor, "Threads").parse().expect("threads");
        threads <= 8
    });
    assert_eq!(status_field(keeper, "Threads"), "1");
    let launches = launches(&town);
    let (first, last) = (median(&launches[..20]), median(&launches[many - 20..]));
    let started = Instant::now();
    town.ok(&["down"]);
    let down = started.elapsed();
    println!("{many}: up {up:?}, down {down:?}, launch {first} ms first, {last} ms last, {resident}");
    assert!(
        up < patient(Duration::from_secs(20)) && down < patient(Duration::from_secs(10)),
        "{up:?} {down:?}"
    );
    assert!(last <= 2 * first.max(10), "{first} {last}");
    machine.assert_clean();
}

fn median(times: &[i64]) -> i64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// How often the one thread of a process that does its work was woken.
fn wakeups(pid: i32) -> u64 {
    let count = status_field(pid, "voluntary_ctxt_switches");
    count.parse().expect("a count")
}

#[test]
fn who_has_nothing_to_do_is_not_woken() {
    let machine = Machine::take();
    let mut yaml = "name: quiet\nservices:\n".to_owned();
    for number in 0..20 {
        yaml += &format!("  s{number}: {{readme: s.md}}\n");
    }
    let checked = "  c: {readme: server.md, port: 8000, health_check: {http: /, interval: 1s}}\n";
    let files = [("s.md", &*readme("exec sleep 1000")), ("server.md", SERVER)];
    let all = [
        ("no checks", "", 5),
        ("a check each second", checked, 5 + 10 * 12),
    ];
    for (name, more, most) in all.into_iter().take(if is_long() { 2 } else { 1 }) {
        let town = Town::new("quiet", &format!("{yaml}{more}"), &files);
        town.ok(&["up", "-d"]);
        let (keeper, supervisor) = (the("pactown:keeper", "quiet-"), the("pactown:super", "quiet-"));
        // Ten seconds after its start one timer of each service ends: it has run long enough to count as steady.
        std::thread::sleep(Duration::from_secs(12));
        let count = || wakeups(supervisor) + wakeups(keeper);
        let before = count();
        std::thread::sleep(Duration::from_secs(10));
        let woken = count() - before;
        println!("{name}: woken {woken} times in 10 s");
        assert!(woken <= most, "{name}: {woken}");
        town.ok(&["down"]);
    }
    machine.assert_clean();
}
