//! The command line: publish, pull and everything else, over the user's own store and over a server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::registry::{Folder, Server, ends, pactown, sha256};

const README: &str = "# Greeter\n\nSays hello.\n\n```sh markpact:run\nexec sleep 1000\n```\n";

fn town(folder: &Path) {
    let yaml = "name: town\nversion: 1.2.0\nservices:\n  greeter: {readme: greeter.md}\n  other: {readme: other.md}\n";
    fs::write(folder.join("saas.pactown.yaml"), yaml).expect("a file");
    fs::write(folder.join("greeter.md"), README).expect("a file");
    fs::write(folder.join("other.md"), README.replace("Greeter", "Other")).expect("a file");
}

#[test]
fn without_a_server_publish_and_pull_work_on_the_own_store() {
    let folder = Folder::new("local");
    let home = folder.path();
    town(home);
    let (out, _) = ends(0, &mut pactown(home, &["publish", "-n"]));
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(out.contains("would publish default/greeter@1.2.0"), "{out}");
    assert!(
        !home.join("data/pactown/registry/blobs").exists()
            || fs::read_dir(home.join("data/pactown/registry/blobs/sha256"))
                .expect("a folder")
                .count()
                == 0
    );
    let (out, _) = ends(
        0,
        &mut pactown(home, &["publish", "saas.pactown.yaml", "greeter"]),
    );
    assert!(
        out.contains(&format!(
            "published default/greeter@1.2.0 sha256:{}",
            sha256(README.as_bytes())
        )),
        "{out}"
    );
    ends(0, &mut pactown(home, &["publish"]));
    let elsewhere = home.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    fs::remove_file(home.join("saas.pactown.yaml")).expect("gone");
    let pull = |arguments: &[&str]| {
        let mut command = pactown(home, &["pull"]);
        command.args(arguments).current_dir(&elsewhere);
        command
    };
    let (out, _) = ends(0, &mut pull(&["greeter@^1"]));
    assert!(
        out.contains("pulled default/greeter@1.2.0") && out.contains(&sha256(README.as_bytes())),
        "{out}"
    );
    assert_eq!(
        fs::read_to_string(elsewhere.join("greeter/README.md")).expect("a README"),
        README
    );
    let (out, _) = ends(0, &mut pull(&["greeter"]));
    assert!(out.contains("already there"), "{out}");
    fs::write(elsewhere.join("greeter/README.md"), "mine").expect("a file");
    let (_, err) = ends(1, &mut pull(&["other", "greeter"]));
    assert!(err.contains("--force"), "{err}");
    assert!(!elsewhere.join("other").exists(), "nothing was written");
    ends(0, &mut pull(&["greeter", "--force"]));
    assert_eq!(
        fs::read_dir(elsewhere.join("greeter")).expect("a folder").count(),
        1,
        "nothing else"
    );
    for (reference, message) in [("nobody", "not found"), ("greeter@^2", "not found")] {
        let (_, err) = ends(1, &mut pull(&[reference]));
        assert!(err.contains(reference) && err.contains(message), "{err}");
    }
    for reference in ["../x", "A", "greeter@", "greeter@x.y", "a/b/c"] {
        ends(2, &mut pull(&[reference]));
    }
}

#[test]
fn what_is_published_is_checked_first() {
    let folder = Folder::new("checked");
    let home = folder.path();
    town(home);
    fs::write(home.join("other.md"), "```sh markpact:rum\ntrue\n```\n").expect("a file");
    let (_, err) = ends(2, &mut pactown(home, &["publish"]));
    assert!(err.contains("other.md"), "{err}");
    assert!(
        !home.join("data/pactown/registry/registry.db").exists(),
        "nothing was sent"
    );
    let (_, err) = ends(2, &mut pactown(home, &["publish", "greeter.md"]));
    assert!(err.contains("--version"), "{err}");
    let (_, err) = ends(
        2,
        &mut pactown(
            home,
            &["publish", "greeter.md", "--version", "1.0", "--name", "greeter"],
        ),
    );
    assert!(err.contains("1.2.3"), "{err}");
    let (_, err) = ends(
        2,
        &mut pactown(
            home,
            &["publish", "greeter.md", "--version", "1.0.0", "--name", "Greeter"],
        ),
    );
    assert!(err.contains("'Greeter'"), "{err}");
    ends(
        0,
        &mut pactown(
            home,
            &["publish", "greeter.md", "--version", "1.0.0", "--name", "greeter"],
        ),
    );
    fs::write(home.join("greeter.md"), README.replace("hello", "bye")).expect("a file");
    let (_, err) = ends(
        1,
        &mut pactown(
            home,
            &["publish", "greeter.md", "--version", "1.0.0", "--name", "greeter"],
        ),
    );
    assert!(err.contains("never change"), "{err}");
}

