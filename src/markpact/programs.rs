//! Which programs a shell text starts, as far as a glance tells, and the servers that are installed because of it.

use super::deps;
use super::findings::Findings;
use super::recipe::{DepsBlock, DepsLanguage, Lines, Run};

/// Python servers that READMEs use without naming them among their dependencies.
const SERVERS: [&str; 2] = ["uvicorn", "gunicorn"];

/// Words in front of a program.
const PREFIXES: [&str; 15] = [
    "exec", "env", "nohup", "time", "command", "if", "then", "elif", "else", "while", "until", "do", "!",
    "{", "setsid",
];

/// Adds the servers that the command starts and no requirement names.
pub(super) fn add_servers(run: &Run, deps: &mut Vec<DepsBlock>, findings: &mut Findings<'_>) {
    let line = run.lines.map_or(0, |lines| lines.first);
    for server in SERVERS {
        if !starts(&run.command, server) || deps::names(deps, server) {
            continue;
        }
        python(deps, run.lines)
            .requirements
            .push((line, server.to_owned()));
        findings.note(
            line,
            format!("the command uses {server}: added to the python dependencies"),
        );
    }
}

fn python(deps: &mut Vec<DepsBlock>, lines: Option<Lines>) -> &mut DepsBlock {
    let is_python = |block: &DepsBlock| block.language == DepsLanguage::Python;
    let index = deps.iter().position(is_python).unwrap_or_else(|| {
        deps.push(DepsBlock {
            language: DepsLanguage::Python,
            requirements: Vec::new(),
            lines: lines.unwrap_or_default(),
        });
        deps.len() - 1
    });
    &mut deps[index]
}

/// Whether a simple command of the shell text is this program, or Python running it as a module.
fn starts(command: &str, program: &str) -> bool {
    let joined = command.replace("\\\n", " ");
    let simple = joined
        .lines()
        .map(without_comment)
        .flat_map(|line| line.split([';', '&', '|', '(', ')', '`']));
    simple
        .map(|words| program_of(words.split_whitespace()))
        .any(|found| found == Some(program))
}

fn without_comment(line: &str) -> &str {
    match line.trim_start().starts_with('#') {
        true => "",
        false => line.split(" #").next().unwrap_or(line),
    }
}

fn program_of<'w>(words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let mut words = words
        .map(|word| word.trim_matches(['"', '\'']))
        .skip_while(|word| PREFIXES.contains(word) || is_assignment(word));
    let name = words.next()?.rsplit('/').next()?;
    if !name.starts_with("python") {
        return Some(name);
    }
    let mut after_flags = words.skip_while(|word| ["-u", "-B", "-I", "-O"].contains(word));
    match after_flags.next() {
        Some("-m") => after_flags.next(),
        _ => Some(name),
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || character == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_the_shell_starts_them() {
        for command in [
            "uvicorn main:app",
            "exec uvicorn main:app",
            "PORT=1 A=b exec uvicorn main:app",
            "python3 migrate.py && uvicorn main:app",
            "cd src\nuvicorn main:app &\nwait",
            "exec \\\n  uvicorn main:app",
            "python -u -m uvicorn main:app",
            ".venv/bin/uvicorn main:app",
            "(uvicorn main:app)",
            "if true; then uvicorn main:app; fi",
        ] {
            assert!(starts(command, "uvicorn"), "{command}");
        }
        for command in [
            "",
            "python3 main.py",
            "echo uvicorn",
            "# uvicorn main:app",
            "true # ; uvicorn x",
            "pip install uvicorn",
            "uvicorn-worker",
            "python main.py -m uvicorn",
            "gunicorn -k uvicorn.workers.UvicornWorker main:app",
        ] {
            assert!(!starts(command, "uvicorn"), "{command}");
        }
    }
}
