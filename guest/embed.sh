#!/bin/sh
# embed.sh NAME FILE...: C arrays NAME0, NAME1 … of the files' bytes, on standard output.
set -eu
name=$1
shift
n=0
for file; do
    echo "static const unsigned char $name$n[] = {"
    od -An -v -tx1 "$file" | sed -e 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
    echo '};'
    n=$((n + 1))
done
