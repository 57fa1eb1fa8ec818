# Ciphers, digests, key derivation, and signatures that are the same every time.
set -eu
key=000102030405060708090a0b0c0d0e0f
head -c 8388608 /dev/zero >zeros
for cipher in aes-128-cbc aes-128-ctr camellia-128-cbc; do
    openssl enc -$cipher -nosalt -K $key -iv $key -in zeros | sha256sum
done
openssl enc -chacha20 -nosalt -K $key$key -iv $key -in zeros >cipher
for digest in sha1 sha224 sha256 sha384 sha512 sha3-256 blake2b512 blake2s256 ripemd160; do
    openssl dgst -$digest -provider default -provider legacy cipher || openssl dgst -$digest cipher
done
openssl enc -aes-256-cbc -pbkdf2 -iter 20000 -pass pass:vmtest -S 0102030405060708 -in work.lua | sha256sum
cat >key.pem <<'END'
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
END
openssl pkeyutl -sign -rawin -inkey key.pem -in work.lua | sha256sum
openssl prime 170141183460469231731687303715884105727
openssl prime -hex FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD1
