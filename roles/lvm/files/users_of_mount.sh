# shellcheck shell=sh
# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# users_of_mount PATH DEVICE: one line for each process that works in the file system that is mounted there, and each mount below it, if DEVICE is what
# is mounted there. Processes are told by the device number of their folders and open files.
mounted=$(findmnt --noheadings --output SOURCE --mountpoint "$1" | tail -n 1)
[ "$mounted" = "$2" ] || exit 0
findmnt --noheadings --raw --submounts --output TARGET --mountpoint "$1" | tail -n +2 | sed 's/^/a mount on /'
number=$(stat --format %d "$1") || exit 1
{ find -L /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/exe /proc/[0-9]*/fd/* -maxdepth 0 -printf '%D %p\n' 2>/dev/null || true; } |
  sed -n "s|^$number /proc/\([0-9]*\)/.*|\1|p" | sort -nu | while read -r pid; do
    echo "$(cat "/proc/$pid/comm") (pid $pid)"
  done
