//! What runs when the README does not say it: the first entry point that exists, the way its framework wants it.

use super::deps;
use super::findings::Findings;
use super::recipe::{DepsBlock, FileBlock, Run};

/// Entry points, the first that exists wins.
const ENTRIES: [&str; 6] = ["main.py", "app.py", "index.js", "server.js", "main.js", "main.go"];

/// The inferred command; `None`: there is nothing to run.
pub(super) fn run(files: &[FileBlock], deps: &[DepsBlock], findings: &mut Findings<'_>) -> Option<Run> {
    let of_path = |path: &&str| files.iter().find(|file| file.path == **path);
    let file = ENTRIES.iter().find_map(of_path)?;
    let command = command(file, deps);
    findings.note(file.lines.first, format!("no run block: running `{command}`"));
    let command = match file.path.as_str() {
        // `go run` would stand between the program and its signals.
        "main.go" => format!("{command} && exec /tmp/main\n"),
        _ => format!("exec {command}\n"),
    };
    Some(Run { command, lines: None })
}

fn command(file: &FileBlock, deps: &[DepsBlock]) -> String {
    let path = &file.path;
    if path == "main.go" {
        return "go build -o /tmp/main .".to_owned();
    }
    let Some(module) = path.strip_suffix(".py") else {
        return format!("node {path}");
    };
    let is_app = |framework: &str, constructor: &str| {
        deps::names(deps, framework) && file.content.lines().any(|line| makes_app(line, constructor))
    };
    if is_app("fastapi", "FastAPI") {
        return format!("uvicorn {module}:app --host 0.0.0.0 --port \"$PORT\"");
    }
    if is_app("flask", "Flask") {
        return format!("flask --app {module} run --host 0.0.0.0 --port \"$PORT\"");
    }
    format!("python3 {path}")
}

/// `app = FastAPI(` at the top level of a program, with or without a type.
fn makes_app(line: &str, constructor: &str) -> bool {
    let value = line.strip_prefix("app").and_then(|rest| rest.split_once('='));
    value.is_some_and(|(between, value)| {
        let typed = between.trim_start().starts_with(':') || between.trim().is_empty();
        let call = value.trim_start().split('(').next().unwrap_or_default();
        let called = call.trim_end().rsplit('.').next().unwrap_or_default();
        typed && value.contains('(') && called == constructor
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_recognised() {
        for line in [
            "app = FastAPI()",
            "app=FastAPI(title='x')",
            "app: FastAPI = FastAPI(",
            "app = fastapi.FastAPI()",
        ] {
            assert!(makes_app(line, "FastAPI"), "{line}");
        }
        for line in [
            " app = FastAPI()",
            "application = FastAPI()",
            "app = MyFastAPI()",
            "app = FastAPI",
            "app.x = FastAPI()",
            "# app = FastAPI()",
            "app == FastAPI()",
        ] {
            assert!(!makes_app(line, "FastAPI"), "{line}");
        }
    }
}
