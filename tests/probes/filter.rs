//! The compiled filter: that the kernel holds the same program, and what that program answers.

use std::path::Path;
use std::process::Command;

use pactown_runtime::seccomp::Filter;

use crate::support::skips::skipped;

/// One instruction of classic BPF: code, jumps, constant.
pub(super) type Instruction = (u16, u8, u8, u32);

/// The default profile, compiled.
pub(super) fn compiled() -> Vec<Instruction> {
    let filter = Filter::compile(&pactown::spec::seccomp::profile()).expect("compiles");
    filter.instructions().collect()
}

/// What the program answers (seccomp(2)): the machine of bpf(4), as far as such programs use it.
pub(super) fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let (code, yes, no, k) = program[at];
        at += 1;
        let branch = |taken: bool| usize::from(if taken { yes } else { no });
        match code {
            0x20 => {
                accumulator = match k {
                    0 => number,
                    4 => architecture,
                    low => {
                        let argument = arguments[(low as usize - 16) / 8];
                        (argument >> (8 * ((low - 16) % 8))) as u32
                    }
                }
            }
            0x06 => return k,
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x54 => accumulator &= k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// The program that the kernel holds for a service is the one that the policy was checked on. Kernels without
/// CONFIG_CHECKPOINT_RESTORE do not tell.
pub(super) fn matches_the_kernel(battery: &Path, pid: i32) {
    let output = Command::new(battery)
        .args(["filter", &pid.to_string()])
        .output()
        .expect("battery");
    let text = String::from_utf8_lossy(&output.stdout);
    let instruction = |line: &str| {
        let numbers: Vec<u32> = line
            .split(' ')
            .map(|word| word.parse().expect("a number"))
            .collect();
        (numbers[0] as u16, numbers[1] as u8, numbers[2] as u8, numbers[3])
    };
    let loaded: Vec<Instruction> = text.lines().map(instruction).collect();
    match output.status.success() {
        true => assert!(loaded == compiled(), "the loaded filter is another one"),
        false => skipped(
            "the filter that the kernel holds",
            "it does not tell (CONFIG_CHECKPOINT_RESTORE)",
        ),
    }
}
