//! The system calls that a sandbox may use. Data, and the few rules that look at arguments.
//!
//! What is neither allowed nor listed as refused does not exist (ENOSYS): programs then fall back, as they do on an
//! older kernel. Known dangerous calls are refused (EPERM). A call that is in both lists is refused when the
//! arguments match and allowed otherwise. The runtime compares the 32 bits of an argument that the kernel looks at;
//! the rules are ranges or masks where they can be, so that they hold for 64 bits too.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::built;
use crate::config::ecosystem::{Exceptions, Seccomp};

mod calls;

pub use calls::{ALLOWED, REFUSED};

/// errno of a refused call.
const EPERM: u32 = 1;
/// errno of a call that does not exist.
const ENOSYS: u32 = 38;

/// What tracing another process takes.
const TRACING: &[&str] = &["kcmp", "process_vm_readv", "process_vm_writev", "ptrace"];

/// The default profile.
pub fn profile() -> LinuxSeccomp {
    allowing(&[])
}

/// The profile with these exceptions; `None`: nothing is filtered.
pub fn profile_with(exceptions: &Exceptions) -> Option<LinuxSeccomp> {
    let mut more: Vec<&str> = Vec::new();
    if exceptions.debug {
        more.extend(TRACING);
    }
    if exceptions.capabilities.iter().any(|name| name == "SYS_CHROOT") {
        more.push("chroot");
    }
    match &exceptions.seccomp {
        Seccomp::Default => Some(allowing(&more)),
        Seccomp::Unconfined => None,
        // It was checked when the file was read; what cannot be read any more must not mean no filter at all.
        Seccomp::File { profile, .. } => {
            Some(serde_json::from_str(profile).unwrap_or_else(|_| profile_of_nothing()))
        }
    }
}

fn profile_of_nothing() -> LinuxSeccomp {
    built(
        LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActErrno)
            .build(),
    )
}

/// The default profile without the refusal of `more`.
fn allowing(more: &[&str]) -> LinuxSeccomp {
    let refused: Vec<&str> = REFUSED
        .iter()
        .copied()
        .filter(|name| !more.contains(name))
        .collect();
    let mut rules = vec![allow(ALLOWED), refuse(&refused, &[])];
    if !more.is_empty() {
        rules.push(allow(more));
    }
    rules.extend(sockets());
    rules.extend(socket_options());
    rules.extend(namespaces());
    rules.extend(terminals());
    rules.extend(modes());
    rules.push(personality());
    rules.extend(process_controls());
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(ENOSYS)
        .architectures(vec![Arch::ScmpArchNative])
        .syscalls(rules)
        .build();
    built(profile)
}

fn allow(names: &[&str]) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    built(
        LinuxSyscallBuilder::default()
            .names(names)
            .action(LinuxSeccompAction::ScmpActAllow)
            .build(),
    )
}

/// Refuses `names` when all of `args` match.
fn refuse(names: &[&str], args: &[LinuxSeccompArg]) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let rule = LinuxSyscallBuilder::default()
        .names(names)
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(EPERM);
    built(if args.is_empty() {
        rule.build()
    } else {
        rule.args(args.to_vec()).build()
    })
}

fn arg(index: usize, op: LinuxSeccompOperator, value: u64) -> LinuxSeccompArg {
    built(
        LinuxSeccompArgBuilder::default()
            .index(index)
            .op(op)
            .value(value)
            .build(),
    )
}

fn equal(index: usize, value: u64) -> LinuxSeccompArg {
    arg(index, LinuxSeccompOperator::ScmpCmpEq, value)
}

fn differs(index: usize, value: u64) -> LinuxSeccompArg {
    arg(index, LinuxSeccompOperator::ScmpCmpNe, value)
}

/// `argument & mask == value`; OCI has the mask in `value` and the value in `valueTwo`, as seccomp_rule_add(3).
fn masked(index: usize, mask: u64, value: u64) -> LinuxSeccompArg {
    let rule = LinuxSeccompArgBuilder::default()
        .index(index)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq);
    built(rule.value(mask).value_two(value).build())
}

