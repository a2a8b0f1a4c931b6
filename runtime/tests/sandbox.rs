//! What a sandbox is: asked of `/proc`, the cgroup files and the disk, and of programs inside.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use pactown_runtime::error::FailureKind;
use pactown_runtime::protocol::{Call, ExitStatus};

use crate::house::{House, eventually};

fn status(pid: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.expect("field").trim().to_owned()
}

fn child(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
    text.split_whitespace()
        .next()
        .expect("a child")
        .parse()
        .expect("pid")
}

#[test]
fn a_sandbox_is_closed_on_every_side() {
    let house = House::new();
    let init = house
        .create("cell", &house.spec("cell", "exec sleep 1000"))
        .expect("create");
    let service = child(init);
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        let link = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace");
        assert_ne!(link("self"), link(&service.to_string()), "{kind}");
    }
    for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(service, key), "0000000000000000", "{key}");
    }
    assert_eq!(
        (status(service, "NoNewPrivs"), status(service, "Seccomp")),
        ("1".to_owned(), "2".to_owned())
    );
    assert!(status(service, "Uid").starts_with(&(house.base() + 1000).to_string()));
    assert_eq!(
        status(init, "CapEff"),
        "0000000000000020",
        "pid 1 keeps CAP_KILL only"
    );
    // Its loader may be at work still, with a library open; a sleeping sleep has none at work.
    let sleep = libc::SYS_clock_nanosleep.to_string();
    eventually("it sleeps", || {
        let call = fs::read_to_string(format!("/proc/{service}/syscall")).unwrap_or_default();
        call.split(' ').next() == Some(sleep.as_str())
    });
    assert_eq!(
        fs::read_dir(format!("/proc/{service}/fd")).expect("fd").count(),
        3
    );
    assert_eq!(
        fs::read_to_string("/proc/sys/user/max_user_namespaces")
            .map(|text| text.trim() != "0")
            .ok(),
        Some(true)
    );
    let limit = fs::read_to_string(format!(
        "/sys/fs/cgroup/memory/{}/memory.limit_in_bytes",
        house.cgroup("cell")
    ))
    .or_else(|_| fs::read_to_string(format!("/sys/fs/cgroup/{}/memory.max", house.cgroup("cell"))));
    assert_eq!(limit.expect("limit").trim(), "134217728");
}

#[test]
fn inside_it_looks_as_the_spec_says() {
    let house = House::new();
    house
        .create("view", &house.spec("view", "sleep 1000"))
        .expect("create");
    let inside = |script: &str| house.exec("view", &["sh", "-c", script]).expect("exec").1;
    assert_eq!(
        inside("id -u; id -g; hostname; pwd; echo $GREETING"),
        "1000\n1000\nview\n/app\nhello"
    );
    assert_eq!(inside("cat /proc/1/comm"), "pactown:init");
    assert!(inside("touch /usr/x 2>&1").contains("Read-only"));
    assert!(inside("touch /x 2>&1").contains("Read-only"));
    assert!(
        inside("echo x > /proc/sys/kernel/core_pattern 2>&1").contains("Read-only")
            || inside("echo x > /proc/sys/kernel/core_pattern 2>&1").contains("denied")
    );
    assert_eq!(inside("cat /proc/keys | wc -c"), "0");
    assert!(inside("ls /root /etc /var /home 2>&1; true").contains("No such file"));
    assert!(
        inside("mount -t tmpfs x /tmp 2>&1; true").contains("permission denied")
            || inside("mount -t tmpfs x /tmp 2>&1; true").contains("must be superuser")
    );
    assert!(inside("unshare -U true 2>&1; true").contains("unshare failed"));
    assert_eq!(
        inside("ls /dev | tr '\\n' ' '"),
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
    assert_eq!(inside("ls /proc/self/fd | wc -l"), "4");
    assert_eq!(
        inside("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"),
        "134217728"
    );
    assert_eq!(
        inside("grep CapEff /proc/self/status").split_whitespace().last(),
        Some("0000000000000000")
    );
    assert!(inside("echo x > /sys/fs/cgroup/memory/cgroup.procs 2>&1; echo x > /sys/fs/cgroup/cgroup.procs 2>&1; true").contains("Read-only"));
    assert_eq!(
        inside("readlink /proc/1/root 2>&1; ls /proc/1/fd 2>&1; true")
            .matches("denied")
            .count(),
        1
    );
}

#[test]
fn what_it_writes_belongs_to_the_mapped_user() {
    let house = House::new();
    let spec = house.spec(
        "writer",
        "echo kept > note; mkdir sub; echo x > sub/y; stat -c %u:%g note",
    );
    fs::create_dir_all(house.directory.join("writer.files/lower")).expect("lower");
    fs::write(house.directory.join("writer.files/lower/below"), "from below\n").expect("lower file");
    house.create("writer", &spec).expect("create");
    let record = house.wait("writer");
    assert_eq!(
        (record.status, house.output("writer").as_str()),
        (ExitStatus::Code(0), "1000:1000")
    );
    for file in ["note", "sub", "sub/y"] {
        let metadata =
            fs::metadata(house.directory.join("writer.files/data/upper").join(file)).expect("written");
        assert_eq!((metadata.uid(), metadata.gid()), (4321, 4321), "{file}");
    }
    let (_, text) = house.run(
        "writer",
        "cat below note; stat -c %u below; echo more >> below; cat below",
    );
    assert_eq!(text, "1000:1000\nfrom below\nkept\n1000\nfrom below\nmore");
    assert_eq!(
        fs::read_to_string(house.directory.join("writer.files/lower/below")).expect("lower"),
        "from below\n"
    );
}

#[test]
fn limits_bite() {
    let house = House::new();
    let (record, _) = house.run("eater", "exec python3 -c 'b = bytearray(10**9)'");
    assert_eq!(
        (record.status, record.oom_killed()),
        (ExitStatus::Signal(9), true),
        "{record:?}"
    );
    let (_, text) = house.run(
        "forker",
        "i=0; while [ $i -lt 100 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done 2>&1 | head -c 200",
    );
    assert!(text.to_lowercase().contains("fork"), "{text}");
}

#[test]
fn nothing_of_a_sandbox_outlives_it() {
    let house = House::new();
    let (record, _) = house.run(
        "orphans",
        "for i in 1 2 3; do (setsid sleep 1000 &) ; done; exit 3",
    );
    assert_eq!(record.status, ExitStatus::Code(3));
    let left = fs::read_dir("/proc").expect("proc").flatten().filter(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        status.contains(&format!("Uid:\t{}", house.base() + 1000))
    });
    assert_eq!(left.count(), 0);
    assert_eq!(house.groups("orphans"), Vec::<PathBuf>::new());
}

