//! Packages of a test's own for Go, Cargo, Composer and apt, in folders that these take instead of a registry: no test
//! depends on a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skips::skipped;
use super::town::Town;

/// A folder with one registry for each package manager, below a town.
pub(crate) struct Shelves(PathBuf);

/// Writes a release of the package `greet`, which says one word: `$1` folder, `$2` version, `$3` word.
const WRITE: &str = r#"
import hashlib, io, json, os, sys, tarfile, zipfile
folder, version, word = sys.argv[1:4]
def put(path, text):
    path = os.path.join(folder, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "wb" if isinstance(text, bytes) else "w").write(text)
def read(path):
    path = os.path.join(folder, path)
    return open(path).read() if os.path.exists(path) else ""
def zipped(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return data.getvalue()
# A file tree as GOPROXY (Go Modules Reference, "GOPROXY protocol").
module, at = "example.test/greet", f"go/example.test/greet/@v/"
mod = f"module {module}\n\ngo 1.17\n"
put(at + "list", read(at + "list") + f"v{version}\n")
put(at + f"v{version}.info", json.dumps({"Version": f"v{version}", "Time": "2024-01-01T00:00:00Z"}))
put(at + f"v{version}.mod", mod)
code = f'package greet\n\nfunc Word() string {{ return "{word}" }}\n'
put(at + f"v{version}.zip", zipped({f"{module}@v{version}/go.mod": mod, f"{module}@v{version}/greet.go": code}))
# A local registry (The Cargo Book, "Local Registry Sources").
crate = io.BytesIO()
with tarfile.open(fileobj=crate, mode="w:gz") as archive:
    for name, text in {
        "Cargo.toml": f'[package]\nname = "greet"\nversion = "{version}"\nedition = "2021"\n',
        "src/lib.rs": f'pub fn word() -> &\'static str {{ "{word}" }}\n',
    }.items():
        entry = tarfile.TarInfo(f"greet-{version}/{name}")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
put(f"crates/greet-{version}.crate", crate.getvalue())
line = {"name": "greet", "vers": version, "deps": [], "features": {}, "yanked": False,
        "cksum": hashlib.sha256(crate.getvalue()).hexdigest()}
put("crates/index/gr/ee/greet", read("crates/index/gr/ee/greet") + json.dumps(line) + "\n")
put("cargo/config.toml", f'[source.crates-io]\nreplace-with = "shelf"\n[source.shelf]\nlocal-registry = "{folder}/crates"\n')
# A Composer repository (composer documentation, "Repositories").
put(f"php/greet-{version}.zip", zipped({"greet.php": f"<?php function word() {{ return '{word}'; }}\n"}))
known = json.loads(read("php/packages.json") or '{"packages": {"test/greet": {}}}')
known["packages"]["test/greet"][version] = {
    "name": "test/greet", "version": version, "autoload": {"files": ["greet.php"]},
    "dist": {"type": "zip", "url": f"{folder}/php/greet-{version}.zip"}}
put("php/packages.json", json.dumps(known))
put("composer/config.json", json.dumps({"repositories": [{"packagist.org": False}, {"type": "composer", "url": f"file://{folder}/php"}]}))
"#;

/// Writes a flat repository with one Debian package: `$1` folder, `$2` version, `$3` word.
const DEBIAN: &str = r#"set -e
root=$1/deb-root; rm -rf "$root"; mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/share/greet" "$root/etc/greet" "$1/deb"
printf 'Package: greet\nVersion: %s\nArchitecture: all\nMaintainer: test <test@example.test>\nDescription: greets\n' "$2" > "$root/DEBIAN/control"
printf '#!/bin/sh\nexit 1\n' > "$root/DEBIAN/postinst"; chmod 755 "$root/DEBIAN/postinst"
echo "$3" > "$root/usr/share/greet/word"
echo configured > "$root/etc/greet/greet.conf"
printf '#!/bin/sh\ncat /usr/share/greet/word /etc/greet/greet.conf\n' > "$root/usr/bin/greet"; chmod 755 "$root/usr/bin/greet"
dpkg-deb -b --root-owner-group "$root" "$1/deb/greet_$2_all.deb" >/dev/null
cd "$1/deb"; : > Packages
for one in *.deb; do
    dpkg-deb -f "$one" >> Packages
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$one" "$(stat -c %s "$one")" "$(sha256sum < "$one" | cut -d' ' -f1)" >> Packages
done
"#;

impl Shelves {
    /// Lets `town`'s package managers take packages from folders of its own, and from nowhere else.
    pub(crate) fn of(town: Town) -> (Town, Self) {
        let folder = town.path().join("shelves");
        fs::create_dir_all(&folder).expect("a folder");
        let at = |name: &str| folder.join(name).to_str().expect("utf-8").to_owned();
        let town = town
            .with_env("GOPROXY", &format!("file://{}", at("go")))
            .with_env("GOSUMDB", "off")
            .with_env("GOENV", "off")
            .with_env("CARGO_HOME", &at("cargo"))
            .with_env("COMPOSER_HOME", &at("composer"));
        (town, Self(folder))
    }

    /// A release of `greet`, which says `word`: a module, a crate and a package.
    pub(crate) fn add(&self, version: &str, word: &str) {
        run(Command::new("python3")
            .args(["-c", WRITE])
            .arg(&self.0)
            .args([version, word]));
    }

    /// A Debian package `greet` with a program, a file and a configuration.
    pub(crate) fn add_debian(&self, version: &str, word: &str) {
        run(Command::new("sh")
            .args(["-c", DEBIAN, "sh"])
            .arg(&self.0)
            .args([version, word]));
    }

    /// Shell text that makes the folder the only source of Debian packages.
    pub(crate) fn as_the_only_source(&self) -> String {
        format!(
            "mount -t tmpfs none /etc/apt && echo 'deb [trusted=yes] file:{}/deb ./' > /etc/apt/sources.list",
            self.0.display()
        )
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether all of `programs` are there; says otherwise that `what` is left out, past the capture of the test harness.
pub(crate) fn are_there(what: &str, programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| {
        std::env::split_paths(&path).any(|directory| Path::new(&directory).join(name).is_file())
    };
    let Some(missing) = programs.iter().find(|name| !is_there(name)) else {
        return true;
    };
    skipped(what, &format!("{missing} is not installed"));
    false
}
