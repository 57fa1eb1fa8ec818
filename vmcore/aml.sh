#!/bin/sh
# aml.sh IASL SOURCE.asl OUTPUT.h: compiles ACPI source into a C array, const where iasl's own is not. Fails on warnings.
set -eu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$1" -we -vs -tc -p "$out/dsdt" "$2" >"$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
sed -n 's/^unsigned char/static const unsigned char/; /^static const/,$p' "$out/dsdt.hex" | sed '/^#endif/d' >"$3"
