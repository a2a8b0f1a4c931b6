//! Plans of layers, and making them with a runner that needs no sandbox.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::markpact::recipe::{DepsBlock, Lines, Workload};

mod unfinished;

fn file(path: &str, content: &str) -> FileBlock {
    FileBlock {
        path: path.into(),
        content: content.into(),
        mode: 0o755,
        language: String::new(),
        lines: Lines::default(),
    }
}

fn recipe(files: Vec<FileBlock>, deps: &[(DepsLanguage, &[&str])]) -> Recipe {
    let block = |(language, names): &(DepsLanguage, &[&str])| DepsBlock {
        language: *language,
        requirements: names
            .iter()
            .enumerate()
            .map(|(line, name)| (line + 10, (*name).to_owned()))
            .collect(),
        lines: Lines::default(),
    };
    Recipe {
        readme: "/p/README.md".into(),
        title: None,
        files,
        deps: deps.iter().map(block).collect(),
        run: None,
        workload: Workload::default(),
        health: None,
        setup: vec![],
        jobs: vec![],
        tests: vec![],
        endpoints: vec![],
        others: vec![],
        marks: vec![],
        notes: vec![],
    }
}

fn toolchains(names: &[&str]) -> Toolchains {
    let tool = |name: &&str| Toolchain {
        name: (*name).to_owned(),
        program: Path::new("/usr/bin").join(name),
        directory: None,
        bind: None,
        identity: format!("{name} 1"),
    };
    Toolchains {
        found: names.iter().map(tool).collect(),
        searched: vec!["/usr/bin".into()],
    }
}

fn keys(recipe: &Recipe, settings: &BuildSettings) -> Vec<String> {
    let plans = plan(recipe, &toolchains(&["python3", "node", "npm"]), settings, &[]).unwrap();
    plans.into_iter().map(|plan| plan.key).collect()
}

#[test]
fn a_key_changes_with_what_feeds_the_layer_and_with_nothing_else() {
    let none = BuildSettings::default();
    let base = recipe(vec![file("main.py", "1")], &[(DepsLanguage::Python, &["flask"])]);
    let mut moved = base.clone();
    moved.files[0].lines.first = 99;
    moved.deps[0].requirements[0].0 = 42;
    assert_eq!(keys(&base, &none), keys(&moved, &none));
    let edited = recipe(vec![file("main.py", "2")], &[(DepsLanguage::Python, &["flask"])]);
    let (before, after) = (keys(&base, &none), keys(&edited, &none));
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1], after[1]);
    let pinned = recipe(
        vec![file("main.py", "1")],
        &[(DepsLanguage::Python, &["flask==2"])],
    );
    assert_ne!(keys(&pinned, &none)[1], before[1]);
    let mirror = BuildSettings {
        pip: vec!["index-url=https://x.example".into()],
        ..none.clone()
    };
    assert_ne!(keys(&base, &mirror)[1], before[1]);
    let local = |text| {
        recipe(
            vec![file("req.txt", text)],
            &[(DepsLanguage::Python, &["-r req.txt"])],
        )
    };
    assert_ne!(keys(&local("a"), &none)[1], keys(&local("b"), &none)[1]);
}

