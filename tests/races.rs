//! Files that a stranger has laid out, or changes meanwhile: the program of the host, roots that are full of links, mount
//! points that are exchanged. What is the host's stays as it is.

mod entered;
mod traced;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::observe::{children, patient, processes};
use crate::support::town::{Machine, Town};

/// Everything below a directory: kind, size, mode, owner and content.
fn picture(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let data = fs::symlink_metadata(&path).expect("a file");
        let content = if data.is_file() {
            fs::read_to_string(&path).unwrap_or_default()
        } else {
            String::new()
        };
        if data.is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .expect("a directory")
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
        found.insert(
            path,
            format!(
                "{:o} {} {} {:?} {content}",
                data.mode(),
                data.uid(),
                data.nlink(),
                data.modified().ok()
            ),
        );
    }
    found
}

/// A directory of the host's that nobody is to touch, or to see.
fn canary(town: &Town) -> PathBuf {
    let canary = town.path().join("canary");
    fs::create_dir_all(canary.join("inner")).expect("a directory");
    fs::write(canary.join("file"), "the host's own\n").expect("a file");
    canary
}

/// Every program that it can see by `/proc/<pid>/exe`, and whether it may be written; until it is told to end.
const HUNTER: &str = "
import glob, os, sys, time
host, opened, seen = set(), 0, 0
wanted = os.environ['WANTED']
while True:
    ended = os.path.exists('/tmp/end')
    for link in glob.glob('/proc/[0-9]*/exe'):
        try:
            it = os.stat(link); seen += 1
            if f'{it.st_dev}:{it.st_ino}' == wanted: host.add(link)
        except OSError: pass
        if link == f'/proc/{os.getpid()}/exe': continue
        try: os.close(os.open(link, os.O_RDWR)); opened += 1
        except OSError: pass
    if ended: break
print(f'host {len(host)} opened {opened} seen {seen > 100}', flush=True)
time.sleep(1000)
";

#[test]
fn the_program_of_the_host_is_never_within_reach() {
    let machine = Machine::take();
    let program = Path::new(env!("CARGO_BIN_EXE_pactown"));
    let data = fs::metadata(program).expect("the program");
    let yaml = format!(
        "name: hunted\nservices:\n  hunter: {{readme: h.md, env: {{WANTED: '{}:{}'}}}}\n",
        data.dev(),
        data.ino()
    );
    let readme = format!(
        "# Hunter\n\n```python markpact:file path=hunter.py\n{HUNTER}\n```\n\n```sh markpact:run\nexec python3 hunter.py\n```\n"
    );
    let town = Town::new("hunted", &yaml, &[("h.md", &readme)]);
    let before = fs::read(program).expect("the program");
    town.ok(&["up", "-d"]);
    for _ in 0..200 {
        town.ok(&["exec", "-T", "hunter", "true"]);
    }
    // A script whose interpreter is whatever runs it.
    let script =
        "printf '#!/proc/self/exe\\n' > /tmp/x && chmod 755 /tmp/x && /tmp/x 2>&1; touch /tmp/end; sleep 1";
    town.inside("hunter", &format!("({script}); true"));
    crate::support::observe::eventually("the hunter is done", Duration::from_secs(20), || {
        town.ok(&["logs", "hunter"]).contains("opened")
    });
    let log = town.ok(&["logs", "hunter"]);
    assert!(log.contains("host 0 opened 0 seen True"), "{log}");
    let after = fs::metadata(program).expect("the program");
    assert_eq!((after.ino(), after.mtime()), (data.ino(), data.mtime()));
    assert!(fs::read(program).expect("the program") == before);
    assert_eq!(hunted_on_the_host(&town).0, 1, "it would have been seen");
    town.ok(&["down"]);
    machine.assert_clean();
}

/// The same look from outside of any sandbox, once, for a program of the town's own: the links that lead to it, and how
/// many programs could be opened for writing.
fn hunted_on_the_host(town: &Town) -> (u64, u64) {
    let program = town.path().join("prey");
    fs::copy("/usr/bin/sleep", &program).expect("a program");
    let data = fs::metadata(&program).expect("the program");
    let mut prey = Command::new(&program).arg("1000").spawn().expect("prey");
    let once = HUNTER
        .replace("/tmp/end", "/proc/self")
        .replace("time.sleep(1000)", "");
    let output = Command::new("python3")
        .args(["-c", &once])
        .env("WANTED", format!("{}:{}", data.dev(), data.ino()))
        .output()
        .expect("python3");
    prey.kill().expect("kill");
    prey.wait().expect("wait");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |at: usize| told.split(' ').nth(at).and_then(|word| word.parse().ok());
    let (Some(links), Some(opened)) = (number(1), number(3)) else {
        panic!("{told}{}", String::from_utf8_lossy(&output.stderr));
    };
    (links, opened)
}

