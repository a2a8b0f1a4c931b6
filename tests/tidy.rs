//! The rules of the house, read from the sources: headers, sizes, `unsafe`, direction, forgotten files.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust source below the given folders, relative to the repository, with its text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("folder").flatten();
            open.extend(
                entries
                    .map(|entry| entry.path())
                    .filter(|path| !path.ends_with("target")),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("inside").display().to_string();
            found.push((name, fs::read_to_string(&path).expect("source")));
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The part before the inline tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().expect("a part")
}

#[track_caller]
fn none(what: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{what}:\n{}", offenders.join("\n"));
}

const ALL: &[&str] = &["src", "runtime", "netns", "tests", "benches"];
const PRODUCT: &[&str] = &["src", "runtime/src", "netns/src"];

#[test]
fn every_file_says_what_lives_in_it() {
    let offenders: Vec<_> = sources(ALL)
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    none("files without a //! header", &offenders);
}

#[test]
fn no_file_is_named_after_nothing() {
    const BANNED: &[&str] = &[
        "utils", "util", "common", "helpers", "helper", "misc", "manager", "core", "base",
    ];
    let named = |name: &str| {
        Path::new(name)
            .file_stem()
            .is_some_and(|stem| BANNED.iter().any(|bad| stem == *bad))
    };
    let offenders: Vec<_> = sources(ALL)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| named(name))
        .collect();
    none("files named after nothing", &offenders);
}

#[test]
fn files_stay_readable() {
    let offenders: Vec<_> = sources(PRODUCT)
        .into_iter()
        .map(|(name, text)| (name, product(&text).lines().count()))
        .filter(|(_, lines)| *lines > 400)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    none("files over 400 lines without their tests", &offenders);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut offenders = Vec::new();
    for (name, text) in sources(PRODUCT) {
        for (function, first, length) in functions(product(&text)) {
            if length > 60 {
                offenders.push(format!("{name}:{first} {function}: {length} lines"));
            }
        }
    }
    none("functions over 60 lines", &offenders);
}

/// `(name, first line, lines)` of each function, told by the indentation that rustfmt keeps.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else {
            continue;
        };
        let end = lines[number..]
            .iter()
            .position(|later| *later == format!("{}}}", " ".repeat(indent)));
        if let Some(end) = end {
            found.push((name, number + 1, end + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let before = line.split("fn ").next()?;
    let words_only = before.split_whitespace().all(|word| {
        [
            "pub",
            "pub(crate)",
            "pub(super)",
            "const",
            "async",
            "unsafe",
            "extern",
            "\"C\"",
        ]
        .contains(&word)
    });
    let rest = line.strip_prefix(before)?.strip_prefix("fn ")?;
    words_only.then(|| {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    })
}

#[test]
fn unsafe_lives_in_sys() {
    let mut offenders = Vec::new();
    for (name, text) in sources(&["src", "runtime", "netns"]) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let word = code
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "unsafe");
            if word && !name.ends_with("/sys.rs") {
                offenders.push(format!("{name}:{}", number + 1));
            }
        }
    }
    none("unsafe outside of sys.rs", &offenders);
}

/// The time of day can be set: nothing is measured or waited for by it. What is written down has its stamp from one file,
/// and only scheduled jobs follow it, by another.
#[test]
fn timers_do_not_follow_the_wall_clock() {
    const WALL: &[&str] = &[
        "SystemTime",
        "UNIX_EPOCH",
        "Timestamp::now",
        "Zoned::now",
        "CLOCK_REALTIME",
        "ClockId::Realtime",
        "TimerfdClockId::Realtime",
    ];
    const MAY: &[&str] = &["src/supervisor/clock.rs", "src/supervisor/stamp.rs"];
    let mut offenders = Vec::new();
    for (name, text) in sources(&[
        "src/supervisor",
        "src/supervisor.rs",
        "src/health",
        "src/health.rs",
    ]) {
        for (number, line) in product(&text)
            .lines()
            .enumerate()
            .filter(|_| !MAY.contains(&name.as_str()))
        {
            let code = line.split("//").next().unwrap_or("");
            // A stamp that something is taken from is a measurement.
            let measured = code.contains("now_usec()") && code.contains("_sub(");
            if measured || WALL.iter().any(|word| code.contains(word)) {
                offenders.push(format!("{name}:{}", number + 1));
            }
        }
    }
    none("timers that follow the wall clock", &offenders);
}

