#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# loads WHAT FROM TO STEP: loads the image with these failures, and then without
# one. What it sees goes to the kernel log: when the image is resumed, this
# process is gone.

pages=$(leaks pages)
number=$2
while [ "$number" -le "$3" ]; do
	echo "load $number begins" > /dev/kmsg
	echo "load $number: $(inject "$1" "$number" retry /sys/power/hibernate/resume)" > /dev/kmsg
	number=$((number + $4))
done
echo "load leaks: $pages $(leaks pages) $(leaks)" > /dev/kmsg
echo "load begins without a failure" > /dev/kmsg
echo retry > /sys/power/hibernate/resume
poweroff -f
