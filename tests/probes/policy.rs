//! The filter against the policy, exhaustively: every architecture and number, and every filtered call with the values
//! around those that decide. What a kernel cannot show is proved here.

use pactown::spec::seccomp::{ALLOWED, REFUSED};
use syscalls::Sysno;

use super::filter::{Instruction, compiled, run};

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const NATIVE: u32 = 0xc000_00f3;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

/// Written once more, as the policy is meant and not as its rules are.
fn wanted(name: &str, arguments: [u64; 6]) -> u32 {
    let low = arguments.map(|argument| argument as u32);
    let refused = match name {
        "socket" => {
            let kind = low[1] & 0xf;
            match low[0] {
                1 => false,
                2 | 10 => [3, 4, 5, 6, 10].contains(&kind),
                16 => low[2] != 0,
                _ => true,
            }
        }
        "socketpair" => low[0] != 1,
        "clone" => low[0] & 0x7e02_0000 != 0,
        "ioctl" => [0x5412, 0x541c, 0x541d].contains(&low[1]),
        "personality" => ![0, 8, 0x20000, 0x20008, 0xffff_ffff].contains(&low[0]),
        "prctl" => [33, 35, 57, 62].contains(&low[0]),
        "chmod" | "fchmod" | "creat" => low[1] & 0o6000 != 0,
        "fchmodat" | "fchmodat2" => low[2] & 0o6000 != 0,
        "open" => low[1] & 0o100 != 0 && low[2] & 0o6000 != 0,
        "openat" => low[2] & 0o100 != 0 && low[3] & 0o6000 != 0,
        "mknod" => [0o020_000, 0o060_000].contains(&(low[1] & 0o170_000)),
        "mknodat" => [0o020_000, 0o060_000].contains(&(low[2] & 0o170_000)),
        "setsockopt" => matches!(
            (low[1], low[2]),
            (1, 50 | 52) | (6, 31) | (17, 100) | (0, 64 | 65 | 96 | 97) | (41, 64 | 65 | 34 | 35)
        ),
        _ => REFUSED.contains(&name),
    };
    match (refused, ALLOWED.contains(&name)) {
        (true, _) => EPERM,
        (false, true) => ALLOW,
        (false, false) => ENOSYS,
    }
}

/// Values for an argument of a filtered call: small ones, each bit, everything around what the rules name, and all of
/// them with something in the upper half.
fn values(around: &[u64]) -> Vec<u64> {
    let bits = (0..64).map(|bit| 1_u64 << bit);
    let near = around
        .iter()
        .flat_map(|value| [value.wrapping_sub(1), *value, value + 1]);
    let mut low: Vec<u64> = (0..=64)
        .chain(bits)
        .chain(near)
        .chain([u64::from(u32::MAX), u64::MAX])
        .collect();
    let high: Vec<u64> = low.iter().map(|value| value | 1 << 32).collect();
    low.extend(high);
    low.sort_unstable();
    low.dedup();
    low
}

/// Every call of this machine.
fn calls() -> impl Iterator<Item = Sysno> {
    (0..1024).filter_map(Sysno::new)
}

struct Check {
    program: Vec<Instruction>,
    evaluations: usize,
}

impl Check {
    #[track_caller]
    fn call(&mut self, name: &str, arguments: [u64; 6]) {
        let Some(number) = calls().find(|one| one.name() == name).map(|one| one.id()) else {
            return;
        };
        let number = u32::try_from(number).expect("a number");
        let answer = run(&self.program, NATIVE, number, arguments);
        assert_eq!(answer, wanted(name, arguments), "{name} {arguments:x?}");
        self.evaluations += 1;
    }

    fn two(&mut self, name: &str, first: (usize, &[u64]), second: (usize, &[u64])) {
        for a in first.1 {
            for b in second.1 {
                let mut arguments = [0; 6];
                (arguments[first.0], arguments[second.0]) = (*a, *b);
                self.call(name, arguments);
            }
        }
    }
}

