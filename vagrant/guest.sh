#!/bin/sh
# What qemu.sh runs inside its machine: `guest.sh PROGRAMS short|all|WORD…`, PROGRAMS being the directory of the build.
# As in cargo's own runs, each test program says how many passed; this one says at the end which programs failed.
set -u
programs=$1
shift
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
# Emulation is 10 to 20 times slower: the tests wait so much longer.
export PACTOWN_TEST_PATIENCE="${PACTOWN_TEST_PATIENCE:-20}"
failed=

run() {
    program=$1
    shift
    "$programs"/deps/"$program"-* --test-threads=1 --include-ignored --skip layers::builder "$@" ||
        failed="$failed $program"
}

# What differs by kernel, cgroup version and init.
short() {
    run runtime
    run suite --skip oci::hello systemd:: isolation::limits hello who_exceeds_its_memory oci::shared a_bundle_holds
}

# Those that need npm, Docker or the Internet, or hold a stopwatch.
unfit="--skip tidy:: --skip shop --skip python_tool --skip the_first_command --skip docker_and
    --skip pauses_double --skip hangs_fails_its_service_in_time"

all() {
    run runtime
    run netns
    run suite --skip storm:: $unfit
    # A round takes minutes here.
    export PACTOWN_STORM_ROUNDS="${PACTOWN_STORM_ROUNDS:-6}"
    run suite storm::
}

echo "guest: $(uname -sr), systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p'), $(stat -f -c %T /sys/fs/cgroup)"
case ${1:-short} in
    short) short ;;
    all) all ;;
    *)
        run runtime "$@"
        run netns "$@"
        run suite "$@"
        ;;
esac
[ -z "$failed" ] || { echo "guest: failed:$failed"; exit 1; }
