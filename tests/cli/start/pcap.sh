. "$LIB"
echo spin | guest kernel
made web
status vmtest start --no-wait --pcap absent/wire.pcap web
vmtest start --no-wait --pcap wire.pcap web
status vmtest start --no-wait --pcap other.pcap web
vmtest -q stop --force web
head -c 4 wire.pcap | od -An -tx1
