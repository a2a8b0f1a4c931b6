//! The reader as a whole: what a README becomes.

use std::path::Path;

use super::recipe::{DepsLanguage, Lines, WorkloadKind};
use super::*;

fn recipe(text: &str) -> Recipe {
    parse(Path::new("README.md"), text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn problems(text: &str) -> String {
    match parse(Path::new("README.md"), text) {
        Ok(recipe) => panic!("{recipe:?}"),
        Err(problems) => problems.to_string(),
    }
}

fn files(text: &str) -> Vec<(String, String)> {
    let files = recipe(text).files.into_iter();
    files.map(|file| (file.path, file.content)).collect()
}

fn command(text: &str) -> Option<String> {
    recipe(text).run.map(|run| run.command)
}

#[test]
fn a_readme_becomes_a_recipe() {
    let text = "\u{feff}Words\n\n## A `b` *c*\n\n# Later\n\n```python markpact:bootstrap oops\nx\n```\n\
                ```python markpact:file path=a.py mode=755\nprint()\n```\n```js markpact:deps\nexpress@4 # web\n\n\
                # none\n```\n```sh markpact:run\nnode .\n```\n```yaml markpact:workload\nkind: cli\nargs: [a, 1.10, 'no']\n```\n\
                ```markpact:health\n/up\n```\n```http markpact:test name=x\nGET /\n```\n";
    let recipe = recipe(text);
    assert_eq!(recipe.title.as_deref(), Some("A b c"));
    assert_eq!(recipe.files.len(), 1);
    assert_eq!(
        (recipe.files[0].mode, recipe.files[0].lines),
        (0o755, Lines { first: 10, last: 12 })
    );
    assert_eq!(recipe.deps[0].language, DepsLanguage::Node);
    assert_eq!(recipe.deps[0].requirements, [(14, "express@4".to_owned())]);
    let run = recipe.run.expect("run");
    assert_eq!(
        (run.command.as_str(), run.lines),
        ("node .\n", Some(Lines { first: 18, last: 20 }))
    );
    assert_eq!(recipe.workload.kind, WorkloadKind::Job);
    assert_eq!(recipe.workload.args, ["a", "1.10", "no"]);
    assert_eq!(recipe.health.expect("health").text, "/up\n");
    assert_eq!(recipe.others, []);
    assert_eq!(recipe.tests.len(), 1);
    assert_eq!(recipe.tests[0].name.as_deref(), Some("x"));
    assert_eq!(recipe.notes, []);
}

#[test]
fn nothing_to_run_is_no_error() {
    for text in [
        "",
        "# Title\n",
        "```python\nprint()\n```\n",
        "```txt markpact:file path=x\n```\n",
    ] {
        assert_eq!(recipe(text).run, None, "{text}");
    }
}

#[test]
fn crlf_stays_in_files_and_leaves_commands() {
    let text = "```sh markpact:file path=a\r\nx\r\n\r\ny\r\n```\r\n```sh markpact:run\r\na \\\r\nb\r\n```\r\n\
                ```markpact:deps\r\nflask\r\n```\r\n```markpact:workload\r\nkind: job\r\n```\r\n";
    let recipe = recipe(text);
    assert_eq!(recipe.files[0].content, "x\r\n\r\ny\r\n");
    assert_eq!(recipe.run.expect("run").command, "a \\\nb\n");
    assert_eq!(recipe.deps[0].requirements, [(11, "flask".to_owned())]);
    assert_eq!(recipe.workload.kind, WorkloadKind::Job);
}

#[test]
fn the_run_block_without_a_name_runs() {
    let named = "```sh markpact:run name=dev\nd\n```\n";
    let plain = "```sh markpact:run\np\n```\n";
    assert_eq!(command(named).as_deref(), Some("d\n"));
    let both = recipe(&format!("{named}{plain}```sh markpact:run name=debug\ng\n```\n"));
    assert_eq!(both.run.expect("run").command, "p\n");
    let others: Vec<_> = both.others.iter().map(|block| block.text.as_str()).collect();
    assert_eq!(others, ["d\n", "g\n"]);
    assert!(problems(&format!("{named}```sh markpact:run name=x\ny\n```\n")).contains("lines 1 and 4"));
}

#[test]
fn the_command_is_inferred() {
    let file = |path: &str, body: &str| format!("```txt markpact:file path={path}\n{body}\n```\n");
    let deps = |names: &str| format!("```python markpact:deps\n{names}\n```\n");
    let fastapi = "app = FastAPI()";
    for (text, wanted) in [
        (file("main.py", ""), "exec python3 main.py\n"),
        (
            file("app.py", "") + &file("main.py", ""),
            "exec python3 main.py\n",
        ),
        (
            file("main.js", "") + &file("index.js", ""),
            "exec node index.js\n",
        ),
        (file("main.py", fastapi), "exec python3 main.py\n"),
        (
            file("main.py", fastapi) + &deps("FastAPI>=0.1\nuvicorn"),
            "exec uvicorn main:app --host 0.0.0.0 --port \"$PORT\"\n",
        ),
        (
            file("app.py", "app = Flask(__name__)") + &deps("flask"),
            "exec flask --app app run --host 0.0.0.0 --port \"$PORT\"\n",
        ),
    ] {
        let recipe = recipe(&text);
        let run = recipe.run.expect("run");
        assert_eq!((run.command.as_str(), run.lines), (wanted, None), "{text}");
        assert!(
            recipe
                .notes
                .iter()
                .any(|(_, note)| note.starts_with("no run block: running `"))
        );
    }
    assert_eq!(command(&file("src/main.py", "")), None);
}

#[test]
fn servers_are_added_to_the_dependencies() {
    let run = "```sh markpact:run\nexec uvicorn main:app\n```\n";
    let alone = recipe(run);
    assert_eq!(alone.deps[0].requirements, [(1, "uvicorn".to_owned())]);
    assert_eq!(
        alone.notes[0],
        (
            1,
            "the command uses uvicorn: added to the python dependencies".to_owned()
        )
    );
    let beside = recipe(&format!("```py markpact:deps\nfastapi\n```\n{run}"));
    assert_eq!(beside.deps.len(), 1);
    assert_eq!(beside.deps[0].requirements[1], (4, "uvicorn".to_owned()));
    let named = recipe(&format!(
        "```py markpact:deps\nUvicorn[standard]==0.34\n```\n{run}"
    ));
    assert_eq!((named.deps[0].requirements.len(), named.notes.len()), (1, 0));
    let inferred = "```py markpact:deps\nfastapi\n```\n```py markpact:file\napp = FastAPI()\n```\n";
    assert_eq!(
        recipe(inferred).deps[0].requirements[1],
        (0, "uvicorn".to_owned())
    );
}

#[test]
fn a_lone_python_file_is_main_py() {
    let recipe = recipe("```python markpact:file\nprint()\n```\n");
    assert_eq!(recipe.files[0].path, "main.py");
    assert_eq!(
        recipe.notes[0],
        (1, "the file block has no path: writing 'main.py'".to_owned())
    );
    assert!(problems("```js markpact:file\n```\n").contains("has no path"));
    assert!(
        problems("```python markpact:file\n```\n```c markpact:file path=a\n```\n").contains("has no path")
    );
}

#[test]
fn titles() {
    for (text, wanted) in [
        ("text\n", None),
        ("#\n\n# Second\n", Some("Second")),
        ("Over\ntwo\n===\n", Some("Over two")),
        ("```md\n# code\n```\n## Real\n", Some("Real")),
    ] {
        assert_eq!(recipe(text).title.as_deref(), wanted, "{text}");
    }
}

#[test]
fn a_problem_points_at_its_line() {
    let text = "\u{feff}# T\r\n\r\n  ```yaml markpact:workload\r\n  args: [a]\r\n  kind: jo\r\n  ```\r\n";
    let found = parse(Path::new("/p/README.md"), text).expect_err("a wrong kind");
    let [problem] = found.0.as_slice() else {
        panic!("{found}")
    };
    assert_eq!((problem.place.line, problem.place.column), (5, 9));
    assert_eq!(problem.source.as_deref(), Some("  kind: jo"));
    assert_eq!(problem.help.as_deref(), Some("did you mean 'job'?"));
    assert_eq!(problem.file, Path::new("/p/README.md"));
}

#[test]
fn all_problems_come_at_once_in_order() {
    let text =
        "```sh markpact:run\n```\n```markpact:fil path=x\n```\n```c markpact:file path=../x mode=9\n```\n";
    let lines: Vec<String> = problems(text).lines().map(|line| line[..12].to_owned()).collect();
    assert_eq!(
        lines,
        ["README.md:1:", "README.md:3:", "README.md:5:", "README.md:5:"]
    );
}

#[test]
fn a_block_hidden_in_prose_is_noted() {
    let recipe = recipe("```md\n\n```sh markpact:run\nx\n```\n");
    assert_eq!(recipe.run, None);
    assert_eq!(recipe.notes[0].0, 3);
}

#[test]
fn content_is_exact() {
    assert_eq!(
        files("```c markpact:file path=a\n\n x\n\n\n```"),
        [("a".into(), "\n x\n\n\n".into())]
    );
}
