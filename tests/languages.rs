//! Dependencies of Go, Rust, PHP and the distribution: cold, warm, after an edit, shared, locked, and refused.

use std::process::Output;
use std::time::Duration;

use crate::support::observe::eventually;
use crate::support::shelves::{Shelves, are_there};
use crate::support::town::{Machine, Town};

/// What one language's README looks like.
struct Language {
    name: &'static str,
    programs: &'static [&'static str],
    readme: &'static str,
    /// Text of a source, and what it may be replaced with.
    edit: (&'static str, &'static str),
    /// A requirement, and one of another release.
    other: (&'static str, &'static str),
}

const LANGUAGES: [Language; 3] = [
    Language {
        name: "go",
        programs: &["go"],
        readme: "# Go\n\n```go markpact:deps\nexample.test/greet@v1.0.0\n```\n\n```go markpact:file path=main.go\npackage main\n\nimport (\n\t\"example.test/greet\"\n\t\"fmt\"\n)\n\nfunc main() { fmt.Println(\"one \" + greet.Word()) }\n```\n\n```sh markpact:setup\ngo build -o app .\n```\n\n```sh markpact:run\n./app > said; exec sleep 1000\n```\n",
        edit: ("one ", "two "),
        other: ("@v1.0.0", "@v1.1.0"),
    },
    Language {
        name: "rust",
        programs: &["cargo", "cc"],
        readme: "# Rust\n\n```rust markpact:deps\ngreet = \"=1.0.0\"\n```\n\n```rust markpact:file path=src/main.rs\nfn main() { println!(\"one {}\", greet::word()) }\n```\n\n```sh markpact:setup\ncargo build --release --offline && cp target/release/app app\n```\n\n```sh markpact:run\n./app > said; exec sleep 1000\n```\n",
        edit: ("one ", "two "),
        other: ("=1.0.0", "=1.1.0"),
    },
    Language {
        name: "php",
        programs: &["php", "composer", "unzip"],
        readme: "# PHP\n\n```php markpact:deps\ntest/greet:1.0.0\n```\n\n```php markpact:file path=main.php\n<?php require 'vendor/autoload.php'; echo 'one ' . word() . \"\\n\";\n```\n\n```sh markpact:run\nphp main.php > said; exec sleep 1000\n```\n",
        edit: ("one ", "two "),
        other: ("greet:1.0.0", "greet:1.1.0"),
    },
];

fn town(language: &Language, word: &str) -> (Town, Shelves) {
    let yaml = format!(
        "name: {0}\nservices:\n  api: {{readme: api.md}}\n  web: {{readme: web.md, depends_on: [api]}}\n",
        language.name
    );
    // The same dependencies, another source.
    let web = language
        .readme
        .replacen("# ", "# Another ", 1)
        .replace("one ", "web ");
    let files = [("api.md", language.readme), ("web.md", web.as_str())];
    let (town, shelves) = Shelves::of(Town::new(language.name, &yaml, &files));
    shelves.add("1.0.0", word);
    shelves.add("1.1.0", "later");
    (town, shelves)
}

/// What the service has written once it runs.
#[track_caller]
fn says(town: &Town, service: &str, wanted: impl AsRef<str>) {
    eventually(wanted.as_ref(), Duration::from_secs(20), || {
        town.inside(service, "cat said") == wanted.as_ref()
    });
}

fn row(town: &Town, service: &str) -> String {
    let plan = town.ok(&["up", "-n"]);
    let mut rows = plan
        .lines()
        .filter(|line| line.starts_with(&format!("{service} ")));
    rows.next_back().unwrap_or_default().to_owned()
}

#[test]
fn dependencies_of_go_rust_and_php_are_built_once_and_an_edit_leaves_them() {
    let machine = Machine::take_with_new_layers();
    for language in LANGUAGES.iter().filter(|one| are_there(one.name, one.programs)) {
        // Nothing in the cache has it.
        let word = format!("hello{}", std::process::id());
        let (town, _shelves) = town(language, &word);
        let (name, kind) = (language.name, language.name);
        assert!(
            row(&town, "web").contains(&format!("{kind} (to be made)")),
            "{name}"
        );
        town.ok(&["up", "-d"]);
        says(&town, "api", format!("one {word}"));
        says(&town, "web", format!("web {word}"));
        town.ok(&["down"]);
        // An edited source: the dependencies stay.
        town.edit("api.md", language.edit.0, language.edit.1);
        let planned = row(&town, "api");
        assert!(planned.contains(&format!("{kind} (cached)")), "{name}: {planned}");
        town.ok(&["up", "-d"]);
        says(&town, "api", format!("two {word}"));
        // Another release is another layer, of this service alone.
        town.edit("api.md", language.other.0, language.other.1);
        assert!(
            row(&town, "api").contains(&format!("{kind} (to be made)")),
            "{name}"
        );
        assert!(row(&town, "web").contains(&format!("{kind} (cached)")), "{name}");
        town.ok(&["up", "-d"]);
        says(&town, "api", "two later");
        drop(town);
    }
    machine.assert_clean();
}

