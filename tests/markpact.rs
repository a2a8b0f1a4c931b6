//! The README reader against READMEs as people write them: exact content, malformed ones, hostile paths, any text.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pactown::diagnostics::Problems;
use pactown::markpact::{self, Recipe};
use proptest::prelude::*;
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};

fn parse(text: &str) -> Result<Recipe, Problems> {
    markpact::parse(Path::new("README.md"), text)
}

fn recipe(text: &str) -> Recipe {
    parse(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every README below these folders.
fn readmes(folders: &[&str]) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("folder").flatten();
            open.extend(entries.map(|entry| entry.path()));
        } else if path.ends_with("README.md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_readmes_of_examples_and_fixtures_are_read() {
    let found = readmes(&["examples", "tests/fixtures/python_tool"]);
    assert!(found.len() >= 12, "{found:?}");
    for readme in found {
        let recipe = markpact::read(&readme).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(recipe.run.is_some(), "{}", readme.display());
        assert!(
            recipe.title.is_some() && !recipe.files.is_empty(),
            "{}",
            readme.display()
        );
    }
}

#[test]
fn the_inferred_command_of_the_fixture() {
    let recipe = markpact::read(&root().join("tests/fixtures/python_tool/services/ticker/README.md"));
    let recipe = recipe.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        recipe.run.map(|run| run.command).as_deref(),
        Some("exec python3 main.py\n")
    );
    assert_eq!(recipe.notes[0].1, "no run block: running `python3 main.py`");
}

/// (README, its files as path and content)
const CONTENT: &[(&str, &[(&str, &str)])] = &[
    ("```python markpact:file path=a\nx\n```\n", &[("a", "x\n")]),
    ("```markpact:file python path=a\nx\n```\n", &[("a", "x\n")]),
    ("```markpact:file path=a\nx\n```\n", &[("a", "x\n")]),
    ("```py markpact:file path=a\n```\n", &[("a", "")]),
    ("```py markpact:file path=a\n```", &[("a", "")]),
    ("```py markpact:file path=a\nx\n```", &[("a", "x\n")]),
    ("```py markpact:file path=a\n\n\n```\n", &[("a", "\n\n")]),
    ("```py markpact:file path=a\nx\n\n```\n", &[("a", "x\n\n")]),
    ("``` py markpact:file path=a  \nx\n```   \n", &[("a", "x\n")]),
    (
        "~~~py markpact:file path=a\n```\nx\n```\n~~~\n",
        &[("a", "```\nx\n```\n")],
    ),
    ("~~~py markpact:file path=a\nx\n~~~~~\n", &[("a", "x\n")]),
    (
        "````md markpact:file path=a\n```sh markpact:run\nx\n```\n````\n",
        &[("a", "```sh markpact:run\nx\n```\n")],
    ),
    (
        "~~~md markpact:file path=a\n```sh markpact:run\nx\n```\n~~~\n",
        &[("a", "```sh markpact:run\nx\n```\n")],
    ),
    ("````md\n```py markpact:file path=a\nx\n```\n````\n", &[]),
    ("    ```py markpact:file path=a\n    x\n    ```\n", &[]),
    ("> ```py markpact:file path=a\n> x\n> ```\n", &[]),
    ("- ```py markpact:file path=a\n  x\n  ```\n", &[]),
    ("1. y\n\n   ```py markpact:file path=a\n   x\n   ```\n", &[]),
    ("<!--\n```py markpact:file path=a\nx\n```\n-->\n", &[]),
    ("<!--\n```py markpact:file path=a\n\nx\n```\n-->\n", &[]),
    ("<pre>\n```py markpact:file path=a\nx\n```\n</pre>\n", &[]),
    (
        "<details>\n\n```py markpact:file path=a\nx\n```\n\n</details>\n",
        &[("a", "x\n")],
    ),
    ("words\n```py markpact:file path=a\nx\n```\n", &[("a", "x\n")]),
    ("- item\n\n```py markpact:file path=a\nx\n```\n", &[("a", "x\n")]),
    ("`python markpact:file path=a`\n", &[]),
    (
        "```py markpact:file path=a\r\nx\r\n\r\ny\n```\r\n",
        &[("a", "x\r\n\r\ny\n")],
    ),
    (
        "```py markpact:file path=a\n\u{feff}x\u{a0}\0\t \n```\n",
        &[("a", "\u{feff}x\u{a0}\0\t \n")],
    ),
    ("\u{feff}```py markpact:file path=a\nx\n```\n", &[("a", "x\n")]),
    ("```py markpact:file path=a\nx\r\r\n```\n", &[("a", "x\r\r\n")]),
    (
        "  ```py markpact:file path=a\n  x\n   y\n z\n\n  ```\n",
        &[("a", "x\n y\nz\n\n")],
    ),
    (
        "   ```py markpact:file path=a\n\tx\n \ty\n```\n",
        &[("a", " x\n y\n")],
    ),
    (" ```py markpact:file path=a\n\tx\n  ```\n", &[("a", "   x\n")]),
    (
        "```py markpact:file path=a\n    ```\n   ```\n",
        &[("a", "    ```\n")],
    ),
    (
        "```py markpact:file path=a\n``\n```x\n```\n",
        &[("a", "``\n```x\n")],
    ),
    ("```c++ markpact:file path=a.cc\nx\n```\n", &[("a.cc", "x\n")]),
    ("```markpact:file c# path=a.cs\nx\n```\n", &[("a.cs", "x\n")]),
    (
        "```objective-c markpact:file path=a.m\nx\n```\n",
        &[("a.m", "x\n")],
    ),
    (
        "```py markpact:file path=\"a b/c d\"\nx\n```\n",
        &[("a b/c d", "x\n")],
    ),
    (
        "```py markpact:file path='a \"b' port=1\nx\n```\n",
        &[("a \"b", "x\n")],
    ),
    ("```py markpact:file path=a&amp;b\nx\n```\n", &[("a&b", "x\n")]),
    (
        "```py markpact:file path=a\\b template=false sha256=0\nx\n```\n",
        &[("a\\b", "x\n")],
    ),
    (
        "```py markpact:file path=ż/b\nzażółć\n```\n",
        &[("ż/b", "zażółć\n")],
    ),
    (
        "```py markpact:file path=b\n1\n```\n```py markpact:file path=a\n2\n```\n",
        &[("b", "1\n"), ("a", "2\n")],
    ),
];

