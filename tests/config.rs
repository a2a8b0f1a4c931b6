//! The ecosystem file: malformed ones and what is said about them, variables, `.env`, the normal form, finding it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use pactown::config::ecosystem::Place;
use pactown::config::{self, Ecosystem, Loaded};
use pactown::diagnostics::{Problems, Severity};
use pactown::error::Error;

/// A name for the report, and the file.
const MALFORMED: &[(&str, &str)] = &[
    ("an empty file", ""),
    ("only comments", "# nothing\n\n  # here\n"),
    ("null", "~\n"),
    ("a list at the top", "- name: x\n"),
    ("text at the top", "hello\n"),
    ("broken yaml", "name: x\nservices: {a: [1\n"),
    ("a tab", "name: x\nservices:\n\ta:\n"),
    (
        "bad indentation",
        "name: x\nservices:\n  a:\n    port: 1\n   env: {}\n",
    ),
    ("two documents", "name: x\n---\nname: y\n"),
    ("an unknown anchor", "name: *x\n"),
    ("a tag", "name: !secret x\n"),
    (
        "duplicate keys",
        "name: x\nname: y\nservices:\n  a:\n    port: 1\n    port: 2\n  a:\n",
    ),
    (
        "a key that is a list",
        "name: x\n? [a, b]\n: 1\nservices: {a: }\n",
    ),
    ("no name", "services: {a: }\n"),
    ("no services", "name: x\nprot: 1\n"),
    ("empty services", "name: x\nservices: {}\nversion: 1.0\nwhat: ~\n"),
    ("services as a list", "name: x\nservices:\n  - a\n  - b\n"),
    ("a service as text", "name: x\nservices:\n  a: ./README.md\n"),
    (
        "unknown keys",
        "name: x\nversions: '1'\nbanana: 1\nservices:\n  a:\n    prot: 80\n    environment: {A: b}\n    image: nginx\n",
    ),
    (
        "wrong types at the top",
        "name: [x]\nversion: {}\nbase_port: soon\nstrict_ports: maybe\nnetwork: ''\nregistry: here\nisolation: lax\nsandbox_root: 5\n",
    ),
    (
        "names of services",
        "name: x\nservices:\n  Web:\n  my_api:\n  a.b:\n  -x:\n  ö:\n  '':\n",
    ),
    (
        "a name that is too long",
        "name: x\nservices:\n  aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg:\n",
    ),
    (
        "ports",
        "name: x\nbase_port: 0\nservices:\n  a: {port: 65536}\n  b: {port: -1}\n  c: {port: '80'}\n  d: {port: 80.5}\n  e: {port: [80]}\n  f: {port: http}\n",
    ),
    (
        "published ports",
        "name: x\nservices:\n  a:\n    ports: ['80', 'x:80', '80:80:80:80', 0, '8080:80/sctp', {a: b}, 'host:80:80', '8080:']\n",
    ),
    (
        "a host port twice",
        "name: x\nservices:\n  a: {ports: ['8080:80', '8080:81/udp']}\n  b: {ports: ['0.0.0.0:8080:80']}\n  c: {ports: ['127.0.0.2:8080:80']}\n",
    ),
    ("ports as text", "name: x\nservices: {a: {ports: '8080:80'}}\n"),
    (
        "no port left",
        "name: x\nbase_port: 65535\nservices: {a: , b: }\n",
    ),
    (
        "durations",
        "name: x\nservices:\n  a: {timeout: soon, stop_grace: -1}\n  b: {timeout: 0, stop_grace: 0}\n  c: {timeout: [1], stop_grace: 1 fortnight}\n",
    ),
    (
        "sizes and limits",
        "name: x\nservices:\n  a: {limits: {memory: lots, cpus: 0, pids: none}}\n  b: {limits: {memory: 64, cpus: two, pids: 0}}\n  c: {limits: 5}\n  d: {limits: {mem: 5M, memory: -1}}\n",
    ),
    (
        "signals",
        "name: x\nservices:\n  a: {stop_signal: SIGTREM}\n  b: {stop_signal: 99}\n  c: {stop_signal: [15]}\n",
    ),
    (
        "unknown dependencies",
        "name: x\nservices:\n  database:\n  web: {depends_on: [databse, cache, web, database, database@2]}\n",
    ),
    (
        "forms of dependencies",
        "name: x\nservices:\n  b:\n  a: {depends_on: [[b], {version: '1'}, {name: 5}, 'b@', 'b@1@2', ~]}\n  c: {depends_on: b}\n",
    ),
    (
        "keys of dependencies",
        "name: x\nservices:\n  b:\n  a:\n    depends_on:\n      b: {condition: health, env_var: 1A, port: 0, required: perhaps, nmae: b, name: b, registry: other, restart: true}\n",
    ),
    (
        "conditions",
        "name: x\nservices:\n  b:\n  a: {depends_on: {b: ready}}\n",
    ),
    (
        "endpoints",
        "name: x\nservices:\n  a: {depends_on: [{name: db, endpoint: 'http://{host}:1'}, {name: D_B, endpoint: 'http://h'}, {name: x, endpoint: ''}]}\n",
    ),
    (
        "health paths",
        "name: x\nservices:\n  a: {health_check: health}\n  b: {health_check: 'http://localhost:80/health'}\n  c: {health_check: '/a b'}\n  d: {health_check: 5}\n  e: {health_check: []}\n",
    ),
    (
        "health mappings",
        "name: x\nservices:\n  a: {health_check: {}}\n  b: {health_check: {http: /, tcp: 5}}\n  c: {health_check: {tcp: 5, expect: 200}}\n  d: {health_check: {http: /, expect: 99, port: 0, interval: 0, timeout: x}}\n  e: {health_check: {exec: []}}\n  f: {health_check: {htp: /}}\n",
    ),
    (
        "health requests",
        "name: x\nservices:\n  a: {health_check: {http: /, headers: {'a b': c, Connection: close, X: 1, x: 2, y: \"ż\", z: [1]}}}\n  b: {health_check: {http: /, body: '', retries: 0, start_period: soon}}\n  c: {health_check: {http: /, body: a, body_regex: b}}\n  d: {health_check: {http: /, body_regex: 'a(b'}}\n  e: {health_check: {http: /, status: 200}}\n",
    ),
    (
        "health kinds",
        "name: x\nservices:\n  a: {health_check: {log: '', notify: true}}\n  b: {health_check: {log: ready, interval: 5, retries: 2}}\n  c: {health_check: {notify: false}}\n  d: {health_check: {notify: true, timeout: 1, body: a}}\n  e: {health_check: true}\n  f: {health_check: nothing}\n  g: {health_check: {tcp: 5, header: a}}\n",
    ),
    (
        "variables of services",
        "name: x\nservices:\n  a: {env: {1A: b, A-B: c, C: [1], D: {e: f}}}\n  b: {env: ['A=b']}\n  c: {env_passthrough: [PATH, 'A=b', 5]}\n",
    ),
    ("a nul", "name: x\nservices: {a: {env: {A: \"b\\0c\"}}}\n"),
    (
        "volumes",
        "name: x\nservices:\n  a:\n    volumes: [data, './data:/data', 'Data:/data', 'd:data', 'd:/', 'd:/proc', 'd:/app', 'd:/dev/shm', 'd:/a/../b', 'd:/x:rx', 'd:/x:ro:z', 5]\n",
    ),
    (
        "mounts",
        "name: x\nservices:\n  a:\n    mounts: ['./a', '~/a:/a', ':/a', './a:a', './a:/sys', './a:/a:w', {a: b}]\n",
    ),
    (
        "a target twice",
        "name: x\nservices:\n  a:\n    volumes: ['a:/data', 'b:/data/']\n    mounts: ['./x:/data']\n",
    ),
    (
        "egress",
        "name: x\nservices:\n  a: {egress: some}\n  b: {egress: [example.org, '::1', 10.0.0.0/33, '10.0.0.1:0', 10.0.0, '10.0.0.1:80']}\n  c: {egress: false}\n",
    ),
    (
        "access to the host",
        "name: x\nservices:\n  a: {host_access: [0, http]}\n  b: {host_access: 80}\n",
    ),
    ("users", "name: x\nservices:\n  a: {user: rot}\n  b: {user: 0}\n"),
    (
        "paths",
        "name: x\nservices:\n  a: {readme: [a], rootfs: '', toolchains: /opt/x, sandbox_path: 5}\n",
    ),
    (
        "restart policies",
        "name: x\nservices:\n  a: {restart: sometimes}\n  b: {restart: on-failure:0}\n  c: {restart: [always]}\n  d: {on_unhealthy: explode}\n  e: {depends_on: [{name: a, restart: maybe}]}\n",
    ),
    (
        "replicas",
        "name: x\nservices:\n  api: {replicas: 3}\n  api-2: {replicas: -1}\n  b: {replicas: 501}\n  c: {replicas: many}\n  d: {replicas: 2.5}\n  an-overly-long-name-of-a-service-with-sixty-two-characters-0123: {replicas: 1}\n  e: {replicas: 2, schedule: '@hourly'}\n",
    ),
    (
        "schedules",
        "name: x\nservices:\n  a: {schedule: daily}\n  b: {schedule: '61 * * * *'}\n  c: {schedule: '* * *'}\n  d: {schedule: [1]}\n  e: {schedule: {timezone: UTC}}\n  f: {schedule: {cron: '0 0 30 2 *', timezone: Europe/Warsw, overlap: skp, jitter: 5s}}\n  g: {cron: '* * * * *'}\n",
    ),
    (
        "a cron expression that YAML takes for an alias",
        "name: x\nservices:\n  a:\n    schedule: */5 * * * *\n",
    ),
    (
        "exceptions from the isolation",
        "name: x\nservices:\n  a: {security: {capabilities: [net_admin, NET_RAW, CHWON, 5, cap_chown, Chown], debug: often, seccompp: x}}\n  b: {security: unconfined, devices: [/dev/mem, /dev/sda, '/dev/dri/../mem', /dev/kvm, '/dev/kvm:ro', 'kvm', '/dev/kvm:rwm', 5], read_only: often}\n  c: {security: {capabilities: CHOWN, seccomp: [x]}}\n",
    ),
    (
        "features that come later",
        "name: x\nservices:\n  b: {target: desktop, framework: electron, build_cmd: make, build_targets: [linux]}\n  c: {hooks: {a: b}, on_unhealthy: restart, from: x, auto_restart: sometimes}\n",
    ),
    (
        "secrets",
        "name: x\nsecrets:\n  a: b\n  b: {file: 5}\n  c: {file: x, environment: Y}\n  d: {}\n  ../e: {file: x}\n  f: {command: []}\n  g: {environment: $G}\n  h: {external: true}\n  i: {file: i}\nservices:\n  a: {secrets: [i, i, j, {source: i, target: /etc/x}, {target: x}, {source: i, uid: 5}, 5]}\n  b: {secrets: i}\n",
    ),
    (
        "variables that are not set",
        "name: ${NAME}\nservices:\n  a:\n    env:\n      A: \"x ${ONE} ${TWO:?say two} ${ONE}\"\n      B: |\n        line\n        ${THREE}\n",
    ),
    (
        "variables that are not understood",
        "name: ${NAME\nservices: {a: {env: {A: '${A-b}', B: '${}', C: '${1}'}}}\n",
    ),
    (
        "an unset variable is said once",
        "name: x\nservices: {a: {port: '${P}', health_check: '${H}', env: {A: '${A}'}, volumes: ['${V}']}}\n",
    ),
    (
        "a variable with the wrong value",
        "name: x\nservices: {a: {port: '${SET}', timeout: '${SET}', egress: '${SET}'}}\n",
    ),
    (
        "a token",
        "name: x\nregistry: {url: 5, auth_token: hunter2}\nservices: {a: }\nnmae: x\n",
    ),
    (
        "problems behind an anchor are said once",
        "name: x\nservices:\n  a: &a {timeout: soon}\n  b: *a\n  c: {<<: *a, port: 0}\n",
    ),
];

