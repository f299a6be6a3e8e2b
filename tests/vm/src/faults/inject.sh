#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# inject WHAT NUMBER WORD FILE: writes WORD to FILE while failure NUMBER of WHAT
# is armed. Says in one line what came of it: the exit code; what is left to
# count down, 0 if it has failed; state, use of the first swap area, signatures
# on both, image, result.

what=$1 number=$2 word=$3 file=$4
faults=/sys/kernel/debug
dormouse=/sys/power/hibernate

if [ "$what" = task ]; then
	# The allocation or request with this number that this process asks for.
	echo "$number" > /proc/self/fail-nth
else
	# The first one of any process after so many bytes or pages.
	echo "$number" > $faults/$what/space
	echo 1 > $faults/$what/times
	echo 100 > $faults/$what/probability
fi
echo "$word" 2> /dev/null > "$file"
code=$?
if [ "$what" = task ]; then
	read -r left < /proc/self/fail-nth
	echo 0 > /proc/self/fail-nth
else
	read -r left < $faults/$what/times
	echo 0 > $faults/$what/probability
fi

swaps=$(awk '$1 == "/dev/vda" { print $4 }' /proc/swaps)
mark=$(for area in /dev/vda /dev/vdc; do
	dd if=$area bs=4096 count=1 iflag=direct 2> /dev/null | tail -c 10
done)
image=$(head -n 1 $dormouse/image)
echo "$code $left|$(cat $dormouse/state)|$swaps|$mark|$image|$(cat $dormouse/last_result)"
