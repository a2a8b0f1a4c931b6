//! The rules: versions never change, names have one spelling, tokens allow what they say.

use std::path::Path;
use std::sync::Barrier;

use serde_json::{Value, json};

use crate::support::registry::{Folder, Server, ends, pactown};

#[test]
fn a_version_never_changes() {
    let folder = Folder::new("immutable");
    let mut server = Server::start(folder.path(), &["--anonymous", "publish"]);
    assert_eq!(server.publish("a", "1.0.0", "one").status, 200);
    for (version, readme, status) in [
        ("1.0.0", "one", 200),
        ("1.0.0", "two", 409),
        ("1.0.0+build", "two", 409),
        ("1.0.0+build", "one", 200),
    ] {
        assert_eq!(
            server.publish("a", version, readme).status,
            status,
            "{version} {readme}"
        );
    }
    let admin = admin(folder.path());
    let deleted = server.send("DELETE", "/v1/artifacts/default/a", &[&admin], None);
    assert_eq!(
        deleted.json(),
        json!({"success": true, "message": "Deleted default/a"})
    );
    assert_eq!(server.get("/v1/artifacts/default/a").status, 404);
    assert_eq!(server.get("/v1/artifacts").json(), json!([]));
    assert_eq!(
        server.publish("a", "1.0.0", "two").status,
        409,
        "after it was deleted"
    );
    server.kill();
    let server = Server::start(folder.path(), &["--anonymous", "publish"]);
    assert_eq!(server.publish("a", "1.0.0", "two").status, 409, "after a restart");
    assert_eq!(
        server.publish("a", "1.0.0", "one").status,
        200,
        "what was there may come back"
    );
    assert_eq!(
        server.get("/v1/artifacts/default/a/1.0.0/readme").json()["content"],
        "one"
    );
}

#[test]
fn latest_is_the_highest_release_and_yanked_ones_are_hidden() {
    let folder = Folder::new("latest");
    let server = Server::start(folder.path(), &["--anonymous", "publish"]);
    for version in ["2.0.0", "1.0.1", "1.10.0", "3.0.0-rc.1"] {
        assert_eq!(server.publish("a", version, version).status, 200);
    }
    let chosen = |range: &str| {
        let answer = server.get(&format!("/v1/artifacts/default/a/{range}"));
        answer.json()["version"].as_str().map(ToOwned::to_owned)
    };
    assert_eq!(chosen("latest").as_deref(), Some("2.0.0"));
    assert_eq!(chosen("%5E1").as_deref(), Some("1.10.0"));
    assert_eq!(chosen("~1.0").as_deref(), Some("1.0.1"));
    assert_eq!(chosen("3.0.0-rc.1").as_deref(), Some("3.0.0-rc.1"));
    let yank = |version: &str, yanked: bool| {
        let path = format!("/v1/artifacts/default/a/{version}/yank");
        server
            .send("POST", &path, &[], Some(&json!({"yanked": yanked})))
            .status
    };
    assert_eq!(yank("2.0.0", true), 200);
    assert_eq!(chosen("latest").as_deref(), Some("1.10.0"));
    assert_eq!(
        chosen("2.0.0").as_deref(),
        Some("2.0.0"),
        "its number still works"
    );
    let artifact = server.get("/v1/artifacts/default/a").json();
    assert_eq!(artifact["latest_version"], "1.10.0");
    assert_eq!(artifact["versions"], json!(["1.0.1", "1.10.0", "3.0.0-rc.1"]));
    assert_eq!(yank("2.0.0", false), 200);
    assert_eq!(chosen("latest").as_deref(), Some("2.0.0"));
    assert_eq!(yank("9.0.0", true), 404);
}