#[test]
fn content_is_exact() {
    for (text, wanted) in CONTENT {
        let files = recipe(text).files;
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|file| (file.path.as_str(), file.content.as_str()))
            .collect();
        assert_eq!(files, *wanted, "{text}");
    }
}

#[test]
fn lines_are_those_of_the_fences() {
    let text = "# T\n\n> ```\n\n```py markpact:file path=a\n\n```\n\n   ~~~py markpact:file path=b\r\nx\r\ny\r\n   ~~~";
    let lines = recipe(text).files;
    let lines: Vec<_> = lines
        .iter()
        .map(|file| (file.lines.first, file.lines.last))
        .collect();
    assert_eq!(lines, [(5, 7), (9, 12)]);
}

#[test]
fn hostile_paths_are_refused() {
    for path in [
        "../x",
        "/etc/passwd",
        "//x",
        "a/../../x",
        "a/..",
        "..",
        ".",
        "./x",
        "a/.",
        "a//b",
        "a/",
        "\"\"",
        "'..'",
        "\"/x y\"",
        "&#46;&#46;/x",
        "&#x2e;&#x2e;&sol;x",
        "\\.\\./x",
        "\\/x",
        "&sol;etc",
        "a&NewLine;b",
        "a&Tab;b",
        "a&#27;b",
        "a&#127;b",
        "a\u{0}b/../..",
        "\"a\u{7}b\"",
        "a\u{85}b",
        ".venv/bin/python",
        "node_modules",
    ] {
        let text = format!("```py markpact:file path={path}\nx\n```\n");
        let problems = parse(&text).expect_err(path);
        assert_eq!(problems.0.len(), 1, "{problems}");
        assert_eq!(problems.0[0].place.line, 1, "{problems}");
    }
}