#[test]
fn a_package_json_of_the_readme_is_honoured() {
    let none = BuildSettings::default();
    let manifest = r#"{"dependencies": {"express": "4"}}"#;
    let own = recipe(vec![file("package.json", manifest)], &[]);
    assert_eq!(keys(&own, &none).len(), 2);
    let empty = recipe(vec![file("package.json", r#"{"type": "module"}"#)], &[]);
    assert_eq!(keys(&empty, &none).len(), 1);
    assert_eq!(plan(&own, &toolchains(&[]), &none, &[]).unwrap().len(), 1);
}

#[test]
fn a_missing_toolchain_is_named() {
    let python = recipe(vec![], &[(DepsLanguage::Python, &["flask"])]);
    let missing = plan(&python, &toolchains(&["node"]), &BuildSettings::default(), &[]).unwrap_err();
    assert_eq!(missing.to_string(), "`python3` was not found in /usr/bin");
}

/// Writes what an installer would.
struct Pretend {
    runs: AtomicU32,
    status: ExitStatus,
}

impl BuildRunner for Pretend {
    fn open(&self, name: &str, _: &Access) -> Result<BuildSite, RunnerError> {
        let bundle = std::env::temp_dir().join(name);
        Ok(BuildSite {
            ids: IdRange { base: 2_000_065_536 },
            netns: None,
            bundle,
            cgroup: format!("pactown/test/{name}"),
            nameservers: vec![],
            proxy: None,
        })
    }

    fn run(
        &self,
        _: &str,
        bundle: &Bundle,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<ExitStatus, RunnerError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mounts = bundle.spec.mounts().as_ref().unwrap();
        let overlay = mounts
            .iter()
            .find(|mount| mount.typ().as_deref() == Some("overlay"))
            .unwrap();
        let options = overlay.options().as_ref().unwrap();
        let upper = options
            .iter()
            .find_map(|option| option.strip_prefix("upperdir="))
            .map(Path::new)
            .unwrap();
        fs::create_dir_all(upper.join(".venv/bin"))?;
        fs::write(upper.join(".venv/bin/python"), "x")?;
        fs::set_permissions(upper.join(".venv/bin/python"), fs::Permissions::from_mode(0o4755))?;
        std::os::unix::fs::symlink("/etc/shadow", upper.join("link"))?;
        on_line("ERROR: No matching distribution found for flask==99");
        Ok(self.status)
    }

    fn close(&self, _: &str) -> Vec<Contact> {
        Vec::new()
    }
}

struct Store(PathBuf, Layers);

impl Store {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pactown-layers-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        let layers = Layers::at(&path);
        Self(path, layers)
    }

    fn make(&self, recipe: &Recipe, runner: &Pretend) -> Result<Vec<PathBuf>, PrepareError> {
        let (toolchains, settings, host) = (
            toolchains(&["python3"]),
            BuildSettings::default(),
            HostFacts::default(),
        );
        let plans = plan(recipe, &toolchains, &settings, &[]).unwrap();
        let context = BuildContext {
            readme: &recipe.readme,
            host: &host,
            toolchains: &toolchains,
            settings: &settings,
            offline: false,
            strict: false,
            hosts: &[],
            learn: false,
        };
        make(&self.1, &plans, context, runner, &mut |_, _| {}).map(|stack| stack.app())
    }

    /// Names in the store besides locks.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| ![".locks", ".records", ".store"].contains(&name.as_str()))
            .collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn flask() -> Recipe {
    recipe(
        vec![file("src/main.py", "print(1)\n")],
        &[(DepsLanguage::Python, &["flask==99"])],
    )
}

#[test]
fn eight_at_once_build_once() {
    let store = Store::new("once");
    let runner = Pretend {
        runs: AtomicU32::new(0),
        status: ExitStatus::Code(0),
    };
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| store.make(&flask(), &runner).unwrap()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(runner.runs.load(Ordering::SeqCst), 1);
    assert!(made.iter().all(|layers| *layers == made[0]));
    assert_eq!(store.names().len(), 2);
    let (files, venv) = (&made[0][0], &made[0][1]);
    assert_eq!(
        fs::read_to_string(files.join("src/main.py")).unwrap(),
        "print(1)\n"
    );
    assert_eq!(
        fs::metadata(files.join("src/main.py")).unwrap().mode() & 0o7777,
        0o755
    );
    let python = fs::metadata(venv.join(".venv/bin/python")).unwrap();
    assert_eq!(
        (python.uid(), python.gid(), python.mode() & 0o7777),
        (0, 0, 0o755)
    );
    assert!(fs::symlink_metadata(venv.join("link")).unwrap().is_symlink());
}

#[test]
fn a_failed_install_names_line_and_requirement_and_leaves_nothing() {
    let store = Store::new("failed");
    let runner = Pretend {
        runs: AtomicU32::new(0),
        status: ExitStatus::Code(1),
    };
    let error = store.make(&flask(), &runner).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/p/README.md:10: installing `flask==99` failed (exit code 1)"
    );
    assert_eq!(
        error.details(),
        ["ERROR: No matching distribution found for flask==99"]
    );
    assert_eq!(
        store.names().len(),
        1,
        "only the files layer: {:?}",
        store.names()
    );
}

/// The sandboxes that were run: name, what lies below its `/app`, and whether requirements were there.
#[derive(Default)]
struct Seen(std::sync::Mutex<Vec<(String, String, bool)>>);

impl BuildRunner for Seen {
    fn open(&self, name: &str, access: &Access) -> Result<BuildSite, RunnerError> {
        succeeding().open(name, access)
    }

    fn run(
        &self,
        name: &str,
        bundle: &Bundle,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<ExitStatus, RunnerError> {
        let mounts = bundle.spec.mounts().as_ref().unwrap();
        let options = mounts
            .iter()
            .filter_map(|mount| mount.options().as_ref())
            .flatten();
        let lower = options
            .filter_map(|option| option.strip_prefix("lowerdir="))
            .collect::<String>();
        let requirements = Path::new(python::REQUIREMENTS);
        let has = mounts.iter().any(|mount| mount.destination() == requirements);
        if name.starts_with("probe-") {
            assert_eq!(fs::read_dir(&lower)?.count(), 0, "below the probe's /app");
        }
        self.0.lock().unwrap().push((name.to_owned(), lower, has));
        succeeding().run(name, bundle, on_line)
    }

    fn close(&self, _: &str) -> Vec<Contact> {
        Vec::new()
    }
}

fn succeeding() -> Pretend {
    Pretend {
        runs: AtomicU32::new(0),
        status: ExitStatus::Code(0),
    }
}

#[test]
fn an_installer_that_may_reach_anything_sees_nothing_of_the_readme() {
    let store = Store::new("probe");
    let recipe = recipe(
        vec![file("pip.py", "raise SystemExit\n")],
        &[(DepsLanguage::Python, &["flask"])],
    );
    let (toolchains, settings) = (toolchains(&["python3"]), BuildSettings::default());
    let plans = plan(&recipe, &toolchains, &settings, &[]).unwrap();
    let context = BuildContext {
        readme: &recipe.readme,
        host: &HostFacts::default(),
        toolchains: &toolchains,
        settings: &settings,
        offline: false,
        strict: false,
        hosts: &[],
        learn: true,
    };
    let seen = Seen::default();
    let made = make(&store.1, &plans, context, &seen, &mut |_, _| {}).unwrap();
    let seen = seen.0.into_inner().unwrap();
    let [(probe, nothing, false), (build, lower, true)] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert!(probe.starts_with("probe-") && build.starts_with("build-"));
    assert!(nothing.ends_with("/nothing"), "{nothing}");
    assert_eq!(Path::new(lower), made.app()[0]);
}

#[test]
fn the_run_finds_what_was_installed() {
    let toolchains = toolchains(&["python3", "node", "npm"]);
    let both = recipe(
        vec![],
        &[
            (DepsLanguage::Python, &["flask"]),
            (DepsLanguage::Node, &["express"]),
        ],
    );
    let plans = plan(&both, &toolchains, &BuildSettings::default(), &[]).unwrap();
    let extras = extras(&plans, &toolchains);
    assert_eq!(
        extras.path,
        [PathBuf::from("/app/.venv/bin"), "/app/node_modules/.bin".into()]
    );
    assert_eq!(
        extras.variables,
        [("VIRTUAL_ENV".to_owned(), "/app/.venv".to_owned())]
    );
}
