#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Sets the Debian guest up, from inside, before it has ever run.

set -eu
cd /root

echo dormouse > /etc/hostname
echo '127.0.0.1 localhost dormouse' > /etc/hosts
cat > /etc/fstab << END
UUID=$ROOT_UUID / ext4 errors=remount-ro 0 1
UUID=$SWAP_UUID none swap sw 0 0
END
passwd -d root
systemd-machine-id-setup
mkdir -p /var/log/journal

# As an administrator would: what the initramfs looks for, and the settings.
mkdir -p /etc/initramfs-tools/conf.d
echo "RESUME=UUID=$SWAP_UUID" > /etc/initramfs-tools/conf.d/resume
cat > /etc/dormouse.toml << END
enabled = 1
compressor = "lz4"
END

# A smaller disk.
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc/* /usr/share/locale/*

# The kernel, and the package of this repository, which has the initramfs made.
dpkg -i ./*.deb
rm ./*.deb

# The other maker of an initramfs, beside it; twice, where images are in swap
# space and on a server.
dracut --no-hostonly --no-hostonly-cmdline --kver "$(ls /lib/modules)" /boot/dracut.img
echo 'writer = "netblock"' >> /etc/dormouse.toml
dracut --no-hostonly --no-hostonly-cmdline --kver "$(ls /lib/modules)" /boot/dracut-nbd.img
sed -i '$ d' /etc/dormouse.toml

# A network, and ssh from root to root.
cat > /etc/systemd/network/80-guest.network << END
[Match]
Name=e*
[Network]
DHCP=ipv4
END
systemctl enable systemd-networkd
mkdir -p -m 700 .ssh
ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
cp .ssh/id_ed25519.pub .ssh/authorized_keys
sed 's/^/localhost /' /etc/ssh/ssh_host_ed25519_key.pub > .ssh/known_hosts

# Checksums of the database's pages, as pg_checksums can verify them.
cluster=$(pg_lsclusters --no-header)
# shellcheck disable=SC2086 # its fields
set -- $cluster
su postgres -c "/usr/lib/postgresql/$1/bin/pg_checksums --enable -D $6"
echo "$1" > /etc/postgresql-version

# Commands come over the second serial port.
install -m 755 guest /usr/local/bin/guest
rm guest setup.sh
cat > /etc/systemd/system/guest-agent.service << END
[Unit]
Description=Agent of the test
After=multi-user.target
[Service]
StandardInput=null
ExecStartPre=stty -F /dev/ttyS1 raw -echo clocal 115200
ExecStart=/usr/local/bin/guest agent /dev/ttyS1
KillMode=process
[Install]
WantedBy=multi-user.target
END
systemctl enable guest-agent

# What would come at a time of its own.
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer logrotate.timer

# It fails where "ip=" was on the command line and an initramfs with networkd has
# made the same files before (systemd 252).
systemctl mask systemd-network-generator.service
