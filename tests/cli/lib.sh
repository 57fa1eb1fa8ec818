# What the command-line tests share. Sourced.

# kernel FILE: the smallest file that has a bzImage's header: one sector of setup, one page of code.
kernel() {
    head -c 8192 /dev/zero >"$1"
    put "$1" 497 '\001'             # setup_sects
    put "$1" 500 '\000\001\000\000' # syssize: 256 paragraphs
    put "$1" 510 '\125\252'         # boot flag
    put "$1" 514 'HdrS\017\002'     # protocol 2.15
    put "$1" 529 '\001'             # loaded high
}

# guest FILE: the same, with a program for the machine without a CPU (tests/unit/fake_vm.h) from standard input, at
# most 480 bytes
guest() {
    kernel "$1"
    { echo fakevm; cat; } | dd of="$1" conv=notrunc status=none
}

# bios FILE: a ROM with such a program
bios() {
    { echo fakevm; cat; } >"$1"
    truncate -s 65536 "$1"
}

# put FILE OFFSET BYTES: BYTES as printf has them
put() {
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# disk FILE SIZE: an empty raw image
disk() {
    truncate -s "$2" "$1"
}

# status COMMAND...: what it prints, its messages too, and what it ended with
status() {
    code=0
    "$@" 2>&1 || code=$?
    echo "status $code"
}

# await FILE COUNT TEXT: until the file has that many lines with the text; a minute at most
await() {
    tries=3000
    until [ -e "$1" ] && [ "$(grep -c -e "$3" "$1")" -ge "$2" ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "$1 never said: $3"; exit 1; }
        sleep 0.02
    done
}

# made NAME: a machine with a disk of 1 MiB, without a word
made() {
    [ -f kernel ] || echo spin | guest kernel
    disk "$1.img" 1M
    vmtest -q create --kernel kernel --append test --image "$1.img" --mem 16M "$1"
}

# Every machine of the test's store is ended and removed.
end_all() {
    for name in $(vmtest --json list 2>/dev/null |
        python3 -c 'import json, sys; print(*[m["machine"] for m in json.load(sys.stdin)["machines"]])' 2>/dev/null); do
        vmtest rm --force "$name"
    done
}

# noise FILE PAGES: an image of so many pages, each third one a hole, with the same bytes each time
noise() {
    python3 - "$1" "$2" <<'EOF'
import random, sys
r = random.Random(7)
with open(sys.argv[1], "wb") as f:
    f.truncate(int(sys.argv[2]) * 4096)
    for page in range(int(sys.argv[2])):
        data = r.randbytes(4096)
        if page % 3:
            f.seek(page * 4096)
            f.write(data)
EOF
}
