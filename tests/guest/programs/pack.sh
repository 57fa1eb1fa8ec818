# gzip and xz over real files: what they make, and that it comes back.
set -eu
find /usr/lib/python3.11 /usr/include -type f -name '*.[ph]*' ! -name '*.pyc' | LC_ALL=C sort | head -n 800 | xargs cat >plain
wc -c <plain
sha256sum <plain
gzip -n -6 <plain >plain.gz
sha256sum <plain.gz
gzip -dc plain.gz | cmp - plain
xz -T1 -2 <plain >plain.xz
sha256sum <plain.xz
xz -dc plain.xz | cmp - plain
sha512sum plain.gz plain.xz