/// Only unix, inet and inet6 (streams and datagrams; the latter carry ICMP echo too) and netlink's ROUTE remain.
fn sockets() -> Vec<LinuxSyscall> {
    use LinuxSeccompOperator::{ScmpCmpGe as Ge, ScmpCmpGt as Gt, ScmpCmpLe as Le};
    const UNIX: u64 = 1;
    const INET: u64 = 2;
    const INET6: u64 = 10;
    const NETLINK: u64 = 16;
    /// The socket type without SOCK_CLOEXEC and SOCK_NONBLOCK.
    const TYPE: u64 = 0xf;
    let domain = |args: &[LinuxSeccompArg]| refuse(&["socket"], args);
    let mut rules = vec![
        domain(&[equal(0, 0)]),
        domain(&[arg(0, Ge, INET + 1), arg(0, Le, INET6 - 1)]),
        domain(&[arg(0, Ge, INET6 + 1), arg(0, Le, NETLINK - 1)]),
        domain(&[arg(0, Gt, NETLINK)]),
        domain(&[equal(0, NETLINK), differs(2, 0)]),
        refuse(&["socketpair"], &[differs(0, UNIX)]),
    ];
    // RAW, RDM, SEQPACKET, DCCP and PACKET.
    for kind in [3, 4, 5, 6, 10] {
        rules.push(domain(&[equal(0, INET), masked(1, TYPE, kind)]));
        rules.push(domain(&[equal(0, INET6), masked(1, TYPE, kind)]));
    }
    rules
}

/// Options that load programs into the kernel or reach its packet filters, IPsec and TLS layers: each has a history
/// of privilege escalation, none is used by ordinary servers without being asked to.
fn socket_options() -> Vec<LinuxSyscall> {
    const LOW: u64 = 0xffff_ffff;
    let option =
        |level: u64, name: u64| refuse(&["setsockopt"], &[masked(1, LOW, level), masked(2, LOW, name)]);
    let (socket, ip, tcp, udp, ipv6) = (1, 0, 6, 17, 41);
    let mut rules = vec![
        option(socket, 50), // SO_ATTACH_BPF
        option(socket, 52), // SO_ATTACH_REUSEPORT_EBPF
        option(tcp, 31),    // TCP_ULP
        option(udp, 100),   // UDP_ENCAP
    ];
    // IPT_SO_SET_REPLACE and ADD_COUNTERS, the same of ip6tables and arptables, and IP_XFRM_POLICY.
    rules.extend([64, 65, 96, 97].map(|name| option(ip, name)));
    rules.extend([64, 65, 34, 35].map(|name| option(ipv6, name)));
    rules
}

/// No new namespace by `clone`. `clone3` hides its flags behind a pointer: it does not exist here, and libc falls
/// back. CLONE_NEWTIME has no place in `clone`, whose lowest byte is a signal.
fn namespaces() -> Vec<LinuxSyscall> {
    let flags: [u64; 7] = [
        0x0002_0000,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ];
    // s390 alone has the flags in the second argument; it is not supported.
    flags
        .iter()
        .map(|flag| refuse(&["clone"], &[masked(0, *flag, *flag)]))
        .collect()
}

/// Faking terminal input (CVE-2017-5226, CVE-2023-28100) and taking the console. The kernel looks at 32 bits of the
/// request, so the mask does too (CVE-2019-7303).
fn terminals() -> Vec<LinuxSyscall> {
    let (sti, linux, console) = (0x5412, 0x541c, 0x541d);
    [sti, linux, console]
        .iter()
        .map(|request| refuse(&["ioctl"], &[masked(1, 0xffff_ffff, *request)]))
        .collect()
}

/// No set-uid and set-gid files, no device nodes: they would outlive the sandbox on the host's disk. Of directories
/// only `chmod` is looked at.
fn modes() -> Vec<LinuxSyscall> {
    const CREATE: u64 = 0o100;
    const TYPE: u64 = 0o170_000;
    let (character, block) = (0o020_000, 0o060_000);
    let mut rules = Vec::new();
    for bit in [0o4000, 0o2000] {
        let set = |index| masked(index, bit, bit);
        rules.push(refuse(&["chmod", "fchmod", "creat"], &[set(1)]));
        rules.push(refuse(&["fchmodat", "fchmodat2"], &[set(2)]));
        rules.push(refuse(&["open"], &[masked(1, CREATE, CREATE), set(2)]));
        rules.push(refuse(&["openat"], &[masked(2, CREATE, CREATE), set(3)]));
    }
    for kind in [character, block] {
        rules.push(refuse(&["mknod"], &[masked(1, TYPE, kind)]));
        rules.push(refuse(&["mknodat"], &[masked(2, TYPE, kind)]));
    }
    rules
}

/// Only the personalities that a 64-bit Linux program asks for: PER_LINUX, PER_LINUX32, each with UNAME26, and the
/// question which one is set. READ_IMPLIES_EXEC and a fixed address layout make exploits easier.
fn personality() -> LinuxSyscall {
    let known = [0, 8, 0x20000, 0x20008, 0xffff_ffff];
    refuse(&["personality"], &known.map(|value| differs(0, value)))
}

