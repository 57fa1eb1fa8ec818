#!/bin/sh
# Builds the work program for i386, static, so that one file runs in the guest and on the host alike.
#
#   sh tests/bench/work/build.sh OUT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
flags="-m32 -march=i686 -O2 -fno-pie -Wall -Wextra"
gcc $flags -c "$here/main.c" -o "$objects/main.o"
gcc $flags -mfpmath=387 -c "$here/user.c" -o "$objects/user.o"
gcc $flags -msse2 -mfpmath=sse -c "$here/sse.c" -o "$objects/sse.o"
gcc $flags -c "$here/kernel.c" -o "$objects/kernel.o"
gcc -m32 -static -no-pie "$objects"/*.o -o "$1"