#[test]
fn a_server_is_logged_in_to_and_worked_with() {
    let folder = Folder::new("remote");
    let home = folder.path();
    town(home);
    fs::create_dir(home.join("store")).expect("a folder");
    let server = Server::start(&home.join("store"), &[]);
    let url = server.url();
    let publish = |home: &Path| {
        let mut command = pactown(
            home,
            &[
                "publish",
                "greeter.md",
                "--version",
                "1.0.0",
                "--name",
                "greeter",
                "--namespace",
                "acme",
            ],
        );
        command.env("PACTOWN_REGISTRY_URL", server.url());
        command
    };
    let (_, err) = ends(3, &mut publish(home));
    assert!(err.contains("token") && err.contains("registry login"), "{err}");
    let store = home.join("store");
    let (secret, err) = ends(
        0,
        &mut pactown(
            home,
            &[
                "registry",
                "token",
                "create",
                "--scope",
                "publish:acme",
                "--name",
                "ci",
                "-r",
                store.to_str().expect("UTF-8"),
            ],
        ),
    );
    assert!(err.contains("shown only now"), "{err}");
    let (_, err) = ends(
        3,
        pactown(home, &["registry", "login", &url]).env("PACTOWN_REGISTRY_TOKEN", "pactown_x_y"),
    );
    assert!(err.contains("unknown, expired or revoked"), "{err}");
    let (out, _) = ends(
        0,
        pactown(home, &["registry", "login", &url]).env("PACTOWN_REGISTRY_TOKEN", secret.trim()),
    );
    assert!(out.contains("publish:acme/*"), "{out}");
    let file = home.join("config/pactown/registry.json");
    assert_eq!(
        fs::metadata(&file).expect("the login file").permissions().mode() & 0o777,
        0o600
    );
    ends(0, &mut publish(home));
    // The last login is the default from now on.
    fs::remove_file(home.join("saas.pactown.yaml")).expect("gone");
    let (out, _) = ends(0, &mut pactown(home, &["registry", "search", "greet"]));
    assert!(out.contains("acme/greeter  1.0.0   Greeter"), "{out}");
    let (out, _) = ends(
        0,
        &mut pactown(home, &["registry", "info", "acme/greeter", "--json"]),
    );
    let info: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&info["namespace"], &info["versions"]),
        (&json!("acme"), &json!(["1.0.0"]))
    );
    ends(0, &mut pactown(home, &["registry", "yank", "acme/greeter@1.0.0"]));
    let (out, _) = ends(0, &mut pactown(home, &["registry", "versions", "acme/greeter"]));
    assert!(out.contains("yanked"), "{out}");
    ends(1, &mut pactown(home, &["pull", "acme/greeter"]));
    ends(0, &mut pactown(home, &["pull", "acme/greeter@1.0.0"]));
    ends(3, &mut pactown(home, &["registry", "token", "list"]));
    ends(0, &mut pactown(home, &["registry", "logout"]));
    let (_, err) = ends(0, &mut pactown(home, &["registry", "search"]));
    assert!(err.contains("nothing found"), "the own store again: {err}");
}

#[test]
fn damage_is_found_told_and_never_served() {
    let folder = Folder::new("damage");
    let home = folder.path();
    town(home);
    ends(0, &mut pactown(home, &["publish"]));
    let (out, _) = ends(0, &mut pactown(home, &["registry", "verify"]));
    assert!(out.contains("ok: 2 versions"), "{out}");
    let store = home.join("data/pactown/registry");
    let blob = store.join("blobs/sha256").join(sha256(README.as_bytes()));
    let mut bytes = fs::read(&blob).expect("a content");
    bytes[3] ^= 1;
    fs::write(&blob, &bytes).expect("damaged");
    let (_, err) = ends(1, &mut pactown(home, &["pull", "greeter", "-o", "out"]));
    assert!(err.contains("damaged"), "{err}");
    assert!(!home.join("out").exists());
    let (out, err) = ends(1, &mut pactown(home, &["registry", "verify"]));
    assert!(
        out.contains("damaged: default/greeter@1.2.0") && !out.contains("other"),
        "{out}"
    );
    assert!(err.contains("1 of 2"), "{err}");
    let server = Server::start(&store, &[]);
    let answer = server.get("/v1/artifacts/default/greeter/1.2.0");
    assert_eq!(answer.status, 500);
    assert!(
        answer.json()["detail"]
            .as_str()
            .is_some_and(|text| text.starts_with("E_CORRUPT"))
    );
    assert_eq!(server.get("/v1/artifacts/default/other/1.2.0").status, 200);
    // Publishing the same again heals it.
    ends(0, &mut pactown(home, &["publish"]));
    ends(0, &mut pactown(home, &["registry", "verify"]));
}