fn shown(result: Result<Loaded, Problems>) -> String {
    match result {
        Ok(loaded) => format!("(valid)\n{}", Problems(loaded.warnings)),
        Err(problems) => problems.to_string(),
    }
}

fn parse(text: &str) -> Result<Loaded, Problems> {
    let variables = [("SET".to_owned(), "value".to_owned())].into_iter().collect();
    config::parse(Path::new("saas.pactown.yaml"), text, &variables)
}

#[test]
fn malformed_files_and_what_is_said() {
    let mut all = String::new();
    for (name, text) in MALFORMED {
        let said = shown(parse(text));
        write!(all, "## {name}\n{}\n{}\n\n", text.trim_end(), said.trim_end()).expect("memory");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_problem_points_into_its_line() {
    for (name, text) in MALFORMED {
        let problems = match parse(text) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.0,
        };
        for problem in problems.iter().filter(|problem| problem.place.line > 0) {
            let source = problem
                .source
                .as_deref()
                .unwrap_or_else(|| panic!("{name}: {problem}"));
            let end = problem.place.column - 1 + problem.length;
            assert!(
                end <= source.chars().count() + 1,
                "{name}: {problem} in '{source}'"
            );
            assert!(
                !source.contains("hunter2") && !problem.to_string().contains("hunter2"),
                "{name}"
            );
        }
    }
}

#[test]
fn five_errors_are_five_problems() {
    let text = "name: x\nbase_port: 0\nservices:\n  a:\n    prot: 80\n    timeout: soon\n    depends_on: [b]\n    env: {A: [1]}\n";
    let problems = parse(text).expect_err("five");
    let lines: Vec<_> = problems.0.iter().map(|problem| problem.place.line).collect();
    assert_eq!(lines, [2, 5, 6, 7, 8], "{problems}");
    assert!(
        problems
            .0
            .iter()
            .all(|problem| problem.severity == Severity::Error)
    );
}

#[test]
fn a_variable_is_marked_exactly() {
    let text = "name: x\nservices:\n  a:\n    env:\n      A: \"ä ${ONE} ${ONE}\"\n";
    let problems = parse(text).expect_err("unset");
    let marks: Vec<_> = problems
        .0
        .iter()
        .map(|p| (p.place.line, p.place.column, p.length))
        .collect();
    assert_eq!(marks, [(5, 13, 6), (5, 20, 6)]);
}

#[test]
fn variables_in_every_kind_of_value() {
    const TABLE: &[(&str, &str)] = &[
        ("${SET}", "value"),
        ("\"${SET}\"", "value"),
        ("'a ${SET} b'", "a value b"),
        ("${UNSET:-x}", "x"),
        ("${UNSET:-}", ""),
        ("${SET:?why}", "value"),
        ("$$SET", "$SET"),
        ("$SET", "$SET"),
        ("$${SET}", "${SET}"),
        ("|\n          two ${SET}\n          lines", "two value\nlines\n"),
    ];
    for (written, becomes) in TABLE {
        let text = format!("name: x\nservices:\n  a:\n    env:\n      A: {written}\n");
        let loaded = parse(&text).expect(written);
        assert_eq!(loaded.ecosystem.services["a"].env["A"], *becomes, "{written}");
    }
}

/// The same ecosystem, wherever its parts stand.
fn without_places(mut ecosystem: Ecosystem) -> Ecosystem {
    let none = Place::default();
    for service in ecosystem.services.values_mut() {
        (service.place, service.readme_place) = (none, none);
        service.ports.iter_mut().for_each(|mapping| mapping.place = none);
        service
            .depends_on
            .iter_mut()
            .for_each(|dependency| dependency.place = none);
        service.volumes.iter_mut().for_each(|volume| volume.place = none);
        service.mounts.iter_mut().for_each(|mount| mount.place = none);
        service.secrets.iter_mut().for_each(|secret| secret.place = none);
    }
    let secrets = ecosystem.secrets.values_mut();
    secrets.for_each(|secret| secret.place = none);
    ecosystem
}

#[track_caller]
fn assert_round_trip(ecosystem: Ecosystem) {
    let form = config::normal_form(&ecosystem);
    let again = |text: &str| {
        let loaded = config::parse(&ecosystem.file, text, &IndexMap::new());
        without_places(
            loaded
                .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
                .ecosystem,
        )
    };
    let json = serde_json::to_string_pretty(&form).expect("json");
    let yaml = serde_yaml::to_string(&form).expect("yaml");
    let ecosystem = without_places(ecosystem.clone());
    assert_eq!(again(&json), ecosystem);
    assert_eq!(again(&yaml), ecosystem);
    assert_eq!(config::normal_form(&again(&yaml)), form);
}

fn shipped(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

#[test]
fn shipped_files_are_valid_and_their_normal_form_is_the_same() {
    for folder in [
        "examples/hello",
        "examples/shop",
        "examples/polyglot",
        "tests/fixtures/python_tool",
    ] {
        let file = config::locate(None, &shipped(folder)).expect(folder);
        let loaded = config::load(&file, &IndexMap::new()).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.warnings, [], "{folder}");
        assert_round_trip(loaded.ecosystem);
    }
}

#[test]
fn the_normal_form_keeps_everything() {
    let text = r#"
name: "full: ${SET} $$5"
version: 1.10
description: "two\nlines"
base_port: 9000
sandbox_root: /var/lib/x
network: net
registry: {url: "https://r", namespace: ns}
strict_ports: true
loopback_compat: false
isolation: best-effort
secrets:
  filed: {file: ../s.txt}
  exported: {environment: X}
  told: {command: "pass $$x"}
services:
  auto:
  keeper: {secrets: [filed, {source: told, target: /run/secrets/t}]}
  db:
    readme: ./x/../db.md
    port: 5432
    ports: ["0.0.0.0:1:2/udp", "[::1]:3:4", 5]
    env: {A: "$$x", B: "${SET}", C: "\x01\x85\u2028\uFEFF😀", D: "yes", E: "1e3", F: " # ", G: "a: b\n- c\n"}
    env_passthrough: [TERM]
    health_check: {exec: "pg_isready && echo \"$$HOME\"", interval: 1500ms, timeout: 1}
    timeout: 1m30s
    stop_signal: 2
    stop_grace: 0
    limits: {memory: 256M, cpus: 0.5, pids: 64}
    volumes: ["data:/data:ro", "log:/log"]
    mounts: ["./in:/in", "/abs:/out:rw"]
    egress: [10.0.0.0/8, "1.1.1.1:53"]
    host_access: [5432, 80]
    user: root
    toolchains: [/opt/go, ./tc]
    rootfs: ./root
    sandbox_path: ./own
    auto_restart: false
  unchecked:
    port: 1234
    health_check: none
  off: {health_check: false}
  line: {health_check: {log: "it costs $$5: ready"}}
  says: {health_check: {notify: true}}
  beats: {health_check: {notify: true, interval: 10s, retries: 2}}
  body: {health_check: {http: /, body: "a: b", headers: {Host: "$$h", X-Number: 1}}}
  regex: {health_check: {http: /, body_regex: '^[a-z]+$$'}}
  only-ports:
    ports: ["8080:80"]
    health_check: {http: "/h?x=$$1", expect: 204}
    egress: none
  web:
    health_check: {tcp: 99, retries: 7, start_period: 90}
    stop_signal: 40
    depends_on:
      - auto@2
      - {name: db, endpoint: "pg://{host}:{port}/$$x", env_var: DB, condition: service_healthy, required: false, port: 5432}
      - {name: elsewhere, endpoint: "http://h"}
"#;
    let variables = [("SET".to_owned(), "${v}".to_owned())].into_iter().collect();
    let loaded = config::parse(Path::new("/town/saas.pactown.yaml"), text, &variables);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.ecosystem.services["db"].env["B"], "${v}");
    assert_round_trip(loaded.ecosystem);
}