#[test]
fn what_is_no_readme_is_refused() {
    let folder = std::env::temp_dir().join(format!("pactown-markpact-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder");
    let file = folder.join("README.md");
    let refused = |path: &Path| markpact::read(path).expect_err("refused").0.remove(0);
    assert_eq!(refused(&folder).message, "the README is a directory");
    assert!(refused(&file).message.starts_with("the README cannot be read: "));
    assert_eq!(
        refused(Path::new("/dev/null")).message,
        "the README is not a regular file"
    );
    std::fs::write(&file, b"# a\nb \xff c\nd\n").expect("file");
    let problem = refused(&file);
    assert_eq!(
        (problem.place.line, problem.source.as_deref()),
        (2, Some("b \u{fffd} c"))
    );
    std::fs::write(&file, vec![b'\n'; 16 * 1024 * 1024]).expect("file");
    assert!(markpact::read(&file).is_ok());
    std::fs::write(&file, vec![b'\n'; 16 * 1024 * 1024 + 1]).expect("file");
    assert_eq!(refused(&file).message, "the README is larger than 16 MiB");
    std::fs::remove_dir_all(&folder).expect("folder");
}

/// Malformed READMEs, one block after the other.
const MALFORMED: &[&str] = &[
    "# T\n\n```py markpact:file path=a\nx\n",
    "```py markpact:file path=a",
    "~~~py markpact:file path=a\n```\n",
    "```py markpact:file path=a\nx\n\n```sh markpact:run\ny\n```\n",
    "```py\nx\n\n```sh markpact:run\ny\n",
    "```py markpact:file path=a\nx\n```\t\ny\n```\n",
    "```py markpact:flie path=a\n```\n",
    "```py markpact:\n```\n",
    "```py markpact:File path=a\n```\n",
    "```markpact:something\n```\n",
    "```py title markpact:file path=a\n```\n",
    "```py markpact:file a.py\n```\n",
    "```py markpact:file path=\"a\n```\n",
    "```py markpact:file path=\"a\"b\n```\n",
    "```py markpact:file path=a path=b\n```\n",
    "```py markpact:file =a\n```\n",
    "```py markpact:file pth=a\n```\n",
    "```js markpact:file\n```\n",
    "```py markpact:file path=../a\n```\n",
    "```py markpact:file path=/a\n```\n",
    "```py markpact:file path=a//b\n```\n",
    "```py markpact:file path=./a\n```\n",
    "```py markpact:file path=\n```\n",
    "```py markpact:file path=node_modules/a/index.js\n```\n",
    "```py markpact:file path=a mode=4755\n```\n",
    "```py markpact:file path=a mode=rwx template=true\n```\n",
    "```py markpact:file path=a\n1\n```\n```py markpact:file path=a\n2\n```\n",
    "```py markpact:file path=a/b\n```\n```py markpact:file path=a\n```\n",
    "```ruby markpact:deps\nsinatra\n```\n",
    "```pyton markpact:deps\nflask\n```\n",
    "```go markpact:deps\n../x\n```\n",
    "```rust markpact:deps\nserde = 1\n```\n",
    "```system markpact:deps\nJq\n```\n",
    "```toml markpact:file path=Cargo.toml\n[dependencies]\nserde = \"1\"\n```\n\n```rust markpact:deps\nserde\nitoa\n```\n",
    "```py markpact:deps\n-r requirements.txt\n--index-url https://example.org\nflask \\\n```\n",
    "```js markpact:deps\n--global\n```\n",
    "```py markpact:deps\na\u{1b}b\n```\n",
    "```sh markpact:run\na\n```\n```sh markpact:run\nb\n```\n",
    "```sh markpact:run name=x\na\n```\n```sh markpact:run name=y\nb\n```\n",
    "```sh markpact:run name=x\na\n```\n```sh markpact:run name=x\nb\n```\n```sh markpact:run\nc\n```\n",
    "```sh markpact:run\n\n  \n```\n",
    "```sh markpact:run\na\0b\n```\n",
    "```yaml markpact:workload\nkind: jobb\nargz: [a]\n```\n",
    "```yaml markpact:workload\nkind: plugin\nimage: debian\nschedule: '* * * * *'\nrestart_policy: maybe\n```\n",
    "```yaml markpact:workload\nkind: service\nschedule: {cron: '5 25 * * *', timezone: Mars, overlap: que, jitter: 5}\n```\n",
    "```yaml markpact:workload\nkind: daemon\nschedule: {cron: '5 4 * * *', timezone: Mars, overlap: que, jitter: 5}\n```\n",
    "```yaml markpact:workload\nschedule: [hourly]\n```\n",
    "```yaml markpact:workload\nschedule: hourly\n```\n",
    "```yaml markpact:workload\nkind: job\n\targs: [a]\n```\n",
    "```yaml markpact:workload\nkind: job\nkind: service\n```\n",
    "```yaml markpact:workload\n- job\n```\n",
    "```yaml markpact:workload\njob\n```\n",
    "```yaml markpact:workload\nkind: job\nargs: [a\n```\n",
    "```yaml markpact:workload\nkind: [job]\nargs: --port 80\n```\n",
    "```yaml markpact:workload\nargs:\n  - {a: b}\n```\n",
    "```yaml markpact:workload\nargs: [\"a\\0b\"]\nkind: null\n```\n",
    "```yaml markpact:workload\n# nothing\n```\n",
    "```yaml markpact:workload\n```\n",
    "```yaml markpact:workload\nkind: job\n```\n```yaml markpact:workload\nkind: job\n```\n",
    "```markpact:health\n```\n",
    "```markpact:health\n/a\n```\n```markpact:healthcheck\n/b\n```\n",
];

#[test]
fn malformed_readmes_are_explained() {
    let mut reports = String::new();
    for text in MALFORMED {
        let problems = parse(text).expect_err(text);
        for problem in &problems.0 {
            let line = text.lines().nth(problem.place.line - 1).expect(text);
            assert_eq!(problem.source.as_deref(), Some(line), "{problem}");
            assert!(problem.help.is_some() && problem.place.column > 0, "{problem}");
        }
        let shown: String = text
            .lines()
            .map(|line| format!("    {}\n", line.escape_debug()))
            .collect();
        write!(reports, "{shown}{problems}\n\n").expect("text");
    }
    insta::assert_snapshot!("malformed", reports);
}

/// Lines that meet each other in unlucky ways.
fn readme_like() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("```".to_owned()),
        Just("~~~".to_owned()),
        Just("````".to_owned()),
        Just("```sh markpact:run".to_owned()),
        Just("kind: &a [*a, job]".to_owned()),
        Just("- {? a".to_owned()),
        Just("<!--".to_owned()),
        Just("-->".to_owned()),
        Just("# title".to_owned()),
        "(```|~~~) ?(py|js|) ?markpact:(file|deps|workload|health|test|x) (path|mode|name)=[./a-c\"0-7]{0,6}",
        "[ \t]{0,4}(```|~~~|>|-|1\\.|x|args:|kind: job)[ \t]{0,2}",
        "[ -~]{0,12}",
        "\\PC{0,6}",
    ];
    let ended = (
        line,
        prop_oneof![8 => Just("\n"), 2 => Just("\r\n"), 1 => Just("\r")],
    );
    proptest::collection::vec(ended, 0..24)
        .prop_map(|lines| lines.into_iter().map(|(line, end)| line + end).collect())
}