#[test]
fn what_nothing_names_is_swept() {
    let folder = Folder::new("sweep");
    let home = folder.path();
    town(home);
    ends(0, &mut pactown(home, &["publish"]));
    ends(1, &mut pactown(home, &["registry", "delete", "greeter"]));
    ends(0, &mut pactown(home, &["registry", "delete", "greeter", "--yes"]));
    let (out, _) = ends(0, &mut pactown(home, &["registry", "gc"]));
    assert!(out.contains("removed 1 contents"), "{out}");
    let (out, _) = ends(0, &mut pactown(home, &["registry", "verify"]));
    assert!(out.contains("ok: 1 versions"), "{out}");
    // Its number stays taken, and the same content may come back.
    ends(0, &mut pactown(home, &["publish"]));
    ends(0, &mut pactown(home, &["pull", "greeter", "-o", "out"]));
}

#[test]
fn the_store_of_the_older_tool_is_taken_over() {
    let folder = Folder::new("import");
    let home = folder.path();
    let version = |number: &str| json!({"version": number, "readme_content": README, "checksum": "x", "published_at": "2024-01-01T00:00:00+00:00", "metadata": {"a": 1}});
    let artifact = |name: &str, numbers: &[&str]| {
        let versions: serde_json::Map<String, Value> = numbers
            .iter()
            .map(|number| ((*number).to_owned(), version(number)))
            .collect();
        json!({"name": name, "namespace": "acme", "description": "d", "versions": versions, "latest_version": numbers[0],
            "created_at": "2024-01-01T00:00:00+00:00", "updated_at": "2024-01-01T00:00:00+00:00", "tags": ["t"]})
    };
    let index = json!({"artifacts": {"acme/api": artifact("api", &["1.0.0", "1.1.0"]), "acme/../x": artifact("../x", &["1.0.0"])}, "updated_at": ""});
    fs::create_dir(home.join("old")).expect("a folder");
    fs::write(home.join("old/index.json"), index.to_string()).expect("a file");
    let (out, err) = ends(1, &mut pactown(home, &["registry", "import-python", "old"]));
    assert!(
        out.contains("refused acme/../x@1.0.0") && out.contains("imported 2 versions"),
        "{out}"
    );
    assert!(err.contains("1 versions were refused"), "{err}");
    ends(0, &mut pactown(home, &["pull", "acme/api@1.0.0"]));
    let (_, err) = ends(3, &mut pactown(home, &["registry", "import-python", "absent"]));
    assert!(err.contains("absent/index.json"), "{err}");
}

#[test]
fn a_stranger_cannot_command_the_terminal() {
    let folder = Folder::new("terminal");
    let home = folder.path();
    let store = home.join("data/pactown/registry");
    fs::create_dir_all(&store).expect("a folder");
    let server = Server::start(&store, &["--anonymous", "publish"]);
    let hostile = "\u{1b}]52;c;QUFB\u{7}\u{1b}[2J\u{9b}6n\u{90}x\u{202e}\r\u{1b}]8;;http://e.test\u{1b}\\";
    let body = json!({"name": "evil", "version": "1.0.0", "readme_content": format!("# {hostile}"), "description": hostile, "tags": [hostile]});
    assert_eq!(server.send("POST", "/v1/publish", &[], Some(&body)).status, 200);
    for arguments in [
        ["registry", "search", "evil"].as_slice(),
        &["registry", "info", "evil"],
        &["registry", "versions", "evil"],
        &["pull", "evil"],
        &["registry", "yank", "evil@9.9.9-\u{1b}[2J"],
        &["registry", "info", "\u{1b}[2J"],
    ] {
        // A terminal of its own, as people have.
        let line: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
        let program = format!("{} {}", env!("CARGO_BIN_EXE_pactown"), line.join(" "));
        let mut command = std::process::Command::new("script");
        let plain = pactown(home, &[]);
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command
            .args(["-qec", &program, "/dev/null"])
            .current_dir(home)
            .output()
            .expect("script");
        let shown = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
        let bad =
            |c: char| (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!shown.contains(bad), "{arguments:?}: {shown:?}");
        assert!(!shown.trim().is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_older_programs_name_still_serves() {
    let folder = Folder::new("argv0");
    let link = folder.path().join("pactown-registry");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pactown"), &link).expect("a link");
    let mut command = std::process::Command::new(&link);
    command
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--reload",
            "--no-access-log",
        ])
        .current_dir(folder.path());
    let server = Server::of(&mut command);
    assert_eq!(
        server.publish("a", "1.0.0", "x").status,
        200,
        "its clients have no tokens"
    );
    assert!(folder.path().join(".pactown-registry/registry.db").exists());
}
