#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# leaks pages: says how many pages that the core asked for are in use.
# leaks: says how many of its objects nothing refers to any more; fails where
# nobody looks for them.
# leaks show: writes both to the kernel log.

debug=/sys/kernel/debug
stacks=$debug/page_owner_stacks/show_stacks
# Slabs, page tables of vmalloc and its shadow stay for others, as do the notes
# of the checks themselves. What was sent last may rest in the ring of a network card.
ours='/dormouse/ && !/slab|kmemleak|depot|filemap|page_frag_refill|kasan_populate_vmalloc|p[mt][de]_alloc/'

# Puts each line into the kernel log: a write to that may hold about a thousand bytes.
tell() {
	while IFS= read -r line; do
		echo "$line" > /dev/kmsg
	done
}

case $1 in
pages)
	awk "BEGIN { RS = \"\" } $ours { n += \$NF } END { print n + 0 }" $stacks
	;;
show)
	awk "BEGIN { RS = \"\" } $ours" $stacks | sed 's/^/pages: /' | tell
	sed 's/^/object: /' $debug/kmemleak | tell
	;;
*)
	# An object counts some seconds after it was made.
	sleep 6
	echo scan > $debug/kmemleak || exit
	sleep 1
	echo scan > $debug/kmemleak || exit
	awk '/^unreferenced/ { n += ours; ours = 0 } /dormouse/ { ours = 1 }
		END { print n + ours }' $debug/kmemleak
	;;
esac