/// A new folder below the target directory.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("folder");
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("parent")).expect("folder");
    fs::write(path, text).expect("file");
}

#[test]
fn dotenv_fills_in_what_the_environment_lacks() {
    let folder = folder("dotenv");
    write(&folder, ".env", "A=from file\nexport B='also $A'\n");
    write(&folder, "a/README.md", "");
    write(
        &folder,
        "saas.pactown.yaml",
        "name: x\nservices: {a: {env: {A: '${A}', B: '${B}'}}}\n",
    );
    let environment = [("A".to_owned(), "from caller".to_owned())].into_iter().collect();
    let loaded = config::load(&folder.join("saas.pactown.yaml"), &environment).expect("valid");
    let env = &loaded.ecosystem.services["a"].env;
    assert_eq!((env["A"].as_str(), env["B"].as_str()), ("from caller", "also $A"));
    fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn loading_reports_dotenv_and_missing_readmes_with_the_rest() {
    let folder = folder("missing");
    write(&folder, ".env", "A=1\nnonsense\n");
    write(&folder, "dir/README.md/x", "");
    let text = "name: x\nservices:\n  a:\n  b: {readme: docs/b.md, prot: 1}\n  dir:\n";
    write(&folder, "saas.pactown.yaml", text);
    let problems = config::load(&folder.join("saas.pactown.yaml"), &IndexMap::new()).expect_err("four");
    let prefix = format!("{}/", folder.display());
    insta::assert_snapshot!(problems.to_string().replace(&prefix, ""), @r"
    .env:2:1: a line without '=' (write 'NAME=value')
    saas.pactown.yaml:3:3: the README of 'a' cannot be read: it does not exist (expected at a/README.md; set 'readme' when it is elsewhere)
    saas.pactown.yaml:4:15: the README of 'b' cannot be read: it does not exist (expected at docs/b.md)
    saas.pactown.yaml:4:26: unknown key 'prot' in service 'b' (did you mean 'port'?)
    saas.pactown.yaml:5:3: the README of 'dir' cannot be read: it is not a file (expected at dir/README.md; set 'readme' when it is elsewhere)
    ");
    let none = config::load(&folder.join("none.yaml"), &IndexMap::new()).expect_err("missing");
    assert_eq!(
        none.to_string().replace(&prefix, ""),
        "none.yaml: cannot be read: it does not exist"
    );
    fs::write(folder.join("saas.pactown.yaml"), b"name: x\nx: \xff\n").expect("file");
    let binary = config::load(&folder.join("saas.pactown.yaml"), &IndexMap::new()).expect_err("binary");
    assert_eq!(
        binary.to_string().replace(&prefix, ""),
        "saas.pactown.yaml: cannot be read: line 2 is not UTF-8"
    );
    fs::remove_dir_all(folder).expect("removed");
}

#[track_caller]
fn usage(result: Result<PathBuf, Error>) -> String {
    match result {
        Err(Error::Usage {
            message,
            hint: Some(hint),
        }) => format!("{message} ({hint})"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_file_is_found() {
    let top = folder("locate");
    write(&top, "one/saas.pactown.yaml", "");
    write(&top, "one/other.pactown.yaml", "");
    write(&top, "two/x.pactown.yaml", "");
    write(&top, "two/deep/er/note.txt", "");
    write(&top, "three/a.pactown.yaml", "");
    write(&top, "three/b.pactown.yaml", "");
    let found = |named: Option<&str>, from: &str| config::locate(named.map(Path::new), &top.join(from));
    let is = |found: Result<PathBuf, Error>, path: &str| assert_eq!(found.expect(path), top.join(path));
    is(found(None, "one"), "one/saas.pactown.yaml");
    is(found(None, "two/deep/er"), "two/x.pactown.yaml");
    is(found(Some("one"), ""), "one/saas.pactown.yaml");
    is(
        found(Some("./one/other.pactown.yaml"), ""),
        "one/other.pactown.yaml",
    );
    is(found(Some("two/"), ""), "two/x.pactown.yaml");
    let said = |result| usage(result).replace(&top.display().to_string(), "/top");
    assert_eq!(
        said(found(None, "three")),
        "several ecosystem files in '/top/three': 'a.pactown.yaml', 'b.pactown.yaml' (name one of them)"
    );
    assert_eq!(
        said(found(Some("nope.yaml"), "")),
        "'/top/nope.yaml' does not exist (name an ecosystem file, or the directory that holds 'saas.pactown.yaml')"
    );
    assert_eq!(
        said(found(Some("two/deep"), "")),
        "no ecosystem file in '/top/two/deep' (write a 'saas.pactown.yaml', or name the file)"
    );
    fs::remove_dir_all(top).expect("removed");
    let nowhere = config::locate(None, Path::new("/proc/self"));
    assert_eq!(
        usage(nowhere),
        "no 'saas.pactown.yaml' in '/proc/self' or a directory above it (go to the directory of the ecosystem, or name its file)"
    );
}