/// What the model of a view must not know: where it comes from and how it is shown.
const PURE_VIEW: &[&str] = &[
    "tokio",
    "std::fs",
    "std::io",
    "nix::",
    "ratatui",
    "crossterm",
    "control::client",
    "crate::logs",
];

/// No files, no sockets, no clocks.
const PURE: &[&str] = &[
    "tokio",
    "nix::",
    "std::fs",
    "std::net",
    "rusqlite",
    "axum",
    "SystemTime",
    "Instant",
];

#[test]
fn crates_and_modules_point_one_way() {
    /// (folder, words that must not appear there in code)
    const RULES: &[(&str, &[&str])] = &[
        (
            "runtime/src",
            &[
                "pactown_netns",
                "rtnetlink",
                "netlink_packet",
                "tokio",
                "serde_yaml",
                "hyper",
                "pulldown_cmark",
            ],
        ),
        (
            "netns/src",
            &[
                "pactown_runtime",
                "oci_spec",
                "serde_yaml",
                "hyper",
                "pulldown_cmark",
            ],
        ),
        (
            "src/config",
            &[
                "tokio",
                "nix::",
                "crate::supervisor",
                "crate::control",
                "crate::commands",
                "pactown_runtime",
                "crate::output",
            ],
        ),
        (
            "src/markpact",
            &[
                "tokio",
                "nix::",
                "crate::supervisor",
                "crate::control",
                "crate::commands",
                "pactown_runtime",
                "crate::resolver",
            ],
        ),
        (
            "src/resolver",
            &[
                "tokio",
                "std::fs",
                "nix::",
                "crate::supervisor",
                "crate::control",
                "crate::commands",
                "crate::plan",
            ],
        ),
        (
            "src/plan",
            &[
                "tokio",
                "std::fs",
                "nix::",
                "crate::supervisor",
                "crate::control::server",
                "crate::commands",
            ],
        ),
        (
            "src/plan.rs",
            &[
                "tokio",
                "std::fs",
                "nix::",
                "crate::supervisor",
                "crate::control::server",
                "crate::commands",
            ],
        ),
        (
            "src/network.rs",
            &[
                "tokio",
                "std::fs",
                "nix::",
                "crate::supervisor",
                "crate::commands",
            ],
        ),
        (
            "src/spec",
            &[
                "tokio",
                "std::fs",
                "nix::",
                "crate::supervisor",
                "crate::commands",
                "crate::plan",
            ],
        ),
        (
            "src/spec.rs",
            &[
                "tokio",
                "std::fs",
                "nix::",
                "crate::supervisor",
                "crate::commands",
                "crate::plan",
            ],
        ),
        (
            "src/supervisor",
            &["crate::commands", "crate::cli", "crate::output"],
        ),
        (
            "src/ui.rs",
            &["crate::commands", "crate::cli", "crate::supervisor"],
        ),
        (
            "src/ui",
            &["crate::commands", "crate::cli", "crate::supervisor", "std::fs"],
        ),
        ("src/ui/model.rs", PURE_VIEW),
        ("src/ui/update.rs", PURE_VIEW),
        ("src/ui/diagnosis.rs", PURE_VIEW),
        ("src/ui/draw.rs", &["tokio", "nix::", "crossterm", "std::io"]),
        ("src/ui/layout.rs", &["tokio", "nix::", "crossterm", "std::io"]),
        ("src/ui/top.rs", &["tokio", "nix::", "crossterm", "std::io"]),
        (
            "src/stats",
            &[
                "tokio",
                "ratatui",
                "crate::supervisor",
                "crate::commands",
                "crate::cli",
                "crate::ui",
                "crate::output",
            ],
        ),
        (
            "src/testing",
            &[
                "crate::supervisor",
                "crate::commands",
                "crate::cli",
                "crate::ui",
                "crate::output",
            ],
        ),
        ("src/testing/judge.rs", &["tokio", "std::fs", "nix::"]),
        ("src/testing/junit.rs", &["tokio", "std::fs", "nix::"]),
        ("src/testing/coverage.rs", &["tokio", "std::fs", "nix::"]),
        (
            "src/stats/counters.rs",
            &["std::fs", "nix::", "Cgroup", "Instant"],
        ),
        (
            "src/registry",
            &[
                "crate::commands",
                "crate::cli",
                "crate::output",
                "crate::supervisor",
                "crate::prepare",
                "crate::config",
                "crate::markpact",
                "crate::desired",
                "crate::control",
                "pactown_runtime",
                "pactown_netns",
            ],
        ),
        (
            "src/registry/store",
            &["axum", "crate::registry::server", "crate::registry::client"],
        ),
        ("src/registry/server", &["crate::registry::client", "rusqlite"]),
        ("src/registry/name.rs", PURE),
        ("src/registry/version.rs", PURE),
        ("src/registry/text.rs", PURE),
        ("src/registry/api.rs", PURE),
        (
            "src/prepare",
            &[
                "crate::commands",
                "crate::cli",
                "crate::output",
                "crate::supervisor",
            ],
        ),
        (
            "src/author",
            &[
                "tokio",
                "nix::",
                "crate::commands",
                "crate::cli",
                "crate::output",
                "crate::supervisor",
                "crate::control",
            ],
        ),
        ("src/author/guess.rs", PURE),
        ("src/author/draft.rs", PURE),
        ("src/author/compose", PURE),
        ("src/author/procfile.rs", PURE),
        (
            "src/evidence",
            &[
                "tokio",
                "crate::commands",
                "crate::cli",
                "crate::supervisor",
                "crate::control",
            ],
        ),
        ("src/commands/up/ends.rs", PURE),
    ];
    let mut offenders = Vec::new();
    for (folder, words) in RULES {
        if !root().join(folder).exists() {
            continue;
        }
        for (name, text) in sources(&[folder]) {
            for (number, line) in product(&text).lines().enumerate() {
                let code = line.split("//").next().unwrap_or("");
                let hit = words.iter().find(|word| code.contains(**word));
                offenders.extend(hit.map(|word| format!("{name}:{} uses {word}", number + 1)));
            }
        }
    }
    none("imports against the direction", &offenders);
}

