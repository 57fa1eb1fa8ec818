#!/bin/sh
# Builds the work program, static, so that one file runs in the guest and on the host alike.
#
#   sh tests/bench/work/build.sh i386|amd64 OUT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
case $1 in
i386) machine="-m32 -march=i686" ;;
amd64) machine="-m64 -march=x86-64" ;;
*) echo "build.sh: $1: neither i386 nor amd64" >&2 && exit 64 ;;
esac
flags="$machine -O2 -fno-pie -Wall -Wextra"
gcc $flags -c "$here/main.c" -o "$objects/main.o"
gcc $flags -mfpmath=387 -c "$here/user.c" -o "$objects/user.o"
gcc $flags -msse2 -mfpmath=sse -c "$here/sse.c" -o "$objects/sse.o"
gcc $flags -c "$here/kernel.c" -o "$objects/kernel.o"
gcc $machine -static -no-pie "$objects"/*.o -o "$2"
