//! Ordinary programs in the default sandbox: each is an executable README, does real work that is looked at from outside,
//! is edited, and gets no denial that it does not get bare.
//!
//! `cargo test --all-features --test suite workloads:: -- --nocapture` prints the table. Without more it runs what needs
//! nothing but programs of the host; `PACTOWN_WORKLOADS=all` runs everything, and then what is missing is a failure;
//! `PACTOWN_WORKLOADS=redis,vite` runs these.

mod asks;
mod bare;
mod denials;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::observe::{children, eventually};
use crate::support::skips::skipped;
use crate::support::town::{Machine, Town};
use bare::Bare;
use denials::{Denials, Traced};
use programs::{Edit, PROGRAMS, Program, Work};

const FIRST: &str = "first edition";
const SECOND: &str = "second edition";
/// The one service of every town.
const SERVICE: &str = "app";
/// What libraries say when they met a denial that they did not expect.
const COMPLAINTS: [&str; 3] = [
    "Operation not permitted",
    "Permission denied",
    "Function not implemented",
];

/// Which programs are wanted.
enum Choice {
    /// Those that need nothing but programs of the host, where these are.
    Short,
    /// All, or those of the list; nothing may be missing.
    Wanted(Vec<String>),
}

impl Choice {
    fn read() -> Self {
        let text = std::env::var("PACTOWN_WORKLOADS").unwrap_or_default();
        let names: Vec<String> = match text.as_str() {
            "" => return Self::Short,
            "all" => PROGRAMS.iter().map(|program| program.name.to_owned()).collect(),
            list => list.split(',').map(str::to_owned).collect(),
        };
        for name in &names {
            let known = PROGRAMS.iter().any(|program| program.name == name);
            assert!(known, "PACTOWN_WORKLOADS: there is no `{name}`");
        }
        Self::Wanted(names)
    }

    /// `Some(why)`: it is not run.
    fn skips(&self, program: &Program) -> Option<String> {
        let missing: Vec<&str> = program
            .needs
            .iter()
            .copied()
            .filter(|need| !is_there(need))
            .collect();
        match self {
            Self::Wanted(names) if !names.iter().any(|name| name == program.name) => {
                Some("not asked for".to_owned())
            }
            Self::Wanted(_) => {
                assert!(
                    missing.is_empty(),
                    "{} needs {}: not installed",
                    program.name,
                    missing.join(" and ")
                );
                None
            }
            Self::Short if program.installs => {
                Some("installs packages; PACTOWN_WORKLOADS=all runs it".to_owned())
            }
            Self::Short if !missing.is_empty() => Some(format!("{} is not installed", missing.join(" and "))),
            Self::Short => None,
        }
    }
}

/// Whether a program of this name, or at this place, is on the host.
fn is_there(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .map(PathBuf::from)
        .chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
        .any(|directory| directory.join(program).is_file())
        || postgres(program).is_some()
}

/// Debian keeps the server's programs of each major version in a directory of its own.
fn postgres(program: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    versions
        .map(|version| version.path().join("bin").join(program))
        .find(|path| path.is_file())
}

