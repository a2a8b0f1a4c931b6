//! Files that one sandbox is shown and that are written nowhere.

use std::fs;
use std::os::fd::AsFd;

use oci_spec::runtime::Mount;
use pactown_runtime::protocol::Call;
use pactown_runtime::secrets::{self, Files};
use serde_json::json;

use crate::house::{House, eventually};

#[test]
fn what_is_written_can_be_read_again_and_lies_in_memory_that_is_not_swapped() {
    let files = Files::from([("a".to_owned(), vec![0, 255, 10]), ("b".to_owned(), vec![])]);
    let held = secrets::write(&files).expect("write");
    assert_eq!(secrets::read(held.as_fd()).expect("read"), files);
    assert_eq!(
        secrets::read(held.as_fd()).expect("read"),
        files,
        "the place in it does not matter"
    );
    let kind = rustix::fs::fstatfs(&held).expect("fstatfs").f_type;
    assert_eq!(kind, 0x8584_58f6, "a ramfs (linux/magic.h)");
}

#[test]
fn a_sandbox_has_its_files_and_its_pid_1_keeps_no_value_in_memory_that_is_swapped() {
    let house = House::new();
    // Larger than a pipe, with everything that a byte can be.
    let large: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    let files = Files::from([
        ("large".to_owned(), large.clone()),
        ("none".to_owned(), vec![]),
        ("token".to_owned(), b"hunter2-hunter2".to_vec()),
    ]);
    let held = secrets::write(&files).expect("write");
    let key = secrets::key("cell");
    house
        .client
        .call(Call::Hold { key }, &[held.as_fd()])
        .expect("hold");
    let owner = house.base() + 1000;
    let mount: Mount = serde_json::from_value(json!({
        "destination": "/run/secrets", "type": "ramfs", "source": "ramfs",
        "options": ["ro", "nosuid", "nodev", "noexec", "mode=0500", format!("uid={owner}"), format!("gid={owner}")],
    }))
    .expect("mount");
    let script = "cat /run/secrets/token; echo; cksum < /run/secrets/large; wc -c < /run/secrets/none; \
                  cat /run/secrets/large > /tmp/copy; sleep 1000";
    let mut spec = house.spec("cell", script);
    spec.mounts_mut().as_mut().expect("mounts").push(mount);
    let init = house.create("cell", &spec).expect("create");
    let copy = format!("/proc/{init}/root/tmp/copy");
    eventually("it has read them", || {
        fs::read(&copy).is_ok_and(|copy| copy == large)
    });
    let lines = house.output("cell");
    assert!(
        lines.starts_with("***\n") && lines.ends_with(" 200000\n0"),
        "{lines}"
    );
    let status = fs::read_to_string(format!("/proc/{init}/status")).expect("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let locked = locked.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(locked.is_some_and(|locked| locked > 0), "{status}");
}
