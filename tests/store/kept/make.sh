#!/bin/sh
# make.sh STORE_TOOL: keeps a store of the schema that this STORE_TOOL writes, as N.tar.zst and N.hashes beside this
# script. To be run once, when a schema is final; what is kept is never made again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tool=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$tool" make "$scratch/store" "$scratch/base.raw"
number=$(python3 -c 'import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("PRAGMA user_version").fetchone()[0])' "$scratch/store/store.db")
if [ -e "$here/$number.tar.zst" ]; then
    echo "make.sh: $number is kept already" >&2
    exit 1
fi
"$tool" hashes "$scratch/store" >"$here/$number.hashes"
rm -f "$scratch/store/store.db-shm"
tar -c -C "$scratch" --owner=0 --group=0 --numeric-owner store base.raw | zstd -q -19 -o "$here/$number.tar.zst"
