//! `pactown.lock`: what is locked is what is installed; what is not so is refused with its place; and it runs without
//! any network.

use std::fs;
use std::process::Command;

use crate::support::town::{Machine, Town};
use crate::support::wheels::Wheels;

const YAML: &str =
    "name: locked\nservices:\n  api:\n    readme: api/README.md\n    port: 18931\n    health_check: /\n";

/// A version that no other run has in its cache.
fn version(major: u32) -> String {
    format!("{major}.{}", std::process::id())
}

fn readme(deps: &str) -> String {
    format!(
        "# Api\n\nProse.\n\n```python markpact:deps\n{deps}\n```\n\n```python markpact:file path=main.py\nimport greet\nprint(greet.TEXT)\n```\n\n```sh markpact:run\npython main.py && exec python -m http.server $PORT\n```\n\n```http markpact:test\nGET /main.py EXPECT 200\n```\n"
    )
}

fn town(name: &str) -> (Town, Wheels) {
    let (town, wheels) = Wheels::of(Town::new(name, YAML, &[("api/README.md", &readme("greet"))]));
    wheels.add("greet", &version(1), "TEXT = 'one'", "polite>=1");
    wheels.add("polite", &version(1), "", "");
    (town, wheels)
}

fn lock(town: &Town) -> String {
    fs::read_to_string(town.path().join("pactown.lock")).expect("pactown.lock")
}

fn greeting(town: &Town) -> String {
    town.inside("api", "python -c 'import greet; print(greet.TEXT)'")
}

