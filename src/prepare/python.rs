//! The Python layer: what is installed how. Pure.

use std::path::Path;

use super::{BuildSettings, Content, LayerPlan, key};
use crate::toolchain::Toolchain;

/// The virtual environment, inside.
pub(super) const VENV: &str = "/app/.venv";
/// The requirements in the build sandbox.
pub(super) const REQUIREMENTS: &str = "/etc/build/requirements.txt";

/// pip resolves paths in a requirements file from the working directory, but `-r other.txt` from the file's own: so
/// the file is in /app while pip runs. An interpreter without ensurepip may still have pip itself.
const PIP: &str = r#"set -e
mkdir -p "$TMPDIR"
cp /etc/build/requirements.txt /app/.requirements.txt
if "$1" -c 'import ensurepip' 2>/dev/null; then
    "$1" -m venv /app/.venv
    set -- /app/.venv/bin/python
elif "$1" -m pip --version >/dev/null 2>&1; then
    "$1" -m venv --without-pip /app/.venv
    set -- "$1" -m pip --python /app/.venv/bin/python
    "$@" install -r /app/.requirements.txt
    rm /app/.requirements.txt
    exit 0
else
    echo "pactown: this Python has neither ensurepip nor pip" >&2
    exit 96
fi
"$1" -m pip install -r /app/.requirements.txt
rm /app/.requirements.txt
"#;

const UV: &str = r#"set -e
mkdir -p "$TMPDIR"
cp /etc/build/requirements.txt /app/.requirements.txt
"$2" venv --seed --python "$1" /app/.venv
"$2" pip install --python /app/.venv/bin/python -r /app/.requirements.txt
rm /app/.requirements.txt
"#;

/// The exit code of [`PIP`] for an interpreter that can install nothing.
pub(super) const NO_PIP: i32 = 96;

/// The plan of the layer. pip is used although uv is there when pip has settings that uv would not read.
pub(super) fn plan(
    requirements: Vec<(usize, String)>,
    python: &Toolchain,
    uv: Option<&Toolchain>,
    files: &str,
    settings: &BuildSettings,
) -> LayerPlan {
    let uv = uv.filter(|_| settings.pip.is_empty());
    let lines: Vec<&str> = requirements.iter().map(|(_, text)| text.as_str()).collect();
    let inputs = (
        &lines,
        &python.identity,
        uv.map(|uv| &uv.identity),
        &settings.pip,
        &settings.uv,
        lines.iter().any(|line| is_local(line)).then_some(files),
    );
    let key = key::of("python", &inputs);
    LayerPlan {
        key,
        content: Content::Python {
            requirements,
            python: python.clone(),
            uv: uv.cloned(),
        },
    }
}

/// Whether a requirement reads files of the README: paths, options with files.
fn is_local(line: &str) -> bool {
    line.starts_with(['.', '-', '/'])
        || line.contains("file:")
        || line.ends_with(".whl")
        || line.ends_with(".tar.gz")
}

/// Arguments of the build.
pub(super) fn args(python: &Toolchain, uv: Option<&Toolchain>) -> Vec<String> {
    let script = if uv.is_some() { UV } else { PIP };
    let mut args = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    args.push(text(&python.program));
    args.extend(uv.map(|uv| text(&uv.program)));
    args
}

/// The text of [`REQUIREMENTS`].
pub(super) fn file(requirements: &[(usize, String)]) -> String {
    requirements.iter().map(|(_, line)| format!("{line}\n")).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
