//! A log read for the one line that tells what went wrong, and for the place in the README that it means. Pure.

use super::facts::Config;

/// The line that tells most, and where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decisive {
    /// The line, trimmed.
    pub(super) text: String,
    /// `main.py:3 = api/README.md:23`.
    pub(super) place: Option<String>,
}

impl Decisive {
    /// The line with its place.
    pub(super) fn whole(&self) -> String {
        match &self.place {
            Some(place) => format!("{} ({place})", self.text),
            None => self.text.clone(),
        }
    }
}

/// The decisive line of a log: the last error of a traceback, else the last line.
pub(super) fn decisive(log: &[String], config: &Config) -> Option<Decisive> {
    let error = log.iter().rposition(|line| is_error(line));
    let last = log.iter().rposition(|line| !line.trim().is_empty())?;
    let at = error.unwrap_or(last);
    Some(Decisive {
        text: log[at].trim().to_owned(),
        place: place(log, at, config),
    })
}

/// Whether a line names an error as Python, Node, Go and Rust do, at its beginning.
fn is_error(line: &str) -> bool {
    let word = line.split([':', ' ', '(']).next().unwrap_or_default();
    let name = word.rsplit('.').next().unwrap_or_default();
    let exception = !word.is_empty()
        && word.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '_')
        && ["Error", "Exception", "Interrupt", "Exit"]
            .iter()
            .any(|end| name.ends_with(end))
        && (line.len() == word.len() || line[word.len()..].starts_with([':', ' ']));
    exception || line.starts_with("panic: ") || line.contains(" panicked at ")
}

/// The nearest frame in a file of the README: the last one above the line (Python), else the first below it (Node, Go).
fn place(log: &[String], at: usize, config: &Config) -> Option<String> {
    let above = log[..=at]
        .iter()
        .rev()
        .take(FRAMES)
        .find_map(|line| mapped(line, config));
    above.or_else(|| {
        log[at..]
            .iter()
            .take(FRAMES)
            .find_map(|line| mapped(line, config))
    })
}

/// Lines of a traceback that are looked at.
const FRAMES: usize = 60;

/// `main.py:3 = api/README.md:23` when the line names a place in one of the README's blocks.
fn mapped(line: &str, config: &Config) -> Option<String> {
    let (path, number) = frame(line)?;
    let path = path.trim_start_matches("file://");
    let path = path.strip_prefix("/app/").unwrap_or(path);
    let path = path.trim_start_matches("./");
    if path == "sh" {
        let first = config.run_line?;
        return Some(format!("{}:{}", config.readme, first + number));
    }
    let (_, first) = config.blocks.iter().find(|(block, _)| block == path)?;
    Some(format!("{path}:{number} = {}:{}", config.readme, first + number))
}

/// The file and line that a line of a log names.
fn frame(line: &str) -> Option<(&str, usize)> {
    let line = line.trim();
    // Python.
    if let Some((path, rest)) = line.strip_prefix("File \"").and_then(|rest| rest.split_once('"')) {
        let number = rest.strip_prefix(", line ")?;
        return Some((path, leading(number)?));
    }
    // `sh: 3: foo: not found`, `/bin/sh: line 3: foo: not found`.
    for shell in ["sh: ", "/bin/sh: ", "bash: "] {
        if let Some(rest) = line.strip_prefix(shell) {
            return Some(("sh", leading(rest.strip_prefix("line ").unwrap_or(rest))?));
        }
    }
    // `/app/server.js:5:7`, `main.go:3`.
    line.split(|c: char| c.is_whitespace() || "()[],'\"".contains(c))
        .find_map(|word| {
            let (path, rest) = word
                .split_once(':')
                .filter(|(path, _)| path.contains('.') || *path == "file")?;
            if path == "file" {
                let (path, number) = rest.trim_start_matches("//").split_once(':')?;
                return Some((path, leading(number)?));
            }
            Some((path, leading(rest)?))
        })
}

fn leading(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

/// The last line that contains one of `words`, among the last ones of the log: what was said long before an end is not
/// its cause.
pub(super) fn symptom<'a>(log: &'a [String], words: &[&str]) -> Option<&'a str> {
    find(&log[log.len().saturating_sub(SYMPTOMS)..], words)
}

/// Lines at the end of a log that may tell the cause of an end.
const SYMPTOMS: usize = 20;

/// The last line that contains one of `words`: error numbers as they are written, others whatever their case.
pub(super) fn find<'a>(log: &'a [String], words: &[&str]) -> Option<&'a str> {
    let is_number = |word: &str| word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let has = |line: &&String| {
        let small = line.to_lowercase();
        let contains =
            |word: &&str| line.contains(*word) || (!is_number(word) && small.contains(&word.to_lowercase()));
        words.iter().any(contains)
    };
    log.iter().rev().find(has).map(|line| line.trim())
}

