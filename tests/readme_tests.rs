//! `pactown test`: what stands in the READMEs is asked, told with its line, and leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::shelves::are_there;
use crate::support::town::{Machine, Town};

const YAML: &str = "name: tested
services:
  api:
    readme: api/README.md
    port: 8301
    health_check: /health
  web:
    readme: web/README.md
    port: 8302
    health_check: /
    depends_on: [api]
  other:
    readme: web/README.md
    port: 8303
    health_check: /
";

/// A server that counts what is posted, and tells a token.
const API: &str = r#"# API

`GET /items/{id}` and `DELETE /items/{id}`.

```python markpact:file path=api.py
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

items = []


class Api(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"status": "ok"})
        if self.path == "/headers":
            return self.answer(200, dict(self.headers))
        if self.path.startswith("/items/") and int(self.path[7:]) < len(items):
            return self.answer(200, items[int(self.path[7:])])
        self.answer(404, {"detail": "Not Found"})

    def do_POST(self):
        items.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        print("item", len(items), flush=True)
        self.answer(201, {"id": len(items) - 1})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Api).serve_forever()
```

```sh markpact:run
exec python3 api.py
```

"#;

const WEB: &str = "# Web\n\n```sh markpact:run\nexec python3 -m http.server $PORT\n```\n";

/// The town with these test blocks at the end of the API's README, and the line of the first one's fence.
fn town(tests: &str) -> (Town, usize) {
    let api = format!("{API}{tests}");
    let town = Town::new("tested", YAML, &[("api/README.md", &api), ("web/README.md", WEB)]);
    (town, API.lines().count() + 1)
}

/// The tests of `test --json`.
#[track_caller]
fn results(town: &Town, code: i32, arguments: &[&str]) -> Vec<Value> {
    let mut words = vec!["test", "--json"];
    words.extend(arguments);
    let (out, _) = town.expect(code, &words);
    let report: Value = serde_json::from_str(&out).expect("json");
    report["tests"].as_array().expect("tests").clone()
}

fn brief(results: &[Value]) -> Vec<String> {
    let one = |test: &Value| {
        format!(
            "{} {} {}",
            test["line"],
            test["title"].as_str().unwrap(),
            test["result"].as_str().unwrap()
        )
    };
    results.iter().map(one).collect()
}

#[test]
fn the_examples_tests_are_green_and_leave_nothing() {
    let machine = Machine::take();
    for (example, least) in [("examples/hello", 11), ("examples/shop", 13)] {
        let town = Town::copy_of(example);
        let (out, err) = town.expect(0, &["test", "--jobs", "4"]);
        let summary = out.lines().last().expect("a summary");
        let passed: usize = summary.split(' ').next().unwrap().parse().expect(summary);
        assert!(passed >= least && !summary.contains("failed"), "{out}\n{err}");
        assert!(
            !town.path().join(".pactown-sandboxes").exists(),
            "nothing is written beside the files"
        );
        let left = fs::read_dir("/var/lib/pactown").map_or(0, |entries| {
            entries
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().ends_with(".test"))
                .count()
        });
        assert_eq!(left, 0, "the copy's data are gone");
    }
    machine.assert_clean();
}

#[test]
fn six_languages_are_built_and_their_tests_are_green() {
    let programs = ["go", "cargo", "cc", "php", "composer", "node", "npm"];
    if !are_there("examples/polyglot", &programs) {
        return;
    }
    let machine = Machine::take();
    let town = Town::copy_of("examples/polyglot");
    let (out, err) = town.expect(0, &["test", "--jobs", "4"]);
    let summary = out.lines().last().expect("a summary");
    assert!(
        summary.starts_with("8 passed") && !summary.contains("failed"),
        "{out}\n{err}"
    );
    town.ok(&["build", "go", "-o", "out"]);
    let built = town.path().join("out/dist/hello");
    let head = fs::read(built).expect("a program");
    assert_eq!(&head[..4], b"\x7fELF");
    drop(town);
    machine.assert_clean();
}

