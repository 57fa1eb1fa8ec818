# 512 MiB of AES in counter mode, hashed by two programs.
set -eu
stream() {
    openssl enc -aes-128-ctr -nosalt -K 000102030405060708090a0b0c0d0e0f -iv 00000000000000000000000000000000 \
        -in /dev/zero 2>/dev/null | head -c 536870912
}
stream | sha256sum
stream | openssl dgst -sha256
