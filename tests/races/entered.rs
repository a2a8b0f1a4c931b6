//! Who enters a sandbox by `exec` is one of it only when its program runs: before that, nobody inside can look into it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::observe::{children, eventually};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: entered
services:
  app: {readme: h.md}
  root: {readme: h.md, user: root}
";

/// Looks at every new process that is not a program of the sandbox yet, by its name: what of it can be opened or read, and
/// whether that leads out. Says so when it is told to end.
const HUNTER: &str = r#"
import os, re, time
def names(pid):
    found = []
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try: found.append(os.readlink(f'/proc/{pid}/fd/{fd}'))
        except OSError: pass
    return [one for one in found if not re.match(r'(pipe|socket):|/dev/(null|pts)', one)]
def text(pid, name):
    with open(f'/proc/{pid}/{name}', 'rb') as file: return file.read(1 << 16)
def memory(pid):
    os.close(os.open(f'/proc/{pid}/mem', os.O_RDWR)); return ['memory']
LOOKS = {
    'fd': names,
    'root': lambda pid: [one for one in [os.readlink(f'/proc/{pid}/root')] if one != '/'],
    'cwd': lambda pid: [one for one in [os.readlink(f'/proc/{pid}/cwd')] if one.startswith('(')],
    'exe': lambda pid: [one for one in [os.readlink(f'/proc/{pid}/exe')] if 'pactown' in one],
    'maps': lambda pid: [line for line in text(pid, 'maps').decode().split('\n') if 'pactown' in line][:1],
    'environ': lambda pid: ['environ'] if b'PACTOWN' in text(pid, 'environ') else [],
    'mem': memory,
}
def early(pid):
    try: return text(pid, 'comm').startswith(b'pactown')
    except OSError: return False
known, met, reached, outside = set(os.listdir('/proc')), set(), set(), set()
print('hunting', flush=True)
while not os.path.exists('/tmp/end'):
    for pid in os.listdir('/proc'):
        if not pid.isdigit() or pid in known: continue
        if not early(pid):
            known.add(pid); continue
        met.add(pid)
        for what, look in LOOKS.items():
            try: seen = look(pid)
            except OSError: continue
            # It may have become a program of the sandbox meanwhile, which is nobody's secret.
            if early(pid):
                reached.add(pid)
                outside.update(f'{what}={one}' for one in seen)
print('met', len(met), 'reached', len(reached), 'outside', *sorted(outside), flush=True)
time.sleep(1000)
"#;

/// Enters as `exec` does, but can be looked at, and holds a directory of the host's. Arguments: the sandbox's pid 1, its
/// service, the uid inside.
const CARELESS: &str = "
import ctypes, os, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
init, service, uid = sys.argv[1:]
held = os.open('/root', os.O_RDONLY)
space = lambda pid, kind: os.open(f'/proc/{pid}/ns/{kind}', os.O_RDONLY)
spaces = [space(init, kind) for kind in ('ipc', 'uts', 'net', 'cgroup', 'pid', 'mnt')] + [space(service, 'user')]
for fd in spaces[:-2]: assert libc.setns(fd, 0) == 0, ctypes.get_errno()
libc.prctl(15, b'pactown:careless', 0, 0, 0)
if os.fork() == 0:
    for fd in spaces[-2:]: assert libc.setns(fd, 0) == 0, ctypes.get_errno()
    os.setgroups([]); os.setresgid(int(uid), int(uid), int(uid)); os.setresuid(int(uid), int(uid), int(uid))
    assert libc.capset(struct.pack('Ii', 0x20080522, 0), bytes(24)) == 0, ctypes.get_errno()
    libc.prctl(4, 1, 0, 0, 0)
    print('entered', flush=True)
    time.sleep(1000)
os.wait()
";

/// The careless one and its child, until it is dropped. It waits for the child, which would else keep the sandbox.
struct Careless(Child);

impl Careless {
    fn enter(town: &Town, service: &str, uid: &str) -> Self {
        let (init, own) = (town.pid(service), children(town.pid(service))[0]);
        let mut child = Command::new("python3")
            .args(["-c", CARELESS, &init.to_string(), &own.to_string(), uid])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let output = child.stdout.take().expect("an output");
        let careless = Self(child);
        let mut told = String::new();
        BufReader::new(output).read_line(&mut told).expect("a line");
        assert_eq!(told, "entered\n");
        careless
    }
}

impl Drop for Careless {
    fn drop(&mut self) {
        for pid in children(self.0.id().cast_signed()) {
            let child = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

/// What the hunters of both services have found, while each was entered so many times.
fn hunted(without: &str, times: usize, careless: bool) -> [String; 2] {
    let readme = format!(
        "# Hunter\n\n```python markpact:file path=hunter.py\n{HUNTER}\n```\n\n```sh markpact:run\nexec python3 hunter.py\n```\n"
    );
    let town = Town::new("entered", YAML, &[("h.md", &readme)]).with_env("PACTOWN_TEST_DISABLE", without);
    town.ok(&["up", "-d"]);
    let pairs = [("app", "1000"), ("root", "0")];
    for (service, _) in pairs {
        eventually("the hunters are there", Duration::from_secs(20), || {
            town.ok(&["logs", service]).contains("hunting")
        });
    }
    let entered = pairs
        .iter()
        .filter(|(service, _)| careless && *service == "app")
        .map(|(service, uid)| Careless::enter(&town, service, uid));
    let entered: Vec<Careless> = entered.collect();
    for _ in 0..times {
        for (service, _) in pairs {
            town.ok(&["exec", "-T", service, "true"]);
        }
    }
    let told = pairs.map(|(service, _)| {
        town.inside(service, "touch /tmp/end");
        eventually("the hunter is done", Duration::from_secs(20), || {
            town.ok(&["logs", service]).contains("outside")
        });
        let log = town.ok(&["logs", service]);
        let line = log
            .lines()
            .find_map(|line| Some(line.get(line.find("met ")?..)?.to_owned()));
        line.expect("what it found")
    });
    drop(entered);
    town.ok(&["down"]);
    told
}

fn number(told: &str, after: &str) -> usize {
    let mut words = told.split(' ').skip_while(|word| *word != after).skip(1);
    words.next().and_then(|word| word.parse().ok()).expect("a number")
}

#[test]
fn who_enters_cannot_be_looked_into_before_its_program_runs() {
    let machine = Machine::take();
    // The kernel's own check, and what Landlock adds: the second is left out where the first is to be seen alone.
    for without in ["", "landlock"] {
        for told in hunted(without, 40, false) {
            assert!(number(&told, "met") >= 5, "{without}: {told}");
            assert!(told.ends_with(" outside"), "{without}: {told}");
            // Between becoming a program of the sandbox and getting its name there are some instructions.
            assert!(number(&told, "reached") <= 1, "{without}: {told}");
        }
    }
    let [told, _] = hunted("landlock", 10, true);
    assert!(
        told.contains("/root") && told.contains("mem=memory"),
        "who takes no care is seen: {told}"
    );
    machine.assert_clean();
}
