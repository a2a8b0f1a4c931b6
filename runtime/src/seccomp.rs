//! The seccomp profile of an OCI spec → one BPF program (seccomp(2)). Names in, a program out; loads it when asked.
//!
//! Of several rules that match a call the most restrictive wins, as it does among stacked filters: kill, trap, error
//! (of several errors the highest number), log, allow.

mod bpf;

use std::collections::BTreeMap;
use std::io;
use std::str::FromStr;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use syscalls::Sysno;

use crate::error::{Failure, FailureKind, Result};
use crate::layer::Layer;
use crate::sys;
use bpf::{Condition, Rule, Test};

/// A compiled profile. The default one allows everything and loads nothing.
#[derive(Debug, Clone, Default)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Compiles the profile for this machine. Names that this architecture does not have are left out: they
    /// then fall under the default action.
    pub fn compile(profile: &LinuxSeccomp) -> Result<Self> {
        let default = action(profile.default_action(), profile.default_errno_ret())?;
        let mut calls: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
        for call in profile.syscalls().iter().flatten() {
            let rule = Rule {
                conditions: call.args().iter().flatten().map(condition).collect(),
                action: action(call.action(), call.errno_ret())?,
            };
            for number in numbers(call) {
                calls.entry(number).or_default().push(rule.clone());
            }
        }
        for rules in calls.values_mut() {
            rules.sort_by_key(|rule| severity(rule.action));
        }
        Ok(Self(bpf::program(&calls, default)))
    }

    /// Its instructions (bpf(4)): code, where to jump when true and when false, constant.
    pub fn instructions(&self) -> impl Iterator<Item = (u16, u8, u8, u32)> {
        self.0.iter().map(|one| (one.code, one.jt, one.jf, one.k))
    }

    /// Loads it into the calling thread. `no_new_privs` must be set.
    pub(crate) fn load(&self) -> io::Result<()> {
        match self.0.is_empty() || Layer::Seccomp.is_off() {
            true => Ok(()),
            false => sys::load_filter(&self.0),
        }
    }
}

fn numbers(call: &LinuxSyscall) -> impl Iterator<Item = u32> {
    let known = call.names().iter().filter_map(|name| Sysno::from_str(name).ok());
    known.filter_map(|call| u32::try_from(call.id()).ok())
}

/// Smaller is more restrictive (seccomp(2), "in decreasing order of precedence"); among errors, the larger number.
fn severity(action: u32) -> (i32, u32) {
    let kind = (action & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
    (kind, u32::MAX - (action & libc::SECCOMP_RET_DATA))
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    Ok(match action {
        LinuxSeccompAction::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        LinuxSeccompAction::ScmpActLog => libc::SECCOMP_RET_LOG,
        LinuxSeccompAction::ScmpActErrno => {
            let errno = errno.unwrap_or(libc::EPERM.cast_unsigned());
            libc::SECCOMP_RET_ERRNO | (errno & libc::SECCOMP_RET_DATA)
        }
        LinuxSeccompAction::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            libc::SECCOMP_RET_KILL_THREAD
        }
        LinuxSeccompAction::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        // These two need somebody outside who answers.
        LinuxSeccompAction::ScmpActTrace | LinuxSeccompAction::ScmpActNotify => {
            return Err(Failure::new(
                FailureKind::Request,
                "compile the seccomp profile",
                format!("action {action:?} is not supported"),
            ));
        }
    })
}

/// 32 bits of most arguments are what the kernel looks at: comparing 64 would let the upper half hide a value.
fn condition(arg: &LinuxSeccompArg) -> Condition {
    let low = |value: u64| (value & 0xffff_ffff) as u32;
    let value = low(arg.value());
    let test = match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq => Test::Equal(value),
        LinuxSeccompOperator::ScmpCmpNe => Test::Differs(value),
        LinuxSeccompOperator::ScmpCmpLt => Test::Less(value),
        LinuxSeccompOperator::ScmpCmpGe => Test::AtLeast(value),
        LinuxSeccompOperator::ScmpCmpLe => Test::AtMost(value),
        LinuxSeccompOperator::ScmpCmpGt => Test::More(value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => Test::Masked {
            mask: value,
            value: low(arg.value_two().unwrap_or(0)),
        },
    };
    Condition {
        argument: u32::try_from(arg.index()).unwrap_or(u32::MAX),
        test,
    }
}
