//! Toolchains in made-up homes, and this machine's own.

use super::*;
use indexmap::IndexMap;

/// A home directory that is removed with the test.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("pactown-toolchain-{name}-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        Self(fs::canonicalize(home).unwrap())
    }

    fn program(&self, path: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn text(&self, path: &str, text: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn discover(&self, path: &[&str], env: &[(&str, &str)]) -> Toolchains {
        let env: IndexMap<_, _> = env
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        let path = path.iter().map(|place| self.0.join(place)).collect();
        let caller = Caller {
            uid: 0,
            gid: 0,
            user: "t".into(),
            home: self.0.clone(),
            path,
            env,
        };
        discover(&caller, &self.0.join("project"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn pyenv_shims_lead_to_the_version_that_its_files_name() {
    let home = Home::new("pyenv");
    for version in ["3.9.2", "3.11.7", "3.11.10"] {
        home.program(&format!(".pyenv/versions/{version}/bin/python3"));
    }
    home.program(".pyenv/shims/python3")
        .text(".pyenv/version", "3.9.2\n")
        .program("sys/python3");
    let at = |version: &str| home.0.join(format!(".pyenv/versions/{version}"));
    let bind = |found: &Toolchains| found.python().unwrap().bind.clone().unwrap();
    let path = [".pyenv/shims", "sys"];
    assert_eq!(bind(&home.discover(&path, &[])), at("3.9.2"));
    assert_eq!(
        bind(&home.discover(&path, &[("PYENV_VERSION", "3.11")])),
        at("3.11.10")
    );
    home.text("project/.python-version", "3.11.7\n");
    let found = home.discover(&path, &[]);
    assert_eq!(bind(&found), at("3.11.7"));
    assert_eq!(found.directories(), [at("3.11.7").join("bin")]);
    home.text("project/.python-version", "system\n");
    assert_eq!(bind(&home.discover(&path, &[])), home.0.join("sys/python3"));
}

#[test]
fn node_of_nvm_brings_npm_which_is_a_link_into_the_same_tree() {
    let home = Home::new("nvm");
    home.program(".nvm/v20/bin/node")
        .program(".nvm/v20/lib/node_modules/npm/bin/npm-cli.js");
    std::os::unix::fs::symlink(
        "../lib/node_modules/npm/bin/npm-cli.js",
        home.0.join(".nvm/v20/bin/npm"),
    )
    .unwrap();
    let found = home.discover(&[".nvm/v20/bin"], &[]);
    let (_, npm) = found.node().unwrap();
    assert_eq!(npm.directory, Some(home.0.join(".nvm/v20/bin")));
    assert_eq!(found.binds(), [home.0.join(".nvm/v20")]);
}

#[test]
fn a_home_directory_is_never_bound_as_a_whole() {
    let home = Home::new("local");
    home.program(".local/bin/uv").program("bin/deno");
    let found = home.discover(&[".local/bin", "bin"], &[]);
    assert_eq!(
        found.binds(),
        [home.0.join(".local/bin/uv"), home.0.join("bin/deno")]
    );
}

#[test]
fn rustup_proxies_lead_to_the_default_toolchain() {
    let home = Home::new("rustup");
    home.program(".cargo/bin/cargo").program(".cargo/bin/rustup");
    home.program(".rustup/toolchains/stable-x86_64/bin/cargo");
    home.text(
        ".rustup/settings.toml",
        "version = \"12\"\ndefault_toolchain = \"stable-x86_64\"\n",
    );
    let found = home.discover(&[".cargo/bin"], &[]);
    assert_eq!(found.binds(), [home.0.join(".rustup/toolchains/stable-x86_64")]);
}

#[test]
fn what_is_missing_is_named_with_places_and_remedy() {
    let home = Home::new("missing");
    let found = home.discover(&["a", "b"], &[]);
    let missing = found.node().unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!("`node` was not found in {0}/a, {0}/b", home.0.display())
    );
    assert!(missing.remedy.contains("npm"));
}
