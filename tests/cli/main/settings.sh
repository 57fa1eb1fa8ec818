# options, variables, and the project's, the user's and the system's configuration, in this order
. "$LIB"
mem() {
    vmtest create --image d.img "$@"
    vmtest --json info "$name" | python3 -c 'import json, sys; print(json.load(sys.stdin)["config"]["hardware"]["mem"] >> 20)'
}
disk d.img 1M
mkdir -p "$XDG_CONFIG_DIRS/vmtest" "$HOME/.config/vmtest" deep/er
echo 'mem = 11M' >"$XDG_CONFIG_DIRS/vmtest/config"
name=system mem system
printf '# mine\n\nmem = 12M # not much\n' >"$HOME/.config/vmtest/config"
name=user mem user
printf '\tmem=13M\n[create]\n mem = 14M\n' >vmtest.conf
name=section mem section
(cd deep/er && ln -s ../../d.img && name=above mem above)
export VMTEST_MEM=15M
name=variable mem variable
name=option mem --mem 16M option
unset VMTEST_MEM
vmtest -v create --image d.img said

echo "-- a store and a machine"
printf 'store = ../own\n' >deep/vmtest.conf
(unset VMTEST_HOME && cd deep/er && ln -s ../../d.img e.img && vmtest -q create --image e.img inner && vmtest list | wc -l)
ls "$HOME/work/own" | head -n 1
echo 'machine = user' >vmtest.conf
vmtest use option
vmtest info | head -n 1
VMTEST_MACHINE=above vmtest info | head -n 1
vmtest info option | head -n 1
echo 'machine = gone' >vmtest.conf
status vmtest info

echo "-- a list, and what does not go with an option"
echo 'net = none' >vmtest.conf
vmtest -q create --image d.img lone
vmtest --json info lone | grep -c '"nics":\[\]'
vmtest net create lan
echo 'net = nat, private:lan' >vmtest.conf
vmtest -q create --image d.img two
vmtest --json info two | grep -o '"net":"lan"'
printf 'mem = 20M\ncpu = pentium\ndisk-bus = ide\n' >vmtest.conf
status vmtest run --from two@none -- true

echo "-- mistakes"
wrong() {
    printf "$1" >vmtest.conf
    status vmtest create --image d.img never
}
wrong 'memm = 5M\n'
wrong '\n\nsomething = 5M\n'
wrong 'mem\n'
wrong 'mem =\n'
wrong '= 5\n'
wrong 'mem = 5M\nmem = 6M\n'
wrong 'mem = 5Q\n'
wrong 'mem = 5K\n'
wrong 'nic = rtl8139\n'
wrong 'net = lan\n'
wrong '[creat]\nmem = 5M\n'
wrong '[create\nmem = 5M\n'
wrong '[start]\nmem = 5M\n'
wrong '[start]\ntimeout = soon\n'
wrong 'mem = 5\0M\n'
wrong 'snapshot-memory = much\n'
wrong '[create]\nsnapshot-memory = 5M\n'
rm vmtest.conf
VMTEST_MEM=lots status vmtest create --image d.img never
VMTEST_NIC=rtl8139 status vmtest create --image d.img never
VMTEST_SNAPSHOT_MEMORY=9K status vmtest start two
VMTEST_SNAPSHOT_MEMORY=x status vmtest start two
mkdir vmtest.conf
rm "$HOME/.config/vmtest/config"
mkdir "$HOME/.config/vmtest/config"
status vmtest create --image d.img never
rmdir "$HOME/.config/vmtest/config"
head -c 70000 /dev/zero | tr '\0' '\n' >"$HOME/.config/vmtest/config"
status vmtest create --image d.img never
echo wrong >"$HOME/.config/vmtest/config"
vmtest version | cut -d ' ' -f 1
vmtest create --help | tail -n 1