fn is_clean(path: &str) -> bool {
    let parts = Path::new(path).components();
    let rebuilt: PathBuf = parts
        .clone()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect();
    let part_is_short = |part: &str| !part.is_empty() && part.len() <= 255;
    path.split('/').all(part_is_short) && rebuilt.to_str() == Some(path) && !path.contains(char::is_control)
}

fn check(text: &str) {
    let Ok(recipe) = parse(text) else { return };
    let mut paths = std::collections::HashSet::new();
    let lines = text.matches('\n').count() + 1;
    for file in &recipe.files {
        assert!(is_clean(&file.path), "{:?}", file.path);
        assert!(paths.insert(&file.path), "{:?} twice", file.path);
        assert!(file.mode <= 0o777);
        assert!(file.content.is_empty() || file.content.ends_with('\n'));
        assert!(0 < file.lines.first && file.lines.first < file.lines.last && file.lines.last <= lines);
    }
    for file in &recipe.files {
        let above = Path::new(&file.path).ancestors().skip(1);
        for directory in above.filter_map(Path::to_str) {
            assert!(!recipe.files.iter().any(|other| other.path == directory));
        }
    }
}

/// The bodies of all top-level fences as the Markdown parser gives them, which knows no CRLF.
fn bodies(text: &str) -> Vec<String> {
    let (mut depth, mut bodies, mut reading) = (0, Vec::new(), false);
    for event in Parser::new(text) {
        match event {
            Event::Start(tag) => {
                reading = depth == 0 && matches!(tag, Tag::CodeBlock(CodeBlockKind::Fenced(_)));
                bodies.extend(reading.then(String::new));
                depth += 1;
            }
            Event::Text(more) if reading => bodies.last_mut().expect("a body").push_str(&more),
            Event::End(_) => {
                depth -= 1;
                reading = false;
            }
            _ => {}
        }
    }
    bodies
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn readme_like_text_is_read_or_refused(text in readme_like()) {
        check(&text);
    }

    #[test]
    fn accepted_paths_are_clean(path in "[a./\\\\ &#;\"'~\u{1}ż-]{0,12}") {
        check(&format!("```py markpact:file path={path}\nx\n```\n"));
        check(&format!("```py markpact:file path=\"{path}\"\nx\n```\n"));
    }

    #[test]
    fn content_is_that_of_the_markdown_parser(
        indent in " {0,3}",
        lines in proptest::collection::vec("[ \t]{0,5}[a`~>#-]{0,4}[ \t]{0,2}", 0..8),
        end in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let body: String = lines.iter().map(|line| format!("{line}{end}")).collect();
        let text = format!("{indent}~~~py markpact:file path=a{end}{body}{indent}~~~{end}");
        if let Ok(recipe) = parse(&text) {
            prop_assert_eq!(&recipe.files[0].content.replace("\r\n", "\n"), &bodies(&text)[0]);
        }
    }
}