/// prctl(2) options for core scheduling, memory maps, I/O flushers and machine checks.
fn process_controls() -> Vec<LinuxSyscall> {
    let (machine_check, maps, flusher, core_scheduling) = (33, 35, 57, 62);
    let options = [machine_check, maps, flusher, core_scheduling];
    options
        .iter()
        .map(|option| refuse(&["prctl"], &[masked(0, 0xffff_ffff, *option)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, args: &[u64]) -> &'static str {
        let matches = |arg: &LinuxSeccompArg| {
            let given = args.get(arg.index()).copied().unwrap_or(0);
            match arg.op() {
                LinuxSeccompOperator::ScmpCmpEq => given == arg.value(),
                LinuxSeccompOperator::ScmpCmpNe => given != arg.value(),
                LinuxSeccompOperator::ScmpCmpGe => given >= arg.value(),
                LinuxSeccompOperator::ScmpCmpGt => given > arg.value(),
                LinuxSeccompOperator::ScmpCmpLe => given <= arg.value(),
                LinuxSeccompOperator::ScmpCmpMaskedEq => given & arg.value() == arg.value_two().unwrap(),
                other => panic!("{other:?} is not used"),
            }
        };
        let profile = profile();
        let hits = profile.syscalls().as_ref().unwrap().iter().filter(|rule| {
            rule.names().iter().any(|known| known == name) && rule.args().iter().flatten().all(matches)
        });
        let actions: Vec<_> = hits.map(LinuxSyscall::action).collect();
        if actions.contains(&LinuxSeccompAction::ScmpActErrno) {
            "EPERM"
        } else if actions.is_empty() {
            "ENOSYS"
        } else {
            "ok"
        }
    }

    #[test]
    fn sockets_of_other_families_are_refused_whatever_the_upper_bits() {
        for family in (0..46).chain([1 << 32 | 40, 1 << 32 | 2, u64::MAX]) {
            let wanted = if [1, 2, 10, 16].contains(&family) {
                "ok"
            } else {
                "EPERM"
            };
            assert_eq!(rule("socket", &[family, 2, 0]), wanted, "{family}");
        }
        for protocol in 0..23 {
            assert_eq!(
                rule("socket", &[16, 3, protocol]),
                if protocol == 0 { "ok" } else { "EPERM" }
            );
        }
        assert_eq!(rule("socket", &[2, 3, 1]), "EPERM");
        assert_eq!(rule("socket", &[2, 3 | 0o2_000_000, 1]), "EPERM");
        assert_eq!(rule("socket", &[2, 2 | 0o2_000_000, 1]), "ok");
        assert_eq!(rule("socketpair", &[1, 1, 0]), "ok");
        assert_eq!(rule("socketpair", &[2, 1, 0]), "EPERM");
    }

    #[test]
    fn arguments_decide_about_clone_ioctl_chmod_mknod_and_personality() {
        assert_eq!(rule("clone", &[0x0120_0011]), "ok");
        assert_eq!(rule("clone", &[0x1000_0011]), "EPERM");
        assert_eq!(rule("clone3", &[]), "ENOSYS");
        assert_eq!(rule("ioctl", &[0, 0x5401]), "ok");
        assert_eq!(rule("ioctl", &[0, 0x5412]), "EPERM");
        assert_eq!(rule("ioctl", &[0, 1 << 32 | 0x5412]), "EPERM");
        assert_eq!(rule("chmod", &[0, 0o755]), "ok");
        assert_eq!(rule("fchmodat", &[0, 0, 0o4755]), "EPERM");
        assert_eq!(rule("openat", &[0, 0, 0o100, 0o644]), "ok");
        assert_eq!(rule("openat", &[0, 0, 0, 0o4755]), "ok");
        assert_eq!(rule("openat", &[0, 0, 0o101, 0o4755]), "EPERM");
        assert_eq!(rule("mknod", &[0, 0o010_644]), "ok");
        assert_eq!(rule("mknodat", &[0, 0, 0o020_644]), "EPERM");
        assert_eq!(rule("personality", &[0xffff_ffff]), "ok");
        assert_eq!(rule("personality", &[0x040_0000]), "EPERM");
        assert_eq!(rule("prctl", &[38]), "ok");
        assert_eq!(rule("prctl", &[35]), "EPERM");
    }

    #[test]
    fn the_lists_are_sorted_disjoint_and_within_their_budget() {
        for list in [ALLOWED, REFUSED] {
            assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "{list:?}");
        }
        assert!(REFUSED.iter().all(|name| !ALLOWED.contains(name)));
        assert!(ALLOWED.len() <= 290, "{}", ALLOWED.len());
        for name in [
            "io_uring_setup",
            "userfaultfd",
            "memfd_secret",
            "mount",
            "ptrace",
            "bpf",
            "keyctl",
            "clone3",
        ] {
            assert!(!ALLOWED.contains(&name), "{name}");
        }
        for name in [
            "openat2",
            "futex_waitv",
            "membarrier",
            "rseq",
            "pidfd_open",
            "memfd_create",
            "get_mempolicy",
        ] {
            assert_eq!(rule(name, &[]), "ok", "{name}");
        }
    }
}
