#!/bin/sh
# Installs what is missing, builds, and runs all tests: with gcc as shipped, warnings being errors, and what needs no
# translated code again with clang under the address and undefined-behaviour sanitizers.
#
#   sh tests/run.sh [SUITE]...      suites: lint unit dev store fuzz cli insn guest diff; all of these unless given,
#                                   and long: what takes too long for each run, so that it is run only where it is named
#
# Ends with "N passed, M failed" on a line of its own, and with 1 where a test failed. Root or sudo is used to install
# packages, and for nothing else.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
build=${VMTEST_TEST_BUILD:-$top/build-test}
asan=$build-asan
. "$top/fixtures/deps.sh"

say() { printf '\n==> %s (%s s)\n' "$1" "$(($(date +%s) - began))"; }
began=$(date +%s)

# die WHAT: the tests cannot be run at all
die() {
    echo "tests/run.sh: $1" >&2
    echo "0 passed, 1 failed"
    exit 1
}

# configure DIR OPTION...: sets up a build directory, or brings an old one up to date
configure() {
    dir=$1
    shift
    if [ -f "$dir/build.ninja" ]; then
        meson setup --reconfigure "$dir" "$top" "$@"
    else
        meson setup "$dir" "$top" "$@"
    fi
}

# jobs SUITE: how many tests at once. One takes a processor and, where it runs machines, up to 2 GiB of memory.
jobs() {
    n=$(nproc)
    case $1 in guest | long)
        fit=$(awk '/^MemAvailable:/ { print int($2 / 2097152) }' /proc/meminfo)
        [ "$fit" -ge "$n" ] || n=$fit
        ;;
    esac
    [ "$n" -gt 0 ] && echo "$n" || echo 1
}

# run_suite DIR SUITE: runs it, and adds one line a test to the list of results
run_suite() {
    meson test -C "$1" --no-rebuild --print-errorlogs --num-processes "$(jobs "$2")" --suite "$2" || true
    cat "$1/meson-logs/testlog.json" >>"$build/results"
}

say "packages"
deps_install $deps_build $deps_fixture $deps_test || die "packages that are needed cannot be installed"

say "build"
configure "$build" --buildtype=debugoptimized -Dwerror=true -Dchecked=true >/dev/null || die "the build cannot be set up"
ninja -C "$build" || die "the build failed"
: >"$build/results"

say "build with sanitizers"
CC=clang configure "$asan" --buildtype=debugoptimized -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false \
    >/dev/null || die "the build with sanitizers cannot be set up"
ninja -C "$asan" || die "the build with sanitizers failed"

export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
known=$(python3 "$top/tests/results.py" --suites "$build")
sanitized="unit store dev fuzz cli"
for suite in $known; do
    case " ${*:-${known% long}} " in *" $suite "*) ;; *) continue ;; esac
    say "$suite"
    run_suite "$build" "$suite"
    case " $sanitized " in
    *" $suite "*)
        say "$suite, with sanitizers"
        run_suite "$asan" "$suite"
        ;;
    esac
done

say "done"
python3 "$top/tests/results.py" "$build/results"