/// READMEs in a directory of their own.
fn pages(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("pactown-include-{name}-{}", std::process::id()));
    for (path, text) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a README");
    }
    directory
}

#[test]
fn an_included_readme_stands_where_the_comment_does() {
    let directory = pages(
        "order",
        &[
            (
                "api/README.md",
                "# Api\n\n```text markpact:file path=first\n1\n```\n\n<!-- markpact:include path=../db/README.md -->\n\n```text markpact:file path=last\n3\n```\n\n> <!-- markpact:include path=quoted.md -->\n\n```sh markpact:run\ntrue\n```\n",
            ),
            (
                "db/README.md",
                "# Db\n\n<!-- markpact:include path=more.md -->\n\n```py markpact:deps\n# a driver\nflask\n```\n",
            ),
            ("db/more.md", "```text markpact:file path=second\n2\n```\n"),
        ],
    );
    let recipe =
        markpact::read(&directory.join("api/README.md")).unwrap_or_else(|problems| panic!("{problems}"));
    let paths: Vec<&str> = recipe.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["first", "second", "last"]);
    assert_eq!(recipe.title.as_deref(), Some("Api"));
    assert_eq!(
        recipe.deps[0].requirements,
        [(7, "flask".to_owned())],
        "with the comment's line"
    );
    assert_eq!(
        recipe.files[1].lines,
        markpact::recipe::Lines { first: 7, last: 7 }
    );
    let text = std::fs::read_to_string(directory.join("api/README.md")).expect("text");
    assert_eq!(
        markpact::first_include(&text),
        Some((7, "../db/README.md".to_owned()))
    );
    std::fs::remove_dir_all(directory).expect("remove");
}

#[test]
fn includes_that_cannot_be_are_told_with_file_and_line() {
    let six: Vec<(String, String)> = (0..7)
        .map(|n| {
            (
                format!("deep/{n}.md"),
                format!("<!-- markpact:include path={}.md -->\n", n + 1),
            )
        })
        .collect();
    let mut files: Vec<(&str, &str)> = six
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    files.extend([
        ("a.md", "# A\n\n<!-- markpact:include path=b.md -->\n"),
        ("b.md", "# B\n\n\n<!-- markpact:include path=a.md -->\n"),
        ("absent.md", "<!-- markpact:include path=nowhere.md -->\n"),
        (
            "odd.md",
            "<!-- markpact:include path=/etc/passwd -->\n\n<!-- markpact:include file=x.md -->\n",
        ),
        ("outer.md", "text\n\n<!-- markpact:include path=wrong.md -->\n"),
        ("wrong.md", "# W\n\n```pyton markpact:deps\nflask\n```\n"),
        (
            "twice.md",
            "```sh markpact:run\ntrue\n```\n\n<!-- markpact:include path=run.md -->\n",
        ),
        ("run.md", "```sh markpact:run\nfalse\n```\n"),
    ]);
    let directory = pages("wrong", &files);
    let told = |name: &str| {
        let problems = markpact::read(&directory.join(name)).expect_err(name).0;
        let place = |problem: &pactown::diagnostics::Problem| {
            let file = problem
                .file
                .strip_prefix(&directory)
                .expect("below")
                .display()
                .to_string();
            format!("{file}:{}: {}", problem.place.line, problem.message)
        };
        problems.iter().map(place).collect::<Vec<_>>().join("\n")
    };
    let circle = told("a.md");
    assert!(
        circle.starts_with("b.md:4: READMEs include each other: ") && circle.contains("/a.md -> "),
        "{circle}"
    );
    assert!(
        told("deep/0.md").starts_with("deep/5.md:1: READMEs are included more than 5 deep"),
        "{}",
        told("deep/0.md")
    );
    assert!(told("absent.md").contains("absent.md:1: ") && told("absent.md").contains("cannot be included"));
    assert_eq!(told("odd.md").lines().count(), 2, "{}", told("odd.md"));
    assert!(
        told("outer.md").starts_with("wrong.md:3: unknown language 'pyton'"),
        "{}",
        told("outer.md")
    );
    assert!(
        told("twice.md").starts_with("twice.md:5: more than one run block, lines 1 and 5"),
        "{}",
        told("twice.md")
    );
    std::fs::remove_dir_all(directory).expect("remove");
}
