//! Settings of systemd units, what each weighs (systemd 252, `systemd-analyze security`), and what of a service shows that
//! it holds. Data, and the few questions it asks.

use super::Inspection;
use super::score::Exposed;

/// One setting: how it is written, what it weighs when it does not hold, why it does not.
pub(super) struct Setting {
    pub(super) text: &'static str,
    pub(super) weight: u64,
    pub(super) holds: fn(&Inspection) -> bool,
    pub(super) why: &'static str,
}

const fn setting(
    text: &'static str,
    weight: u64,
    holds: fn(&Inspection) -> bool,
    why: &'static str,
) -> Setting {
    Setting {
        text,
        weight,
        holds,
        why,
    }
}

const CAPABILITIES: &str = "the file gives it capabilities";
/// The bits of those that a file can give: CHOWN to SETPCAP, SYS_CHROOT, SYS_PTRACE (linux/capability.h).
const GIVEN: u64 = 0x1ff | 1 << 18 | 1 << 19;
/// All others, as far as systemd weighs them.
const OTHER_CAPABILITIES: &str = "CapabilityBoundingSet=~CAP_SYS_ADMIN CAP_SYS_TIME CAP_NET_ADMIN CAP_SYS_RAWIO \
    CAP_SYS_MODULE CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_AUDIT_WRITE CAP_SYSLOG CAP_SYS_NICE CAP_SYS_RESOURCE CAP_MKNOD \
    CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_RAW CAP_SYS_BOOT CAP_MAC_ADMIN CAP_MAC_OVERRIDE \
    CAP_LINUX_IMMUTABLE CAP_IPC_LOCK CAP_BLOCK_SUSPEND CAP_WAKE_ALARM CAP_LEASE CAP_SYS_TTY_CONFIG CAP_SYS_PACCT CAP_BPF";

pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "DynamicUser=yes",
        2000,
        |it| it.uids.iter().all(|uid| *uid >= 100_000),
        "it has ids of the host's users",
    ),
    setting(
        "SupplementaryGroups=",
        200,
        |it| it.groups.is_empty(),
        "it has further groups",
    ),
    setting(
        "PrivateUsers=yes",
        1000,
        |it| own(it, "user"),
        "it shares the host's ids",
    ),
    setting(
        "PrivateNetwork=yes",
        2500,
        |it| own(it, "net"),
        "it shares the host's network",
    ),
    setting(
        "PrivateMounts=yes",
        1000,
        |it| own(it, "mnt"),
        "it shares the host's mounts",
    ),
    setting(
        "PrivateTmp=yes",
        1000,
        |it| mounted(it, "/tmp", "tmpfs"),
        "its /tmp is not its own",
    ),
    setting(
        "PrivateDevices=yes",
        1000,
        |it| mounted(it, "/dev", "tmpfs") && devices(it),
        "the file gives it devices",
    ),
    setting(
        "ProtectSystem=strict",
        1000,
        system_is_closed,
        "its root file system can be written",
    ),
    setting(
        "ProtectHome=yes",
        1000,
        |it| own(it, "mnt") && mounted(it, "/", "tmpfs"),
        "it sees the host's root",
    ),
    setting(
        "RootDirectory=/run/sandbox",
        200,
        |it| mounted(it, "/", "tmpfs"),
        "it sees the host's root",
    ),
    setting(
        "ProtectProc=invisible",
        1000,
        |it| own(it, "pid"),
        "it sees the host's processes",
    ),
    setting(
        "ProtectKernelTunables=yes",
        1000,
        tunables_are_closed,
        "kernel parameters can be written",
    ),
    setting(
        "ProtectKernelModules=yes",
        1000,
        has_no_privilege,
        "it has capabilities of the host",
    ),
    setting(
        "ProtectKernelLogs=yes",
        1000,
        |it| it.masked.iter().any(|path| path == "/proc/kmsg"),
        "/proc/kmsg is not hidden",
    ),
    setting(
        "ProtectControlGroups=yes",
        1000,
        groups_are_closed,
        "control groups can be written",
    ),
    setting(
        "ProtectClock=yes",
        1000,
        has_no_privilege,
        "it has capabilities of the host",
    ),
    setting(
        "ProtectHostname=yes",
        50,
        |it| own(it, "uts"),
        "it shares the host's name",
    ),
    setting(
        "NoNewPrivileges=yes",
        1000,
        |it| it.no_new_privileges,
        "programs can raise its privileges",
    ),
    setting(OTHER_CAPABILITIES, 8475, |it| lacks(it, !GIVEN), CAPABILITIES),
    setting(
        "CapabilityBoundingSet=~CAP_CHOWN CAP_FSETID CAP_SETFCAP",
        1000,
        |it| lacks(it, 0x11),
        CAPABILITIES,
    ),
    setting(
        "CapabilityBoundingSet=~CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_IPC_OWNER",
        1000,
        |it| lacks(it, 0xe),
        CAPABILITIES,
    ),
    setting(
        "CapabilityBoundingSet=~CAP_KILL",
        500,
        |it| lacks(it, 0x20),
        CAPABILITIES,
    ),
    setting(
        "CapabilityBoundingSet=~CAP_SETUID CAP_SETGID CAP_SETPCAP",
        1500,
        |it| lacks(it, 0x1c0),
        CAPABILITIES,
    ),
    setting(
        "CapabilityBoundingSet=~CAP_SYS_CHROOT",
        50,
        |it| lacks(it, 1 << 18),
        CAPABILITIES,
    ),
    setting(
        "CapabilityBoundingSet=~CAP_SYS_PTRACE",
        1500,
        |it| lacks(it, 1 << 19),
        CAPABILITIES,
    ),
    setting(
        "AmbientCapabilities=",
        500,
        |it| it.capabilities.get("CapAmb") == Some(&0),
        "the file gives it capabilities",
    ),
    setting(
        "RestrictNamespaces=yes",
        4100,
        is_filtered,
        "no filter refuses new namespaces",
    ),
    setting(
        "RestrictRealtime=yes",
        500,
        has_no_privilege,
        "it may have real-time priorities",
    ),
    setting(
        "RestrictSUIDSGID=yes",
        1000,
        is_filtered,
        "no filter refuses set-uid files",
    ),
    setting(
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        2250,
        is_filtered,
        "no filter refuses sockets",
    ),
    setting(
        "LockPersonality=yes",
        100,
        is_filtered,
        "no filter refuses personalities",
    ),
    setting(
        "SystemCallArchitectures=native",
        1000,
        is_filtered,
        "no filter refuses other architectures",
    ),
    setting(
        "SystemCallFilter=@system-service",
        0,
        is_filtered,
        "no filter of system calls",
    ),
    setting(
        "SystemCallFilter=~@swap @obsolete @clock @cpu-emulation @debug @mount @module @raw-io @reboot @privileged",
        8200,
        is_filtered,
        "no filter of system calls",
    ),
    setting(
        "KeyringMode=private",
        1000,
        is_filtered,
        "no filter refuses keyrings",
    ),
    setting("NotifyAccess=none", 1000, |_| true, ""),
    setting(
        "RemoveIPC=yes",
        100,
        |it| own(it, "ipc"),
        "it shares the host's IPC",
    ),
    setting(
        "Delegate=no",
        100,
        groups_are_closed,
        "control groups can be written",
    ),
    setting(
        "IPIngressFilterPath=/sys/fs/bpf/sandbox-in",
        0,
        is_ruled,
        "no network rules of its own hold for it",
    ),
    // A filter of one's own takes the whole weight of `IPAddressDeny=`, whatever it lets through.
    setting(
        "IPEgressFilterPath=/sys/fs/bpf/sandbox-out",
        1000,
        is_ruled,
        "no network rules of its own hold for it",
    ),
    setting(
        "DevicePolicy=closed",
        500,
        |it| mounted(it, "/dev", "tmpfs"),
        "it sees the host's devices",
    ),
];

