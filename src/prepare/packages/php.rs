//! Composer packages: installed into `/app/vendor`. Pure.

use serde_json::Value;

use super::{Own, text_of};
use crate::markpact::recipe::FileBlock;
use crate::markpact::requirement;

/// Programs of packages, inside.
pub(in crate::prepare) const BIN: &str = "/app/vendor/bin";

/// Files of the README that Composer reads.
pub(super) const OWN: [&str; 3] = ["composer.json", "composer.lock", "auth.json"];

/// `composer install` does as a composer.lock says; without one it chooses.
pub(super) const SCRIPT: &str = r#"set -e
mkdir -p "$TMPDIR/composer" "$HOME/.resolution"
export COMPOSER_HOME="$TMPDIR/composer" COMPOSER_CACHE_DIR="$TMPDIR/composer-cache" COMPOSER_NO_INTERACTION=1
cp /etc/build/composer/* "$COMPOSER_HOME/" 2>/dev/null || true
php -r 'echo PHP_VERSION, "\n";' > "$HOME/.resolution/toolchain"
own=no
test ! -e composer.json || own=yes
for name in composer.json composer.lock; do
    test ! -e "/etc/build/$name" || cp "/etc/build/$name" "$name"
done
if [ -e composer.json ]; then composer install --no-progress
else
    echo '{}' > composer.json
    composer require --no-progress -- "$@"
fi
if [ "$own" = no ]; then cp composer.json "$HOME/.resolution/"; fi
cp composer.lock "$HOME/.resolution/"
"#;

/// What the README's composer.json says. A damaged one is Composer's to report.
pub(super) fn own(files: &[FileBlock]) -> Own {
    let text = text_of(files, "composer.json").unwrap_or_default();
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let groups = ["require", "require-dev"];
    let mut packages = groups
        .iter()
        .filter_map(|group| value.get(group)?.as_object())
        .flatten();
    // Their classes or scripts are looked for in the README's files; PSR-4 names directories only.
    let autoload = ["classmap", "files"].iter().any(|kind| {
        ["autoload", "autoload-dev"]
            .iter()
            .any(|group| value.pointer(&format!("/{group}/{kind}")).is_some())
    });
    let path = value
        .get("repositories")
        .is_some_and(|repositories| repositories.to_string().contains("\"path\""));
    Own {
        has_dependencies: packages.any(|(name, _)| name.contains('/')),
        reads_files: autoload || path || value.get("scripts").is_some(),
    }
}

/// `package:constraint` of each requirement.
pub(super) fn args(requirements: &[(usize, String)]) -> Vec<String> {
    let texts = requirements.iter().map(|(_, text)| text);
    texts.filter_map(|text| requirement::php(text)).collect()
}
