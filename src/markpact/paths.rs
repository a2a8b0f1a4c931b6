//! Which paths a `file` block may have: relative, clean, no directory of another, nowhere that pactown needs. Pure.

use super::fence::Fault;
use super::findings::quoted;

/// Longest path, the kernel's `PATH_MAX`.
const LONGEST_PATH: usize = 4096;

/// Longest component, the kernel's `NAME_MAX`.
const LONGEST_NAME: usize = 255;

/// Directories below `/app` that pactown puts dependencies into.
const TAKEN: [&str; 4] = [".venv", "node_modules", ".go", ".cargo-home"];

/// Why a path is refused, `None` when it is clean.
pub(super) fn fault(path: &str) -> Option<Fault> {
    let shown = quoted(path);
    let below = "write a path below /app, such as 'src/main.py'";
    let fault = |message: String, help: &str| Some(Fault(message, help.to_owned()));
    if path.is_empty() {
        return fault("the path is empty".to_owned(), below);
    }
    if path.chars().any(char::is_control) {
        return fault(format!("the path {shown} holds a control character"), below);
    }
    if path.starts_with('/') {
        let relative = path.trim_start_matches('/');
        let help = format!(
            "files are written below /app: write, for example, {}",
            quoted(relative)
        );
        return fault(format!("the path {shown} is absolute"), &help);
    }
    if path.len() > LONGEST_PATH {
        return fault(
            format!("the path {shown} is longer than {LONGEST_PATH} bytes"),
            below,
        );
    }
    for part in path.split('/') {
        let message = match part {
            "" => format!("the path {shown} has an empty component"),
            "." => format!("the path {shown} has the component '.'"),
            ".." => format!("the path {shown} leads out of its directory with '..'"),
            part if part.len() > LONGEST_NAME => {
                format!("a component of the path {shown} is longer than {LONGEST_NAME} bytes")
            }
            _ => continue,
        };
        return fault(message, below);
    }
    let first = path.split('/').next().filter(|first| TAKEN.contains(first))?;
    let message = format!("the path {shown} is in '{first}', where pactown puts the dependencies");
    fault(
        message,
        "name the dependencies in a 'deps' block, or choose another directory",
    )
}

/// The directories of a clean path, the outermost first.
pub(super) fn directories(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_paths_pass() {
        for path in [
            "main.py",
            "a/b/c",
            "..a",
            "a..",
            ".env",
            "...",
            "a b",
            r"a\b",
            "żółw.py",
            "x/.venv/y",
            ".venvs/y",
            "-rf",
            "~/x",
            &"n".repeat(255),
        ] {
            assert_eq!(fault(path), None, "{path}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/.",
            "a/./b",
            "a//b",
            "a/",
            "//a",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "a\u{7f}",
            ".venv",
            ".venv/bin/python",
            "node_modules/x",
            &"n".repeat(256),
            &"nn/".repeat(1400),
        ] {
            assert!(fault(path).is_some(), "{path}");
        }
    }

    #[test]
    fn directories_of_a_path() {
        assert_eq!(directories("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(directories("a").count(), 0);
    }
}
