//! The keeper itself: output, exec, descriptors, its own death.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::Process;
use pactown_runtime::client::Client;
use pactown_runtime::error::FailureKind;
use pactown_runtime::protocol::{Call, ExitStatus, LogFile, What};

use crate::house::{House, eventually, has_ended};

#[test]
fn every_byte_of_the_output_is_logged() {
    let house = House::new();
    let (record, text) = house.run("talker", "echo one; echo two >&2; printf three; exit 5");
    assert_eq!(record.status, ExitStatus::Code(5));
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "three", "two"]);
    let log = fs::read_to_string(house.log_path("talker")).expect("log");
    assert!(
        log.contains(" stderr F two")
            && log.contains(" stdout P three")
            && log.contains(" system F exited with code 5"),
        "{log}"
    );
    let (_, text) = house.run("flood", "seq 1 1000000");
    assert_eq!(text.lines().count(), 1_000_000);
    assert!(
        text.lines()
            .enumerate()
            .all(|(number, line)| line == (number + 1).to_string())
    );
}

#[test]
fn lines_of_others_are_in_their_file_once_that_is_answered() {
    let house = House::new();
    let client = Client::connect(&house.directory.join("keeper.sock")).expect("connect");
    let append = |name: &str, number: u32| {
        let log = LogFile {
            path: house.directory.join(name),
            max_bytes: 1000,
            files: 2,
            run: 0,
        };
        let lines = format!("T stdout F line {number}\n");
        client.call(Call::Append { log, lines }, &[])
    };
    let read = |name: &str| fs::read_to_string(house.directory.join(name)).expect("file");
    for number in 0..100 {
        append("told/events.log", number).expect("appended");
        assert!(read("told/events.log").ends_with(&format!(" line {number}\n")));
    }
    let kept = read("told/events.log.1") + &read("told/events.log");
    assert!(kept.lines().count() > 50 && kept.len() <= 2000, "{kept}");

    // What is in the way is named, and the next line finds it gone.
    fs::write(house.directory.join("way"), "").expect("file");
    let refused = append("way/events.log", 1).expect_err("refused");
    assert_eq!(refused.causes, ["File exists (os error 17)"]);
    // Whoever waits for the same log is told the same.
    let log = |name: &str| LogFile {
        path: house.directory.join(name),
        max_bytes: 1 << 30,
        files: 2,
        run: 0,
    };
    for _ in 0..20 {
        let (log, lines) = (log("way/events.log"), "T stdout F lost\n".to_owned());
        client.send(Call::Append { log, lines }, &[]).expect("sent");
    }
    for _ in 0..20 {
        let (answer, _) = client.receive().expect("receive").expect("an answer");
        assert!(matches!(answer.what, What::Failed { .. }), "{:?}", answer.what);
    }
    fs::remove_file(house.directory.join("way")).expect("removed");
    append("way/events.log", 2).expect("appended");
    assert_eq!(read("way/events.log"), "T stdout F line 2\n");

    // As long as a call can be.
    let lines = format!("T stdout F {}\n", "x".repeat(1000)).repeat(100);
    let call = Call::Append {
        log: log("told/large.log"),
        lines: lines.clone(),
    };
    client.call(call, &[]).expect("appended");
    assert!(read("told/large.log") == lines);
}

#[test]
fn exec_joins_with_its_own_output_and_code() {
    let house = House::new();
    house
        .create("host", &house.spec("host", "sleep 1000"))
        .expect("create");
    assert_eq!(
        house.exec("host", &["sh", "-c", "exit 9"]).expect("exec").0,
        ExitStatus::Code(9)
    );
    assert_eq!(
        house.exec("host", &["sh", "-c", "kill -9 $$"]).expect("exec").0,
        ExitStatus::Signal(9)
    );
    assert_eq!(
        house.exec("host", &["nothing-here"]).expect_err("missing").kind,
        FailureKind::NotFound
    );
    assert_eq!(
        house.exec("host", &["/app"]).expect_err("a directory").kind,
        FailureKind::NotExecutable
    );
    assert!(house.exec("nobody", &["true"]).is_err());
}

#[test]
fn exec_gets_a_terminal_of_the_sandbox() {
    let house = House::new();
    house
        .create("tty", &house.spec("tty", "sleep 1000"))
        .expect("create");
    let mut process = Process::default();
    let script = "tty; stat -c %U $(tty); [ -t 0 ] && echo yes > /dev/tty";
    process
        .set_args(Some(vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()]))
        .set_env(None)
        .set_terminal(Some(true));
    let client = Client::connect(&house.directory.join("keeper.sock")).expect("connect");
    let (started, masters) = client
        .call(
            Call::Exec {
                id: "tty".to_owned(),
                process: Box::new(process),
            },
            &[],
        )
        .expect("exec");
    assert!(matches!(started, What::ExecStarted { .. }));
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = nix::unistd::read(&masters[0], &mut buffer) {
        text.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    assert!(
        text.starts_with("/dev/pts/0\n") && text.ends_with("yes\n"),
        "{text:?}"
    );
}

#[test]
fn a_closed_connection_takes_its_exec_along() {
    let house = House::new();
    house
        .create("host", &house.spec("host", "sleep 1000"))
        .expect("create");
    let null = fs::File::open("/dev/null").expect("null");
    let mut process = Process::default();
    process
        .set_args(Some(vec!["sleep".to_owned(), "1000".to_owned()]))
        .set_env(None);
    let client = Client::connect(&house.directory.join("keeper.sock")).expect("connect");
    let call = Call::Exec {
        id: "host".to_owned(),
        process: Box::new(process),
    };
    let (started, _) = client
        .call(call, &[null.as_fd(), null.as_fd(), null.as_fd()])
        .expect("exec");
    let What::ExecStarted { pid } = started else {
        panic!("{started:?}")
    };
    assert!(fs::exists(format!("/proc/{pid}")).expect("proc"));
    drop(client);
    eventually("the process is gone", || {
        !fs::exists(format!("/proc/{pid}")).expect("proc")
    });
}

