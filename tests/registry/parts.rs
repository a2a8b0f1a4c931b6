//! Services that come from a registry: resolved, fetched, shown, locked by digest, started with a closed network.

use std::fs;
use std::path::Path;

use crate::support::registry::{Folder, Server, ends, pactown, sha256};
use crate::support::town::{Machine, Town};

/// Serves its own name, on the port that it is given.
fn readme(name: &str) -> String {
    format!(
        "# {name}\n\n```text markpact:file path=index.html\n{name}\n```\n\n```sh markpact:run\nexec python3 -m http.server $MARKPACT_PORT\n```\n\n```text markpact:health\n/\n```\n"
    )
}

/// `auth`, which needs `db`, published as `acme/auth` and `acme/db`.
fn publish(home: &Path, url: &str, version: &str, wanted: &str) {
    let yaml = format!(
        "name: parts\nversion: {version}\nregistry: {{url: '{url}', namespace: acme}}\nservices:\n  db: {{readme: db.md}}\n  auth:\n    readme: auth.md\n    depends_on: [{{name: db, version: '{wanted}'}}]\n"
    );
    fs::write(home.join("saas.pactown.yaml"), yaml).expect("a file");
    fs::write(home.join("db.md"), readme("db")).expect("a file");
    fs::write(home.join("auth.md"), readme("auth")).expect("a file");
    ends(0, &mut pactown(home, &["publish"]));
}

fn shop(url: &str, dependencies: &str) -> String {
    format!(
        "name: shop\nregistry: {{url: '{url}', namespace: acme}}\nservices:\n  web:\n    readme: web.md\n    health_check: /\n    depends_on: [{dependencies}]\n"
    )
}

const AUTH: &str = "{name: auth, version: ^1, registry: default}";

#[test]
fn a_dependency_that_no_file_has_comes_from_the_registry_and_runs() {
    let machine = Machine::take();
    let folder = Folder::new("parts");
    let home = folder.path();
    let store = home.join("store");
    fs::create_dir(&store).expect("a folder");
    let server = Server::start(&store, &["--anonymous", "publish"]);
    let url = server.url();
    publish(home, &url, "1.0.0", "^1");
    publish(home, &url, "1.2.0", "^1");
    publish(home, &url, "2.0.0", "^2");
    let town = Town::new("shop", &shop(&url, AUTH), &[("web.md", &readme("web"))]);

    // Shown, and not run as long as nobody agrees.
    let (_, err) = town.expect(2, &["up", "-d"]);
    let digest = format!("sha256:{}", sha256(readme("auth").as_bytes()));
    for told in [
        format!("acme/auth@1.2.0 {digest} from {url}"),
        "acme/db@1.2.0".to_owned(),
        "exec python3 -m http.server".to_owned(),
        "network  closed".to_owned(),
        "--trust".to_owned(),
    ] {
        assert!(err.contains(&told), "no '{told}': {err}");
    }
    let lock = town.path().join("pactown.lock");
    assert!(!lock.exists(), "nobody agreed");

    town.ok(&["up", "-d", "--trust"]);
    let text = fs::read_to_string(&lock).expect("a lock");
    assert!(
        text.contains("name = \"acme/auth\"\nversion = \"1.2.0\"") && text.contains(&digest),
        "{text}"
    );
    assert!(!text.contains(&url), "{text}");
    for service in ["web", "auth", "db"] {
        town.pid(service);
    }
    // web reaches auth, auth reaches db, web does not reach db, and nobody from there reaches the world.
    let get = |from: &str, target: &str| {
        let script = format!(
            "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://{target}/\", timeout=2).read().decode())' 2>/dev/null || echo no"
        );
        town.inside(from, &script)
    };
    let port = |service: &str| town.inside(service, "echo $PORT");
    let (auth, db) = (format!("auth:{}", port("auth")), format!("db:{}", port("db")));
    assert_eq!(get("web", &auth), "auth");
    assert_eq!(get("auth", &db), "db");
    assert_eq!(get("web", &db), "no");
    let out =
        "python3 -c 'import socket; socket.create_connection((\"192.0.2.99\", 80), 2)' 2>&1 | tail -n 1";
    let word = town.inside("auth", out);
    assert!(
        word.contains("Errno 111") || word.contains("Errno 101") || word.contains("Errno 113"),
        "{word}"
    );
    town.ok(&["down"]);

    // Locked: nothing newer, nothing asked, nothing needed of the registry.
    drop(server);
    town.ok(&["up", "-d"]);
    town.ok(&["down"]);
    assert_eq!(fs::read_to_string(&lock).expect("a lock"), text);
    // What was changed since is not run.
    let place = town.path().join(".pactown/registry/acme/auth/1.2.0/README.md");
    fs::write(&place, readme("evil")).expect("a README");
    let (_, err) = town.expect(2, &["up", "-d", "--locked"]);
    assert!(err.contains("acme/auth@1.2.0"), "{err}");
    machine.assert_clean();
}

