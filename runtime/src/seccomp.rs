//! The seccomp profile of an OCI spec → BPF programs (seccomp(2)). Names in, programs out; loads nothing by itself.
//!
//! One program has one match action, so a profile becomes a stack: first the allow-list, whose other calls get the
//! default error, then one program per explicit error. Of several errors the kernel takes that of the program loaded
//! last, so a listed EPERM wins over the default ENOSYS.

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator, LinuxSyscall};
use seccompiler::{BpfProgram, TargetArch};
use serde_json::{Value, json};

use crate::error::{Failure, Result};
use crate::protocol::FailureKind;

/// Programs in the order in which they are loaded.
#[derive(Debug, Clone, Default)]
pub struct Programs(Vec<BpfProgram>);

impl Programs {
    /// Compiles the profile for this machine. Names that this architecture does not have are left out: they
    /// then fall under the default action.
    pub fn compile(profile: &LinuxSeccomp) -> Result<Self> {
        let default = action(profile.default_action(), profile.default_errno_ret())?;
        let calls = profile.syscalls().as_deref().unwrap_or_default();
        let allowed: Vec<&LinuxSyscall> = calls
            .iter()
            .filter(|call| call.action() == LinuxSeccompAction::ScmpActAllow)
            .collect();
        let mut programs = Vec::new();
        if profile.default_action() != LinuxSeccompAction::ScmpActAllow {
            programs.push(program(&default, &json!("allow"), &allowed)?);
        }
        let mut errors: Vec<u32> = calls.iter().filter_map(errno_of).collect();
        errors.sort_unstable();
        errors.dedup();
        for errno in errors {
            let refused: Vec<&LinuxSyscall> = calls
                .iter()
                .filter(|call| errno_of(call) == Some(errno))
                .collect();
            programs.push(program(&json!("allow"), &json!({ "errno": errno }), &refused)?);
        }
        Ok(Self(programs))
    }

    /// Loads them into the calling thread. `no_new_privs` must be set.
    pub(crate) fn load(&self) -> std::result::Result<(), seccompiler::Error> {
        self.0
            .iter()
            .try_for_each(|program| seccompiler::apply_filter(program))
    }

    /// Instructions of all programs together.
    pub fn instructions(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

fn errno_of(call: &LinuxSyscall) -> Option<u32> {
    let is_error = call.action() == LinuxSeccompAction::ScmpActErrno;
    is_error.then(|| call.errno_ret().unwrap_or(libc::EPERM.cast_unsigned()))
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Value> {
    match action {
        LinuxSeccompAction::ScmpActAllow => Ok(json!("allow")),
        LinuxSeccompAction::ScmpActErrno => {
            Ok(json!({ "errno": errno.unwrap_or(libc::EPERM.cast_unsigned()) }))
        }
        LinuxSeccompAction::ScmpActKillProcess => Ok(json!("kill_process")),
        other => Err(Failure::new(
            FailureKind::Request,
            "compile the seccomp profile",
            format!("action {other:?} is not supported"),
        )),
    }
}

/// Compiles one program; a name that the architecture lacks is dropped and the rest compiled again.
fn program(mismatch: &Value, matched: &Value, calls: &[&LinuxSyscall]) -> Result<BpfProgram> {
    let mut rules: Vec<Value> = calls
        .iter()
        .flat_map(|call| call.names().iter().map(|name| rule(name, call)))
        .collect();
    loop {
        let text = json!({ "f": { "mismatch_action": mismatch, "match_action": matched, "filter": rules } })
            .to_string();
        match seccompiler::compile_from_json(text.as_bytes(), architecture()?) {
            Ok(mut map) => return Ok(map.remove("f").unwrap_or_default()),
            Err(error) => match unknown_name(&error) {
                Some(name) => rules.retain(|rule| rule["syscall"] != name.as_str()),
                None => {
                    return Err(Failure::new(
                        FailureKind::Request,
                        "compile the seccomp profile",
                        error,
                    ));
                }
            },
        }
    }
}

fn unknown_name(error: &seccompiler::Error) -> Option<String> {
    let text = error.to_string();
    let rest = text.split("Invalid syscall name: ").nth(1)?;
    Some(rest.split(' ').next()?.to_owned())
}

fn rule(name: &str, call: &LinuxSyscall) -> Value {
    let conditions: Vec<Value> = call
        .args()
        .iter()
        .flatten()
        .map(|arg| {
            let (op, value) = match arg.op() {
                LinuxSeccompOperator::ScmpCmpMaskedEq => {
                    (json!({ "masked_eq": arg.value() }), arg.value_two().unwrap_or(0))
                }
                LinuxSeccompOperator::ScmpCmpNe => (json!("ne"), arg.value()),
                LinuxSeccompOperator::ScmpCmpLt => (json!("lt"), arg.value()),
                LinuxSeccompOperator::ScmpCmpLe => (json!("le"), arg.value()),
                LinuxSeccompOperator::ScmpCmpGt => (json!("gt"), arg.value()),
                LinuxSeccompOperator::ScmpCmpGe => (json!("ge"), arg.value()),
                LinuxSeccompOperator::ScmpCmpEq => (json!("eq"), arg.value()),
            };
            // 32 bits of most arguments are what the kernel looks at: comparing 64 would let the upper half hide a value.
            json!({ "index": arg.index(), "type": "dword", "op": op, "val": value })
        })
        .collect();
    if conditions.is_empty() {
        json!({ "syscall": name })
    } else {
        json!({ "syscall": name, "args": conditions })
    }
}

fn architecture() -> Result<TargetArch> {
    TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|error| Failure::new(FailureKind::Environment, "compile the seccomp profile", error))
}

/// The OCI name of this machine's architecture.
pub fn native() -> Arch {
    match std::env::consts::ARCH {
        "aarch64" => Arch::ScmpArchAarch64,
        "riscv64" => Arch::ScmpArchRiscv64,
        _ => Arch::ScmpArchX86_64,
    }
}
