//! Packages of the distribution, for one sandbox: fetched and checked by the host's own apt against the host's own sources,
//! unpacked into a layer that lies over `/usr`. The host is read and never changed. Pure.

/// The list of a locked build.
pub(super) const LOCKED: &str = "system.txt";

/// apt asks the host's list of installed packages what is missing: what the host has is in `/usr` already. Its other
/// settings are not taken, for they may name proxies and hooks; its sources and keys are. Maintainer scripts are not run.
pub(super) const SCRIPT: &str = r#"set -e
root=$TMPDIR/root
mkdir -p "$TMPDIR/state/lists/partial" "$TMPDIR/cache/archives/partial" "$TMPDIR/log" "$root" "$HOME/.resolution"
cat > "$TMPDIR/apt.conf" <<END
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::State "$TMPDIR/state";
Dir::State::Status "/var/lib/dpkg/status";
Dir::Cache "$TMPDIR/cache";
Dir::Log "$TMPDIR/log";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
Dpkg::Use-Pty "false";
Acquire::Languages "none";
Acquire::Retries "2";
END
export APT_CONFIG="$TMPDIR/apt.conf" DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
dpkg-deb --version | sed -n '1s/.*version \([^ ]*\).*/\1/p' > "$HOME/.resolution/toolchain"
list=/etc/build/system.txt
if [ -e "$list" ]; then set -- $(sed -n 's/^\([^ ]*\)==\([^ ]*\) .*/\1=\2/p' "$list"); fi
# A source that nothing is wanted of may be out of order.
apt-get -q=2 update || echo "pactown: not every source of packages could be read"
get() { apt-get -y --reinstall --allow-downgrades "$@"; }
# What lies in a folder of this host is not downloaded.
get -qq --print-uris install "$@" | sed -n "s/^'file:\([^']*\)'.*/\1/p" > "$TMPDIR/here"
get -q --download-only install "$@"
while read -r package; do cp "$package" "$TMPDIR/cache/archives/"; done < "$TMPDIR/here"
for package in "$TMPDIR"/cache/archives/*.deb; do
    test -e "$package" || continue
    sum=$(sha256sum < "$package")
    line="$(dpkg-deb -f "$package" Package)==$(dpkg-deb -f "$package" Version) --hash=sha256:${sum%% *}"
    if [ -e "$list" ] && ! grep -qxF -- "$line" "$list"; then
        echo "pactown: error: $line is not in the lock" >&2
        exit 1
    fi
    echo "$line" >> "$HOME/.resolution/system.txt"
    dpkg-deb -x "$package" "$root"
done
touch "$HOME/.resolution/system.txt"
# Where /bin is a link to /usr/bin, as in every sandbox.
for name in bin sbin lib lib32 lib64 libx32; do
    test -d "$root/$name" || continue
    mkdir -p "$root/usr/$name"
    cp -a "$root/$name/." "$root/usr/$name/"
done
for name in usr etc opt; do
    test ! -d "$root/$name" || cp -a "$root/$name" /app/
done
"#;

/// The requirements as they are.
pub(super) fn args(requirements: &[(usize, String)]) -> Vec<String> {
    requirements.iter().map(|(_, text)| text.clone()).collect()
}
