//! What each probe must say inside, which layer says so, and what it says when nothing denies. Data only.

/// One probe that must be refused.
pub(super) struct Row {
    /// Its name in `battery.c`.
    pub(super) name: &'static str,
    /// What it says inside: one of these.
    pub(super) wanted: &'static [&'static str],
    /// What it says when it reaches the kernel with arguments that make no sense; `OK` always counts as reached.
    pub(super) reached: &'static [&'static str],
    /// Layers that are left out one after the other, each time all of a word, and what is asked then.
    pub(super) mutants: &'static [&'static str],
    /// Something else must still deny when the first of these is left out.
    pub(super) twice: bool,
}

const FILTER: &[&str] = &["seccomp"];
const EPERM: &[&str] = &["EPERM"];

const fn refused(name: &'static str, reached: &'static [&'static str]) -> Row {
    Row {
        name,
        wanted: EPERM,
        reached,
        mutants: FILTER,
        twice: false,
    }
}

const fn twice(name: &'static str, reached: &'static [&'static str]) -> Row {
    let mut row = refused(name, reached);
    row.twice = true;
    row
}

const fn row(
    name: &'static str,
    wanted: &'static [&'static str],
    reached: &'static [&'static str],
    mutants: &'static [&'static str],
    twice: bool,
) -> Row {
    Row {
        name,
        wanted,
        reached,
        mutants,
        twice,
    }
}

/// No such node: nothing can be left out that would make it.
const ABSENT: &[&str] = &["ENOENT"];
/// Of a hidden or read-only path.
const CLOSED: &[&str] = &["EROFS", "EACCES", "ENOENT"];

