#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Tests dist/resume against made-up kernels:
#
#	resume.sh SHELL...	with this shell, "busybox sh" for example, which
#				has a sleep of its own that nothing replaces
#
# Prints a line for each case that begins with "ok" or "FAILED".

top=$(cd "$(dirname "$0")/../.." && pwd)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
export DORMOUSE_ROOT="$room/root" DORMOUSE_CONSOLE=/dev/null
export TEST_ROOM="$room"
PATH="$room/bin:$PATH"
number=0

# A program that notes how it was called, and then does what standard input says.
fake() {
	{
		echo '#!/bin/sh'
		echo "echo \"$1 \$*\" >> '$room/calls'"
		cat
	} > "$room/bin/$1"
	chmod +x "$room/bin/$1"
}

# A new machine with Dormouse, one device, and nothing to resume.
machine() {
	rm -rf "${room:?}"/*
	control=$room/root/sys/power/hibernate
	mkdir -p "$room/bin" "$control" "$room/root/proc" "$room/root/etc" \
		"$room/root/usr/lib/dormouse" "$room/root/sys/class/block/vdb2" \
		"$room/root/dev/disk/by-uuid" "$room/root/run"
	: > "$room/calls"
	echo "${1:-quiet}" > "$room/root/proc/cmdline"
	: > "$control/resume"
	echo auto > "$control/target"
	echo none > "$control/image"
	echo none > "$control/key"
	key=none
	echo '0 idle nothing has happened yet' > "$control/last_result"
	echo 254:18 > "$room/root/sys/class/block/vdb2/dev"
	: > "$room/root/dev/vdb2"
	ln -s ../../vdb2 "$room/root/dev/disk/by-uuid/1-2"
	printf 'dormouse_swap\ndormouse_lz4\n' > "$room/root/usr/lib/dormouse/modules"
	mkdir -p "$room/root/sbin"
	ln -s ../../bin/modprobe "$room/root/sbin/modprobe"
	fake modprobe < /dev/null
	fake sleep < /dev/null
	fake dormouse << 'END'
case $1 in
resume) echo "dormouse: there is no image to resume" >&2; exit 3 ;;
key) read -r answer; exit 3 ;;
esac
END
}

# An image that needs a passphrase, of which "right" is the right one.
encrypted() {
	printf 'state: committed\nencryptor: aes-gcm\nkey: logon:dormouse:passphrase\nhint: x\n' > "$control/image"
	fake dormouse << 'END'
case "$1 $2" in
"key unlock")
	read -r answer
	[ -n "$answer" ] || exit 1
	[ "$answer" != ^C ] || exit 130
	echo "$answer" > "$TEST_ROOM/answer"
	# Before anybody knows whether it opens anything.
	read -r before < "$DORMOUSE_ROOT/sys/power/hibernate/key"
	[ "$before" = none ] || echo "the key before was $before" >> "$TEST_ROOM/calls"
	echo logon:dormouse:passphrase > "$DORMOUSE_ROOT/sys/power/hibernate/key"
	;;
ui*)
	if [ "$(cat "$TEST_ROOM/answer")" = right ]; then
		echo '-74 load damaged' > "$DORMOUSE_ROOT/sys/power/hibernate/last_result"
	else
		echo '-129 check another key' > "$DORMOUSE_ROOT/sys/power/hibernate/last_result"
	fi
	echo "dormouse: not resumed" >&2
	exit 1
	;;
esac
END
}

run() {
	said=$("$@" 2>&1)
	code=$?
	calls=$(cat "$room/calls")
}

# check ABOUT CODE CALLS [WORDS]: how it ended, what it called, what it said, and
# that the key is $key.
check() {
	number=$((number + 1))
	case $said in
	*"${4-}"*) [ $# -gt 3 ] || [ -z "$said" ] ;;
	*) false ;;
	esac
	heard=$?
	if [ "$code" = "$2" ] && [ "$calls" = "$3" ] && [ "$heard" = 0 ] &&
		[ "$(cat "$control/target")" = auto ] && [ "$(cat "$control/key")" = "$key" ]; then
		echo "ok $number $1"
	else
		echo "FAILED $number $1: gave $code, said '$said', left key $(cat "$control/key"), called:"
		echo "$calls"
	fi
}

load='modprobe -q -b dormouse_swap
modprobe -q -b dormouse_lz4'

machine
rm "$control/resume"
run "$@" "$top/dist/resume" /dev/vdb2
check "a kernel without Dormouse" 0 ""

for word in noresume nohibernate; do
	machine "quiet $word splash"
	run "$@" "$top/dist/resume" /dev/vdb2
	check "$word is honoured" 0 ""
done

machine noresumewhatever
run "$@" "$top/dist/resume" /dev/vdb2
check "another word is not noresume" 0 "$load
dormouse resume /dev/vdb2"

machine
fake modprobe << 'END'
exit 1
END
run "$@" "$top/dist/resume" /dev/vdb2
check "a module that is missing" 0 "$load
dormouse resume /dev/vdb2" "module dormouse_lz4 cannot be loaded"

machine
rm "$room/root/usr/lib/dormouse/modules"
run "$@" "$top/dist/resume" /dev/vdb2
check "everything built in, no image" 0 "dormouse resume /dev/vdb2"

machine
run "$@" "$top/dist/resume" "$room/root/dev/disk/by-uuid/1-2" 34816
check "a link, and an offset" 0 "$load
dormouse resume 254:18:34816"

machine
run "$@" "$top/dist/resume" /dev/vdc
check "a device that is not there" 0 "$load" "/dev/vdc is not there"

# What the kernel says of its routes: none but to itself, IPv4, IPv6.
route='Iface Destination'
own='00000000000000000000000000000001 80 0 00 0 0 0 0 80200001 lo
fe800000000000000000000000000000 40 0 00 0 100 1 0 00000001 eth0
ff000000000000000000000000000000 08 0 00 0 100 3 0 00000001 eth0'
online() {
	mkdir -p "$room/root/proc/net"
	printf '%s\n' "$1" > "$room/root/proc/net/route"
	printf '%s\n' "$2" > "$room/root/proc/net/ipv6_route"
}

for way in 4 6; do
	machine
	case $way in
	4) online "$route
eth0 00000000" "$own" ;;
	6) online "$route" "$own
fec00000000000000000000000000000 40 0 00 0 100 1 0 00000001 eth0" ;;
	esac
	run "$@" "$top/dist/resume" nbd://192.0.2.1/x
	check "a server, by IPv$way" 0 "$load
dormouse resume nbd://192.0.2.1/x"
done

if [ "$1" != busybox ]; then
machine
online "$route" "$own"
run "$@" "$top/dist/resume" nbd://192.0.2.1/x
check "no network" 0 "$load
$(yes 'sleep 1' | head -n 20)
dormouse resume nbd://192.0.2.1/x" "no network within 20 seconds"
fi

machine "quiet resume=nbd://192.0.2.1/x"
run "$@" "$top/dist/resume-generator" a b c
check "systemd does not wait for a device with the name of a server" 0 ""

machine "quiet resume=/dev/vda2"
mkdir -p "$room/root/usr/lib/systemd/system-generators"
fake systemd-hibernate-resume-generator < /dev/null
ln -s ../../../../../bin/systemd-hibernate-resume-generator \
	"$room/root/usr/lib/systemd/system-generators/"
run "$@" "$top/dist/resume-generator" a b c
check "and does for any other" 0 "systemd-hibernate-resume-generator a b c"

machine
printf 'state: committed\nencryptor: none\nkey: none\n' > "$control/image"
fake dormouse << 'END'
echo "dormouse: not resumed: another kernel" >&2
exit 1
END
run "$@" "$top/dist/resume" /dev/vdb2
check "an image that is refused" 1 "$load
dormouse ui --if-display --load /dev/vdb2" "dormouse: not resumed: another kernel"

# Whoever can still do something about it is told what, and nobody else.
kept=' is kept only until this boot mounts its filesystems: stop in the initramfs (break=premount, rd.break=pre-mount)'
warned() {
	case $said in
	*"$kept"*) said=warned ;;
	*) said=silent ;;
	esac
}
for case in 'silent -74 load the image is damaged: REASON; it is not restored' \
	'silent -116 check the filesystem on vda (UUID 1) was mounted since the image was saved, so to resume would damage it; the image is of no use any more: write "erase"' \
	'warned -116 check the image was made by another kernel (6 1), not by this one; it is kept' \
	'warned -125 load loading was stopped on request; the image is kept'; do
	machine
	printf 'state: committed\nencryptor: none\nkey: none\n' > "$control/image"
	echo "${case#* }" > "$control/last_result"
	fake dormouse << 'END'
echo "dormouse: not resumed: why" >&2
exit 1
END
	run "$@" "$top/dist/resume" /dev/vdb2
	warned
	check "$case" 1 "$load
dormouse ui --if-display --load /dev/vdb2" "${case%% *}"
done

# A place that cannot be looked at: nobody knows whether an image is there.
unreadable() {
	rm "$control/image"
	# Can be opened and not read.
	mkdir "$control/image"
	fake dormouse << 'END'
[ "$1" != resume ] || echo '-111 check nbd://192.0.2.1:10809/x: nobody listens there; an image there is kept' \
	> "$DORMOUSE_ROOT/sys/power/hibernate/last_result"
echo "dormouse: not resumed: why" >&2
exit 1
END
}

machine
online "$route
eth0 00000000" "$own"
unreadable
run "$@" "$top/dist/resume" nbd://192.0.2.1/x
warned
check "a server that is not there" 1 "$load
dormouse resume nbd://192.0.2.1/x" warned

machine
online "$route
eth0 00000000" "$own"
unreadable
: > "$room/root/etc/dormouse.toml"
run "$@" "$top/dist/resume" nbd://192.0.2.1/x
check "a server that is not there, and no settings" 1 "$load
dormouse config apply --resume" "an image there$kept"

machine
echo 'encryptor = "aes-gcm"' > "$room/root/etc/dormouse.toml"
run "$@" "$top/dist/resume" /dev/vdb2
check "settings" 0 "$load
dormouse config apply --resume
dormouse resume /dev/vdb2"

machine
: > "$room/root/etc/dormouse.toml"
fake dormouse << 'END'
exit 1
END
run "$@" "$top/dist/resume" /dev/vdb2
check "no resume without its settings" 1 "$load
dormouse config apply --resume" "no resume: the settings"
warned
check "and there is nothing to warn of" 1 "$calls" silent

machine
: > "$room/root/etc/dormouse.toml"
encrypted
fake dormouse << 'END'
exit 1
END
run "$@" "$top/dist/resume" /dev/vdb2
check "and the image is kept for now" 1 "$load
dormouse config apply --resume" "the image$kept"

machine "resume=/dev/vdz resume=UUID=1-2 resume_offset=7"
run "$@" "$top/dist/resume" cmdline
check "the last word of the command line" 0 "$load
dormouse resume 254:18:7"

machine
run "$@" "$top/dist/resume" cmdline
check "no resume= is no reason to wait" 0 ""

if [ "$1" != busybox ]; then
machine resume=/dev/vdc
fake sleep << 'END'
[ "$(grep -c sleep "$TEST_ROOM/calls")" -lt 3 ] && exit
mkdir -p "$DORMOUSE_ROOT/sys/class/block/vdc"
echo 254:32 > "$DORMOUSE_ROOT/sys/class/block/vdc/dev"
: > "$DORMOUSE_ROOT/dev/vdc"
END
run "$@" "$top/dist/resume" cmdline
check "a device that comes late" 0 "sleep 1
sleep 1
sleep 1
$load
dormouse resume $room/root/dev/vdc"

machine resume=LABEL=none
run "$@" "$top/dist/resume" cmdline
check "a device that never comes" 0 "$(yes 'sleep 1' | head -n 10)
$load" "by-label/none is not there"
fi

machine
encrypted
run "$@" "$top/dist/resume" /dev/vdb2
check "nobody gives the passphrase" 1 "$load
dormouse key unlock /dev/vdb2" "waits for its passphrase
dormouse: the image$kept"

machine
encrypted
fake dormouse << 'END'
echo logon:dormouse:passphrase > "$DORMOUSE_ROOT/sys/power/hibernate/key"
exit 1
END
run "$@" "$top/dist/resume" /dev/vdb2
check "nor does a key stay when making it broke off" 1 "$load
dormouse key unlock /dev/vdb2" "waits for its passphrase"

machine
encrypted
key=trusted:other
echo "$key" > "$control/key"
run "$@" "$top/dist/resume" /dev/vdb2
check "nobody gives the passphrase, and another key stays" 1 "$load
dormouse key unlock /dev/vdb2" "waits for its passphrase"

# Two answers, from another program each time.
for asker in plymouth systemd-ask-password; do
	machine
	encrypted
	fake "$asker" << 'END'
[ "$1" != --ping ] || exit 0
[ -e "$TEST_ROOM/asked" ] && echo right && exit
: > "$TEST_ROOM/asked"
echo wrong
END
	prompt="Passphrase of the image (nothing: go on without it):"
	case $asker in
	plymouth) asked="plymouth ask-for-password --prompt=$prompt" ping='plymouth --ping
' ;;
	*)
		asked="systemd-ask-password --timeout=0 $prompt" ping=''
		mkdir -p "$room/root/run/systemd/ask-password"
		;;
	esac
	rm -f "$room/asked" "$room/answer"
	run "$@" "$top/dist/resume" /dev/vdb2
	# The two ends of the pipe begin in any order.
	calls=$(sort "$room/calls")
	check "a wrong passphrase, then the right one, by $asker" 1 "$(sort << END
$load
$ping$asked
dormouse key unlock --stdin /dev/vdb2
dormouse ui --if-display --load /dev/vdb2
$ping$asked
dormouse key unlock --stdin /dev/vdb2
dormouse ui --if-display --load /dev/vdb2
END
)" "not resumed"
done

# What was typed first, and then nothing. What opened nothing must not be what the
# next save is encrypted with: whoever mistyped it does not know it.
for answer in wrong right; do
	machine
	encrypted
	fake plymouth << END
[ "\$1" != --ping ] || exit 0
[ -e "\$TEST_ROOM/asked" ] && exit
: > "\$TEST_ROOM/asked"
echo $answer
END
	rm -f "$room/asked"
	run "$@" "$top/dist/resume" /dev/vdb2
	calls=$(grep -c "dormouse ui" "$room/calls")
	check "the key of the answer \"$answer\" goes with an image that was not resumed" 1 1 "not resumed"
done

machine
encrypted
fake plymouth << 'END'
[ "$1" != --ping ] || exit 0
[ -e "$TEST_ROOM/asked" ] && exit
: > "$TEST_ROOM/asked"
echo ^C
END
rm -f "$room/asked"
run "$@" "$top/dist/resume" /dev/vdb2
calls=$(grep -c "dormouse key unlock" "$room/calls")
check "Ctrl-C at the prompt asks again" 1 2 "waits for its passphrase"

machine
encrypted
sed -i '1a discarded: the place is in use again' "$control/image"
run "$@" "$top/dist/resume" /dev/vdb2
check "nobody is asked for an image that was discarded" 0 "$load
dormouse resume /dev/vdb2"

machine
encrypted
sed -i 's/logon:dormouse:passphrase/trusted:other/' "$control/image"
key=trusted:other
echo "$key" > "$control/key"
echo right > "$room/answer"
run "$@" "$top/dist/resume" /dev/vdb2
check "a key that no passphrase makes" 1 "$load
dormouse ui --if-display --load /dev/vdb2" "not resumed"

exit 0
