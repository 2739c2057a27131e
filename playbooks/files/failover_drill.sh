# shellcheck shell=sh
# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The hands of failover_drill.yml on a host:
#
#   sh failover_drill.sh netdev PEER [SOURCE]           which interface leads to an address
#   sh failover_drill.sh carriers CLIENT SERVER         which interfaces carry a connection from CLIENT to SERVER, which is this host
#   sh failover_drill.sh check KIND ARGUMENT...         says why this cannot be done here, and fails; says nothing if it can
#   sh failover_drill.sh load FILE SECONDS SID...       begins to write for so long, to read all of it again and compare, and to watch these sessions;
#                                                       prints a moment
#   sh failover_drill.sh cut SECONDS KIND ARGUMENT...   cuts for so long, and restores even if whoever asked for it is gone meanwhile
#   sh failover_drill.sh wait load|cut                  until it has ended; fails if it failed
#   sh failover_drill.sh restore KIND ARGUMENT...       does nothing where nothing is cut
#   sh failover_drill.sh moment                         the clock, in ms since 1970
#   sh failover_drill.sh result BEFORE CUT RESTORED SID...  what became of I/O and of these sessions, see there
#   sh failover_drill.sh keep_reading FILE SECONDS      begins to read a block a second for so long: it takes I/O to fail back
#   sh failover_drill.sh end                            ends all that; a cut is restored
#
# KIND and its arguments:
#
#   filter PEER PORT [SOURCE]    packets from and to a portal are dropped
#   interface NAME               the link is taken down
#   portal TARGET TAG            a portal group of this host's LIO is closed
#   service [NAME]               a target service is stopped; without a name, the first of $services that is active
#
# Cut and load run in units of systemd: systemctl list-units 'lunar-failover-drill-*' shows them, and systemctl stop restores at once.

set -eu
export LC_ALL=C

here=$(dirname "$0")
unit=lunar-failover-drill
table=lunar_failover_drill
services="rtslib-fb-targetctl.service target.service targetcli.service tgt.service tgtd.service scst.service"
# 100 writes a second leave no gap in which a cut could hide, and are no burden to any disk
rate=100

fail() {
    echo "$*" >&2
    exit 1
}

netdev() {
    ip -oneline route get "$1" ${2:+from "$2"} | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1
}

# an interface and all that it stands on: a VLAN's link, a bond's or bridge's ports
with_lowers() {
    echo "$1"
    for lower in "/sys/class/net/$1"/lower_*; do
        [ ! -e "$lower" ] || (with_lowers "${lower##*/lower_}")
    done
}

carriers() {
    {
        netdev "$1"
        ip -oneline address show to "$2" | awk '{ print $2 }'
    } | while read -r name; do with_lowers "$name"; done | sort -u
}

portal_enable() {
    echo "/sys/kernel/config/target/iscsi/$1/tpgt_$2/enable"
}

active_service() {
    for name in $services; do
        if systemctl --quiet is-active "$name"; then
            echo "$name"
            return
        fi
    done
}

check_filter() {
    command -v nft >/dev/null || fail "nft is not installed"
}

check_interface() {
    [ -d "/sys/class/net/$1" ] || fail "there is no interface $1"
    for upper in "/sys/class/net/$1"/upper_*; do
        [ ! -e "$upper" ] || fail "${upper##*/upper_} stands on $1, and would not come back as it was"
    done
}

check_portal() {
    [ -e "$(portal_enable "$1" "$2")" ] || fail "LIO here has no portal group $2 of $1"
    [ "$(cat "$(portal_enable "$1" "$2")")" = 1 ] || fail "portal group $2 of $1 is closed already"
}

check_service() {
    if [ -z "${1:-}" ]; then
        [ -n "$(active_service)" ] || fail "none of these is active: $services"
    else
        systemctl --quiet is-active "$1" || fail "$1 is not active"
    fi
}

cut_filter() {
    case $1 in *:*) family=ip6 ;; *) family=ip ;; esac
    nft -f - <<EOF
add table inet $table
add chain inet $table in { type filter hook input priority -300; }
add chain inet $table out { type filter hook output priority -300; }
add rule inet $table in $family saddr $1 ${3:+$family daddr $3} tcp sport $2 drop
add rule inet $table out $family daddr $1 ${3:+$family saddr $3} tcp dport $2 drop
EOF
}

restore_filter() {
    ! nft list table inet $table >/dev/null 2>&1 || nft delete table inet $table
}

# the kernel forgets IPv6 addresses and every route but the connected ones when a link goes down
cut_interface() {
    ip address save dev "$1" > "$here/addresses"
    ip -4 route save dev "$1" > "$here/routes4"
    ip -6 route save dev "$1" > "$here/routes6"
    ip link set dev "$1" down
}

restore_interface() {
    ip link set dev "$1" up
    [ -e "$here/addresses" ] || return 0
    # what is back by itself is no error to ip, and of the rest it restores what it can
    ip address restore < "$here/addresses" || :
    ip -4 route restore < "$here/routes4" || :
    ip -6 route restore < "$here/routes6" || :
    rm -f "$here/addresses" "$here/routes4" "$here/routes6"
}

cut_portal() {
    echo 0 > "$(portal_enable "$1" "$2")"
}

restore_portal() {
    [ "$(cat "$(portal_enable "$1" "$2")")" = 1 ] || echo 1 > "$(portal_enable "$1" "$2")"
}

cut_service() {
    name=${1:-$(active_service)}
    echo "$name" > "$here/service"
    systemctl stop "$name"
}

restore_service() {
    [ ! -e "$here/service" ] || systemctl start "$(cat "$here/service")"
    rm -f "$here/service"
}

