//! What one service leaves in the kernel and another looks for; what both see of who asks them; and a process that asks for
//! more than it was given.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::support::observe::{children, eventually, status_field};
use crate::support::town::{Machine, Town};

const YAML: &str = "
name: siblings
services:
  one: {readme: one.md, port: 8000, env: {PEER: 'yes'}}
  two: {readme: two.md}
";

/// Makes or looks for one of each: System V memory, a message queue, shared memory, an abstract socket.
const OBJECTS: &str = r#"
import ctypes, errno, os, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
making = sys.argv[1:] == ['make']
def told(name, result):
    print(name, 'ok' if result >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
told('shm', libc.shmget(0x70616374, 4096, 0o1777 if making else 0))
libc.mq_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
told('mqueue', libc.mq_open(b'/pactown-sibling', os.O_RDWR | (os.O_CREAT if making else 0), 0o777, None))
def of(act):
    try: act(); return 0
    except OSError as error: ctypes.set_errno(error.errno); return -1
flags = os.O_RDWR | (os.O_CREAT if making else 0)
told('memory', of(lambda: os.open('/dev/shm/pactown-sibling', flags, 0o777)))
abstract = socket.socket(socket.AF_UNIX)
if making: told('abstract', of(lambda: (abstract.bind('\0pactown-sibling'), abstract.listen(64))))
else: told('abstract', of(lambda: abstract.connect('\0pactown-sibling')))
"#;

/// Holds one of each, and tells whoever connects where it comes from.
fn holder() -> String {
    format!(
        "# Holder\n\n```python markpact:file path=objects.py\n{OBJECTS}\n```\n\n```python markpact:file path=hold.py\n\
         import socket, sys\nsys.argv[1:] = ['make']\nexec(open('/app/objects.py').read())\n\
         listener = socket.create_server(('0.0.0.0', 8000))\n\
         while True:\n    one, peer = listener.accept()\n    one.sendall(peer[0].encode()); one.close()\n```\n\n\
         ```sh markpact:run\nexec python3 hold.py\n```\n"
    )
}

fn idle() -> String {
    format!(
        "# Idle\n\n```python markpact:file path=objects.py\n{OBJECTS}\n```\n\n```sh markpact:run\nexec sleep 1000\n```\n"
    )
}

/// A filter of one's own that allows everything, then a call that the sandbox's own refuses: io_uring_setup(2), which has the
/// same number everywhere.
const ALLOW_ALL: &str = "
import ctypes, errno, struct
libc = ctypes.CDLL(None, use_errno=True)
rule = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 1, ctypes.addressof(rule)))
print(libc.prctl(22, 2, program, 0, 0))
print(errno.errorcode.get(libc.syscall(425, 1, ctypes.create_string_buffer(256)) < 0 and ctypes.get_errno(), 'ok'))
";

/// Tries to trace these processes, as somebody with the ids of a service.
const TRACE: &str = "
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
for pid in sys.argv[1:]:
    print('ok' if libc.ptrace(0x4206, int(pid), 0, 0) == 0 else errno.errorcode[ctypes.get_errno()])
";

#[test]
fn a_service_finds_nothing_of_its_siblings_and_asks_in_vain_for_more() {
    let machine = Machine::take();
    let town = Town::new("siblings", YAML, &[("one.md", &holder()), ("two.md", &idle())]);
    town.ok(&["up", "-d"]);
    eventually("it holds everything", Duration::from_secs(20), || {
        town.ok(&["logs", "one"]).matches(" ok").count() == 4
    });
    let look = |service: &str| town.inside(service, "python3 /app/objects.py");
    assert_eq!(
        look("one"),
        "shm ok\nmqueue ok\nmemory ok\nabstract EPERM",
        "who enters its sandbox finds them; the socket is of another Landlock domain"
    );
    assert_eq!(
        look("two"),
        "shm ENOENT\nmqueue ENOENT\nmemory ENOENT\nabstract ECONNREFUSED"
    );

    let mut peer = String::new();
    let mut stream = TcpStream::connect(town.address("one")).expect("a connection");
    stream.read_to_string(&mut peer).expect("an answer");
    assert!(
        !peer.is_empty() && !peer.starts_with("127."),
        "a client of the host's is no local one: {peer}"
    );
    let own = town.inside(
        "one",
        "python3 -c \"import socket; print(socket.create_connection(('127.0.0.1', 8000)).recv(64).decode())\"",
    );
    assert_eq!(own, "127.0.0.1", "who asks from inside is");

    assert_eq!(
        town.inside("two", &format!("python3 -c \"{ALLOW_ALL}\"")),
        "0\nEPERM"
    );

    for directory in ["/proc/self/fd/3", "/proc/1/root", "/proc/1/cwd"] {
        let output = town.run(&["exec", "-T", "--workdir", directory, "two", "pwd"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() && told.is_empty(), "{directory}: {told}");
    }

    let (init, service) = (town.pid("two"), children(town.pid("two"))[0]);
    let ids = status_field(service, "Uid");
    let uid = ids.split_whitespace().next().expect("an id");
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            uid,
            "--regid",
            uid,
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            TRACE,
        ])
        .args([init.to_string(), service.to_string()])
        .output()
        .expect("setpriv");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "EPERM\nEPERM\n",
        "not even by who has its ids outside: the service's user namespace is another"
    );
    town.ok(&["down"]);
    machine.assert_clean();
}
