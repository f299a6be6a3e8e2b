#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Makes sure that cargo is there, and what it needs to link and to download.
# The rest is installed by `cargo xtask`, which has to be compiled first.

set -u

missing=
command -v cargo > /dev/null || missing="cargo"
command -v cc > /dev/null || missing="$missing gcc"
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null; then
	echo "error: missing: $missing. This is not a Debian system, please install them yourself." >&2
	exit 1
fi

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo > /dev/null; then
		echo "(asking for root rights with sudo)" >&2
		sudo "$@"
	else
		echo "error: run '$*' as root, there is no sudo here." >&2
		return 1
	fi
}

known() {
	apt-cache policy "$1" 2> /dev/null | grep 'Candidate:' | grep -qv '(none)'
}

fail() {
	echo "error: apt-get could not install $1; see its messages above." >&2
	exit 1
}

known cargo || as_root apt-get update -qq || fail "anything"
for package in $missing; do
	# Debian 12 has a current cargo under this name, beside one that is too
	# old. Other releases have it too, but without the rest of Rust.
	if [ "$package" = cargo ] && grep -q '^VERSION_ID="12"' /etc/os-release; then
		package=cargo-web
	fi
	echo "installing $package: compiles the tools of this repository" >&2
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "$package" > /dev/null ||
		fail "$package"
done
