#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Makes the disk of the Debian guest. Runs as root, because the files on it
# belong to many users.
#
#	image.sh base SUITE PACKAGES BASE.tar	what needs the network
#	image.sh disk BASE.tar FOLDER		the disk, in FOLDER, from what lies there:
#		*.deb guest setup.sh
#
# DORMOUSE_OWNER gets what was made.

set -eu

# The disk: a root filesystem at 1 MiB, and swap space behind it.
ROOT_MIB=2560
SWAP_MIB=2048
ROOT_UUID=d0e30000-0000-4000-8000-000000000001
SWAP_UUID=d0e30000-0000-4000-8000-000000000002

case $1 in
base)
	mmdebstrap --mode=root --variant=apt --include="$3" "$2" "$4.part.tar"
	chown "$DORMOUSE_OWNER" "$4.part.tar"
	mv "$4.part.tar" "$4"
	;;
disk)
	base=$2
	cd "$3"
	rm -rf root
	# Only for what it mounts around the commands inside.
	mmdebstrap --mode=root --variant=custom --skip=update,setup,cleanup --format=directory \
		--setup-hook="tar -C \"\$1\" -xf '$base'" \
		--customize-hook="cp '$3'/*.deb '$3/setup.sh' '$3/guest' \"\$1/root\"" \
		--customize-hook="chroot \"\$1\" env ROOT_UUID=$ROOT_UUID SWAP_UUID=$SWAP_UUID sh /root/setup.sh" \
		'' root
	cp root/boot/vmlinuz-* vmlinuz
	cp root/boot/initrd.img-* initrd
	cp root/boot/dracut.img dracut
	cp root/boot/dracut-nbd.img dracut-nbd
	rm -f disk swap
	truncate -s $((ROOT_MIB + SWAP_MIB + 2))M disk
	printf '1MiB,%sMiB,L\n%sMiB,%sMiB,S\n' "$ROOT_MIB" $((ROOT_MIB + 1)) "$SWAP_MIB" |
		sfdisk --quiet --label dos disk
	mkfs.ext4 -q -F -U "$ROOT_UUID" -E offset=1048576 -d root disk "${ROOT_MIB}M"
	rm -rf root
	truncate -s "${SWAP_MIB}M" swap
	mkswap -q -U "$SWAP_UUID" swap
	# All that mkswap wrote is in the first page.
	dd if=swap of=disk bs=4096 count=1 seek=$(((ROOT_MIB + 1) * 256)) conv=notrunc status=none
	rm swap
	chown "$DORMOUSE_OWNER" disk vmlinuz initrd dracut dracut-nbd
	;;
esac
