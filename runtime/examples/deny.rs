//! Runs a program on a poorer kernel: `deny ERRNO SYSCALL[:ARG=VALUE] … -- PROGRAM ARG…` makes the named system calls
//! fail with the errno, for the program and everything it starts. A test tool; never shipped.
//!
//! `deny EPROTONOSUPPORT socket:2=12 -- pactown up` answers as a kernel without nfnetlink does (seccomp(2)).

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let split = arguments
        .iter()
        .position(|word| word == "--")
        .expect("deny ERRNO CALL… -- PROGRAM …");
    let errno = errno(&arguments[0]);
    let rules: BTreeMap<i64, Vec<SeccompRule>> = arguments[1..split].iter().map(|call| rule(call)).collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        TargetArch::x86_64,
    );
    let program: BpfProgram = filter.expect("filter").try_into().expect("program");
    seccompiler::apply_filter(&program).expect("load the filter");
    let failure = Command::new(&arguments[split + 1])
        .args(&arguments[split + 2..])
        .exec();
    panic!("{}: {failure}", arguments[split + 1]);
}

fn errno(name: &str) -> u32 {
    let number = match name {
        "EPERM" => libc::EPERM,
        "ENOSYS" => libc::ENOSYS,
        "EINVAL" => libc::EINVAL,
        "ENOSPC" => libc::ENOSPC,
        "EPROTONOSUPPORT" => libc::EPROTONOSUPPORT,
        other => panic!("unknown errno {other}"),
    };
    number.cast_unsigned()
}

/// `name` or `name:argument=value`.
fn rule(text: &str) -> (i64, Vec<SeccompRule>) {
    let (name, condition) = text
        .split_once(':')
        .map_or((text, None), |(name, rest)| (name, Some(rest)));
    let number = match name {
        "socket" => libc::SYS_socket,
        "mount_setattr" => libc::SYS_mount_setattr,
        "open_tree" => libc::SYS_open_tree,
        "openat2" => libc::SYS_openat2,
        "pidfd_open" => libc::SYS_pidfd_open,
        "seccomp" => libc::SYS_seccomp,
        "clone3" => libc::SYS_clone3,
        "fsopen" => libc::SYS_fsopen,
        "unshare" => libc::SYS_unshare,
        other => panic!("unknown call {other}"),
    };
    let rules = condition.map(|condition| {
        let (argument, value) = condition.split_once('=').expect("ARG=VALUE");
        let (argument, value) = (argument.parse().expect("argument"), value.parse().expect("value"));
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
            .expect("condition");
        SeccompRule::new(vec![condition]).expect("rule")
    });
    (number, rules.into_iter().collect())
}
