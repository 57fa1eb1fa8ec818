# a sealed store, under a private one: nothing is copied, and nothing in it changes
. "$LIB"
kernel kernel
noise web.img 300
vmtest -q create --kernel kernel --image web.img --import --mem 16M web
vmtest -q snapshot one
vmtest export --base base web
chmod -R a-w base
find base -type f -printf '%P %m\n' | sort
(cd base && find . -type f -exec sha256sum {} +) >sums
vmtest --store base list
vmtest --store base check | sed 's/, [0-9.]* [KM]iB//'
status vmtest --store base set --mem 32M web
status vmtest --store base snapshot web two
vmtest --store mine import --base base
vmtest --store mine snapshot two
vmtest --store mine export --disk disk0 web@one one.raw
cmp one.raw web.img
du -b mine/packs | awk '{ print ($1 < 20000 ? "nothing was copied" : $1) }'
vmtest --store mine check | sed 's/, [0-9.]* [KM]iB//'
vmtest -q --store mine import --name twin --base base web
status vmtest --store mine import --base base
status vmtest --store mine import --base "$VMTEST_HOME"
status vmtest --store mine import --base nowhere
status vmtest --store mine import --base base nosuch
mv base moved
status vmtest --store mine export --disk disk0 twin@one x.raw
vmtest -q --store mine import --name third --base moved
vmtest --store mine export --disk disk0 twin@one two.raw
cmp two.raw web.img
(cd moved && sha256sum --quiet -c ../sums) && echo "the base is as it was"
chmod -R u+w moved
status vmtest export --base moved web
status vmtest export --base x --disk disk0 web
status vmtest export --base x web y
status vmtest export
status vmtest import
