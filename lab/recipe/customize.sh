#!/bin/sh
# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Runs as root inside the new root file system, after the packages are installed and the files of rootfs/ are copied.
set -eu
systemctl enable -q systemd-networkd.service lab-seed.service ssh.service serial-getty@ttyS0.service
systemctl disable -q nftables.service 2>/dev/null || true
systemctl set-default -q multi-user.target
# Nothing here is needed on a throw-away host, and each costs seconds under emulation.
systemctl mask -q apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
  getty@tty1.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount systemd-hwdb-update.service ldconfig.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-journal-catalog-update.service systemd-update-done.service \
  systemd-pcrphase.service systemd-pcrphase-sysinit.service modprobe@drm.service modprobe@efi_pstore.service systemd-pstore.service \
  systemd-binfmt.service systemd-rfkill.socket
printf '/dev/vda / ext4 defaults,errors=remount-ro 0 0\n' >/etc/fstab
echo lab >/etc/hostname
# Every guest gets its own identity: an empty machine-id takes the one that the kernel command line gives.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_* /etc/resolv.conf
passwd -q -l root
python3 -m compileall -q /usr/lib/python3/dist-packages/lab_bytecode.py
update-initramfs -u -k all
# QEMU boots the kernel and initramfs that lie beside the image: a new one inside the guest would take a minute and change nothing.
sed -i 's/^update_initramfs=.*/update_initramfs=no/' /etc/initramfs-tools/update-initramfs.conf
# The archive of packages for later: apt knows it and has read it.
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/lab-archive ./' >/etc/apt/sources.list.d/lab.list
apt-get -q update