#[test]
fn the_filter_is_the_policy_for_every_number_and_argument() {
    let mut check = Check {
        program: compiled(),
        evaluations: 0,
    };
    let none: &[u64] = &[0];
    for number in 0..1024_u32 {
        let name = Sysno::new(number as usize).map_or("", |one| one.name());
        for argument in [0, 1, u64::MAX] {
            let arguments = [argument; 6];
            assert_eq!(
                run(&check.program, NATIVE, number, arguments),
                wanted(name, arguments),
                "{number} {name}"
            );
            // i386, ARM, AArch64, and one that does not exist.
            for foreign in [0x4000_0003, 0x4000_0028, 0xc000_00b7, 0xc000_003e, 1]
                .into_iter()
                .filter(|one| *one != NATIVE)
            {
                assert_eq!(
                    run(&check.program, foreign, number, arguments),
                    KILL_PROCESS,
                    "{number}"
                );
            }
            assert_eq!(
                run(&check.program, NATIVE, number | 0x4000_0000, arguments),
                ENOSYS,
                "x32 {number}"
            );
            check.evaluations += 6;
        }
    }
    let types: Vec<u64> = (0..16).flat_map(|kind| [kind, kind | 0o2_004_000]).collect();
    for domain in (0..64).chain([1 << 32 | 38, u64::from(u32::MAX)]) {
        for kind in &types {
            for protocol in (0..24).chain([255]) {
                check.call("socket", [domain, *kind, protocol, 0, 0, 0]);
                check.call("socketpair", [domain, *kind, protocol, 0, 0, 0]);
            }
        }
    }
    let flags = values(&[0x0002_0000, 0x7e02_0000, 0x0120_0011]);
    check.two("clone", (0, &flags), (1, none));
    check.two(
        "personality",
        (0, &values(&[8, 0x20000, 0x20008, 0xffff_ffff])),
        (1, none),
    );
    check.two("ioctl", (1, &values(&[0x5412, 0x541c, 0x541d])), (0, none));
    check.two("prctl", (0, &values(&[33, 35, 57, 62])), (1, none));
    let modes: Vec<u64> = (0..0o10_000).chain(values(&[0o4000, 0o2000])).collect();
    for (name, index) in [
        ("chmod", 1),
        ("fchmod", 1),
        ("creat", 1),
        ("fchmodat", 2),
        ("fchmodat2", 2),
    ] {
        check.two(name, (index, &modes), (0, none));
    }
    check.two(
        "open",
        (1, &[0, 0o100, 0o101, 0o1101, 1 << 32 | 0o100]),
        (2, &modes),
    );
    check.two(
        "openat",
        (2, &[0, 0o100, 0o101, 0o1101, 1 << 32 | 0o100]),
        (3, &modes),
    );
    let kinds: Vec<u64> = (0..16)
        .flat_map(|kind| [kind << 12, kind << 12 | 0o644, 1 << 32 | kind << 12])
        .collect();
    check.two("mknod", (1, &kinds), (2, none));
    check.two("mknodat", (2, &kinds), (3, none));
    let options = values(&[31, 34, 35, 50, 52, 64, 65, 96, 97, 100]);
    check.two("setsockopt", (1, &values(&[6, 17, 41])), (2, &options));
    println!("{} evaluations, no difference", check.evaluations);
    assert!(check.evaluations > 100_000, "{}", check.evaluations);
}

/// How many calls of this machine the filter knows and refuses whatever their arguments.
pub(super) fn denied() -> usize {
    let program = compiled();
    let refuses = |one: &Sysno| {
        run(&program, NATIVE, one.id() as u32, [0; 6]) != ALLOW && wanted(one.name(), [0; 6]) != ALLOW
    };
    calls()
        .filter(refuses)
        .filter(|one| !ALLOWED.contains(&one.name()))
        .count()
}

/// The rows that this kernel refuses everywhere: none reaches it.
pub(super) fn vacuous_rows_are_refused_by_the_filter<'a>(names: impl Iterator<Item = &'a str>) {
    let program = compiled();
    let names: Vec<&str> = names.collect();
    println!(
        "vacuous here, proved on the filter or by absence: {}",
        names.join(" ")
    );
    for name in &names {
        let (call, arguments) = match *name {
            "socket_alg" => ("socket", [38, 5, 0, 0, 0, 0]),
            other => (other, [0; 6]),
        };
        let Some(number) = calls().find(|one| one.name() == call) else {
            // A device or a file that is on no such host either; or another entry, which the exhaustive test has.
            continue;
        };
        assert_eq!(
            run(&program, NATIVE, number.id() as u32, arguments),
            EPERM,
            "{name}"
        );
    }
}
