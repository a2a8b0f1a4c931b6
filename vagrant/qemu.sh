#!/usr/bin/env bash
# Runs pactown's tests in a machine with pure cgroup v2, systemd and an older kernel, which QEMU emulates: no Vagrant,
# no KVM. Installs what it needs (Debian, Ubuntu), makes the guest's disk once, builds the tests here and carries them in.
#
#   vagrant/qemu.sh            the tests that differ by kernel, cgroup version and init: five minutes
#   vagrant/qemu.sh all        every test that needs nothing from the Internet, and no stopwatch: hours
#   vagrant/qemu.sh WORD…      those tests of all whose names contain a WORD
#
# Output comes as it is written in the guest. The exit status is that of the tests; a guest that does not say it has
# failed, and one that is not done after PACTOWN_VM_DEADLINE seconds (1200; all: 14400) is ended.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cache=${PACTOWN_VM_CACHE:-/var/cache/pactown-vm}
deadline=${PACTOWN_VM_DEADLINE:-$([ "${1:-}" = all ] && echo 14400 || echo 1200)}

say() { printf 'vm: %s\n' "$*" >&2; }

if [ "$(id -u)" != 0 ]; then
    exec sudo --preserve-env=PATH,HOME,CARGO_TARGET_DIR,PACTOWN_VM_CACHE,PACTOWN_VM_DEADLINE "$tree/vagrant/qemu.sh" "$@"
fi

packages() {
    local missing=()
    command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing ${missing[*]}"
    apt-get update -q >"$work/apt.log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >>"$work/apt.log" 2>&1 ||
        { tail -n 20 "$work/apt.log" >&2; say "cannot install ${missing[*]}"; exit 3; }
}

# The guest is what image.sh and provision.sh say: others make another guest. A half-made one has no final name.
image() {
    local key
    key=$(cat vagrant/image.sh vagrant/provision.sh | sha256sum | cut -c 1-12)
    guest=$cache/$key
    [ ! -e "$guest" ] || return 0
    say "making the guest's disk in $guest (once; a minute or two)"
    rm -rf "$cache"/*
    vagrant/image.sh "$work/guest" >"$work/image.log" 2>&1 ||
        { tail -n 20 "$work/image.log" >&2; say "cannot make the guest's disk"; exit 3; }
    mv "$work/guest" "$guest"
}

build() {
    say "building the tests"
    cargo test --workspace --all-features --no-run 2>&1 | tee "$work/build.log" | grep -E '^(error|warning: unused)|^ +Compiling pactown' >&2 || true
    programs=$(sed -n 's/^ *Executable tests.*(\(.*\))$/\1/p' "$work/build.log")
    [ "$(wc -w <<<"$programs")" -eq 3 ] || { cat "$work/build.log" >&2; say "the tests do not build"; exit 1; }
}

# A disk with the tree, the programs where their tests look for them, and what to run.
payload() {
    local inside=$work/payload
    mkdir -p "$inside/tree" "$inside/target/debug/deps" "$inside/target/debug/examples"
    tar --exclude=target --exclude=.git --exclude=.pactown-sandboxes -cf - . | tar -C "$inside/tree" -xf -
    local program
    for program in $programs; do
        strip --strip-debug -o "$inside/target/debug/deps/$(basename "$program")" "$program"
    done
    strip --strip-debug -o "$inside/target/debug/pactown" "$target/debug/pactown"
    for program in deny features keeper; do
        strip --strip-debug -o "$inside/target/debug/examples/$program" "$target/debug/examples/$program"
    done
    {
        echo '#!/bin/sh'
        echo 'stty -F /dev/ttyS1 -opost'
        printf 'tree=%q target=%q\n' "$tree" "$target"
        echo 'mkdir -p "$tree" && mount --bind /payload/tree "$tree"'
        echo 'mkdir -p "$target" && mount --bind /payload/target "$target"'
        printf 'cd "$tree" && vagrant/guest.sh "$target/debug" %s\n' "$(printf '%q ' "${@:-short}")"
        echo 'echo "guest: exit $?"'
    } >"$inside/run"
    chmod 755 "$inside/run"
    truncate --size 1G "$work/payload.img"
    mkfs.ext4 -q -F -d "$inside" "$work/payload.img"
    rm -rf "$inside"
}

# `snapshot`: the disk stays as it was made.
boot() {
    say "booting (its console: $cache/console.log)"
    timeout --foreground --kill-after=5 "$deadline" qemu-system-x86_64 -pidfile "$work/pid" -accel tcg,thread=multi -cpu max -m 2G -smp 2 \
        -display none -no-reboot -nic none \
        -kernel "$guest/vmlinuz" -initrd "$guest/initrd.gz" -append 'console=ttyS0 quiet' \
        -drive "file=$guest/disk.img,if=virtio,format=raw,snapshot=on" \
        -drive "file=$work/payload.img,if=virtio,format=raw,cache=unsafe" \
        -serial "file:$cache/console.log" -serial stdio </dev/null | tee "$work/result.log" || true
}

# What counts is the last line of the guest; the last line here sums up those of the test programs.
verdict() {
    local last status counts
    last=$(grep -a . "$work/result.log" | tail -n 1 || true)
    case $last in
        'guest: exit '*) status=${last#guest: exit } ;;
        *)
            status=1
            tail -n 20 "$cache/console.log" >&2
            say "the guest did not say how its tests ended (it had $deadline s)"
            ;;
    esac
    counts=$(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0 " passed, " failed + 0 " failed" }' \
        "$work/result.log")
    [ "$status" = 0 ] || say "failed"
    echo "vm: $counts"
    exit "$status"
}

# However it ends: no machine runs on.
leave() {
    [ ! -e "$work/pid" ] || kill "$(cat "$work/pid")" 2>/dev/null || true
    rm -rf "$work"
}

main() {
    mkdir -p "$cache"
    exec 9>"$cache.lock"
    flock --nonblock 9 || { say "another one runs; waiting"; flock 9; }
    work=$(mktemp -d -p "$cache" .run-XXXXXX)
    trap leave EXIT
    packages
    image
    build
    payload "$@"
    boot
    verdict
}

main "$@"