/// What no sandbox here has, whatever the kernel says, in systemd's weights. `ProtectClock=` brings a rule for the clock
/// device with it, which counts although no such node is in `/dev`.
pub(super) const NEVER: &[Exposed] = &[
    Exposed {
        setting: "RestrictAddressFamilies=~AF_INET AF_INET6",
        why: "services are on a network",
        weight: 1500,
    },
    Exposed {
        setting: "RestrictAddressFamilies=~AF_NETLINK",
        why: "programs list their interfaces through it",
        weight: 200,
    },
    Exposed {
        setting: "RestrictAddressFamilies=~AF_UNIX",
        why: "programs talk to themselves",
        weight: 25,
    },
    Exposed {
        setting: "SystemCallFilter=~@resources",
        why: "runtimes pin threads and lower their own priority; the control group bounds what that can take",
        weight: 630,
    },
    Exposed {
        setting: "MemoryDenyWriteExecute=yes",
        why: "V8, the JVM and LuaJIT compile while they run",
        weight: 100,
    },
    Exposed {
        setting: "UMask=0077",
        why: "files are readable for the other users inside",
        weight: 50,
    },
    Exposed {
        setting: "ProcSubset=pid",
        why: "programs read /proc/cpuinfo and /proc/meminfo",
        weight: 10,
    },
    Exposed {
        setting: "DeviceAllow=",
        why: "ProtectClock= allows the clock device",
        weight: 500,
    },
];

/// What it may reach outside when the file does not say `egress: none`. Without rules of its own its weight is theirs.
pub(super) const EGRESS: Exposed = Exposed {
    setting: "IPAddressDeny=any",
    why: "it may reach addresses outside (egress); systemd does not ask what a filter lets through",
    weight: 0,
};

fn own(it: &Inspection, kind: &str) -> bool {
    it.namespaces.get(kind).is_some_and(|namespace| !namespace.shared)
}

fn mounted(it: &Inspection, target: &str, kind: &str) -> bool {
    it.mounts
        .iter()
        .any(|mount| mount.target == target && mount.kind == kind)
}

/// Both directions are closed but for what rules name: address, port and who began it, which no list of addresses can say.
fn is_ruled(it: &Inspection) -> bool {
    let mut router = it.network.iter().filter(|rule| rule.place == "router");
    own(it, "net") && router.any(|rule| rule.chain == "forward" && rule.rule == "reject")
}

fn devices(it: &Inspection) -> bool {
    !it.loosened.iter().any(|line| line.ends_with("(devices)"))
}

fn closed(it: &Inspection, target: &str) -> bool {
    it.mounts
        .iter()
        .any(|mount| mount.target == target && mount.has("ro"))
}

fn system_is_closed(it: &Inspection) -> bool {
    closed(it, "/") && closed(it, "/usr")
}

fn tunables_are_closed(it: &Inspection) -> bool {
    closed(it, "/proc/sys") && !mounted(it, "/sys", "sysfs")
}

fn groups_are_closed(it: &Inspection) -> bool {
    let mut groups = it
        .mounts
        .iter()
        .filter(|mount| mount.target.starts_with("/sys/fs/cgroup"));
    groups.all(|mount| mount.has("ro"))
}

/// Whatever it has counts inside only.
fn has_no_privilege(it: &Inspection) -> bool {
    own(it, "user") || lacks(it, u64::MAX)
}

/// None of its sets has one of these.
fn lacks(it: &Inspection, mask: u64) -> bool {
    !it.capabilities.is_empty() && it.capabilities.values().all(|set| set & mask == 0)
}

fn is_filtered(it: &Inspection) -> bool {
    it.seccomp_filters > 0
        && !it
            .loosened
            .iter()
            .any(|line| line.ends_with("(security.seccomp)"))
}
