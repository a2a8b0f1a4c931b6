#!/bin/sh
# Installs what building and testing pactown needs on Debian or Ubuntu. Packages only, as root;
# the Rust toolchain comes from the distribution's rustup package where there is one.
set -eu

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends \
    ca-certificates curl gcc iproute2 libc6-dev nftables nodejs npm procps \
    python3 python3-venv rsync strace util-linux \
    crun docker-registry docker.io golang-github-opencontainers-specs-dev iptables python3-jsonschema runc

if ! command -v cargo >/dev/null; then
    if apt-get install -q -y --no-install-recommends rustup; then
        su - vagrant -c 'rustup default stable'
        rustup default stable
    else
        echo "install Rust 1.89 or newer (see https://rustup.rs), then run this again" >&2
        exit 1
    fi
fi
