//! The process of a sandbox: user, arguments, environment and limits of its own. Pure.

use oci_spec::runtime::{
    Capabilities, LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process,
    ProcessBuilder, UserBuilder,
};

use super::{APP, SandboxPlan, built, ids};

/// Most open files: enough for ten thousand connections, and little enough for programs that try to close them all.
const OPEN_FILES: u64 = 65_536;

/// The process, without a capability unless the file names some, and unable to gain any.
pub(super) fn process(plan: &SandboxPlan) -> Process {
    let id = ids::inside(plan);
    let named = &plan.exceptions.capabilities;
    // The names were checked against the kernel's when the file was read.
    let set: Capabilities = named.iter().filter_map(|name| name.parse().ok()).collect();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .inheritable(set.clone())
        .permitted(set.clone())
        .ambient(set)
        .build();
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(built(
            UserBuilder::default().uid(id).gid(id).umask(0o022_u32).build(),
        ))
        .args(plan.args.clone())
        .env(
            plan.env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>(),
        )
        .cwd(APP)
        .capabilities(built(capabilities))
        .rlimits(rlimits(plan))
        .no_new_privileges(true)
        .build();
    built(process)
}

/// Never above what pactown itself may have: raising a hard limit needs CAP_SYS_RESOURCE (setrlimit(2)).
fn rlimits(plan: &SandboxPlan) -> Vec<PosixRlimit> {
    let files = plan
        .limits
        .open_files
        .unwrap_or(OPEN_FILES)
        .min(plan.host.open_files);
    let limit = |kind, value: u64| {
        built(
            PosixRlimitBuilder::default()
                .typ(kind)
                .soft(value)
                .hard(value)
                .build(),
        )
    };
    vec![
        limit(PosixRlimitType::RlimitNofile, files),
        limit(PosixRlimitType::RlimitCore, 0),
    ]
}
