//! A host of the test's own: a thread in new network and mount namespaces, with a directory for namespace files.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use pactown_netns::{HostPort, NetworkSpec, Node, Publication, Subnet, Transport};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Runs a test on a host of its own, which ends with it.
pub(crate) fn on_a_host(test: impl FnOnce(&Path) + Send) {
    assert!(
        nix::unistd::Uid::effective().is_root(),
        "these tests make namespaces: run them as root"
    );
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let directory = PathBuf::from(format!("/run/pactown-netns-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("directory");
    std::thread::scope(|scope| {
        let outcome = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("a host");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .expect("private mounts");
            run("ip", &["link", "set", "lo", "up"]);
            // A new namespace inherits the machine's settings, whoever changed them (a Docker does).
            run("sh", &["-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]);
            test(&directory);
        });
        let outcome = outcome.join();
        let _ = std::fs::remove_dir_all(&directory);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The output of a witness.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("a witness");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a closure in the namespace at `path`, on a thread of its own.
pub(crate) fn within<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(path).expect("namespace file");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).expect("setns");
            work()
        });
        thread.join().expect("thread")
    })
}

/// A server in the namespace at `path` that greets with `word` whoever connects, for ever.
pub(crate) fn serve(path: &Path, address: &str, port: u16, word: &'static str) {
    let address: IpAddr = address.parse().expect("address");
    let listener = within(path, || TcpListener::bind((address, port)).expect("bind"));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut &client, word.as_bytes());
        }
    });
}

/// What a client hears, or why not; with the time it took.
pub(crate) fn hear(address: &str, port: u16) -> (Result<String, ErrorKind>, Duration) {
    let address: SocketAddr = SocketAddr::new(address.parse().expect("address"), port);
    let started = Instant::now();
    let heard = TcpStream::connect_timeout(&address, Duration::from_secs(2)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text)?;
        Ok(text)
    });
    (heard.map_err(|error| error.kind()), started.elapsed())
}

#[track_caller]
pub(crate) fn heard(address: &str, port: u16, word: &str) {
    assert_eq!(hear(address, port).0.as_deref(), Ok(word), "{address}:{port}");
}

#[track_caller]
pub(crate) fn refused(address: &str, port: u16) {
    let (answer, time) = hear(address, port);
    assert_eq!(answer, Err(ErrorKind::ConnectionRefused), "{address}:{port}");
    assert!(
        time < Duration::from_millis(100),
        "{address}:{port} refused after {time:?}"
    );
}

pub(crate) fn spec(directory: &Path, tag: &str) -> NetworkSpec {
    let third = u8::from_str_radix(&tag[..2], 16).expect("tag") & 0xfc;
    NetworkSpec {
        instance: format!("test-{tag}"),
        tag: tag.to_owned(),
        directory: directory.join("run").join(tag).join("netns"),
        subnet: Subnet {
            network: Ipv4Addr::new(10, 99, third, 0),
            prefix: 22,
        },
    }
}

pub(crate) fn node(spec: &NetworkSpec, name: &str, number: u32, inbound: &[u16]) -> Node {
    Node {
        name: name.to_owned(),
        address: spec.subnet.host(number).expect("address"),
        inbound: inbound.iter().map(|port| tcp(*port)).collect(),
        loopback: Vec::new(),
        ping_groups: (2_000_000_000, 2_000_065_535),
    }
}

pub(crate) fn tcp(port: u16) -> HostPort {
    HostPort {
        port,
        transport: Transport::Tcp,
    }
}

pub(crate) fn publication(host: &str, host_port: u16, node: &Node, port: u16) -> Publication {
    Publication {
        host: host.parse().expect("address"),
        host_port: tcp(host_port),
        to: vec![node.address],
        port,
    }
}
