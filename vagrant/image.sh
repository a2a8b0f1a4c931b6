#!/usr/bin/env bash
# Makes the guest of qemu.sh in a directory: `disk.img` (Debian 12: systemd, cgroup v2 and nothing else, kernel 6.1),
# `vmlinuz`, `initrd.gz`. All of it from Debian's packages; needs root, mmdebstrap and e2fsprogs.
set -euo pipefail
directory=$1
root=$directory/root

packages=netbase,systemd,systemd-sysv,libpam-systemd,udev,dbus,kmod,busybox-static
packages+=,$("$(dirname "$0")/provision.sh" tests | paste -sd ,)

# The host's own mirror where it is one of Debian, else mmdebstrap's choice.
mirror() {
    . /etc/os-release
    [ "$ID" = debian ] || return 0
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep '/debian/*$' | head -n 1
}

system() {
    mmdebstrap --quiet --variant=minbase --include="$packages" \
        --customize-hook='cd "$1/boot" && kernel=$(chroot "$1" apt-cache depends linux-image-cloud-amd64 |
            sed -n "s/.*Depends: \(linux-image-[0-9].*\)/\1/p" | head -n 1) &&
            APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --quiet --option APT::Sandbox::User=root download "$kernel"' \
        bookworm "$root" $(mirror)
}

kernel() {
    dpkg-deb --extract "$root"/boot/linux-image-*.deb "$directory/kernel"
    rm "$root"/boot/linux-image-*.deb
    cp "$directory"/kernel/boot/vmlinuz-* "$directory/vmlinuz"
    cp -r "$directory/kernel/lib/modules" "$root/lib/"
    version=$(ls "$root/lib/modules")
    chroot "$root" depmod "$version"
}

# The disk's drivers are modules: a first root with busybox loads them and goes on to the disk.
initrd() {
    local first=$directory/first
    mkdir -p "$first"/{bin,dev,proc,new,modules}
    cp "$root/bin/busybox" "$first/bin/busybox"
    chroot "$root" modprobe --set-version "$version" --show-depends --all virtio_pci virtio_blk ext4 |
        sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$directory/order"
    {
        echo '#!/bin/busybox sh'
        echo '/bin/busybox mount -t devtmpfs dev /dev'
        while read -r module; do
            cp "$root$module" "$first/modules/"
            echo "/bin/busybox insmod /modules/$(basename "$module")"
        done <"$directory/order"
        echo 'until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done'
        echo '/bin/busybox mount -t ext4 /dev/vda /new'
        echo '/bin/busybox mount --move /dev /new/dev'
        echo 'exec /bin/busybox switch_root /new /sbin/init'
    } >"$first/init"
    chmod 755 "$first/init"
    (cd "$first" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null) | gzip -1 >"$directory/initrd.gz"
}

# The one unit that is ours: runs what the second disk brings, on the second serial line, then ends the machine.
unit() {
    echo pactown-vm >"$root/etc/hostname"
    echo '127.0.0.1 localhost pactown-vm' >"$root/etc/hosts"
    cat >"$root/etc/systemd/system/payload.service" <<'UNIT'
[Unit]
Description=What the second disk brings
After=multi-user.target dbus.service

[Service]
Type=oneshot
TasksMax=infinity
ExecStartPre=/bin/mkdir -p /payload
ExecStartPre=/bin/mount /dev/vdb /payload
ExecStart=/payload/run
StandardOutput=file:/dev/ttyS1
StandardError=inherit
ExecStopPost=/bin/sh -c 'exec systemctl poweroff -ff >/dev/ttyS0 2>&1'
UNIT
    # Anything else that writes to a serial line, or works in the background, is in the way.
    local unwanted=(serial-getty@ttyS0.service serial-getty@ttyS1.service getty@tty1.service
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
        systemd-timesyncd.service)
    systemctl --root="$root" --quiet mask "${unwanted[@]}" 2>/dev/null ||
        for name in "${unwanted[@]}"; do ln -sf /dev/null "$root/etc/systemd/system/$name"; done
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -sf ../payload.service "$root/etc/systemd/system/multi-user.target.wants/payload.service"
}

disk() {
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root/usr/share/doc" "$root/usr/share/man"
    truncate --size 4G "$directory/disk.img"
    mkfs.ext4 -q -F -d "$root" "$directory/disk.img"
    rm -rf "$root" "$directory/kernel" "$directory/first" "$directory/order"
}

mkdir -p "$directory"
system
kernel
initrd
unit
disk