fn town(program: &Program) -> Town {
    let readme = format!("{}.md", program.name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/workloads")
        .join(&readme);
    let text = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let port = match program.work {
        Work::Serves(port, _) => format!("port: {port}, "),
        Work::Makes => String::new(),
    };
    let yaml = format!(
        "name: workload\nservices:\n  {SERVICE}: {{readme: {readme}, {port}timeout: 600, depends_on: [peer]}}\n  peer: {{readme: peer.md}}\n"
    );
    let peer = "# Peer\n\n```sh markpact:run\nexec sleep 10000\n```\n";
    Town::new(program.name, &yaml, &[(&readme, &text), ("peer.md", peer)])
}

/// Everything that is asked of one program; the denials that it got inside and not bare.
fn examine(program: &Program) -> Denials {
    let town = town(program);
    town.ok(&["up", "-d"]);
    at_work(program, &town, FIRST);
    edit(program, &town);
    at_work(program, &town, SECOND);
    (program.after)(&town);
    no_complaints(program, &town);
    town.ok(&["down"]);
    denied_inside(program, &town).without(&denied_bare(program, &town))
}

/// Waits for the work of this edition: answers, or a file.
fn at_work(program: &Program, town: &Town, edition: &str) {
    match program.work {
        Work::Serves(_, ask) => ask(&town.address(SERVICE), edition)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", program.name, town.ok(&["logs", SERVICE]))),
        Work::Makes => {
            assert_eq!(town.service(SERVICE)["state"], "completed", "{}", program.name);
            made(
                program,
                &town.path().join(".pactown-sandboxes").join(SERVICE),
                edition,
            );
        }
    }
}

/// The file that a job made, as it lies on the host.
fn made(program: &Program, directory: &Path, edition: &str) {
    let out =
        fs::read_to_string(directory.join("out")).unwrap_or_else(|error| panic!("{}: {error}", program.name));
    assert!(out.to_lowercase().contains(edition), "{}: {out}", program.name);
}

/// In the README, which starts it anew; or in the running sandbox, where it has to notice by itself.
fn edit(program: &Program, town: &Town) {
    let readme = format!("{}.md", program.name);
    match program.edit {
        Edit::Readme => {
            town.edit(&readme, FIRST, SECOND);
            town.ok(&["up", "-d"]);
        }
        Edit::Inside(file) => {
            let before = town.pid(SERVICE);
            town.inside(SERVICE, &format!("sed -i 's/{FIRST}/{SECOND}/' {file}"));
            let Work::Serves(_, ask) = program.work else {
                panic!("{}: a job cannot notice", program.name)
            };
            let address = town.address(SERVICE);
            eventually(
                &format!("{} notices the edit", program.name),
                Duration::from_secs(20),
                || ask(&address, SECOND).is_ok(),
            );
            assert_eq!(
                town.pid(SERVICE),
                before,
                "{}: it noticed by itself",
                program.name
            );
            town.edit(&readme, FIRST, SECOND);
        }
    }
}

fn no_complaints(program: &Program, town: &Town) {
    let log = town.ok(&["logs", SERVICE]);
    let complaint = log
        .lines()
        .find(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
    assert_eq!(complaint, None, "{}", program.name);
}

/// Once more in the sandbox, traced from its first instruction.
fn denied_inside(program: &Program, town: &Town) -> Denials {
    let readme = format!("{}.md", program.name);
    let text = fs::read_to_string(town.path().join(&readme)).expect("README");
    town.write(
        &readme,
        &text.replace(
            "```sh markpact:run\n",
            &format!("```sh markpact:run\n{}\n", denials::HOLD),
        ),
    );
    let mut up = town.spawn(&["up", "-d"]);
    let mut held = None;
    eventually(
        &format!("{} waits for its tracer", program.name),
        Duration::from_secs(600),
        || {
            let rows = town.run(&["ps", "--json"]);
            let rows: serde_json::Value = serde_json::from_slice(&rows.stdout).unwrap_or_default();
            let pid = rows
                .as_array()
                .and_then(|rows| rows.iter().find(|row| row["name"] == SERVICE)?["pid"].as_i64());
            held = pid.and_then(|init| denials::held(&children(i32::try_from(init).expect("a pid"))));
            held.is_some()
        },
    );
    let traced = Traced::attach(held.expect("a process"), &town.path().join("inside.trace"));
    let status = up.wait().expect("up");
    assert!(status.success(), "{} under strace", program.name);
    at_work(program, town, SECOND);
    town.ok(&["down"]);
    traced.denials()
}

/// Once more as a plain process of an ordinary user in namespaces of mounts, processes and network only.
fn denied_bare(program: &Program, town: &Town) -> Denials {
    let bare = Bare::start(town, SERVICE);
    let traced = Traced::attach(bare.held(), &town.path().join("bare.trace"));
    match program.work {
        Work::Serves(port, ask) => bare.inside_its_network(|| {
            eventually(
                &format!("{} answers bare", program.name),
                Duration::from_secs(600),
                || {
                    assert!(bare.lives(), "{} ended bare", program.name);
                    ask(&format!("127.0.0.1:{port}"), SECOND).is_ok()
                },
            );
        }),
        Work::Makes => {
            bare.wait();
            made(program, &bare.app(), SECOND);
        }
    }
    drop(bare);
    traced.denials()
}

#[test]
fn ordinary_programs_run_and_get_no_denial_that_they_do_not_get_bare() {
    let choice = Choice::read();
    let (mut passed, mut skipped, mut surprises) = (0, Vec::new(), Vec::new());
    for program in PROGRAMS {
        if let Some(why) = choice.skips(program) {
            skipped.push(format!("{}: {why}", program.name));
            continue;
        }
        // One at a time: others wait for the machine too.
        let machine = Machine::take();
        let denials = examine(program);
        println!("{:<20} works, {}", program.name, denials.summary());
        machine.assert_clean();
        surprises.extend(denials.surprises(program.name));
        passed += 1;
    }
    report(passed, &skipped);
    assert!(passed > 0, "nothing of what was asked for is here");
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// Past the capture of the test harness: what was left out must be seen.
fn report(passed: usize, skipped: &[String]) {
    use std::io::Write;
    let mut text = String::new();
    for one in skipped {
        text.push_str(&format!("workloads: skipped {one}\n"));
    }
    let all = PROGRAMS.len();
    text.push_str(&format!(
        "workloads: compat={passed}/{all}, {} skipped\n",
        skipped.len()
    ));
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[test]
fn runtimes_see_the_limits_of_their_sandbox() {
    let machine = Machine::take();
    let commands = [
        (
            "java",
            "java -XshowSettings:system -version 2>&1 | grep 'Memory Limit'",
            "512.00M",
        ),
        (
            "java",
            "java -XshowSettings:system -version 2>&1 | grep 'Effective CPU Count'",
            ": 1",
        ),
        ("node", "node -p 'process.constrainedMemory()'", "536870912"),
    ];
    let yaml =
        format!("name: sized\nservices:\n  {SERVICE}: {{readme: s.md, limits: {{memory: 512M, cpus: 1}}}}\n");
    let readme = "# Idle\n\n```sh markpact:run\nexec sleep 10000\n```\n";
    let town = Town::new("sized", &yaml, &[("s.md", readme)]);
    town.ok(&["up", "-d"]);
    for (program, command, wanted) in commands {
        match is_there(program) {
            true => assert!(
                town.inside(SERVICE, command).ends_with(wanted),
                "{command}: {}",
                town.inside(SERVICE, command)
            ),
            false => report_missing(program),
        }
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

fn report_missing(program: &str) {
    skipped(
        &format!("the limits that {program} sees"),
        &format!("{program} is not installed"),
    );
}

/// What ordinary tools are refused, by which key it is opened, and what no key opens.
#[test]
fn what_a_program_lacks_is_opened_by_the_key_that_names_it() {
    const TOOLS: [(&str, &str, Option<&str>); 3] = [
        ("traces a child", "strace -o /dev/null true", Some("traced")),
        (
            "asks for io_uring",
            "python3 -c 'import ctypes; libc = ctypes.CDLL(None, use_errno=True); libc.syscall(425, 1, 0); \
             exit(ctypes.get_errno() == 1)'",
            Some("free"),
        ),
        ("makes a user namespace", "unshare --user true", None),
    ];
    let machine = Machine::take();
    let yaml = "name: keys\nservices:\n  plain: {readme: s.md}\n  traced: {readme: s.md, security: {debug: true}}\n  \
                free: {readme: s.md, security: {seccomp: unconfined}}\n";
    let readme = "# Idle\n\n```sh markpact:run\nexec sleep 10000\n```\n";
    let town = Town::new("keys", yaml, &[("s.md", readme)]);
    town.ok(&["up", "-d"]);
    for (what, command, key) in TOOLS {
        assert!(
            Command::new("sh")
                .args(["-c", command])
                .status()
                .expect("sh")
                .success(),
            "{what}: not even bare"
        );
        for service in ["plain", "traced", "free"] {
            let works = town
                .run(&["exec", "-T", service, "sh", "-c", command])
                .status
                .success();
            // Without a filter nothing of the other keys is missing.
            let wanted = key == Some(service) || (key.is_some() && service == "free");
            assert_eq!(works, wanted, "{what} in {service}");
        }
    }
    town.ok(&["down"]);
    machine.assert_clean();
}

/// The page names every program, and every denial that is expected.
#[test]
fn the_page_lists_what_is_tested() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/workloads.md");
    let page = fs::read_to_string(path).expect("docs/workloads.md");
    let row = |cells: &str| page.lines().any(|line| line.starts_with(cells));
    for program in PROGRAMS {
        assert!(row(&format!("| `{}` |", program.name)), "{}", program.name);
    }
    for (call, errno, _) in denials::EXPECTED {
        assert!(row(&format!("| `{call}` | `{errno}` |")), "{call} {errno}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, PROGRAMS.len() + denials::EXPECTED.len(), "and nothing else");
}
