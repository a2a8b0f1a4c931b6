//! Python packages of a test's own, in a folder that pip takes instead of an index: no test depends on a network.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::town::Town;

/// A folder with wheels, below a town.
pub(crate) struct Wheels(PathBuf);

/// Writes a wheel (PyPA's binary distribution format) with one module.
const WRITE: &str = r#"
import sys, zipfile
folder, name, version, code, needs = sys.argv[1:6]
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(zipfile.ZipInfo(f"{name}.py"), code)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {one}\n" for one in needs.split())
    wheel.writestr(zipfile.ZipInfo(f"{info}/METADATA"), metadata)
    wheel.writestr(zipfile.ZipInfo(f"{info}/WHEEL"), "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "")
"#;

impl Wheels {
    /// Lets `town`'s pip take packages from a folder of its own, and from nowhere else.
    pub(crate) fn of(town: Town) -> (Town, Self) {
        let folder = town.path().join("wheels");
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.to_str().expect("utf-8").to_owned();
        let town = town
            .with_env("PIP_NO_INDEX", "1")
            .with_env("PIP_FIND_LINKS", &path)
            .with_env("PIP_CONFIG_FILE", "/dev/null");
        (town, Self(folder))
    }

    /// A package with one module of the same name; `needs` are requirements.
    pub(crate) fn add(&self, name: &str, version: &str, code: &str, needs: &str) {
        let status = Command::new("python3")
            .args(["-c", WRITE])
            .arg(&self.0)
            .args([name, version, code, needs])
            .status()
            .expect("python3");
        assert!(status.success());
    }

    /// The SHA-256 of its file, as another program tells it.
    pub(crate) fn sha256(&self, name: &str, version: &str) -> String {
        let wheel = self.path().join(format!("{name}-{version}-py3-none-any.whl"));
        let output = Command::new("sha256sum").arg(wheel).output().expect("sha256sum");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split(' ').next().expect("a digest").to_owned()
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}
