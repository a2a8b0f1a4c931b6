//! What decides the layers of package managers, and what their builds are given.

use super::*;
use crate::markpact;

const GO: &str = "# A\n\n```go markpact:deps\nrsc.io/quote@v1.5.2\n```\n";
const RUST: &str = "# A\n\n```rust markpact:deps\nitoa = \"1\"\n```\n\n```rust markpact:file path=main.rs\nfn main() {}\n```\n";
const PHP: &str = "# A\n\n```php markpact:deps\npsr/log:^3\n```\n";
const SYSTEM: &str = "# A\n\n```system markpact:deps\njq\n```\n\n```python markpact:deps\nflask\n```\n";

fn recipe(text: &str) -> Recipe {
    markpact::parse(Path::new("README.md"), text).unwrap()
}

fn toolchains() -> Toolchains {
    let names = ["python3", "go", "cargo", "rustc", "php", "composer", "apt-get"];
    let tool = |name: &str| Toolchain {
        name: name.to_owned(),
        program: Path::new("/usr/bin").join(name),
        directory: None,
        bind: None,
        identity: format!("{name} 1"),
    };
    Toolchains {
        found: names.map(tool).to_vec(),
        searched: vec!["/usr/bin".into()],
    }
}

fn plans(text: &str, settings: &BuildSettings, locked: &[Resolution]) -> Vec<LayerPlan> {
    super::super::plan(&recipe(text), &toolchains(), settings, locked).unwrap()
}

fn keys(text: &str) -> Vec<String> {
    let plans = plans(text, &BuildSettings::default(), &[]);
    plans.into_iter().map(|plan| plan.key).collect()
}

fn packages(text: &str) -> Packages {
    let plans = plans(text, &BuildSettings::default(), &[]);
    match plans.into_iter().nth(1).unwrap().content {
        Content::Packages(packages) => packages,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_edited_source_leaves_compiled_dependencies_and_a_changed_dependency_does_not() {
    let edited = RUST.replace("fn main() {}", "fn main() { loop {} }");
    assert_ne!(keys(RUST)[0], keys(&edited)[0]);
    assert_eq!(keys(RUST)[1], keys(&edited)[1]);
    assert_ne!(keys(RUST)[1], keys(&RUST.replace("\"1\"", "\"1.0.9\""))[1]);
    for (text, from, to) in [(GO, "v1.5.2", "v1.5.1"), (PHP, "^3", "^2")] {
        assert_ne!(keys(text)[1], keys(&text.replace(from, to))[1]);
    }
    let cargo = BuildSettings {
        cargo: vec!["registry".into()],
        ..BuildSettings::default()
    };
    assert_ne!(keys(RUST)[1], plans(RUST, &cargo, &[])[1].key);
    assert_eq!(keys(GO)[1], plans(GO, &cargo, &[])[1].key);
}

#[test]
fn others_are_built_over_the_packages_of_the_distribution() {
    let alone = SYSTEM.replace("```system markpact:deps\njq\n```\n", "");
    assert_eq!(plans(SYSTEM, &BuildSettings::default(), &[])[1].kind(), "system");
    assert_ne!(keys(SYSTEM)[2], keys(&alone)[1]);
    assert_ne!(keys(SYSTEM)[2], keys(&SYSTEM.replace("jq", "tree"))[2]);
}

#[test]
fn manifests_and_lock_files_of_a_readme_are_read() {
    let lock = "```text markpact:file path=go.sum\nrsc.io/quote v1 h1:aa=\n```\n";
    let with = |manifest: &str| format!("# A\n\n```text markpact:file path=go.mod\n{manifest}\n```\n\n");
    let go = with("module a\n\nrequire rsc.io/quote v1.5.2");
    assert_eq!(packages(&go).args, ["apart"]);
    assert_eq!(packages(&go).line, 3);
    assert_ne!(keys(&go)[1], keys(&(go.clone() + lock))[1]);
    assert_eq!(keys(&with("module a")).len(), 1, "asks for nothing");
    let here = with("module a\n\nrequire b v1.0.0\nreplace b => ./b");
    assert_eq!(packages(&here).args, ["files"]);
    let cargo = "# A\n\n```toml markpact:file path=Cargo.toml\n[package]\nname = \"a\"\n[dependencies]\nitoa = \"1\"\n[[bin]]\nname = \"tool\"\n```\n";
    assert_eq!(packages(cargo).args, ["apart", "a", "src/bin/tool.rs"]);
    let path = cargo.replace("\"1\"", "{ path = \"itoa\" }");
    assert_eq!(packages(&path).args[0], "files");
    let composer =
        "# A\n\n```json markpact:file path=composer.json\n{\"require\": {\"psr/log\": \"^3\"}}\n```\n";
    assert_eq!(packages(composer).language, Language::Php);
    let no_toolchain = super::super::plan(
        &recipe(composer),
        &Toolchains::default(),
        &BuildSettings::default(),
        &[],
    );
    assert_eq!(
        no_toolchain.unwrap().len(),
        1,
        "may be for the run block's own use"
    );
}

#[test]
fn a_missing_toolchain_is_named_with_the_package_that_has_it() {
    for (text, name, package) in [
        (GO, "go", "golang-go"),
        (RUST, "cargo", "cargo"),
        (PHP, "composer", "php-cli composer"),
        (SYSTEM, "apt-get", "Debian"),
    ] {
        let missing = super::super::plan(
            &recipe(text),
            &Toolchains::default(),
            &BuildSettings::default(),
            &[],
        )
        .unwrap_err();
        assert_eq!(missing.name, name);
        assert!(missing.remedy.contains(package), "{}", missing.remedy);
    }
}

#[test]
fn a_readme_without_a_manifest_gets_one() {
    let packages = packages(RUST);
    let (path, text) = &packages.files[0];
    assert_eq!(path, Path::new("/etc/build/Cargo.toml"));
    assert!(text.contains("path = \"main.rs\"") && text.ends_with("[dependencies]\nitoa = \"1\"\n"));
    assert_eq!(packages.args, ["apart", "app", "main.rs"]);
}

#[test]
fn a_lock_decides_what_is_installed_and_settings_do_not() {
    let (_, wanted) = asked(&recipe(GO), Language::Go).unwrap();
    let locked = Resolution {
        language: Language::Go,
        toolchain: "1.19".into(),
        wanted,
        packages: vec![],
        package_lock: None,
        files: [("go.sum".to_owned(), "x".to_owned())].into(),
    };
    let configured = BuildSettings {
        go: vec!["GOPROXY".into()],
        ..BuildSettings::default()
    };
    let [one, other] = [BuildSettings::default(), configured]
        .map(|settings| plans(GO, &settings, std::slice::from_ref(&locked)).remove(1));
    assert_eq!(one.key, other.key);
    assert_ne!(one.key, keys(GO)[1]);
    assert_eq!(one.locked(), Some(&locked));
    let Content::Packages(packages) = one.content else {
        panic!()
    };
    assert_eq!(
        packages.files,
        [(PathBuf::from("/etc/build/go.sum"), "x".to_owned())]
    );
}