#[test]
fn what_is_locked_is_installed_until_it_is_updated() {
    let machine = Machine::take_with_new_layers();
    let (town, wheels) = town("pins");
    town.ok(&["lock"]);
    let text = lock(&town);
    for package in ["greet", "polite"] {
        let line = format!(
            "{package}=={} --hash=sha256:{}",
            version(1),
            wheels.sha256(package, &version(1))
        );
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    let python = Command::new("python3").arg("-V").output().expect("python3");
    let python = String::from_utf8_lossy(&python.stdout)
        .trim()
        .replace("Python ", "");
    assert!(
        text.contains(&format!("toolchain = \"{python}\"")),
        "{python} in\n{text}"
    );
    // The layer that was resolved is the one that is asked for: nothing is installed again.
    let (out, err) = town.expect(0, &["up", "-d", "--locked"]);
    assert!(!format!("{out}{err}").contains("Collecting"), "{out}{err}");
    assert_eq!(greeting(&town), "one");
    town.ok(&["down"]);

    wheels.add("greet", &version(2), "TEXT = 'two'", "");
    town.ok(&["up", "-d"]);
    assert_eq!(greeting(&town), "one", "a newer one does not matter");
    assert!(town.ok(&["lock"]).contains("is as it was"));
    assert_eq!(lock(&town), text);
    let (_, err) = town.expect(2, &["lock", "--update", "apy"]);
    assert!(err.contains("did you mean 'api'?"), "{err}");

    // While it runs, too.
    let out = town.ok(&["lock", "--update", "api"]);
    assert!(
        out.contains(&format!("api: greet {} -> {}", version(1), version(2))),
        "{out}"
    );
    assert!(
        out.contains(&format!("api: polite {} is gone", version(1))),
        "{out}"
    );
    assert_eq!(greeting(&town), "one", "nothing was started anew");
    town.ok(&["up", "-d", "--locked"]);
    assert_eq!(greeting(&town), "two");
    let owner = Command::new("stat")
        .args(["-c", "%U"])
        .arg(town.path().join("pactown.lock"))
        .output();
    assert_eq!(
        String::from_utf8_lossy(&owner.expect("stat").stdout).trim(),
        "root"
    );
    drop(town);
    machine.assert_clean();
}

#[test]
fn drift_is_refused_with_file_and_line_and_prose_is_none() {
    let machine = Machine::take_with_new_layers();
    let (town, _wheels) = town("drift");
    let (_, err) = town.expect(2, &["up", "--locked"]);
    assert!(
        err.contains("there is no") && err.contains("pactown lock"),
        "{err}"
    );
    town.expect(1, &["lock", "--check"]);
    town.ok(&["lock"]);
    town.edit("api/README.md", "Prose.", "Another\n\ntext.");
    assert!(town.ok(&["lock", "--check"]).contains("fits"));

    town.edit("api/README.md", "import greet", "import greet as greet");
    for arguments in [
        &["up", "--locked"][..],
        &["test", "--locked"],
        &["run", "api/README.md", "--locked"],
    ] {
        let (_, err) = town.expect(2, arguments);
        assert!(
            err.contains("the block 'file main.py' is not as in"),
            "{arguments:?}: {err}"
        );
        assert!(err.contains("api/README.md:11:"), "{arguments:?}: {err}");
    }
    let (out, _) = town.expect(1, &["lock", "--check", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).expect("json");
    assert_eq!(
        (&told["current"], &told["problems"][0]["place"]["line"]),
        (&false.into(), &11.into())
    );
    town.edit("api/README.md", "import greet as greet", "import greet");

    town.edit(
        "saas.pactown.yaml",
        "services:\n",
        "services:\n  more:\n    readme: api/README.md\n",
    );
    let (_, err) = town.expect(2, &["up", "--locked"]);
    assert!(
        err.contains("the service 'more' is not in") && err.contains("saas.pactown.yaml:3:"),
        "{err}"
    );
    town.edit("saas.pactown.yaml", "  more:\n    readme: api/README.md\n", "");

    let text = lock(&town);
    town.write(
        "pactown.lock",
        &text.replace("packages = [\n", "packages = [\n    \"--pre\",\n"),
    );
    for arguments in [&["up"][..], &["up", "--locked"], &["lock"]] {
        let (_, err) = town.expect(2, arguments);
        assert!(
            err.contains("is no requirement with its hashes") && err.contains("pactown.lock:"),
            "{err}"
        );
    }
    town.ok(&["ps"]);
    drop(town);
    machine.assert_clean();
}

#[test]
fn a_file_of_another_hash_is_not_installed() {
    let machine = Machine::take_with_new_layers();
    let (town, wheels) = town("hashes");
    town.ok(&["lock"]);
    let (right, text) = (wheels.sha256("greet", &version(1)), lock(&town));
    town.write("pactown.lock", &text.replace(&right, &"0".repeat(64)));
    let (_, err) = town.expect(1, &["up", "-d", "--locked"]);
    assert!(err.contains("DO NOT MATCH THE HASHES"), "{err}");
    assert!(err.contains("pactown lock --update"), "{err}");
    // Installed from the lock itself, in another order than it was written in: another layer.
    let line = |package: &str| {
        let hash = wheels.sha256(package, &version(1));
        format!("    \"{package}=={} --hash=sha256:{hash}\",\n", version(1))
    };
    let (greet, polite) = (line("greet"), line("polite"));
    let swapped = text.replace(&format!("{greet}{polite}"), &format!("{polite}{greet}"));
    assert_ne!(swapped, text);
    town.write("pactown.lock", &swapped);
    town.ok(&["up", "-d", "--locked"]);
    assert_eq!(greeting(&town), "one");
    town.ok(&["down"]);
    // A toolchain is compared as well.
    let start = swapped.find("toolchain = \"").expect("a toolchain") + "toolchain = \"".len();
    let end = start + swapped[start..].find('"').expect("its end");
    let other = format!("{}2.7.18{}", &swapped[..start], &swapped[end..]);
    town.write("pactown.lock", &other);
    let (_, err) = town.expect(3, &["up", "-d", "--locked"]);
    assert!(
        err.contains("`pactown.lock` has python 2.7.18, and this machine has "),
        "{err}"
    );
    town.ok(&["up", "-d"]);
    drop(town);
    machine.assert_clean();
}

#[test]
fn locked_and_offline_it_runs_in_a_network_without_any_route() {
    let machine = Machine::take_with_new_layers();
    let (town, wheels) = town("offline");
    let program = env!("CARGO_BIN_EXE_pactown");
    let alone = |script: &str| {
        let script = format!("ip link set lo up; {script}");
        let environment = town.command(&[]);
        let environment = environment
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        let output = Command::new("unshare")
            .args(["-n", "sh", "-c", &script])
            .current_dir(town.path())
            .envs(environment)
            .output()
            .expect("unshare");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, _, err) = alone(&format!("{program} up -d --offline"));
    assert_eq!(code, Some(3), "{err}");
    assert!(
        err.contains("not in the cache: python dependencies of 'api' (greet)"),
        "{err}"
    );
    town.ok(&["lock"]);
    // Nothing that is fetched from is there any more.
    fs::remove_dir_all(wheels.path()).expect("the wheels");
    let (code, out, err) = alone(&format!(
        "test -z \"$(ip route)\" || exit 99; {program} up -d --locked --offline && {program} exec api -- python -c 'import greet; print(greet.TEXT)' \
         && {program} test --locked --offline; code=$?; {program} down; exit $code"
    ));
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("one\n") && out.contains("1 passed"), "{out}{err}");
    // Another lock, whose layer is not there.
    let text = lock(&town);
    town.write(
        "pactown.lock",
        &text.replace(&format!("polite=={}", version(1)), "polite==9"),
    );
    let (code, _, err) = alone(&format!("{program} up -d --locked --offline"));
    assert_eq!(code, Some(3), "{err}");
    assert!(
        err.contains(&format!("greet=={}, polite==9", version(1))),
        "{err}"
    );
    drop(town);
    machine.assert_clean();
}

#[test]
fn offline_asks_for_what_a_service_needs_and_for_that_of_a_replica() {
    let machine = Machine::take();
    let yaml = "name: offline-needs\nservices:\n  db: {readme: db.md, health_check: none}\n  api: {readme: api.md, replicas: 2, health_check: none, depends_on: [db]}\n";
    let run = "```sh markpact:run\nsleep 1000\n```\n";
    let deps = |name: &str| format!("# S\n\n```python markpact:deps\n{name}\n```\n\n{run}");
    let lacking = deps(&format!("lacking=={}", version(1)));
    let town = Town::new(
        "offline-needs",
        yaml,
        &[("db.md", &lacking), ("api.md", &format!("# Api\n\n{run}"))],
    );
    for name in ["api", "api-2"] {
        let (_, err) = town.expect(3, &["up", "-d", "--offline", name]);
        assert!(
            err.contains("not in the cache: python dependencies of 'db'"),
            "{name}: {err}"
        );
    }
    town.write("db.md", &format!("# Db\n\n{run}"));
    town.write("api.md", &lacking);
    let (_, err) = town.expect(3, &["up", "-d", "--offline", "api-2"]);
    assert!(
        err.contains("not in the cache: python dependencies of 'api'"),
        "{err}"
    );
    drop(town);
    machine.assert_clean();
}

#[test]
fn hashes_of_a_readme_are_honoured_on_continued_lines() {
    let machine = Machine::take_with_new_layers();
    let (town, wheels) = town("continued");
    let pinned = |hash: &str| {
        let polite = wheels.sha256("polite", &version(1));
        readme(&format!(
            "greet=={} \\\n    --hash=sha256:{hash}\npolite=={} \\\n    --hash=sha256:{polite} \\\n    --hash=sha256:{}",
            version(1),
            version(1),
            "1".repeat(64)
        ))
    };
    town.write("api/README.md", &pinned(&wheels.sha256("greet", &version(1))));
    town.ok(&["up", "-d"]);
    assert_eq!(greeting(&town), "one");
    town.ok(&["down"]);
    town.write("api/README.md", &pinned(&"0".repeat(64)));
    let (_, err) = town.expect(1, &["up", "-d"]);
    assert!(
        err.contains("api/README.md:6: installing") && err.contains("HASHES"),
        "{err}"
    );
    drop(town);
    machine.assert_clean();
}

#[test]
fn npm_installs_what_its_lock_says() {
    let machine = Machine::take_with_new_layers();
    let readme = "# Web\n\n```json markpact:file path=package.json\n{\"name\": \"web\", \"dependencies\": {\"greeter\": \"file:./greeter\"}}\n```\n\n```json markpact:file path=greeter/package.json\n{\"name\": \"greeter\", \"version\": \"1.2.3\", \"main\": \"index.js\"}\n```\n\n```js markpact:file path=greeter/index.js\nmodule.exports = 'hello';\n```\n\n```js markpact:file path=main.js\nconst text = require('greeter');\nrequire('http').createServer((_, answer) => answer.end(text)).listen(process.env.PORT);\n```\n\n```sh markpact:run\nexec node main.js\n```\n";
    let yaml = YAML.replace("api", "web");
    let town = Town::new("npm", &yaml, &[("web/README.md", readme)]).with_env("NPM_CONFIG_OFFLINE", "true");
    let out = town.ok(&["lock"]);
    assert!(out.contains("web: node "), "{out}");
    let text = lock(&town);
    assert!(
        text.contains("\"lockfileVersion\": 3") && text.contains("\"version\": \"1.2.3\""),
        "{text}"
    );
    town.ok(&["up", "-d", "--locked", "--offline"]);
    let page = crate::support::observe::http_get(town.address("web"), "/").expect("an answer");
    assert!(page.ends_with("hello"), "{page}");
    town.ok(&["down"]);
    // Another text of the same lock: installed from it, in a layer of its own.
    town.write(
        "pactown.lock",
        &text.replace(
            "\"requires\": true",
            &format!("\"requires\": true, \"run\": {}", std::process::id()),
        ),
    );
    let (out, err) = town.expect(0, &["up", "-d", "--locked"]);
    assert!(
        format!("{out}{err}").contains("added 1 package"),
        "npm ci ran: {out}{err}"
    );
    let page = crate::support::observe::http_get(town.address("web"), "/").expect("an answer");
    assert!(page.ends_with("hello"), "{page}");
    drop(town);
    machine.assert_clean();
}