#[test]
fn one_line_that_is_broken_turns_its_test_red_and_no_other() {
    let machine = Machine::take();
    let town = Town::copy_of("examples/hello");
    let readme = fs::read_to_string(town.path().join("greeter/README.md")).unwrap();
    let line_of = |text: &str| readme.lines().position(|line| line.contains(text)).unwrap() + 1;
    let reds = |filter: &str| {
        let tests = results(&town, 1, &["--filter", filter]);
        let failed: Vec<Value> = tests
            .into_iter()
            .filter(|test| test["result"] == "failed")
            .collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        failed[0].clone()
    };
    // The code no longer does what is promised.
    town.edit("greeter/README.md", "\"status\": \"ok\"", "\"status\": \"fine\"");
    let red = reds("greeter/README.md");
    assert_eq!(red["line"], line_of("GET /health EXPECT 200"));
    assert_eq!(red["misses"][0]["line"], line_of("EXPECT_BODY $.status"));
    assert_eq!(red["misses"][0]["got"], "\"fine\"");
    town.edit("greeter/README.md", "\"status\": \"fine\"", "\"status\": \"ok\"");
    // The promise is another one.
    town.edit(
        "greeter/README.md",
        "GET /nothing EXPECT 404",
        "GET /nothing EXPECT 410",
    );
    let red = reds("greeter/README.md");
    assert_eq!(red["line"], line_of("GET /nothing EXPECT 404"));
    assert_eq!(red["misses"][0]["got"], "status 404");
    machine.assert_clean();
}

#[test]
fn a_failure_shows_request_expectation_answer_and_log() {
    let machine = Machine::take();
    let (town, first) = town(
        "```http markpact:test\nPOST /items BODY {\"name\": \"kite\"} EXPECT 201\nGET /items/7\nEXPECT_BODY $.name\n```\n",
    );
    let (out, _) = town.expect(1, &["test", "--github"]);
    let expected = format!("api/README.md:{} GET /items/7 … FAILED", first + 2);
    assert!(out.contains(&expected), "{out}");
    for line in [
        "    asked     GET http://api:8301/items/7",
        "    expected  status 200 to 399",
        "    got       status 404",
        "    answer    404 Not Found",
        "              {\"detail\": \"Not Found\"}",
        "    last lines of api:",
        "    │ item 1",
        "1 passed, 1 failed",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let annotation = format!(
        "::error file=api/README.md,line={},title=GET /items/7::expected status 200 to 399, got status 404\n",
        first + 2
    );
    assert!(out.contains(&annotation), "{out}");
    machine.assert_clean();
}

const VALUES: &str = r#"```http markpact:test
POST /items BODY {
  "name": "a \"b\"",
  "n": [1, 2]
}
CAPTURE id = $.id
GET /items/${id}
EXPECT_BODY {"n": [1, 2], "name": "a \"b\""}
CAPTURE name = $.name
POST /items BODY {"name": "${name}", "of": ${id}} EXPECT 201
GET /items/1
EXPECT_BODY $.of == ${id}
GET /headers HEADER X-Name: item ${id}
EXPECT_BODY $['x-name'] == "item 0"
```

```markpact:test sh
test "$id" = 0 && test "$name" = 'a "b"'
```
"#;

#[test]
fn answers_give_values_to_later_tests() {
    let machine = Machine::take();
    let (town, first) = town(VALUES);
    let all = results(&town, 0, &[]);
    assert_eq!(all.len(), 6, "{all:?}");
    // What a filter leaves comes with those above that give it values, and with no others.
    let some = results(&town, 0, &["--filter", "get /items/$"]);
    let lines: Vec<u64> = some.iter().map(|test| test["line"].as_u64().unwrap()).collect();
    let line = |offset: usize| u64::try_from(first + offset).unwrap();
    assert_eq!(lines, [line(1), line(6)]);
    machine.assert_clean();
}

#[test]
fn what_no_answer_gave_is_skipped() {
    let machine = Machine::take();
    let (town, _) = town("```http markpact:test\nGET /health\nCAPTURE id = $.gone\nGET /items/${id}\n```\n");
    assert_eq!(
        brief(&results(&town, 1, &[]))
            .iter()
            .map(|line| line.split_once(' ').unwrap().1.to_owned())
            .collect::<Vec<_>>(),
        ["GET /health failed", "GET /items/${id} skipped"]
    );
    machine.assert_clean();
}

#[test]
fn a_command_runs_in_the_sandbox_within_its_time() {
    let machine = Machine::take();
    let (town, first) = town(
        "```sh markpact:test\ntest -f api.py && test \"$(id -u)\" = 1000 && grep -q 'CapEff:.*0000000000000000' /proc/self/status\necho out; echo err >&2; exit 3\n# a comment\necho one \\\n  two | grep -q 'one two'\nkill -9 $$\nsleep 77 & exit 0\n```\n\n```bash markpact:test as=web timeout=0.5\n[[ $SERVICE_NAME == web ]]\necho before; sleep 78; echo after\n```\n",
    );
    let started = Instant::now();
    let tests = results(&town, 1, &[]);
    let ends: Vec<(u64, &str)> = tests
        .iter()
        .map(|test| {
            (
                test["line"].as_u64().unwrap() - first as u64,
                test["misses"][0]["got"].as_str().unwrap_or("ok"),
            )
        })
        .collect();
    assert_eq!(
        ends,
        [
            (1, "ok"),
            (2, "exit code 3"),
            (4, "ok"),
            (6, "its end by signal 9"),
            (7, "ok"),
            (11, "ok"),
            (12, "no end within 500ms"),
        ]
    );
    assert_eq!(tests[1]["answer"], serde_json::json!(["out", "err"]));
    assert_eq!(tests[6]["answer"], serde_json::json!(["before"]));
    assert!(
        started.elapsed() < crate::support::observe::patient(Duration::from_secs(60)),
        "nothing was waited for"
    );
    machine.assert_clean();
}

