#!/bin/sh
# Installs what building and testing pactown needs on Debian or Ubuntu. Packages only, as root;
# the Rust toolchain comes from the distribution's rustup package where there is one (Debian 13, Ubuntu 24.04).
#
#   provision.sh           installs
#   provision.sh tests     only says what the tests use, one package a line: the guest of qemu.sh has it too
set -eu

# Programs of the services, the tests' witnesses, other runtimes, and the OCI's own schema.
tests="ca-certificates crun curl docker-registry e2fsprogs golang-github-opencontainers-specs-dev iproute2 libxml2 nftables openssl procps python3
    python3-jsonschema python3-venv runc strace util-linux"
# What a machine without the Internet has no use for.
more="docker.io gcc iptables libc6-dev nodejs npm rsync"

if [ "${1:-}" = tests ]; then
    printf '%s\n' $tests
    exit
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends $tests $more

if ! command -v cargo >/dev/null; then
    if apt-get install -q -y --no-install-recommends rustup; then
        su - vagrant -c 'rustup default stable'
        rustup default stable
    else
        echo "install Rust 1.89 or newer (see https://rustup.rs), then run this again" >&2
        exit 1
    fi
fi
