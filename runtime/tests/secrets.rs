//! Files that one sandbox is shown and that are written nowhere.

use std::os::fd::AsFd;

use pactown_runtime::secrets::{self, Files};

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