/// The first text in quotes of a line that looks like a path.
pub(super) fn path_in(line: &str) -> Option<&str> {
    let quoted = line.split(['\'', '"', '`']).skip(1).step_by(2);
    let bare = line.split([' ', ':', ',']);
    let is_path = |word: &&str| word.starts_with('/') && word.len() > 1 && !word.contains(' ');
    quoted
        .into_iter()
        .find(is_path)
        .or_else(|| bare.into_iter().find(is_path))
}

/// Words of the log that could be host names: lower-case labels.
pub(super) fn labels(log: &[String]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for line in log.iter().rev().take(FRAMES) {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        for word in words
            .filter(|word| word.len() > 1 && !found.contains(word))
            .collect::<Vec<_>>()
        {
            found.push(word);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            readme: "api/README.md".into(),
            blocks: vec![("main.py".into(), 20), ("lib/server.js".into(), 40)],
            run_line: Some(60),
            ..Config::default()
        }
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn told(text: &str) -> String {
        decisive(&lines(text), &config()).unwrap().whole()
    }

    #[test]
    fn a_traceback_of_python_ends_with_its_error_and_its_last_frame_of_ours() {
        let text = "starting\nTraceback (most recent call last):\n  File \"/app/main.py\", line 3, in <module>\n    start()\n  File \"/usr/lib/python3/os.py\", line 9, in start\n    x[1]\nKeyError: 'X'\n";
        assert_eq!(told(text), "KeyError: 'X' (main.py:3 = api/README.md:23)");
        let text = "  File \"/app/main.py\", line 2\n    def (:\n        ^\nSyntaxError: invalid syntax\n";
        assert_eq!(
            told(text),
            "SyntaxError: invalid syntax (main.py:2 = api/README.md:22)"
        );
    }

    #[test]
    fn a_trace_of_node_has_its_frames_below() {
        let text = "node:internal/x:1\n  throw e;\n\nTypeError: a is not a function\n    at go (/usr/lib/x.js:1:1)\n    at Object.<anonymous> (/app/lib/server.js:5:7)\n\nNode.js v20.1.0\n";
        assert_eq!(
            told(text),
            "TypeError: a is not a function (lib/server.js:5 = api/README.md:45)"
        );
        let module = "Error: no\n    at file:///app/lib/server.js:2:7\n";
        assert_eq!(told(module), "Error: no (lib/server.js:2 = api/README.md:42)");
    }

    #[test]
    fn a_shell_names_a_line_of_the_run_block() {
        assert_eq!(
            told("sh: 2: serve: not found\n"),
            "sh: 2: serve: not found (api/README.md:62)"
        );
        assert_eq!(told("something\nlast words\n\n"), "last words");
        assert_eq!(decisive(&[], &config()), None);
    }

    #[test]
    fn an_error_is_a_name_at_the_beginning_of_a_line() {
        assert!(
            is_error("KeyError: 'X'") && is_error("urllib.error.URLError: <x>") && is_error("SystemExit")
        );
        assert!(is_error("panic: runtime error") && is_error("thread 'main' panicked at src/main.rs:2:5:"));
        assert!(!is_error("an Error: x") && !is_error("Errors were 3") && !is_error("  raise KeyError()"));
    }

    #[test]
    fn a_symptom_stands_at_the_end_and_an_error_number_is_written_large() {
        let mut log = vec!["EPERM: no".to_owned()];
        assert!(symptom(&log, &["EPERM"]).is_some());
        assert!(symptom(&lines("eperm"), &["EPERM"]).is_none());
        log.extend((0..30).map(|number| format!("line {number}")));
        assert!(symptom(&log, &["EPERM"]).is_none() && find(&log, &["EPERM"]).is_some());
    }

    #[test]
    fn paths_and_labels_are_found() {
        assert_eq!(path_in("[Errno 13] Permission denied: '/etc/x'"), Some("/etc/x"));
        assert_eq!(
            path_in("sh: 1: cannot create /etc/x: Read-only file system"),
            Some("/etc/x")
        );
        assert_eq!(path_in("no path"), None);
        let log = lines("  urlopen(\"http://databse:8000/x\")\n");
        assert!(labels(&log).contains(&"databse"));
        assert_eq!(
            find(&log, &["UrlOpen"]),
            Some("urlopen(\"http://databse:8000/x\")")
        );
    }
}
