#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A new Debian in a folder, and "make" in a clone of this checkout there. Runs as
# root.
#
#	fresh.sh install SUITE ROOT CHECKOUT	Debian, with git, make and certificates
#	fresh.sh make ROOT TARGET		in the clone
#	fresh.sh remove ROOT

set -eu

case $1 in
install)
	mmdebstrap --variant=minbase --include=git,make,ca-certificates "$2" "$3"
	# How this machine reaches the archive.
	apt-config dump Acquire > "$3/etc/apt/apt.conf.d/99host"
	cp /etc/ssl/certs/ca-certificates.crt "$3/etc/ssl/certs/"
	git -c safe.directory='*' clone --quiet --no-hardlinks "$4" "$3/root/dormouse"
	;;
make)
	# The mounts go with the namespace.
	# shellcheck disable=SC2016 # the inner shell's
	unshare --mount sh -euc '
		for name in proc sys dev; do
			mount --rbind "/$name" "$1/$name"
		done
		chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
			make -C /root/dormouse "$2"
	' sh "$2" "$3"
	;;
remove)
	rm -rf --one-file-system "$2"
	;;
esac
