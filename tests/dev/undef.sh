#!/bin/sh
# undef.sh LIBRARY.a: what the run-time part calls outside of itself. It runs with the guest's vector registers live, so
# that everything here must be known not to touch them, or to be called only where they are saved.
set -eu
allowed='
clock_gettime   # the vDSO: general registers only
vt_assert_fail  # does not return
_GLOBAL_OFFSET_TABLE_ # of the linker
block_translate # the translator: dispatch.c saves vector state round it
fault_fatal     # the process is about to end
vm_reset        # vm_run() calls it with the vector state of the guest put away
err_set         # mem.c: copying out of a capture, which host threads do
'
all=$(mktemp) own=$(mktemp)
trap 'rm -f "$all" "$own"' EXIT
nm --undefined-only "$1" | awk 'NF == 2 { print $2 }' | sort -u >"$all"
nm --defined-only "$1" | awk 'NF == 3 { print $3 }' | sort -u >"$own"
[ -s "$own" ] || { echo "undef.sh: no symbols in $1" >&2; exit 1; }
bad=0
for symbol in $(comm -23 "$all" "$own"); do
    echo "$allowed" | grep -q "^$symbol " && continue
    echo "undef.sh: the run-time part refers to $symbol" >&2
    bad=1
done
exit $bad