#[test]
fn pid_1_reaps_and_its_death_is_the_end() {
    let house = House::new();
    let init = house
        .create(
            "family",
            &house.spec("family", "(sleep 0.05 &) ; (sleep 0.05 &) ; sleep 1000"),
        )
        .expect("create");
    eventually("orphans are reaped", || {
        let output = house.exec(
            "family",
            &[
                "sh",
                "-c",
                "cat /proc/[0-9]*/stat | grep -c ' Z '; ls -d /proc/[0-9]* | wc -l",
            ],
        );
        output.is_ok_and(|(_, text)| text.starts_with("0\n"))
    });
    let service = child(init);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(init),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("kill");
    let record = house.wait("family");
    assert_eq!(record.status, ExitStatus::Unknown);
    assert!(!fs::exists(format!("/proc/{service}")).expect("proc"));
}

#[test]
fn failures_name_their_step_and_leave_nothing() {
    let house = House::new();
    let mut spec = house.spec("missing", "true");
    let mut process = spec.process().clone().expect("process");
    process.set_args(Some(vec!["no-such-program".to_owned()]));
    spec.set_process(Some(process));
    let failure = house.create("missing", &spec).expect_err("no program");
    assert_eq!(
        (failure.kind, failure.step.as_str()),
        (FailureKind::NotFound, "execute `no-such-program`")
    );
    let mut spec = house.spec("badmount", "true");
    let mut mounts = spec.mounts().clone().expect("mounts");
    mounts[1].set_source(Some("/no/such/directory".into()));
    spec.set_mounts(Some(mounts));
    let failure = house.create("badmount", &spec).expect_err("no source");
    assert!(failure.to_string().contains("/no/such/directory"), "{failure}");
    assert_eq!(house.groups("badmount"), Vec::<PathBuf>::new());
    let (record, _) = house.run("badmount", "exit 0");
    assert_eq!(record.status, ExitStatus::Code(0), "the name is free again");
    assert!(
        house
            .client
            .call(
                Call::Kill {
                    id: "nobody".to_owned()
                },
                &[]
            )
            .is_err()
    );
}

#[test]
fn signals_reach_the_service_through_a_shell() {
    let house = House::new();
    house
        .create("shell", &house.spec("shell", "sleep 1000; echo after"))
        .expect("create");
    let started = std::time::Instant::now();
    house
        .client
        .call(
            Call::Signal {
                id: "shell".to_owned(),
                signal: 15,
            },
            &[],
        )
        .expect("signal");
    let record = house.wait("shell");
    assert_eq!(record.status, ExitStatus::Signal(15));
    assert!(
        started.elapsed() < std::time::Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
}
