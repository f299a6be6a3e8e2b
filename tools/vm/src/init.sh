#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# First process of the test guest. Loads our modules in the order given, lets
# the image be found, then hands over to the agent.

/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
export PATH=/sbin:/bin HOME=/ TERM=dumb
mkdir -p /dev/shm /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs -o size=100% tmp /tmp
mount -t debugfs debug /sys/kernel/debug 2>/dev/null

say() { echo "guest: $*" > /dev/kmsg; }

# Value of word $1=... of the kernel command line.
option() {
	for word in $(cat /proc/cmdline); do
		case $word in "$1"=*) echo "${word#*=}" ;; esac
	done
}

[ -x /etc/early ] && /etc/early

failed=$(guest load /modules/order) || say "$failed"

[ -x /etc/unlock ] && . /etc/unlock

resume=$(option dm.resume)
if [ -n "$resume" ]; then
	# Comes back only when nothing was restored.
	echo "$resume" 2> /dev/null > /sys/power/hibernate/resume
	say "no resume from $resume: $(cat /sys/power/hibernate/last_result 2>&1)"
fi

kernel_resume=$(option dm.kernel_resume)
if [ -n "$kernel_resume" ]; then
	echo "$kernel_resume" > /sys/power/resume
	say "no resume by the kernel from $kernel_resume"
fi

[ -x /etc/start ] && /etc/start

ifconfig lo 127.0.0.1 2>/dev/null
stty -F /dev/ttyS1 raw -echo clocal 115200
say "ready"
while :; do
	guest agent /dev/ttyS1
	say "the agent ended"
	sleep 1
done
