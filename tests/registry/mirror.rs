//! A server that mirrors another one: it asks, checks, keeps, and serves alone.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::registry::{Folder, Server, ends, pactown, sha256};

fn mirror(storage: &Path, upstream: &str) -> Server {
    Server::start(storage, &["--upstream", upstream, "--anonymous", "publish"])
}

fn store(folder: &Folder, name: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::create_dir(&path).expect("a folder");
    path
}

/// How often its log says that this was asked.
fn asked(log: &Path, what: &str) -> Vec<u64> {
    let text = fs::read_to_string(log).expect("a log");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let of_it = lines.filter(|line| line["path"].as_str().is_some_and(|path| path.ends_with(what)));
    of_it
        .map(|line| line["status"].as_u64().expect("a status"))
        .collect()
}

#[test]
fn what_is_asked_for_is_fetched_once_and_served_alone() {
    let folder = Folder::new("mirror");
    let (far, near) = (store(&folder, "far"), store(&folder, "near"));
    let log = folder.path().join("log");
    let mut command = pactown(
        folder.path(),
        &["registry", "serve", "--port", "0", "--anonymous", "publish"],
    );
    command.arg("--storage").arg(&far);
    command.stdout(fs::File::create(&log).expect("a log"));
    let mut original = Server::of(&mut command);
    for version in ["1.0.0", "1.2.0", "2.0.0-rc.1"] {
        original.publish("api", version, &format!("# Api {version}\n"));
    }
    let body = json!({"name": "api", "version": "1.1.0", "readme_content": "# Api 1.1\n", "description": "An API",
                      "tags": ["web"], "metadata": {"a": 1}});
    assert_eq!(original.send("POST", "/v1/publish", &[], Some(&body)).status, 200);
    let server = mirror(&near, &original.url());
    let readme = server.get("/v1/artifacts/default/api/1.1.0").json();
    let same = original.get("/v1/artifacts/default/api/1.1.0").json();
    assert_eq!(readme, same, "metadata and time of publishing too");
    for path in ["/v1/artifacts/default/api", "/v1/artifacts/default/api/versions"] {
        assert_eq!(server.get(path).json(), original.get(path).json(), "{path}");
    }
    assert_eq!(
        server.get("/v1/artifacts/default/api/latest").json()["version"],
        "1.2.0"
    );
    assert_eq!(server.get("/v1/artifacts/default/none").status, 404);

    // What never changes is not asked for again; what does is, and is not sent again.
    let versions = "/default/api/versions";
    let before = asked(&log, versions);
    for _ in 0..5 {
        assert_eq!(server.get("/v1/artifacts/default/api/1.0.0/readme").status, 200);
    }
    assert_eq!(asked(&log, versions), before);
    server.get("/v1/artifacts/default/api/%5E1");
    let after = asked(&log, versions);
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(after.last(), Some(&304));
    assert_eq!(asked(&log, "/default/api/1.2.0").len(), 1);

    // A new version and a yanked one are seen at the next question.
    original.publish("api", "1.3.0", "# Api 1.3\n");
    let yank = json!({"yanked": true});
    let path = "/v1/artifacts/default/api/1.2.0/yank";
    assert_eq!(original.send("POST", path, &[], Some(&yank)).status, 200);
    assert_eq!(
        server.get("/v1/artifacts/default/api/latest").json()["version"],
        "1.3.0"
    );
    assert_eq!(server.get("/v1/artifacts/default/api/~1.2").status, 404);

    original.kill();
    assert_eq!(
        server.get("/v1/artifacts/default/api/%5E1").json()["version"],
        "1.3.0"
    );
    assert_eq!(
        server.get("/v1/artifacts/default/api/versions").json()["versions"][0]["version"],
        "2.0.0-rc.1"
    );
    let away = server.get("/v1/artifacts/default/other/latest");
    assert_eq!(away.status, 503, "{away:?}");
    assert!(away.header("Retry-After").is_some());
    let home = folder.path();
    ends(0, &mut pactown(home, &["pull", "api@^1", "-r", &server.url()]));
    let text = fs::read_to_string(home.join("api/README.md")).expect("a README");
    assert_eq!(text, "# Api 1.3\n");
}

#[test]
fn what_is_damaged_on_the_way_is_not_kept() {
    let folder = Folder::new("mirror-damage");
    let (far, near) = (store(&folder, "far"), store(&folder, "near"));
    let original = Server::start(&far, &["--anonymous", "publish"]);
    original.publish("api", "1.0.0", "# Api\n");
    let server = mirror(&near, &original.url());
    // What was published here is what is served, whatever the other one has.
    original.publish("own", "1.0.0", "# Theirs\n");
    server.publish("own", "1.0.0", "# Ours\n");
    assert_eq!(
        server.get("/v1/artifacts/default/own/latest").json()["readme_content"],
        "# Ours\n"
    );
    let blob = far.join("blobs/sha256").join(sha256(b"# Api\n"));
    fs::write(&blob, "# Apj\n").expect("a content");
    assert_eq!(server.get("/v1/artifacts/default/api/latest").status, 503);
    assert_eq!(
        fs::read_dir(near.join("blobs/sha256")).expect("contents").count(),
        1,
        "only its own"
    );
    fs::write(&blob, "# Api\n").expect("a content");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while server.get("/v1/artifacts/default/api/latest").status != 200 {
        assert!(std::time::Instant::now() < deadline, "it is not asked again");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}