# A unit lives on without the connection that it was begun over, and ExecStopPost comes whatever ends it: the time, a signal, a failure.
cut() {
    seconds=$1
    shift
    systemctl reset-failed $unit-cut.service 2>/dev/null || :
    rm -f "$here/cut"
    systemd-run --quiet --unit=$unit-cut --property=RuntimeMaxSec=$((seconds + 60)) --property=TimeoutStopSec=120 \
        --property=ExecStopPost="/bin/sh $here/failover_drill.sh restore $*" /bin/sh "$here/failover_drill.sh" hold "$seconds" "$@"
    while [ ! -e "$here/cut" ]; do
        if ! systemctl --quiet is-active $unit-cut.service; then
            wait_for cut
            [ -e "$here/cut" ] || fail "the cut was ended before it was made"
        fi
        sleep 0.2
    done
}

wait_for() {
    while true; do
        case $(systemctl show --property=ActiveState "$unit-$1.service") in
            *=failed) break ;;
            *=inactive) return 0 ;;
        esac
        sleep 0.5
    done
    journalctl --quiet --boot --unit="$unit-$1" --lines=20 --output=cat >&2
    systemctl reset-failed "$unit-$1.service"
    fail "the $1 failed"
}

hold() {
    seconds=$1
    kind=$2
    shift 2
    "cut_$kind" "$@"
    touch "$here/cut"
    sleep "$seconds"
}

check_load() {
    command -v fio >/dev/null || fail "fio is not installed"
    if [ -b "$1" ]; then
        [ "$(blockdev --getsize64 "$1")" -ge $(($2 * rate * 4096)) ] || fail "$1 is too small to write to it for $2 s"
    else
        [ ! -e "$1" ] || fail "$1 is there already, and is not written over"
        [ "$(($(stat --file-system --format='%a * %S' "$(dirname "$1")")))" -gt $(($2 * rate * 4096)) ] || fail "$1: there is no room to write for $2 s"
    fi
}

watch() {
    while true; do
        for sid; do
            [ "$(cat "/sys/class/iscsi_session/session$sid/state")" = LOGGED_IN ] || touch "$here/lost_$sid"
        done
        sleep 0.5
    done
}

# Each block is written once, so that at the end each has to hold what this very load wrote there: fio puts the number of the write and a
# seed into each block, and compares these beside the checksum. With the default, randrepeat=1, every load would write the same.
load() {
    file=$1
    blocks=$(($2 * rate))
    rm -f "$here"/fio.json "$here"/load_*.log "$here"/lost_*
    systemctl reset-failed $unit-load.service 2>/dev/null || :
    systemctl stop $unit-watch.service 2>/dev/null || :
    systemd-run --quiet --unit=$unit-load --working-directory="$here" fio --name=load --filename="$(echo "$file" | sed 's/:/\\:/g')" \
        --size=$((blocks * 4096)) --rate_iops=$rate --rw=randwrite --bs=4k --direct=1 --ioengine=psync --randrepeat=0 \
        --verify=crc32c --do_verify=1 --verify_state_save=0 --continue_on_error=all --write_lat_log=load --log_unix_epoch=1 \
        --output-format=json --output=fio.json
    shift 2
    systemd-run --quiet --collect --unit=$unit-watch --property=RuntimeMaxSec=1800 /bin/sh "$here/failover_drill.sh" watch "$@"
    sleep 3
    moment
}

moment() {
    date +%s%3N
}

# Moments, by the clock of the host that writes, whatever the clock of the host where the cut is made: BEFORE the cut, after it was made (CUT), and
# after all was RESTORED. A request that began before RESTORED counts for the cut. load_covers_cut: the load ran from BEFORE to CUT, at least.
# noticed: each of the sessions was lost, so that the cut was one.
# fio logs each request as it ends: ms since 1970, ns that it took.
result() {
    before=$1
    cut=$2
    restored=$3
    shift 3
    noticed=true
    for sid; do [ -e "$here/lost_$sid" ] || noticed=false; done
    awk -F '[ :,]+' -v before="$before" -v cut="$cut" -v restored="$restored" -v noticed=$noticed '
        $2 == "\"total_err\"" { errors = $3 }
        $2 == "\"error\"" && $3 != 0 { failed = 1 }
        FILENAME ~ /json$/ { next }
        { began = $1 - $2 / 1e6; if (!first || began < first) first = began; if ($1 > last) last = $1 }
        began < restored { if ($2 > longest) longest = $2; next }
        { covered = 1; if ($2 > later) later = $2 }
        END {
            printf "{\"errors\": %d, \"stood_still\": %.2f, ", (errors ? errors : failed), longest / 1e9
            printf "\"stood_still_after\": %s, ", (covered ? sprintf("%.2f", later / 1e9) : "null")
            printf "\"load_covers_cut\": %s, \"noticed\": %s}\n", (first && first < before && last > cut ? "true" : "false"), noticed
        }' "$here/fio.json" "$here/load_lat.1.log"
}

keep_reading() {
    systemctl stop $unit-reading.service 2>/dev/null || :
    systemd-run --quiet --collect --unit=$unit-reading --property=RuntimeMaxSec="$2" /bin/sh "$here/failover_drill.sh" read_on "$1"
}

read_on() {
    while true; do
        dd if="$1" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null || :
        sleep 1
    done
}

end() {
    systemctl stop $unit-cut.service $unit-load.service $unit-reading.service $unit-watch.service 2>/dev/null || :
}

what=$1
shift
case $what in
    check | restore)
        kind=$1
        shift
        "${what}_$kind" "$@"
        ;;
    wait) wait_for "$@" ;;
    netdev | carriers | cut | hold | watch | load | moment | result | keep_reading | read_on | end) "$what" "$@" ;;
    *) fail "failover_drill.sh knows no $what" ;;
esac
