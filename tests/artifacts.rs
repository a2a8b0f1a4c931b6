//! `pactown build`: build blocks run in build sandboxes, and what they made is the user's.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::support::town::{Machine, Town};

const YAML: &str = "name: artifacts\nservices:\n  app: {readme: app.md}\n  site: {readme: site.md}\n  plain: {readme: plain.md}\n";
const PLAIN: &str = "# P\n\n```sh markpact:run\nexec sleep 1000\n```\n";

fn app(script: &str) -> String {
    format!(
        "# A\n\n```text markpact:file path=source.txt\nsource {}\n```\n\n```sh markpact:setup\nmkdir tools; cp source.txt tools/\n```\n\n```sh markpact:build artifacts=dist\n{script}\n```\n\n```sh markpact:run\nexec sleep 1000\n```\n",
        std::process::id()
    )
}

const SCRIPT: &str = "mkdir -p dist/sub && cat tools/source.txt > dist/sub/app && chmod 755 dist/sub/app && ln -s app dist/sub/link && date +%s%N > dist/when && echo scratch > rest && id -u";
const SITE: &str =
    "# S\n\n```sh markpact:build\necho page > index.html\n```\n\n```sh markpact:run\nexec sleep 1000\n```\n";

#[test]
fn artifacts_are_copied_out_once_built_and_belong_to_the_user() {
    let machine = Machine::take_with_new_layers();
    let town = Town::new(
        "artifacts",
        YAML,
        &[("app.md", &app(SCRIPT)), ("site.md", SITE), ("plain.md", PLAIN)],
    );
    std::os::unix::fs::chown(town.path(), Some(4242), Some(4243)).expect("chown");
    let list: Value = serde_json::from_str(&town.ok(&["build", "--list", "--json"])).expect("json");
    assert_eq!(
        (&list[0]["service"], &list[0]["artifacts"][0]),
        (&"app".into(), &"dist".into()),
        "{list}"
    );
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let out = town.path().join("out");
    town.ok(&["build", "app", "--output", "out"]);
    let read =
        |path: &str| fs::read_to_string(out.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(read("dist/sub/link"), format!("source {}\n", std::process::id()));
    let made = fs::metadata(out.join("dist/sub/app")).expect("a file");
    assert_eq!(made.mode() & 0o777, 0o755);
    assert_eq!(
        (made.uid(), made.gid()),
        (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw())
    );
    assert!(
        !out.join("rest").exists() && !out.join("source.txt").exists(),
        "only what is named"
    );
    // Built once: the same again is copied, an edit is built.
    let when = read("dist/when");
    fs::write(out.join("dist/stale"), "x").expect("a file");
    town.ok(&["build", "app", "-o", "out"]);
    assert_eq!(read("dist/when"), when);
    assert!(
        !out.join("dist/stale").exists(),
        "the folder is as the build made it"
    );
    town.edit("app.md", "echo scratch", "echo other");
    town.ok(&["build", "app", "-o", "out"]);
    assert_ne!(read("dist/when"), when);
    // All of them, each in a folder of its own.
    town.ok(&["build", "-o", "all"]);
    assert_eq!(
        fs::read_to_string(town.path().join("all/site/index.html")).expect("a page"),
        "page\n"
    );
    assert!(town.path().join("all/app/dist/sub/app").exists());
    assert_eq!(town.ok(&["ls", "--json"]).trim(), "[]", "nothing runs");
    drop(town);
    machine.assert_clean();
}

#[test]
fn a_readme_on_its_own_is_built_and_what_fails_is_told_with_its_line() {
    let machine = Machine::take_with_new_layers();
    let library = "# L\n\n```sh markpact:build artifacts=lib.a\necho archive > lib.a\n```\n";
    let town = Town::new(
        "artifacts",
        YAML,
        &[
            ("app.md", &app("echo before; exit 3")),
            ("site.md", &SITE.replace("build\n", "build artifacts=dist\n")),
            ("plain.md", PLAIN),
            ("lib/README.md", library),
        ],
    );
    town.ok(&["build", "lib/README.md", "-o", "out"]);
    assert_eq!(
        fs::read_to_string(town.path().join("out/lib.a")).expect("an archive"),
        "archive\n"
    );
    let (_, err) = town.expect(1, &["build", "app", "-o", "none"]);
    assert!(
        err.contains("app.md:11: building failed (exit code 3)") && err.contains("before"),
        "{err}"
    );
    assert!(!town.path().join("none").exists());
    let (_, err) = town.expect(1, &["build", "site", "-o", "none"]);
    assert!(
        err.contains("site.md: the build of 'site' made no `dist`"),
        "{err}"
    );
    let (_, err) = town.expect(2, &["build", "plain"]);
    assert!(err.contains("has nothing to build"), "{err}");
    let (_, err) = town.expect(2, &["build", "nobody"]);
    assert!(err.contains("there are app, site, plain"), "{err}");
    town.edit("site.md", "artifacts=dist", "artifacts=../dist");
    let (_, err) = town.expect(1, &["validate"]);
    assert!(err.contains("leads out of its directory"), "{err}");
    drop(town);
    machine.assert_clean();
}
