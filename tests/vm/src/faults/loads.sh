#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# loads WHAT FROM TO STEP: loads the image with these failures, and then without
# one. What it sees goes to the kernel log: when the image is resumed, this
# process is gone.

# What is in use, some seconds after the load: not all is given back at once.
look() {
	objects=$(leaks || echo unknown)
	echo "$(leaks pages) $objects"
}

pages=$(leaks pages)
number=$2
refused=0
while [ "$number" -le "$3" ]; do
	echo "load $number begins" > /dev/kmsg
	echo "load $number: $(inject "$1" "$number" retry /sys/power/hibernate/resume)" > /dev/kmsg
	refused=$((refused + 1))
	# That takes longer than ten loads.
	found="later later"
	[ $((refused % 8)) != 1 ] || found=$(look)
	echo "load leaks: $pages $found" > /dev/kmsg
	number=$((number + $4))
done
echo "load leaks: $pages $(look)" > /dev/kmsg
[ "$(leaks pages)" -le "$pages" ] || leaks show
echo "load begins without a failure" > /dev/kmsg
echo retry > /sys/power/hibernate/resume
poweroff -f