#[test]
fn nothing_is_unfinished_and_only_output_prints() {
    let mut offenders = Vec::new();
    for (name, text) in sources(PRODUCT) {
        for (number, line) in product(&text).lines().enumerate() {
            let unfinished = ["todo!(", "unimplemented!(", "FIXME", "TODO", "XXX"]
                .iter()
                .any(|mark| line.contains(mark));
            let code = line.split("//").next().unwrap_or("");
            let prints = ["println!(", "eprintln!(", "print!(", "dbg!("]
                .iter()
                .any(|mark| code.contains(mark));
            let may_print = name.starts_with("src/output") || name == "src/main.rs";
            if unfinished || (prints && !may_print && name.starts_with("src/")) {
                offenders.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("unfinished marks, or printing outside of output", &offenders);
}

/// The terminal has few hands on it: `output`, the screen of the views, and what hands it on to a process elsewhere.
#[test]
fn few_hold_the_terminal() {
    const HOLDERS: &[&str] = &[
        "src/main.rs",
        // Its standard error is the keeper's log.
        "src/supervisor.rs",
        "src/ui/screen.rs",
        "src/commands/exec.rs",
        "src/commands/terminal.rs",
    ];
    let mut offenders = Vec::new();
    for (name, text) in sources(&["src"]) {
        if name.starts_with("src/output") || HOLDERS.contains(&name.as_str()) {
            continue;
        }
        for (number, line) in product(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            // To ask whether it is a terminal is no writing.
            let holds = ["stdout()", "stderr()"]
                .iter()
                .any(|stream| code.contains(stream) && !code.contains("is_terminal()"));
            if holds {
                offenders.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("writing to the terminal outside of its holders", &offenders);
}

#[test]
fn no_test_file_is_forgotten() {
    for folder in ["tests", "runtime/tests", "netns/tests"] {
        let Ok(main) = fs::read_to_string(root().join(folder).join("main.rs")) else {
            continue;
        };
        for entry in fs::read_dir(root().join(folder)).expect("folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") else {
                continue;
            };
            assert!(
                main.contains(&format!("mod {module};")),
                "{folder}/{name} is in no test program"
            );
        }
    }
}
