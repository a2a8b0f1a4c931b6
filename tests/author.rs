//! `init`, `scan`, `generate` and `import`: what they write is valid, and runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::observe::{eventually, http_get};
use crate::support::town::{Machine, Town};

/// A folder with these files and no ecosystem.
fn folder(name: &str, files: &[(&str, &str)]) -> Town {
    let town = Town::new(name, "", files);
    fs::remove_file(town.path().join("saas.pactown.yaml")).expect("the file");
    town
}

fn edges(town: &Town) -> BTreeSet<(String, String)> {
    let graph: Value = serde_json::from_str(&town.ok(&["config", "--json"])).expect("JSON");
    let services = graph["services"].as_object().expect("services");
    let needs = services.iter().flat_map(|(name, service)| {
        let needs = service["depends_on"].as_array().into_iter().flatten();
        needs.map(|need| {
            let need = need.as_str().or(need["name"].as_str()).expect("a name");
            (name.clone(), need.to_owned())
        })
    });
    needs.collect()
}

#[test]
fn what_init_writes_runs_and_its_tests_pass() {
    let machine = Machine::take();
    let town = folder("init", &[]);
    let told = town.ok(&["init", "-n", "My Shop"]);
    for file in ["saas.pactown.yaml", "api/README.md", "web/README.md"] {
        assert!(
            told.contains(&format!("wrote {file}")) && town.path().join(file).is_file(),
            "{told}"
        );
    }
    town.ok(&["validate"]);
    assert!(town.ok(&["up", "-n"]).contains("Wave 2: web"));
    assert!(town.ok(&["config"]).contains("name: my-shop"));
    town.ok(&["up", "-d", "--timeout", "60s"]);
    let page = |town: &Town| http_get(town.address("web"), "/").expect("a page");
    assert!(page(&town).contains("visitor 1") && page(&town).contains("visitor 2"));
    let (out, err) = town.expect(0, &["test"]);
    assert!(out.contains("5 passed"), "{out}{err}");
    town.ok(&["down"]);

    // Nothing is replaced unasked.
    town.write("api/README.md", "mine");
    let (_, err) = town.expect(2, &["init"]);
    assert!(err.contains("api/README.md") && err.contains("--force"), "{err}");
    assert_eq!(
        fs::read_to_string(town.path().join("api/README.md")).expect("file"),
        "mine"
    );
    let written: Value = serde_json::from_str(&town.ok(&["init", "--force", "--json"])).expect("JSON");
    assert_eq!(written["written"].as_array().map(Vec::len), Some(3));
    town.ok(&["validate"]);
    machine.assert_clean();
}