#[test]
fn versions_fit_together_or_it_is_said_why_not() {
    let folder = Folder::new("parts-versions");
    let home = folder.path();
    let store = home.join("store");
    fs::create_dir(&store).expect("a folder");
    let server = Server::start(&store, &["--anonymous", "publish"]);
    let url = server.url();
    publish(home, &url, "1.0.0", "^1");
    let shop_of = |dependencies: &str| {
        fs::write(home.join("saas.pactown.yaml"), shop(&url, dependencies)).expect("a file");
        fs::write(home.join("web.md"), readme("web")).expect("a file");
    };
    let lock = || fs::read_to_string(home.join("pactown.lock")).expect("a lock");
    shop_of(AUTH);
    // Without a lock it is nothing yet, and it is said what to do.
    let (_, err) = ends(1, &mut pactown(home, &["validate"]));
    assert!(
        err.contains("acme/auth@^1") && err.contains("pactown lock"),
        "{err}"
    );
    ends(0, &mut pactown(home, &["lock"]));
    ends(0, &mut pactown(home, &["validate"]));
    ends(0, &mut pactown(home, &["lock", "--check"]));
    assert!(lock().contains("version = \"1.0.0\""), "{}", lock());

    // What is locked stays, also when something newer is there or it is yanked.
    publish(home, &url, "1.3.0", "^1");
    shop_of(AUTH);
    ends(
        0,
        &mut pactown(home, &["registry", "yank", "acme/auth@1.0.0", "-r", &url]),
    );
    let before = lock();
    fs::remove_dir_all(home.join(".pactown")).expect("fetched");
    ends(0, &mut pactown(home, &["lock"]));
    assert_eq!(lock(), before);
    ends(0, &mut pactown(home, &["lock", "--update"]));
    assert!(lock().contains("version = \"1.3.0\""), "{}", lock());

    // Two who cannot have the same.
    publish(home, &url, "2.0.0", "^2");
    let both = format!("{AUTH}, {{name: db, version: ^2, registry: default}}");
    shop_of(&both);
    let before = lock();
    let (_, err) = ends(1, &mut pactown(home, &["lock"]));
    assert!(
        err.contains("no version of acme/db fits: acme/auth@1.3.0 needs ^1")
            && err.contains("web (line 7) needs ^2")
            && err.contains("there are 1.0.0, 1.3.0, 2.0.0"),
        "{err}"
    );
    assert_eq!(lock(), before);
    shop_of("{name: gone, registry: default}");
    let (_, err) = ends(1, &mut pactown(home, &["lock"]));
    assert!(err.contains("there is no acme/gone in the registry"), "{err}");

    // 'from' names what is called otherwise here; what the file has itself is not looked for.
    let named = |range: &str| {
        let yaml = format!(
            "name: shop\nregistry: {{url: '{url}'}}\nservices:\n  login: {{from: acme/auth@{range}, egress: all}}\n  db: {{readme: web.md}}\n"
        );
        fs::write(home.join("saas.pactown.yaml"), yaml).expect("a file");
    };
    named("~1.0");
    let (_, err) = ends(1, &mut pactown(home, &["lock"]));
    assert!(err.contains("no version of acme/auth fits"), "yanked: {err}");
    named("^1");
    // What is locked is not shown again.
    fs::remove_file(home.join("pactown.lock")).expect("a lock");
    let (_, err) = ends(0, &mut pactown(home, &["lock"]));
    assert!(err.contains("network  open"), "{err}");
    assert!(
        lock().contains("acme/auth") && !lock().contains("name = \"acme/db\""),
        "{}",
        lock()
    );
    let (out, _) = ends(0, &mut pactown(home, &["graph"]));
    assert!(out.contains("login") && out.contains("db"), "{out}");
}
