//! Go modules: downloaded and compiled into `/app/.go`, which the run phase reads by `GOENV`. Pure.

use super::{Own, text_of};
use crate::markpact::Recipe;
use crate::markpact::recipe::FileBlock;
use crate::markpact::requirement;

/// Variables of the run phase and of what is built after it, as `go env -w` writes them.
pub(in crate::prepare) const ENV: &str = "/app/.go/env";

/// Files of the README that Go reads.
pub(super) const OWN: [&str; 2] = ["go.mod", "go.sum"];

/// Checksums of the README are kept to; without any, those that were found are written beside go.mod, and a build may
/// complete them. The module's own sources are not looked at unless a path in go.mod leads to them.
pub(super) const SCRIPT: &str = r#"set -e
mkdir -p "$TMPDIR/module" "$HOME/.resolution" /app/.go
export GOPATH="$TMPDIR/go" GOMODCACHE=/app/.go/mod GOCACHE=/app/.go/build GOFLAGS="-modcacherw -mod=mod"
go env GOVERSION | sed 's/^go//' > "$HOME/.resolution/toolchain"
place=$1; shift
test "$place" = files || cd "$TMPDIR/module"
for name in go.mod go.sum; do
    if [ -e "/etc/build/$name" ]; then cp "/etc/build/$name" "$name"
    elif [ "$PWD" != /app ] && [ -e "/app/$name" ]; then cp "/app/$name" "$name"
    fi
done
given=no
test ! -s go.sum || { given=yes; cp go.sum "$TMPDIR/given"; }
test -e go.mod || go mod init app
if [ $# -gt 0 ] && [ "$given" = no ]; then go get "$@"; fi
go list -m -f '{{if and (not .Main) .Version}}{{.Path}}@{{.Version}}{{end}}' all > "$TMPDIR/modules"
xargs -r go mod download < "$TMPDIR/modules"
if [ "$given" = yes ]; then cp "$TMPDIR/given" go.sum; fi
wanted=$(for one in "$@"; do echo "${one%%@*}"; done; go list -m -f '{{if not (or .Main .Indirect)}}{{.Path}}{{end}}' all)
found=$(go list -e -f '{{if and .GoFiles (not .Error)}}{{.ImportPath}}{{end}}' $wanted 2>/dev/null || true)
test -z "$found" || go build $found || echo "pactown: not everything could be compiled beforehand"
cp go.mod "$HOME/.resolution/"
touch go.sum
cp go.sum "$HOME/.resolution/"
printf 'GOMODCACHE=/app/.go/mod\nGOCACHE=/app/.go/build\n' > /app/.go/env
if [ "$PWD" != /app ]; then
    test -e /app/go.mod || cp go.mod /app/
    test -e /app/go.sum || cp go.sum /app/
fi
if [ "$given" = no ]; then echo 'GOFLAGS=-mod=mod' >> /app/.go/env; fi
"#;

/// What the README's go.mod says (Go Modules Reference, "go.mod files").
pub(super) fn own(files: &[FileBlock]) -> Own {
    let text = text_of(files, "go.mod").unwrap_or_default();
    let lines = || {
        text.lines()
            .map(|line| line.split("//").next().unwrap_or(line).trim())
    };
    let leads_here = |line: &str| {
        let target = line.split_once("=>").map(|(_, target)| target.trim());
        target.is_some_and(|target| target.starts_with(['.', '/']))
    };
    Own {
        has_dependencies: lines().any(|line| line.starts_with("require")),
        reads_files: lines().any(leads_here),
    }
}

/// `module@version` of each requirement; none where go.mod has them.
pub(super) fn args(requirements: &[(usize, String)], recipe: &Recipe) -> Vec<String> {
    if text_of(&recipe.files, "go.mod").is_some() {
        return Vec::new();
    }
    let texts = requirements.iter().map(|(_, text)| text);
    texts.filter_map(|text| requirement::go(text)).collect()
}