#[test]
fn names_and_versions_have_one_spelling() {
    let folder = Folder::new("names");
    let server = Server::start(folder.path(), &["--anonymous", "publish"]);
    assert_eq!(server.publish("user-api", "1.0.0", "x").status, 200);
    assert_eq!(server.publish("user_api", "1.0.0", "x").status, 409, "too close");
    let long = "a".repeat(300);
    for name in [
        "..",
        "../x",
        "a/b",
        "A",
        "a--b",
        "con",
        "",
        "a\u{0}b",
        "аpi",
        &long,
        "a\u{202e}",
    ] {
        let answer = server.publish(name, "1.0.0", "x");
        assert_eq!(answer.status, 422, "{name:?}");
        assert_eq!(
            answer.json()["detail"][0]["loc"],
            json!(["body", "name"]),
            "{name:?}"
        );
    }
    for version in ["1.0", "01.0.0", "v1.0.0", "", "latest", "*", "1.0.0/../../x"] {
        assert_eq!(server.publish("b", version, "x").status, 422, "{version:?}");
    }
    assert_eq!(
        server.get("/v1/artifacts").json().as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn of_many_who_publish_one_version_one_wins() {
    let folder = Folder::new("race");
    let mut server = Server::start(folder.path(), &["--anonymous", "publish"]);
    let mut winners = Vec::new();
    for round in 0..5 {
        let version = format!("1.{round}.0");
        let barrier = Barrier::new(64);
        let statuses: Vec<(u16, String)> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..64)
                .map(|number| {
                    let (server, barrier, version) = (&server, &barrier, &version);
                    scope.spawn(move || {
                        let readme = format!("round {round} of {number}");
                        barrier.wait();
                        (server.publish("raced", version, &readme).status, readme)
                    })
                })
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().expect("no panic"))
                .collect()
        });
        let won: Vec<&String> = statuses
            .iter()
            .filter(|(status, _)| *status == 200)
            .map(|(_, readme)| readme)
            .collect();
        assert_eq!(won.len(), 1, "{statuses:?}");
        assert!(
            statuses.iter().all(|(status, _)| matches!(status, 200 | 409)),
            "{statuses:?}"
        );
        winners.push((version, won[0].clone()));
    }
    let check = |server: &Server| {
        for (version, readme) in &winners {
            let answer = server
                .get(&format!("/v1/artifacts/default/raced/{version}/readme"))
                .json();
            assert_eq!(answer["content"], json!(readme));
        }
    };
    check(&server);
    server.kill();
    check(&Server::start(folder.path(), &[]));
}

/// The header of a token that may do everything.
fn admin(storage: &Path) -> String {
    token(storage, &["--scope", "admin"])
}

fn token(storage: &Path, arguments: &[&str]) -> String {
    let storage = storage.to_str().expect("UTF-8");
    let mut all = vec!["registry", "token", "create", "-r", storage];
    all.extend(arguments);
    let (out, _) = ends(0, &mut pactown(Path::new("/"), &all));
    format!("Authorization: Bearer {}", out.trim())
}