#[test]
fn scan_says_what_each_readme_is() {
    let town = folder(
        "scan",
        &[
            ("README.md", "# All of it\n"),
            (
                "web/README.md",
                "# W\n\n```text markpact:deps\nflask\n```\n\n```sh markpact:run\ntrue\n```\n",
            ),
            (
                "bad/README.md",
                "```sh markpact:run\ntrue\n```\n\n```sh markpact:run\ntrue\n```\n",
            ),
        ],
    );
    let found: Value = serde_json::from_str(&town.ok(&["scan", "--json"])).expect("JSON");
    let told: Vec<String> = found
        .as_array()
        .expect("array")
        .iter()
        .map(|one| {
            format!(
                "{} {} {}",
                one["readme"],
                one["kind"],
                one["problems"].as_array().map_or(0, Vec::len)
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "\"README.md\" \"text\" 0",
            "\"bad/README.md\" \"broken\" 1",
            "\"web/README.md\" \"service\" 0"
        ]
    );
    let shown = town.ok(&["scan", "."]);
    assert!(
        shown.contains("web/README.md") && shown.contains("python") && shown.contains("All of it"),
        "{shown}"
    );
    town.expect(2, &["scan", "nowhere"]);
}

#[test]
fn generate_finds_the_edges_that_the_examples_have() {
    for example in ["examples/hello", "examples/shop"] {
        let town = Town::copy_of(example);
        let written = edges(&town);
        fs::remove_file(town.path().join("saas.pactown.yaml")).expect("the file");
        town.ok(&["generate"]);
        town.ok(&["validate"]);
        town.ok(&["up", "-n"]);
        let guessed = edges(&town);
        assert!(
            !guessed.is_empty() && guessed.is_subset(&written),
            "{example}: {guessed:?} of {written:?}"
        );
        if example.ends_with("hello") {
            assert_eq!(guessed, written);
        }
        let text = fs::read_to_string(town.path().join("saas.pactown.yaml")).expect("the file");
        for line in text.lines().filter(|line| line.contains("      - ")) {
            assert!(
                line.contains("# guessed: ") && line.contains("README.md:"),
                "{line}"
            );
        }
        let (_, err) = town.expect(2, &["generate"]);
        assert!(err.contains("is there already"), "{err}");
        town.ok(&["generate", "--force", "-n", "other", "-p", "9000"]);
        assert!(town.ok(&["config"]).contains("name: other"));
    }
}

#[test]
fn what_generate_writes_passes_the_tests_of_the_readmes() {
    let machine = Machine::take();
    let town = Town::copy_of("examples/hello");
    fs::create_dir(town.path().join("deploy")).expect("folder");
    fs::remove_file(town.path().join("saas.pactown.yaml")).expect("the file");
    town.ok(&["generate", ".", "-o", "deploy/saas.pactown.yaml"]);
    // The one value that nothing in a README tells: who is greeted.
    let path = town.path().join("deploy/saas.pactown.yaml");
    let text = fs::read_to_string(&path).expect("the file");
    assert!(
        text.contains("readme: ../web/README.md") || text.contains("readme: \"../web/README.md\""),
        "{text}"
    );
    let at = text.find("  web:\n").expect("web") + "  web:\n".len();
    fs::write(
        &path,
        format!("{}    env: {{GUEST: traveller}}\n{}", &text[..at], &text[at..]),
    )
    .expect("write");
    town.expect(0, &["test", "deploy/saas.pactown.yaml"]);
    machine.assert_clean();
}

#[test]
fn nothing_to_generate_from_is_said() {
    let town = folder("none", &[("README.md", "# Text\n")]);
    let (_, err) = town.expect(2, &["generate"]);
    assert!(
        err.contains("has anything to run") && err.contains("pactown init"),
        "{err}"
    );
    assert!(!town.path().join("saas.pactown.yaml").exists());
}

const COMPOSE: &str = "
services:
  db:
    image: example/db:1
    expose: ['5432']
    command: [python3, -m, http.server, '5432', --directory, /init]
    volumes: ['./init:/init:ro', 'data:/data']
    environment: {POSTGRES_DB: shop}
    healthcheck: {test: [CMD, python3, -c, \"import urllib.request as u; u.urlopen('http://127.0.0.1:5432/')\"], interval: 1s}
  seed:
    build: ./seed
    command: sh -c 'echo sown > /data/seed'
    volumes: ['data:/data']
  web:
    image: example/web
    working_dir: /tmp
    command: python3 -c \"import urllib.request as u, os; open('page', 'wb').write(u.urlopen(os.environ['DB_URL'] + '/hello.txt').read()); os.execvp('python3', ['python3', '-m', 'http.server', '8080'])\"
    ports: ['18423:8080']
    depends_on: {db: {condition: service_healthy}, seed: {condition: service_completed_successfully}}
    networks: [front]
networks: {front: {}}
volumes: {data: {}}
";

#[test]
fn a_compose_file_that_is_imported_runs_and_what_was_left_out_is_listed() {
    let machine = Machine::take();
    let town = folder(
        "compose",
        &[
            ("compose.yaml", COMPOSE),
            ("init/hello.txt", "from the database\n"),
        ],
    );
    let told = town.ok(&["import", "compose.yaml", "-n", "imported"]);
    for line in [
        "left out: networks: a service reaches what it depends on",
        "left out: db: image: ",
        "left out: seed: build: ",
        "left out: web: networks: ",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    town.ok(&["validate"]);
    assert!(town.ok(&["up", "-n"]).contains("Wave 2: web"));
    town.ok(&["up", "-d", "--timeout", "60s"]);
    let mut page = String::new();
    eventually("the page is there", Duration::from_secs(10), || {
        page = http_get("127.0.0.1:18423", "/page").unwrap_or_default();
        !page.is_empty()
    });
    assert_eq!(page, "from the database\n");
    assert_eq!(
        town.inside("db", "cat /data/seed; echo $POSTGRES_DB"),
        "sown\nshop"
    );
    town.ok(&["down", "--volumes", "--yes"]);
    machine.assert_clean();
    let (_, err) = town.expect(2, &["import", "compose.yaml"]);
    assert!(err.contains("web/README.md` are there already"), "{err}");
    town.write("broken.yaml", "services: {a: {ports: ['x:y']}, b: [}\n");
    let (_, err) = town.expect(2, &["import", "broken.yaml", "--force"]);
    assert!(err.contains("broken.yaml"), "{err}");
    let text = town.ok(&["import", "compose.yaml", "--force", "--json"]);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        json["dropped"]
            .as_array()
            .is_some_and(|dropped| dropped.len() >= 5),
        "{json}"
    );
}

#[test]
fn a_procfile_that_is_imported_runs() {
    let machine = Machine::take();
    let town = folder(
        "procfile",
        &[
            (
                "Procfile",
                "web: python3 -m http.server $PORT\nworker: sh -c 'while :; do echo at work; sleep 1; done'\n",
            ),
            ("index.html", "the project\n"),
        ],
    );
    town.ok(&["import", "Procfile"]);
    town.ok(&["validate"]);
    town.ok(&["up", "-d"]);
    let mut page = String::new();
    eventually("the page is there", Duration::from_secs(10), || {
        page = http_get(town.address("web"), "/").unwrap_or_default();
        !page.is_empty()
    });
    assert_eq!(page, "the project\n");
    assert!(town.ok(&["logs", "worker"]).contains("at work"));
    town.ok(&["down"]);
    machine.assert_clean();
    let (_, err) = town.expect(2, &["import", "--force", "nothing"]);
    assert!(err.contains("cannot read `nothing`"), "{err}");
    town.write("Procfile", "web: a\nnothing\n");
    let (_, err) = town.expect(2, &["import", "--force", "Procfile"]);
    assert!(
        err.contains("Procfile:2") && err.contains("is no process"),
        "{err}"
    );
    assert!(Path::new(&town.path().join("web/README.md")).is_file());
}

/// `docs/authoring.md`: its commands, in their order, each section in a folder of its own.
#[test]
fn the_page_about_it_is_true() {
    let machine = Machine::take();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/authoring.md"))
        .expect("the page");
    let blocks: Vec<&str> = page
        .split("\n```sh\n")
        .skip(1)
        .map(|rest| rest.split("\n```").next().expect("a closed block"))
        .collect();
    assert_eq!(blocks.len(), 3);
    let api =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello/greeter/README.md"));
    let town = || {
        folder(
            "page",
            &[
                ("services/api/README.md", api.as_ref().expect("an example")),
                ("compose.yaml", COMPOSE),
            ],
        )
    };
    for block in blocks {
        let town = town();
        for line in block.lines() {
            let words: Vec<&str> = line.split(' ').skip(1).collect();
            town.ok(&words);
        }
        machine.assert_clean();
    }
    // Each key that is said to be read is read, and the others are listed.
    let service =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/author/compose/service.rs"))
            .expect("source");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains("` | "));
    for key in rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
    {
        let key = key.split('.').next().expect("a key");
        if !["depends_on", "port", "health_check"].contains(&key) {
            assert!(service.contains(&format!("\"{key}\"")), "{key}");
        }
    }
}
