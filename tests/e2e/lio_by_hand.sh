# shellcheck shell=bash
# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Run on the host "target" with NAME set: a target of one disk and two portal groups in different ALUA states, by hand with targetcli.
# ALUA groups that targetcli makes are explicit and implicit; implicit alone is what keeps the states as they are set here.
set -e
DEBIAN_FRONTEND=noninteractive apt-get install -qy targetcli-fb >/dev/null
targetcli /backstores/fileio create d0 /srv/d0 64M write_back=false
targetcli /iscsi create "$NAME"
targetcli "/iscsi/$NAME" create 2
for tag in 1 2; do
    group=/sys/kernel/config/target/core/fileio_0/d0/alua/group$tag
    mkdir "$group"
    echo "$tag" > "$group/tg_pt_gp_id"
    echo 1 > "$group/alua_access_type"
    echo $((tag - 1)) > "$group/alua_access_state"
    targetcli "/iscsi/$NAME/tpg$tag/portals" delete 0.0.0.0 3260 2>/dev/null || true
    targetcli "/iscsi/$NAME/tpg$tag/luns" create /backstores/fileio/d0 0
    echo "group$tag" > "/sys/kernel/config/target/iscsi/$NAME/tpgt_$tag/lun/lun_0/alua_tg_pt_gp"
    targetcli "/iscsi/$NAME/tpg$tag/portals" create "192.168.$((55 + tag)).101"
    targetcli "/iscsi/$NAME/tpg$tag" set attribute generate_node_acls=1 demo_mode_write_protect=0 authentication=0 cache_dynamic_acls=1
    targetcli "/iscsi/$NAME/tpg$tag" enable
done