/// Every one, in the order of `battery.c`.
pub(super) const ROWS: &[Row] = &[
    row(
        "unshare_user",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    row(
        "unshare_net",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    refused("setns", &["EBADF"]),
    refused("io_uring_setup", &[]),
    refused("userfaultfd", &[]),
    refused("keyctl", &[]),
    refused("add_key", &[]),
    refused("bpf", &["EINVAL"]),
    refused("perf_event_open", &["EFAULT"]),
    refused("socket_vsock", &[]),
    row(
        "socket_packet",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    row(
        "socket_xdp",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    row(
        "socket_raw",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    refused("netlink_xfrm", &[]),
    refused("netlink_audit", &[]),
    refused("netlink_netfilter", &[]),
    refused("netlink_uevent", &[]),
    refused("memfd_secret", &[]),
    refused("modify_ldt", &[]),
    refused("kcmp", &[]),
    refused("personality", &[]),
    row(
        "chroot",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    row(
        "mount",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    row(
        "fsopen",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    row(
        "open_tree",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    refused("open_by_handle_at", &["EFAULT", "EBADF"]),
    refused("name_to_handle_at", &["EFAULT"]),
    refused("ptrace", &[]),
    refused("process_vm_readv", &[]),
    refused("pidfd_getfd", &["EBADF"]),
    refused("fanotify_init", &[]),
    twice("syslog", &[]),
    row(
        "sethostname",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    twice("swapon", &["ENOENT"]),
    refused("quotactl", &["ENODEV"]),
    refused("mbind", &[]),
    refused("ioperm", &[]),
    row(
        "mknod_char",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    refused("chmod_setuid", &[]),
    refused("tiocsti", &[]),
    row(
        "core_pattern",
        CLOSED,
        &[],
        &["masks,network,read-only", "masks,user-namespace"],
        true,
    ),
    row("clone3", &["ENOSYS"], &["EINVAL"], FILTER, false),
    twice("unshare_mount", &[]),
    twice("unshare_pid", &[]),
    twice("unshare_ipc", &[]),
    twice("unshare_uts", &[]),
    twice("unshare_cgroup", &[]),
    twice("unshare_time", &[]),
    row(
        "clone_user",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    twice("mount_cgroup", &[]),
    twice("umount2", &[]),
    twice("pivot_root", &["ENOENT"]),
    refused("fsconfig", &["EINVAL"]),
    twice("fsmount", &["EBADF"]),
    twice("fspick", &["ENOENT"]),
    twice("move_mount", &["EBADF"]),
    refused("mount_setattr", &["EINVAL"]),
    refused("request_key", &["ENOKEY"]),
    refused("io_uring_enter", &["EBADF"]),
    refused("io_uring_register", &["EINVAL", "EBADF"]),
    row("dev_userfaultfd", ABSENT, &[], FILTER, true),
    refused("socket_alg", &[]),
    refused("socketpair_inet", &["EOPNOTSUPP"]),
    row(
        "socket_raw6",
        EPERM,
        &[],
        &["seccomp", "seccomp,nested,capabilities"],
        true,
    ),
    refused("tiocsti_high_bits", &[]),
    refused("tioclinux", &["ENOTTY"]),
    row("int80", &["KILLED"], &[], FILTER, false),
    row("x32", &["ENOSYS"], &[], FILTER, false),
    refused("chmod_setgid", &[]),
    refused("create_setuid", &[]),
    twice("mknod_block", &[]),
    row("dev_kmsg", ABSENT, &[], FILTER, true),
    row("dev_fuse", ABSENT, &[], FILTER, true),
    row("dev_kvm", ABSENT, &[], FILTER, true),
    row("dev_vsock", ABSENT, &[], FILTER, true),
    row("dev_net_tun", ABSENT, &[], FILTER, true),
    row("dev_loop_control", ABSENT, &[], FILTER, true),
    row("dev_vda", ABSENT, &[], FILTER, true),
    twice("settimeofday", &[]),
    refused("clock_settime", &["EFAULT"]),
    refused("adjtimex", &[]),
    refused("clock_adjtime", &[]),
    twice("reboot", &["EINVAL"]),
    refused("kexec_load", &[]),
    twice("acct", &["ENOENT"]),
    refused("init_module", &[]),
    refused("finit_module", &[]),
    refused("delete_module", &[]),
    twice("vhangup", &[]),
    twice("setdomainname", &[]),
    refused("iopl", &[]),
    refused("migrate_pages", &["EINVAL"]),
    refused("move_pages", &[]),
    refused("process_vm_writev", &[]),
    refused("process_madvise", &["EBADF"]),
    row(
        "xattr_trusted",
        &["EPERM", "EOPNOTSUPP"],
        &[],
        &["seccomp,nested,capabilities", "masks,user-namespace"],
        true,
    ),
    row(
        "file_capability",
        EPERM,
        &[],
        &["seccomp,nested,capabilities", "masks,user-namespace"],
        false,
    ),
    row("setpriority", &["EACCES", "EPERM"], &[], FILTER, true),
    row("sched_fifo", EPERM, &[], FILTER, true),
    row("ioprio_rt", EPERM, &[], FILTER, true),
    row("rlimit_core", EPERM, &[], FILTER, true),
    refused("reuseport_ebpf", &["EINVAL", "EBADF"]),
    row(
        "write_read_only",
        &["EROFS", "EACCES"],
        &[],
        &["masks,network,read-only", "network,read-only,landlock"],
        true,
    ),
    row(
        "truncate_read_only",
        &["EROFS", "EACCES"],
        &[],
        &["masks,network,read-only", "network,read-only,landlock"],
        true,
    ),
    row(
        "abstract_socket",
        &["ECONNREFUSED", "EPERM"],
        &[],
        &["masks,network,read-only", "network,read-only,landlock"],
        true,
    ),
    twice("trace_init", &[]),
    row("signal_init", EPERM, &[], FILTER, true),
    row("modprobe_path", CLOSED, &[], &["masks,network,read-only"], true),
    row("uevent_helper", ABSENT, &[], FILTER, true),
    row("sysrq_trigger", CLOSED, &[], &["masks,network,read-only"], true),
    row("binfmt_register", CLOSED, &[], &["masks,network,read-only"], true),
];
