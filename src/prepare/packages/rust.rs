//! Crates: vendored into `/app/.cargo-home`, and compiled into `/app/target`, with the README's own sources left out: an
//! edit of them changes nothing here. Pure.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{DIRECTORY, Own, text_of};
use crate::markpact::Recipe;
use crate::markpact::recipe::FileBlock;
use crate::markpact::requirement;

/// Cargo's home in the run phase and in what is built after this.
pub(in crate::prepare) const HOME: &str = "/app/.cargo-home";

/// Files of the README that Cargo reads.
pub(super) const OWN: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    ".cargo/config",
    "rust-toolchain",
    "rust-toolchain.toml",
];

/// `$1` tells whether Cargo needs the README's files, `$2` is the package's name; the other arguments are the sources that its
/// targets have, which are empty programs here. Cargo's settings of the host are for fetching only: afterwards every source is a directory.
pub(super) const SCRIPT: &str = r#"set -e
mkdir -p "$TMPDIR/crate" "$TMPDIR/cargo" "$HOME/.resolution" /app/.cargo-home
export CARGO_HOME="$TMPDIR/cargo" CARGO_TARGET_DIR=/app/target CARGO_TERM_PROGRESS_WHEN=never
cp /etc/build/cargo/* "$CARGO_HOME/" 2>/dev/null || true
rustc --version | cut -d' ' -f2 > "$HOME/.resolution/toolchain"
place=$1 package=$2; shift 2
if [ "$place" = files ]; then cd /app
else
    cd "$TMPDIR/crate"
    test ! -d /app/.cargo || cp -r /app/.cargo .
    for name in Cargo.toml Cargo.lock rust-toolchain rust-toolchain.toml; do
        test ! -e "/app/$name" || cp "/app/$name" .
    done
    for source in "$@"; do
        mkdir -p "$(dirname "./$source")"
        echo 'fn main() {}' > "./$source"
    done
fi
for name in Cargo.toml Cargo.lock; do
    test ! -e "/etc/build/$name" || cp "/etc/build/$name" "$name"
done
locked=
test ! -e Cargo.lock || locked=--locked
cargo vendor $locked --respect-source-config --versioned-dirs /app/.cargo-home/vendor > "$TMPDIR/config.toml"
cp "$TMPDIR/config.toml" /app/.cargo-home/config.toml
test ! -e Cargo.lock || cp Cargo.lock "$HOME/.resolution/"
if [ "$place" != files ]; then
    for name in Cargo.toml Cargo.lock; do
        test -e "/app/$name" || test ! -e "$name" || cp "$name" /app/
    done
    CARGO_HOME=/app/.cargo-home cargo build --release --offline
    # Of the empty programs nothing may be taken for the README's.
    cargo clean --release --offline -p "$package"
fi
"#;

/// What the README's Cargo.toml says. A damaged one is Cargo's to report.
pub(super) fn own(files: &[FileBlock]) -> Own {
    let Some(manifest) = manifest(files) else {
        return Own::default();
    };
    let groups = ["dependencies", "build-dependencies", "dev-dependencies"];
    let tables = || {
        let of = |table: &Table| -> Vec<Table> {
            let found = groups.iter().filter_map(|group| table.get(*group)?.as_table());
            found.cloned().collect()
        };
        let targets = manifest.get("target").and_then(Value::as_table);
        let targets = targets
            .into_iter()
            .flat_map(Table::values)
            .filter_map(Value::as_table);
        of(&manifest)
            .into_iter()
            .chain(targets.flat_map(of).collect::<Vec<_>>())
    };
    let is_path = |value: &Value| value.get("path").is_some();
    let package = manifest.get("package").and_then(Value::as_table);
    let builds =
        package.is_some_and(|package| package.contains_key("build")) || text_of(files, "build.rs").is_some();
    Own {
        has_dependencies: tables().any(|table| !table.is_empty()) || manifest.contains_key("workspace"),
        reads_files: builds
            || ["workspace", "patch", "replace"]
                .iter()
                .any(|key| manifest.contains_key(*key))
            || tables().any(|table| table.values().any(is_path)),
    }
}

fn manifest(files: &[FileBlock]) -> Option<Table> {
    toml::from_str(text_of(files, "Cargo.toml")?).ok()
}

/// The manifest that a README without one gets.
pub(super) fn generated(recipe: &Recipe, requirements: &[(usize, String)]) -> Vec<(PathBuf, String)> {
    if text_of(&recipe.files, "Cargo.toml").is_some() {
        return Vec::new();
    }
    let lines: String = requirements
        .iter()
        .filter_map(|(_, text)| requirement::rust(text))
        .map(|line| format!("{line}\n"))
        .collect();
    let at_the_top = text_of(&recipe.files, "main.rs").is_some();
    let bin = if at_the_top {
        "[[bin]]\nname = \"app\"\npath = \"main.rs\"\n\n"
    } else {
        ""
    };
    let text = format!(
        "[package]\nname = \"app\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n{bin}[dependencies]\n{lines}"
    );
    vec![(Path::new(DIRECTORY).join("Cargo.toml"), text)]
}

/// The package's name.
pub(super) fn name(recipe: &Recipe) -> String {
    let manifest = manifest(&recipe.files).unwrap_or_default();
    let name = manifest.get("package").and_then(|package| package.get("name"));
    name.and_then(Value::as_str).unwrap_or("app").to_owned()
}

/// The sources that the manifest's targets must have (The Cargo Book, "Target auto-discovery").
pub(super) fn stubs(recipe: &Recipe) -> Vec<String> {
    let files = &recipe.files;
    let manifest = manifest(files).unwrap_or_default();
    let path = |value: &Value| value.get("path").and_then(Value::as_str).map(str::to_owned);
    let lib = manifest
        .get("lib")
        .map(|lib| path(lib).unwrap_or_else(|| "src/lib.rs".to_owned()));
    let bins = manifest.get("bin").and_then(Value::as_array);
    let bins = bins.into_iter().flatten().map(|bin| {
        let name = bin.get("name").and_then(Value::as_str).unwrap_or("main");
        path(bin).unwrap_or_else(|| format!("src/bin/{name}.rs"))
    });
    let usual = ["main.rs", "src/main.rs", "src/lib.rs"];
    let usual = usual.iter().filter(|path| text_of(files, path).is_some());
    let mut stubs: Vec<String> = lib
        .into_iter()
        .chain(bins)
        .chain(usual.map(|path| (*path).to_owned()))
        .collect();
    if stubs.is_empty() {
        stubs.push("src/main.rs".to_owned());
    }
    // What leads elsewhere is for Cargo to refuse.
    stubs.retain(|path| !path.starts_with('/') && !path.split('/').any(|part| part == ".."));
    stubs.sort();
    stubs.dedup();
    stubs
}
