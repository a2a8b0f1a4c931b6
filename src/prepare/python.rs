//! The Python layer: what is installed how. Pure.

use std::path::Path;

use super::packages::Below;
use super::{BuildSettings, Content, LayerPlan, key, resolution};
use crate::lockfile::Resolution;
use crate::toolchain::Toolchain;

/// The virtual environment, inside.
pub(super) const VENV: &str = "/app/.venv";
/// The requirements in the build sandbox.
pub(super) const REQUIREMENTS: &str = "/etc/build/requirements.txt";

/// Those of them that have no hash, when they are locked: directories of the README, commits.
pub(super) const UNHASHED: &str = "/etc/build/unhashed.txt";

/// Why nothing can be locked that this pip installed.
pub(super) const NO_REPORT: &str =
    "this pip does not say what it installs: pip 22.2 or later is needed (or uv)";

/// pip resolves paths in a requirements file from the working directory, but `-r other.txt` from the file's own: so
/// the file is in /app while pip runs. An interpreter without ensurepip may still have pip itself.
const PIP: &str = r#"set -e
mkdir -p "$TMPDIR" "$HOME/.resolution"
python=$1 locked=$2
"$python" -c 'import platform; print(platform.python_version())' > "$HOME/.resolution/toolchain"
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv /app/.venv
    python=/app/.venv/bin/python
    pip() { "$python" -m pip "$@"; }
elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip /app/.venv
    pip() { "$python" -m pip --python /app/.venv/bin/python "$@"; }
else
    echo "pactown: this Python has neither ensurepip nor pip" >&2
    exit 96
fi
cp /etc/build/requirements.txt /app/.requirements.txt
if [ "$locked" = locked ]; then
    test ! -s /app/.requirements.txt || pip install --no-deps --require-hashes -r /app/.requirements.txt
    test ! -s /etc/build/unhashed.txt || pip install --no-deps -r /etc/build/unhashed.txt
elif "$python" -c 'import pip, sys; sys.exit([int(n) for n in pip.__version__.split(".")[:2]] < [22, 2])' 2>/dev/null; then
    pip install --report "$HOME/.resolution/python.json" -r /app/.requirements.txt
else
    pip install -r /app/.requirements.txt
fi
rm /app/.requirements.txt
"#;

const UV: &str = r#"set -e
mkdir -p "$TMPDIR" "$HOME/.resolution"
python=$1 locked=$2 uv=$3
"$python" -c 'import platform; print(platform.python_version())' > "$HOME/.resolution/toolchain"
"$uv" venv --seed --python "$python" /app/.venv
pip() { "$uv" pip install --python /app/.venv/bin/python "$@"; }
cp /etc/build/requirements.txt /app/.requirements.txt
if [ "$locked" = locked ]; then
    test ! -s /app/.requirements.txt || pip --no-deps --require-hashes -r /app/.requirements.txt
    test ! -s /etc/build/unhashed.txt || pip --no-deps -r /etc/build/unhashed.txt
else
    "$uv" pip compile -q --generate-hashes --no-header --no-annotate --python /app/.venv/bin/python \
        -o "$HOME/.resolution/python.txt" /app/.requirements.txt
    pip -r "$HOME/.resolution/python.txt"
fi
rm /app/.requirements.txt
"#;

/// The exit code of [`PIP`] for an interpreter that can install nothing.
pub(super) const NO_PIP: i32 = 96;

/// The plan of the layer. pip is used although uv is there when pip has settings that uv would not read. `locked` is what
/// the dependencies were resolved to, when they are still the same: then it decides, and no setting does.
pub(super) fn plan(
    requirements: Vec<(usize, String)>,
    (python, uv): (&Toolchain, Option<&Toolchain>),
    below: Below<'_>,
    settings: &BuildSettings,
    locked: Option<&Resolution>,
) -> LayerPlan {
    let uv = uv.filter(|_| settings.pip.is_empty());
    let local = lines(&requirements).iter().any(|line| is_local(line));
    let files = below.key(local);
    let key = match locked {
        Some(locked) => key::of("python-locked", &(&locked.packages, &python.identity, files)),
        None => {
            let identity = uv.map(|uv| &uv.identity);
            let of = (&settings.pip, &settings.uv);
            key::of(
                "python",
                &(
                    lines(&requirements),
                    &python.identity,
                    identity,
                    of.0,
                    of.1,
                    files,
                ),
            )
        }
    };
    LayerPlan {
        key,
        content: Content::Python {
            requirements,
            python: python.clone(),
            uv: uv.cloned(),
            locked: locked.cloned(),
        },
    }
}

/// The digest over what is wanted, that a lock compares.
pub(super) fn wanted(requirements: &[(usize, String)]) -> String {
    resolution::wanted(&lines(requirements))
}

fn lines(requirements: &[(usize, String)]) -> Vec<&str> {
    requirements.iter().map(|(_, text)| text.as_str()).collect()
}

/// Whether a requirement reads files of the README: paths, options with files.
fn is_local(line: &str) -> bool {
    line.starts_with(['.', '-', '/'])
        || line.contains("file:")
        || line.ends_with(".whl")
        || line.ends_with(".tar.gz")
}

/// Arguments of the build.
pub(super) fn args(python: &Toolchain, uv: Option<&Toolchain>, locked: bool) -> Vec<String> {
    let script = if uv.is_some() { UV } else { PIP };
    let mut args = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    args.push(text(&python.program));
    args.push(if locked { "locked" } else { "open" }.to_owned());
    args.extend(uv.map(|uv| text(&uv.program)));
    args
}

/// Files of the build: what is installed.
pub(super) fn files(
    requirements: &[(usize, String)],
    locked: Option<&Resolution>,
) -> [(&'static str, String); 2] {
    let text = |lines: Vec<&str>| lines.into_iter().map(|line| format!("{line}\n")).collect();
    match locked {
        None => [
            (REQUIREMENTS, text(lines(requirements))),
            (UNHASHED, String::new()),
        ],
        Some(locked) => {
            let packages = locked.packages.iter().map(String::as_str);
            let (hashed, unhashed) = packages.partition(|package: &&str| package.contains(" --hash="));
            [(REQUIREMENTS, text(hashed)), (UNHASHED, text(unhashed))]
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
