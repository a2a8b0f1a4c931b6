//! Rules per system call → a classic BPF program that finds the call's number by halving. Pure.
//!
//! Halving, because the kernel runs every filter once for each number that exists when it is loaded (to remember which
//! are always allowed), and later for each call that looks at arguments: a list of some 300 comparisons costs a
//! launch about a millisecond.

use std::collections::BTreeMap;

use libc::sock_filter;

/// What an argument, of which the lower 32 bits count, must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Equal(u32),
    Differs(u32),
    Less(u32),
    AtLeast(u32),
    AtMost(u32),
    More(u32),
    Masked { mask: u32, value: u32 },
}

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Its number, from 0.
    pub(super) argument: u32,
    /// What it must be.
    pub(super) test: Test,
}

/// What happens to a call when all conditions hold; a `SECCOMP_RET_*` value with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: u32,
}

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_*` of this machine (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const NATIVE: u32 = 0xc000_00f3;

/// Numbers from `first` to the next span's all end in the same code.
struct Span {
    first: u32,
    code: Vec<sock_filter>,
}

/// The program. The first rule of a call that matches decides; no rule, or none that matches: `default`. A
/// call of another architecture kills the process, one of x32 is beyond every number and gets the default.
pub(super) fn program(calls: &BTreeMap<u32, Vec<Rule>>, default: u32) -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(libc::BPF_JEQ, NATIVE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(search(&spans(calls, default)));
    program
}

fn spans(calls: &BTreeMap<u32, Vec<Rule>>, default: u32) -> Vec<Span> {
    let otherwise = vec![answer(default)];
    let mut spans = vec![Span {
        first: 0,
        code: otherwise.clone(),
    }];
    for (number, rules) in calls {
        begin(&mut spans, *number, decide(rules, default));
        // The next number replaces this when it is listed too.
        begin(&mut spans, number + 1, otherwise.clone());
    }
    spans
}

fn begin(spans: &mut Vec<Span>, first: u32, code: Vec<sock_filter>) {
    spans.pop_if(|last| last.first == first);
    if !spans.last().is_some_and(|last| same(&last.code, &code)) {
        spans.push(Span { first, code });
    }
}

fn same(one: &[sock_filter], other: &[sock_filter]) -> bool {
    let fields = |i: &sock_filter| (i.code, i.jt, i.jf, i.k);
    one.iter().map(fields).eq(other.iter().map(fields))
}

/// A tree of `number >= middle`, its leaves in order.
fn search(spans: &[Span]) -> Vec<sock_filter> {
    if let [only] = spans {
        return only.code.clone();
    }
    let (low, high) = spans.split_at(spans.len() / 2);
    let (low, right) = (search(low), search(high));
    let mut code = match u8::try_from(low.len()) {
        Ok(over) => vec![jump(libc::BPF_JGE, high[0].first, over, 0)],
        // A conditional jump reaches 255 instructions (bpf(4), "jump instructions").
        Err(_) => vec![
            jump(libc::BPF_JGE, high[0].first, 0, 1),
            statement(libc::BPF_JMP | libc::BPF_JA, low.len() as u32),
        ],
    };
    code.extend(low);
    code.extend(right);
    code
}

fn decide(rules: &[Rule], default: u32) -> Vec<sock_filter> {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(one(rule));
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(answer(default));
    code
}

/// One rule; goes on behind it when a condition does not hold. At most six conditions of three instructions.
fn one(rule: &Rule) -> Vec<sock_filter> {
    let mut code = vec![answer(rule.action)];
    for condition in rule.conditions.iter().rev() {
        let over = u8::try_from(code.len()).unwrap_or(u8::MAX);
        let mut checked = check(condition, over);
        checked.append(&mut code);
        code = checked;
    }
    code
}

/// Skips `over` instructions unless the condition holds.
fn check(condition: &Condition, over: u8) -> Vec<sock_filter> {
    // The lower half comes first on the little-endian machines that are supported.
    let mut code = vec![load(ARGUMENTS + 8 * condition.argument)];
    let unless = |kind, value| jump(kind, value, 0, over);
    let when = |kind, value| jump(kind, value, over, 0);
    if let Test::Masked { mask, .. } = condition.test {
        code.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask));
    }
    code.push(match condition.test {
        Test::Equal(value) | Test::Masked { value, .. } => unless(libc::BPF_JEQ, value),
        Test::Differs(value) => when(libc::BPF_JEQ, value),
        Test::AtLeast(value) => unless(libc::BPF_JGE, value),
        Test::Less(value) => when(libc::BPF_JGE, value),
        Test::More(value) => unless(libc::BPF_JGT, value),
        Test::AtMost(value) => when(libc::BPF_JGT, value),
    });
    code
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(action: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

fn statement(code: u32, k: u32) -> sock_filter {
    instruction(code, 0, 0, k)
}

fn jump(kind: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    instruction(libc::BPF_JMP | kind | libc::BPF_K, jt, jf, k)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The machine of bpf(4), as far as these programs use it.
    fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let i = program[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
            match u32::from(i.code) {
                0x20 => {
                    accumulator = match i.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        offset => arguments[(offset as usize - 16) / 8] as u32,
                    }
                }
                0x06 => return i.k,
                0x05 => at += i.k as usize,
                0x15 => at += branch(accumulator == i.k),
                0x25 => at += branch(accumulator > i.k),
                0x35 => at += branch(accumulator >= i.k),
                0x54 => accumulator &= i.k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn holds(condition: &Condition, arguments: [u64; 6]) -> bool {
        let given = arguments[condition.argument as usize] as u32;
        match condition.test {
            Test::Equal(value) => given == value,
            Test::Differs(value) => given != value,
            Test::Less(value) => given < value,
            Test::AtLeast(value) => given >= value,
            Test::AtMost(value) => given <= value,
            Test::More(value) => given > value,
            Test::Masked { mask, value } => given & mask == value,
        }
    }

    fn conditions() -> impl Strategy<Value = Vec<Condition>> {
        let value = 0_u32..4;
        let test = prop_oneof![
            value.clone().prop_map(Test::Equal),
            value.clone().prop_map(Test::Differs),
            value.clone().prop_map(Test::Less),
            value.clone().prop_map(Test::AtLeast),
            value.clone().prop_map(Test::AtMost),
            value.clone().prop_map(Test::More),
            (value.clone(), value).prop_map(|(mask, value)| Test::Masked { mask, value }),
        ];
        let one = (0_u32..6, test).prop_map(|(argument, test)| Condition { argument, test });
        prop::collection::vec(one, 0..3)
    }

    fn rules() -> impl Strategy<Value = BTreeMap<u32, Vec<Rule>>> {
        let rule = (conditions(), 1_u32..5).prop_map(|(conditions, action)| Rule { conditions, action });
        prop::collection::btree_map(0_u32..480, prop::collection::vec(rule, 1..4), 0..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_first_rule_that_matches_decides_for_every_number(
            calls in rules(), arguments in prop::array::uniform6(0_u64..5)
        ) {
            let program = program(&calls, 9);
            prop_assert!(program.len() <= 4096 * 4);
            for number in (0..600).chain([0x4000_0000, u32::MAX]) {
                let matching = calls.get(&number).into_iter().flatten();
                let rule = matching.into_iter().find(|rule| rule.conditions.iter().all(|one| holds(one, arguments)));
                let wanted = rule.map_or(9, |rule| rule.action);
                prop_assert_eq!(run(&program, NATIVE, number, arguments), wanted, "{}", number);
                prop_assert_eq!(run(&program, NATIVE ^ 1, number, arguments), libc::SECCOMP_RET_KILL_PROCESS);
            }
        }
    }
}
