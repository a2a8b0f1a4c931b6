#!/bin/sh
# Builds pactown from the synced tree and runs all of its tests on this machine, as root.
set -eu

cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-/var/tmp/pactown-target}"
exec sudo --preserve-env=CARGO_TARGET_DIR,PATH,HOME cargo test --workspace --all-features