#[test]
fn what_was_locked_is_installed_again_whatever_came_out_meanwhile() {
    let machine = Machine::take_with_new_layers();
    for language in LANGUAGES.iter().filter(|one| are_there(one.name, one.programs)) {
        let name = language.name;
        let (town, shelves) = town(language, "locked");
        // Any release will do.
        let any = match name {
            "go" => ("@v1.0.0", "@latest"),
            "rust" => ("=1.0.0", "1"),
            _ => ("greet:1.0.0", "greet:^1"),
        };
        town.edit("api.md", any.0, any.1);
        town.edit("web.md", any.0, any.1);
        let (out, err) = town.expect(0, &["lock"]);
        assert!(out.contains("1.1.0"), "{name}: {out}{err}");
        let lock = std::fs::read_to_string(town.path().join("pactown.lock")).expect("a lock");
        assert!(lock.contains(&format!("language = \"{name}\"")), "{lock}");
        shelves.add("1.2.0", "newest");
        town.ok(&["up", "-d", "--locked"]);
        says(&town, "api", "one later");
        town.ok(&["down"]);
        let (out, _) = town.expect(0, &["lock", "--update", "api"]);
        assert!(out.contains("1.2.0"), "{name}: {out}");
        town.ok(&["up", "-d", "--locked", "--offline", "api"]);
        says(&town, "api", "one newest");
        drop(town);
    }
    machine.assert_clean();
}

#[test]
fn a_dependency_that_is_not_there_is_told_with_its_line() {
    let machine = Machine::take_with_new_layers();
    for language in LANGUAGES.iter().filter(|one| are_there(one.name, one.programs)) {
        let (town, _shelves) = town(language, "hello");
        let wrong = language.other.1.replace("1.1.0", "9.0.0");
        town.edit("api.md", language.other.0, &wrong);
        let (_, err) = town.expect(1, &["up", "-d"]);
        assert!(err.contains("api.md:4: installing"), "{}: {err}", language.name);
        drop(town);
    }
    machine.assert_clean();
}

const SYSTEM: &str = "# S\n\n```system markpact:deps\ngreet\n```\n\n```sh markpact:setup\ngreet > early\n```\n\n```sh markpact:run\ngreet > said; exec sleep 1000\n```\n";

fn told(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn packages_of_the_distribution_are_in_one_sandbox_and_the_host_has_none() {
    if !are_there("system", &["apt-get", "dpkg-deb"]) {
        return;
    }
    let machine = Machine::take_with_new_layers();
    let yaml = "name: debian\nservices:\n  api: {readme: s.md}\n  other: {readme: o.md}\n";
    let other = "# O\n\n```sh markpact:run\nexec sleep 1000\n```\n";
    let (town, shelves) = Shelves::of(Town::new("debian", yaml, &[("s.md", SYSTEM), ("o.md", other)]));
    let version = format!("1.{}", std::process::id());
    shelves.add_debian(&version, "unpacked");
    let before = std::fs::read("/var/lib/dpkg/status").expect("the host's list");
    let first = town.up_on_another_host(&shelves.as_the_only_source());
    told(first);
    // Its program, its files, its configuration; and not those of its scripts, which were not run.
    says(&town, "api", "unpacked\nconfigured");
    assert_eq!(
        town.inside("api", "cat early"),
        "unpacked\nconfigured",
        "also while setting up"
    );
    assert_eq!(
        town.inside("api", "command -v greet; command -v sh"),
        "/usr/bin/greet\n/usr/bin/sh",
        "beside what the host has"
    );
    assert_eq!(
        town.run(&["exec", "api", "touch", "/usr/bin/x"]).status.code(),
        Some(1)
    );
    assert_eq!(town.run(&["exec", "other", "greet"]).status.code(), Some(127));
    assert!(!std::path::Path::new("/usr/bin/greet").exists());
    assert_eq!(
        std::fs::read("/var/lib/dpkg/status").expect("the host's list"),
        before
    );
    town.ok(&["down"]);
    drop(town);
    machine.assert_clean();
}