#[test]
fn a_neighbour_asks_under_the_rules_of_the_network() {
    let machine = Machine::take();
    let (town, _) = town(
        "```http markpact:test as=web\nGET /health EXPECT 200\nGET /health EXPECT refused\n```\n\n```http markpact:test as=other\nGET /health EXPECT refused\nGET /health EXPECT 200\n```\n",
    );
    let tests = results(&town, 1, &[]);
    let ends: Vec<&str> = tests
        .iter()
        .map(|test| test["misses"][0]["got"].as_str().unwrap_or("ok"))
        .collect();
    assert_eq!(
        ends,
        [
            "ok",
            "status 200",
            "ok",
            "connection refused: other does not name api in depends_on",
        ]
    );
    machine.assert_clean();
}

#[test]
fn of_a_service_with_replicas_the_first_is_asked() {
    let machine = Machine::take();
    let (town, _) = town(
        "```http markpact:test\nPOST /items BODY {} EXPECT 201\nCAPTURE id = $.id\nGET /items/${id} EXPECT 200\n```\n\n```http markpact:test as=web\nGET /items/0 EXPECT 200\n```\n\n```sh markpact:test\ntest \"$(hostname)\" = api-1\n```\n",
    );
    town.edit("saas.pactown.yaml", "  api:\n", "  api:\n    replicas: 2\n");
    let tests = results(&town, 0, &[]);
    assert_eq!(tests.len(), 4, "{:?}", brief(&tests));
    machine.assert_clean();
}

#[test]
fn what_runs_is_asked_as_it_is_and_goes_on() {
    let machine = Machine::take();
    let (town, _) = town("```http markpact:test\nPOST /items BODY {} EXPECT 201\nCAPTURE id = $.id\n```\n");
    town.ok(&["up", "-d"]);
    let pid = town.pid("api");
    town.expect(0, &["test"]);
    town.edit("api/README.md", "Not Found", "No such thing");
    let (out, err) = town.expect(0, &["test", "api"]);
    assert!(out.contains("1 passed"), "{out}");
    assert!(err.contains("api runs from an older"), "{err}");
    assert_eq!(town.pid("api"), pid, "the same process was asked");
    town.ok(&["stop", "api"]);
    let (_, err) = town.expect(1, &["test", "api"]);
    assert!(err.contains("the tests need api"), "{err}");
    town.ok(&["down"]);
    machine.assert_clean();
}