#[test]
fn tokens_allow_what_they_say() {
    let folder = Folder::new("tokens");
    let server = Server::start(folder.path(), &[]);
    let body = |namespace: &str, name: &str| json!({"name": name, "namespace": namespace, "version": "1.0.0", "readme_content": "x"});
    let publish = |headers: &[&str], namespace: &str, name: &str| {
        server
            .send("POST", "/v1/publish", headers, Some(&body(namespace, name)))
            .status
    };
    assert_eq!(publish(&[], "acme", "api"), 401, "none");
    let scoped = token(folder.path(), &["--scope", "publish:acme/api"]);
    let whole = token(folder.path(), &["--scope", "publish:acme/*"]);
    let reader = token(folder.path(), &["--scope", "read:acme"]);
    let admin = admin(folder.path());
    for (header, namespace, name, status) in [
        (&scoped, "acme", "api", 200),
        (&scoped, "acme", "web", 403),
        (&whole, "acme", "web", 200),
        (&whole, "beta", "web", 403),
        (&reader, "acme", "api", 403),
        (&admin, "beta", "web", 200),
    ] {
        assert_eq!(
            publish(&[header], namespace, name),
            status,
            "{header} {namespace}/{name}"
        );
    }
    assert_eq!(
        server.get("/v1/artifacts/acme/api").status,
        200,
        "reading needs none"
    );
    assert_eq!(
        server
            .send("DELETE", "/v1/artifacts/acme/api", &[&whole], None)
            .status,
        403
    );
    assert_eq!(server.send("GET", "/v1/tokens", &[&whole], None).status, 403);
    let tokens = server.send("GET", "/v1/tokens", &[&admin], None).json();
    let id = tokens["tokens"][1]["id"].as_str().expect("an id");
    assert_eq!(
        server
            .send("DELETE", &format!("/v1/tokens/{id}"), &[&admin], None)
            .status,
        200
    );
    assert_eq!(publish(&[&whole], "acme", "web"), 401, "revoked");
    let brief = server.send(
        "POST",
        "/v1/tokens",
        &[&admin],
        Some(&json!({"name": "n", "scopes": ["publish:*"], "expires_in_s": 1})),
    );
    let brief = format!(
        "Authorization: Bearer {}",
        brief.json()["secret"].as_str().expect("a secret")
    );
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert_eq!(publish(&[&brief], "acme", "late"), 401, "expired");
    // What makes a token work is nowhere on disk.
    let secret = admin.rsplit('_').next().expect("a secret");
    let found = std::process::Command::new("grep")
        .args(["-r", "-l", secret])
        .arg(folder.path())
        .output()
        .expect("grep");
    assert_eq!(found.status.code(), Some(1), "{found:?}");
}

#[test]
fn a_closed_registry_shows_nothing_and_guessing_ends() {
    let folder = Folder::new("closed");
    let server = Server::start(folder.path(), &["--anonymous", "none"]);
    let admin = admin(folder.path());
    for (namespace, name) in [("acme", "api"), ("beta", "web")] {
        let body =
            json!({"name": name, "namespace": namespace, "version": "1.0.0", "readme_content": "secret"});
        assert_eq!(
            server.send("POST", "/v1/publish", &[&admin], Some(&body)).status,
            200
        );
    }
    for path in [
        "/v1/artifacts",
        "/v1/namespaces",
        "/v1/artifacts/acme/api",
        "/v1/artifacts/acme/api/latest/readme",
        "/",
        "/artifacts/acme/api",
    ] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    let reader = token(folder.path(), &["--scope", "read:acme"]);
    let names: Vec<Value> = server
        .send("GET", "/v1/artifacts", &[&reader], None)
        .json()
        .as_array()
        .expect("a list")
        .clone();
    assert_eq!((names.len(), &names[0]["name"]), (1, &json!("api")));
    assert_eq!(
        server.send("GET", "/v1/namespaces", &[&reader], None).json(),
        json!({"namespaces": ["acme"]})
    );
    assert_eq!(
        server
            .send("GET", "/v1/artifacts/beta/web", &[&reader], None)
            .status,
        403
    );
    let digest = crate::support::registry::sha256(b"secret");
    assert_eq!(
        server
            .send("GET", &format!("/v1/blobs/sha256:{digest}"), &[&reader], None)
            .status,
        200
    );
    assert_eq!(server.get(&format!("/v1/blobs/sha256:{digest}")).status, 404);
    let wrong: Vec<u16> = (0..25)
        .map(|_| {
            server
                .send(
                    "GET",
                    "/v1/namespaces",
                    &["Authorization: Bearer pactown_0_0"],
                    None,
                )
                .status
        })
        .collect();
    assert_eq!((wrong[0], wrong[24]), (401, 429));
    let right = server.send("GET", "/v1/namespaces", &[&reader], None);
    assert_eq!(right.status, 200, "who holds a token is not kept out");
}
