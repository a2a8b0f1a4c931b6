#!/bin/sh
# Builds pactown from the synced tree and runs all of its tests on this machine, as root: those too that need systemd.
set -eu

cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-/var/tmp/pactown-target}"
as_root() { sudo --preserve-env=CARGO_TARGET_DIR,PATH,HOME "$@"; }
as_root cargo test --workspace --all-features
as_root cargo test --all-features --test suite -- --ignored systemd::