#[test]
fn what_is_wrong_is_said_before_anything_is_made() {
    let machine = Machine::take();
    for (tests, wanted) in [
        (
            "```http markpact:test\nGET /a EXPECT 2000\n```\n",
            "'2000' is no status",
        ),
        (
            "```http markpact:test\nFETCH /a\n```\n",
            "'FETCH' is neither a method nor a clause",
        ),
        (
            "```http markpact:test as=wbe\nGET /a\n```\n",
            "there is no service 'wbe' to ask as",
        ),
        (
            "```http markpact:test\nGET /a/${id}\n```\n",
            "no test above gives '${id}'",
        ),
    ] {
        let (town, first) = town(tests);
        let (out, err) = town.expect(2, &["test"]);
        assert!(err.contains(wanted), "{err}");
        assert!(err.contains(&format!("api/README.md:{}:1", first + 1)), "{err}");
        assert!(out.is_empty(), "{out}");
    }
    let (town, _) = town("");
    let (_, err) = town.expect(2, &["test"]);
    assert!(err.contains("there is no test"), "{err}");
    let (town, _) = self::town("```http markpact:test\nGET /health\n```\n");
    let (_, err) = town.expect(2, &["test", "--filter", "nothing like it"]);
    assert!(err.contains("no test contains 'nothing like it'"), "{err}");
    let (_, err) = town.expect(2, &["test", "ap"]);
    assert!(err.contains("did you mean 'api'?"), "{err}");
    machine.assert_clean();
}

#[test]
fn one_that_does_not_come_up_is_told_and_taken_down() {
    let machine = Machine::take();
    let (town, _) = town("```http markpact:test\nGET /health\n```\n");
    town.edit("api/README.md", "items = []", "items = nothing");
    let (_, err) = town.expect(1, &["test"]);
    assert!(err.contains("NameError"), "{err}");
    machine.assert_clean();
}

#[test]
fn time_and_ctrl_c_end_everything_in_order() {
    let machine = Machine::take();
    let (town, _) = town("```sh markpact:test\nsleep 79\n```\n");
    let (_, err) = town.expect(124, &["test", "--timeout", "2s"]);
    assert!(
        err.contains("not over within 2s") || err.contains("not ready within"),
        "{err}"
    );
    machine.assert_clean();
    let mut child = town.spawn(&["test"]);
    crate::support::observe::eventually("the command runs", Duration::from_secs(20), || {
        is_running("sleep 79")
    });
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("Ctrl-C");
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    machine.assert_clean();
    // Its death is as good: the run was its own.
    let mut child = town.spawn(&["test"]);
    crate::support::observe::eventually("the command runs", Duration::from_secs(20), || {
        is_running("sleep 79")
    });
    child.kill().expect("kill");
    child.wait().expect("an end");
    crate::support::observe::eventually("everything has ended", Duration::from_secs(20), || {
        let left = fs::read_dir("/run/pactown").expect("run").flatten();
        !left
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().ends_with(".test"))
    });
    machine.assert_clean();
}

/// Whether a process has this command line, as the kernel tells it.
fn is_running(command: &str) -> bool {
    let wanted = format!("{}\0", command.replace(' ', "\0"));
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| line == wanted.as_bytes())
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let machine = Machine::take();
    let (town, _) =
        town("```http markpact:test\nPOST /items BODY {} EXPECT 201\nEXPECT_BODY $.id == 0\n```\n");
    let runs: Vec<_> = (0..2).map(|_| town.spawn(&["test"])).collect();
    for run in runs {
        let output = run.wait_with_output().expect("an end");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{out}");
    }
    machine.assert_clean();
}

#[test]
fn one_readme_is_tested_on_its_own() {
    let machine = Machine::take();
    let (town, _) = town("```http markpact:test\nGET /health EXPECT 200\n```\n");
    let (out, _) = town.expect(0, &["test", "api/README.md"]);
    assert!(out.contains("1 passed"), "{out}");
    machine.assert_clean();
}