/// A shell for roots without anything else: says what `/dev/null` is, and waits.
const SHELL: &str = r#"
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
int main(void) {
    struct stat it;
    int gone = stat("/dev/null", &it);
    printf("null %d %u:%u\n", gone, major(it.st_rdev), minor(it.st_rdev));
    fflush(stdout);
    for (;;) pause();
}
"#;

const TARGETS: [&str; 12] = [
    "dev",
    "dev/null",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "proc",
    "sys",
    "tmp",
    "run",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
];

/// A root with a shell, in which `spoil` does its work.
fn root(town: &Town, name: &str, shell: &Path, spoil: impl FnOnce(&Path)) {
    let root = town.path().join("roots").join(name);
    fs::create_dir_all(root.join("bin")).expect("a root");
    fs::hard_link(shell, root.join("bin/sh")).expect("a shell");
    spoil(&root);
}

fn compiled_shell(town: &Town) -> PathBuf {
    let (source, program) = (town.path().join("sh.c"), town.path().join("sh"));
    fs::write(&source, SHELL).expect("a source");
    let status = Command::new("cc")
        .args(["-O1", "-static", "-o"])
        .args([&program, &source])
        .status();
    assert!(status.expect("cc").success());
    program
}

#[test]
fn a_root_that_is_full_of_links_leads_nowhere() {
    let machine = Machine::take();
    let town = Town::new(
        "linked",
        "",
        &[("s.md", "# Root\n\n```sh markpact:run\nx\n```\n")],
    );
    let (shell, canary) = (compiled_shell(&town), canary(&town));
    let host = canary.to_str().expect("a path").to_owned();
    let links = [
        host.clone(),
        format!("../../../../../../../..{host}"),
        format!("/proc/self/root/..{host}"),
        format!("/proc/1/root/..{host}"),
        "/nothing/is/here".to_owned(),
    ];
    let mut names = Vec::new();
    for (number, target) in TARGETS.iter().enumerate() {
        for (kind, link) in links.iter().enumerate() {
            let name = format!("t{number}-{kind}");
            root(&town, &name, &shell, |root| {
                let place = root.join(target);
                fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
                symlink(link, place).expect("a link");
            });
            names.push(name);
        }
    }
    for (name, target) in [("dev-dir", "dev"), ("etc-dir", "etc"), ("var-dir", "var")] {
        root(&town, name, &shell, |root| {
            symlink(&host, root.join(target)).expect("a link")
        });
        names.push(name.to_owned());
    }
    let rows = names
        .iter()
        .map(|name| format!("  {name}: {{readme: s.md, rootfs: ./roots/{name}, limits: {{memory: 32M}}}}\n"));
    let yaml = format!("name: linked\nservices:\n{}", rows.collect::<String>());
    town.write("saas.pactown.yaml", &yaml);
    let before = picture(&canary);
    let output = town.run(&["up", "-d"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let (mut refused, mut inside) = (0, 0);
    for name in &names {
        let row = town.service(name);
        if row["state"] == "running" {
            let log = town.ok(&["logs", name]);
            assert!(log.contains("null 0 1:3"), "{name}: {log}");
            let pid = children(town.pid(name))[0];
            for place in ["etc", "var", "dev", "run", "tmp"] {
                let seen = format!("/proc/{pid}/root/{place}/inner");
                assert!(
                    !Path::new(&seen).exists(),
                    "{name} sees the host's files in /{place}"
                );
            }
            inside += 1;
        } else {
            let cause = row["cause"].as_str().unwrap_or_default();
            assert!(cause.contains("mount `"), "{name}: {cause}\n{told}");
            refused += 1;
        }
    }
    assert_eq!(picture(&canary), before);
    assert!(
        inside > 0 && refused > 0 && refused + inside == names.len(),
        "{inside} {refused}"
    );
    town.run(&["down"]);
    machine.assert_clean();
}

#[test]
fn strange_files_for_users_and_groups_hang_and_swell_nothing() {
    let machine = Machine::take();
    let town = Town::new(
        "swollen",
        "",
        &[("s.md", "# Root\n\n```sh markpact:run\nx\n```\n")],
    );
    let shell = compiled_shell(&town);
    let mut names = Vec::new();
    for file in ["passwd", "group", "motd"] {
        for kind in ["endless", "pipe", "sparse", "long"] {
            let name = format!("{file}-{kind}");
            root(&town, &name, &shell, |root| {
                fs::create_dir_all(root.join("etc")).expect("a directory");
                let place = root.join("etc").join(file);
                match kind {
                    "endless" => symlink("/dev/zero", place).expect("a link"),
                    "pipe" => nix::unistd::mkfifo(&place, nix::sys::stat::Mode::from_bits_truncate(0o644))
                        .expect("a pipe"),
                    "sparse" => fs::File::create(place)
                        .and_then(|file| file.set_len(1 << 30))
                        .expect("a file"),
                    _ => fs::write(place, "group:x:1:\n".repeat(1_000_000)).expect("a file"),
                }
            });
            names.push(name);
        }
    }
    let rows = names
        .iter()
        .map(|name| format!("  {name}: {{readme: s.md, rootfs: ./roots/{name}}}\n"));
    town.write(
        "saas.pactown.yaml",
        &format!("name: swollen\nservices:\n{}", rows.collect::<String>()),
    );
    let began = Instant::now();
    town.run(&["up", "-d"]);
    assert!(
        began.elapsed() < patient(Duration::from_secs(2 * names.len() as u64)),
        "{:?}",
        began.elapsed()
    );
    for name in &names {
        let row = town.service(name);
        let cause = row["cause"].as_str().unwrap_or_default();
        let named = cause.contains("more than 1 MiB") && name.starts_with("motd");
        assert!(row["state"] == "running" || named, "{name}: {row}");
    }
    for kind in ["pactown:super", "pactown:keeper"] {
        let pid = processes(kind, "swollen-")[0];
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak: u64 = peak
            .and_then(|text| text.trim().split(' ').next()?.parse().ok())
            .expect("a peak");
        assert!(peak < 96 * 1024, "{kind} had {peak} KiB");
    }
    town.run(&["down"]);
    machine.assert_clean();
}

/// Exchanges a directory of the volume with a link to the host's, as fast as it can.
const SWAPPER: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.makedirs('/data/t', exist_ok=True)
if not os.path.islink('/data/link'): os.symlink(os.environ['CANARY'], '/data/link')
print('swapping', flush=True)
count = 0
while True:
    libc.renameat2(-100, b'/data/t', -100, b'/data/link', 2)
    count += 1
    if count % 100000 == 0: print('swapped', count, flush=True)
";

#[test]
fn a_mount_point_that_is_exchanged_leads_nowhere() {
    let machine = Machine::take();
    let readme = format!(
        "# Swapper\n\n```python markpact:file path=swap.py\n{SWAPPER}\n```\n\n```sh markpact:run\nexec python3 swap.py\n```\n"
    );
    let town = Town::new(
        "raced",
        "",
        &[
            ("a.md", &readme),
            ("b.md", "# B\n\n```sh markpact:run\nexec sleep 1000\n```\n"),
            ("mine/file", "mine\n"),
        ],
    );
    let canary = canary(&town);
    let yaml = format!(
        "name: raced
services:
  a: {{readme: a.md, volumes: ['shared:/data'], env: {{CANARY: '{}'}}, health_check: {{log: swapping}}}}
  b: {{readme: b.md, volumes: ['shared:/data'], mounts: ['./mine:/data/t/deep/er'], restart: 'no', depends_on: [{{name: a, condition: started, required: false}}]}}
",
        canary.display()
    );
    town.write("saas.pactown.yaml", &yaml);
    let before = picture(&canary);
    town.run(&["up", "-d"]);
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..60 {
        let output = town.run(&["restart", "b"]);
        let row = town.service("b");
        if row["state"] == "running" {
            ran += 1;
            let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", town.pid("b"))).expect("mounts");
            let places: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
            let strange = places.iter().find(|place| place.contains("canary"));
            assert_eq!(strange, None, "{mounts}");
        } else {
            refused += 1;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let cause = row["cause"].as_str().unwrap_or_default();
            assert!(cause.contains("/data/t/deep/er"), "{cause}\n{told}");
        }
        assert_eq!(
            picture(&canary),
            before,
            "after {ran} starts and {refused} refusals"
        );
    }
    let log = town.ok(&["logs", "a"]);
    assert!(log.contains("swapped 100000"), "{log}");
    assert!(ran > 0, "{refused} refusals, and it never ran");
    town.run(&["down"]);
    machine.assert_clean();
}
