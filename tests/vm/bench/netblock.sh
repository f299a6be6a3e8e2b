#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in a guest. Writes and reads the same server with dd through nbd.ko and
# with Dormouse, in turns, so that what else the host does touches both.
#
#	truncate -s 2G DIR/image; truncate -s 1G DIR/scratch
#	nbdkit -f -i 127.0.0.1 -p 10809 file dir=DIR
#	cargo xtask vm --mem 1280 --net --script tests/vm/bench/netblock.sh \
#		--append "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off" \
#		--file /usr/sbin/nbd-client=/sbin/nbd-client --file LIBRARY=LIBRARY ...
#
# nbd-client wants the libraries that ldd names. The memory is filled with
# random bytes and nothing is compressed, so that the link is what is measured.
# The kernel log (--logs DIR) says how much was stored: the rate to compare is
# that by the time of the save or load. The writer "swap", on the guest's own
# disk, shows what the pipeline reaches without a network.
H=/sys/power/hibernate
PORT=${PORT:-10809}
MB=192

ms() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }

# MB/s of $MB MiB since $1.
rate() { awk -v mb=$MB -v ms=$(($(ms) - $1)) 'BEGIN { printf "%.1f", mb * 1048.576 / ms }'; }

cycle() {
	echo "$1" > $H/writer
	echo "$2" > $H/target
	echo disk > /sys/power/state
	echo "$1: $(cat $H/last_result)"
}

mount -t tmpfs -o size=100% none /tmp
dd if=/dev/urandom of=/tmp/data bs=1M count=$MB 2> /dev/null
swapon /dev/vda
nbd-client 10.0.2.2 "$PORT" /dev/nbd0 -N scratch -C 4 > /dev/null 2>&1 || exit 1
echo none > $H/compressor
echo test_resume > /sys/power/disk
echo 1 > $H/enabled
for _ in 1 2 3; do
	t=$(ms); dd if=/tmp/data of=/dev/nbd0 bs=512k oflag=direct conv=fsync 2> /dev/null
	w=$(rate "$t")
	t=$(ms); dd if=/dev/nbd0 of=/dev/null bs=512k count=$((MB * 2)) iflag=direct 2> /dev/null
	r=$(rate "$t")
	echo "dd: write $w MB/s, read $r MB/s"
	cycle netblock "nbd://10.0.2.2:$PORT/image"
	cycle swap auto
done
nbd-client -d /dev/nbd0