/// Validates with libxml2, which reads schemas as CI servers do.
const VALIDATE: &str = r#"
import ctypes, ctypes.util, sys
xml = ctypes.CDLL(ctypes.util.find_library("xml2") or "libxml2.so.2")
for name in ("xmlReadFile", "xmlSchemaNewParserCtxt", "xmlSchemaParse", "xmlSchemaNewValidCtxt"):
    getattr(xml, name).restype = ctypes.c_void_p
p = ctypes.c_void_p
document = xml.xmlReadFile(sys.argv[2].encode(), None, 0)
schema = xml.xmlSchemaParse(p(xml.xmlSchemaNewParserCtxt(sys.argv[1].encode())))
assert document and schema, (document, schema)
sys.exit(xml.xmlSchemaValidateDoc(p(xml.xmlSchemaNewValidCtxt(p(schema))), p(document)))
"#;

fn is_valid(report: &Path) -> bool {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/junit.xsd");
    let status = Command::new("python3")
        .args(["-c", VALIDATE])
        .args([&schema, report])
        .status();
    status.expect("python3").success()
}

#[test]
fn the_junit_report_is_valid_and_points_to_lines() {
    let machine = Machine::take();
    let (town, first) = town(
        "```http markpact:test\nGET /health EXPECT 200\n```\n\n```sh markpact:test name='<odd> & \"names\"'\nprintf 'a\\001\\033[31m]]>&\\377\\n'; exit 1\n```\n\n```http markpact:test\nGET /health\nCAPTURE x = $.gone\nGET /${x}\n```\n",
    );
    town.expect(1, &["test", "--junit", "report.xml"]);
    let report = town.path().join("report.xml");
    assert!(is_valid(&report));
    let text = fs::read_to_string(&report).expect("the report");
    let place = |line: usize| format!("file=\"api/README.md\" line=\"{line}\"");
    for offset in [1, 5, 9, 11] {
        assert!(text.contains(&place(first + offset)), "{offset}\n{text}");
    }
    assert!(text.contains("tests=\"4\" failures=\"2\""), "{text}");
    // The schema is no rubber stamp.
    fs::write(&report, text.replace(" name=\"api\"", "")).expect("written");
    assert!(!is_valid(&report));
    fs::write(
        &report,
        text.replace("<failure ", "<failed ")
            .replace("</failure>", "</failed>"),
    )
    .expect("written");
    assert!(!is_valid(&report));
    machine.assert_clean();
}

#[test]
fn watching_tests_again_what_changed() {
    let machine = Machine::take();
    let (town, _) = town("```http markpact:test\nGET /health\nEXPECT_BODY $.status == \"ok\"\n```\n");
    let mut child = town.spawn(&["test", "--watch"]);
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut summaries = lines
        .map_while(Result::ok)
        .filter(|line| line.contains(" passed"));
    let mut next = || summaries.next().expect("a summary");
    assert!(next().starts_with("1 passed ("));
    town.edit("api/README.md", "\"status\": \"ok\"", "\"status\": \"bad\"");
    assert!(next().starts_with("0 passed, 1 failed"), "the code is new");
    // A broken file is waited over.
    town.edit("api/README.md", "GET /health\nEXPECT", "GET health\nEXPECT");
    std::thread::sleep(Duration::from_millis(300));
    town.edit(
        "api/README.md",
        "GET health\nEXPECT_BODY $.status == \"ok\"",
        "GET /health\nEXPECT_BODY $.status == bad",
    );
    assert!(next().starts_with("1 passed ("));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("Ctrl-C");
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    machine.assert_clean();
}

#[test]
fn coverage_names_what_no_test_speaks_of() {
    let (town, _) = town("```http markpact:test\nGET /items/7 EXPECT 404\n```\n");
    let out = town.ok(&["test", "--coverage"]);
    assert_eq!(
        out,
        "api api/README.md: 1 test
  ✗ GET /health
  ✓ GET /items/{id} (line 3)
  ✗ DELETE /items/{id} (line 3)
  ✗ as web
web web/README.md: no test
  ✗ GET /
other web/README.md: no test
  ✗ GET /
1 of 3 READMEs have tests, 1 of 6 endpoints are tested
"
    );
}