#[test]
fn held_ports_stay_taken() {
    let house = House::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    house
        .client
        .call(
            Call::Hold {
                key: "port".to_owned(),
            },
            &[listener.as_fd()],
        )
        .expect("hold");
    drop(listener);
    assert!(TcpListener::bind(address).is_err());
    house
        .client
        .call(
            Call::Release {
                key: "port".to_owned(),
            },
            &[],
        )
        .expect("release");
    assert!(TcpListener::bind(address).is_ok());
}

#[test]
fn a_lock_ends_with_its_release_whoever_has_a_copy() {
    let house = House::new();
    let path = house.directory.join("lock");
    let take = || {
        let file = fs::File::create(&path).expect("file");
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
    };
    let lock = take().expect("lock");
    let key = || "upper".to_owned();
    // As one that a cloned child has not closed yet.
    let copy = lock.try_clone().expect("copy");
    let client = Client::connect(&house.directory.join("keeper.sock")).expect("connect");
    client
        .call(Call::Hold { key: key() }, &[lock.as_fd()])
        .expect("hold");
    assert!(take().is_err());
    client.call(Call::Release { key: key() }, &[]).expect("release");
    assert!(take().is_ok());
    drop(copy);
}

#[test]
fn what_is_held_is_handed_out_again_to_whoever_asks() {
    let house = House::new();
    let ask = |call: Call, descriptors: &[std::os::fd::BorrowedFd]| {
        let client = Client::connect(&house.directory.join("keeper.sock")).expect("connect");
        client.call(call, descriptors).expect("answer")
    };
    let key = || "inbox".to_owned();
    let path = house.directory.join("inbox");
    let inbox = UnixDatagram::bind(&path).expect("bind");
    let (reader, writer) = std::io::pipe().expect("pipe");
    ask(Call::Hold { key: key() }, &[inbox.as_fd(), reader.as_fd()]);
    drop((inbox, reader));
    let sender = UnixDatagram::unbound().expect("socket");
    // Nobody but the keeper has it open now: what is sent waits for the next one who asks, each time anew.
    for text in ["one", "two"] {
        sender.send_to(text.as_bytes(), &path).expect("send");
        let (answer, descriptors) = ask(Call::Held { key: key() }, &[]);
        assert!(matches!(answer, What::Held { count: 2 }), "{answer:?}");
        let [inbox, reader] = <[_; 2]>::try_from(descriptors).expect("two descriptors");
        let mut buffer = [0; 16];
        let length = UnixDatagram::from(inbox).recv(&mut buffer).expect("receive");
        assert_eq!(&buffer[..length], text.as_bytes());
        drop(reader);
    }
    ask(Call::Release { key: key() }, &[]);
    assert!(sender.send_to(b"three", &path).is_err(), "it is closed");
    drop(writer);
    let (answer, descriptors) = ask(Call::Held { key: key() }, &[]);
    assert!(matches!(answer, What::Held { count: 0 }), "{answer:?}");
    assert!(descriptors.is_empty());
}

#[test]
fn when_the_keeper_dies_everything_dies() {
    let house = House::new();
    let init = house
        .create("child", &house.spec("child", "trap '' TERM; sleep 1000"))
        .expect("create");
    kill(Pid::from_raw(house.keeper()), Signal::SIGKILL).expect("kill");
    let started = Instant::now();
    eventually("the sandbox is gone", || has_ended(init));
    assert!(started.elapsed().as_millis() < 1000);
    let _ = fs::remove_file(house.directory.join("keeper.sock"));
    for group in house.groups("child") {
        eventually("the group is empty", || fs::remove_dir(&group).is_ok());
        fs::remove_dir(group.parent().expect("parent")).expect("the parent is empty");
    }
}

#[test]
fn the_program_inside_cannot_be_written() {
    let house = House::new();
    let init = house
        .create("child", &house.spec("child", "sleep 1000"))
        .expect("create");
    for pid in [house.keeper(), init] {
        let opened = fs::File::options().write(true).open(format!("/proc/{pid}/exe"));
        assert!(
            opened.is_err(),
            "the program of {pid} opens for writing, even for root"
        );
    }
}

#[test]
fn nothing_accumulates_in_the_keeper() {
    let house = House::new();
    let open = || {
        fs::read_dir(format!("/proc/{}/fd", house.keeper()))
            .expect("fd")
            .count()
    };
    house.run("first", "true");
    house
        .client
        .call(
            Call::Forget {
                id: "first".to_owned(),
            },
            &[],
        )
        .expect("forget");
    let before = open();
    for number in 0..100 {
        let id = format!("s{number}");
        house.run(&id, "true");
        house.client.call(Call::Forget { id }, &[]).expect("forget");
    }
    assert_eq!(open(), before);
}

#[test]
fn a_second_keeper_leaves_at_once() {
    let house = House::new();
    let error = pactown_runtime::seal::spawn_keeper(&house.directory, &[], |_| Ok(()));
    assert!(error.is_err());
    assert!(
        house.client.call(Call::List, &[]).is_ok(),
        "the first one goes on"
    );
}
