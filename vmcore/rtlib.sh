#!/bin/sh
# rtlib.sh OBJCOPY AR OUTPUT.a OBJECT...: puts the run-time part into a library in which the compilers' own calls to
# memcpy, memset, memmove and memcmp go to rt.c's. Compilers emit them whatever a source file says, and libc's use vector
# registers, which hold the guest's values.
set -eu
objcopy=$1 ar=$2 out=$3
shift 3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for o; do
    "$objcopy" --redefine-sym memcpy=rt_memcpy --redefine-sym memset=rt_memset --redefine-sym memmove=rt_memmove \
        --redefine-sym memcmp=rt_memcmp "$o" "$dir/$(basename "$o")"
done
rm -f "$out"
"$ar" rcs "$out" "$dir"/*.o
