# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module iscsi_initramfs; the work is in module_utils/_boot/initramfs_task.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: iscsi_initramfs
short_description: Have an initramfs that can boot from iSCSI, looked into before it is put in place
version_added: 0.1.0
author:
  - The lunar.iscsi contributors (@lunar-iscsi)
description:
  - Looks into the initramfs of each kernel, whether everything is in it that a root file system on iSCSI takes, as it is on the system now. Where that
    is so, nothing is done. Otherwise it is built anew by C(mkinitramfs) or C(dracut).
  - A new initramfs is written beside the old one and looked into. Only if it lacks nothing, it takes the place of the old one, in one step. When the
    build fails, the disk is full, or something is missing in what was built, the old one stays as it is, and the task says what was missing.
  - With initramfs-tools, these are looked for - C(iscsistart), the script that runs it, C(initiatorname.iscsi), C(iscsi.initramfs) and
    kernel modules. Copies of files have to be equal to what the system has now, so a changed file is a reason to build.
  - With dracut, these are looked for - its module C(iscsi) with what that runs, O(words) of a command line, and kernel modules.
extends_documentation_fragment:
  - lunar.iscsi.attributes
attributes:
  check_mode:
    support: full
    details: The initramfs is looked into in check mode, too; what a new one would hold is not known.
  diff_mode:
    support: full
    details: Shows what the initramfs lacks. Secrets are shown as stars.
  idempotent:
    support: full
  platform:
    platforms: linux
requirements:
  - C(mkinitramfs) (initramfs-tools) or C(dracut) with its module C(iscsi) (on Debian and RHEL in the package C(dracut-network); on Debian with
    C(gawk), where the firmware names the network interface)
  - C(zstd), C(lz4) or C(lzop) where the initramfs is compressed that way
options:
  root:
    description:
      - The system whose initramfs is meant. Give the mount point of one that does not run; its own tools are then run inside of it, with C(/proc),
        C(/sys) and C(/dev) mounted for that long in a mount namespace of their own.
    type: path
    default: /
  generator:
    description:
      - The tool that makes the initramfs. With V(auto), the one that is installed; initramfs-tools where both are.
    type: str
    choices: [auto, initramfs-tools, dracut]
    default: auto
  kernels:
    description:
      - The kernels, by version. Without it, all that are installed with their modules.
    type: list
    elements: str
    default: []
  modules:
    description:
      - Kernel modules that have to be in it, in addition to C(iscsi_tcp). One that is built into the kernel is there.
      - Name the drivers of network interfaces, C(iscsi_ibft) where firmware says what to boot from, and what the file system needs.
    type: list
    elements: str
    default: []
  words:
    description:
      - Words of a kernel command line that it has to bring along (C(etc/cmdline.d)). For dracut alone.
      - The value of a word with V(password) in its name is kept out of logs and results.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - How long one build may take, in seconds.
    type: float
    default: 900
notes:
  - The module does not write what an initramfs is built from. The role P(lunar.iscsi.boot#role) does.
seealso:
  - module: lunar.iscsi.iscsi_image
  - module: lunar.iscsi.iscsi_boot_info
"""

EXAMPLES = r"""
- name: Where the disk to boot from is
  ansible.builtin.copy:
    dest: /etc/iscsi/iscsi.initramfs
    content: "ISCSI_AUTO=true\n"
    mode: "0600"

- name: Have it in the initramfs, with the driver of the network interface
  lunar.iscsi.iscsi_initramfs:
    modules: [iscsi_ibft, virtio_net]

- name: The same for an installed system that is mounted, which has dracut
  lunar.iscsi.iscsi_initramfs:
    root: /mnt/sysimage
    modules: [iscsi_ibft, ixgbe]
    words: [rd.iscsi.firmware=1]
"""

RETURN = r"""
generator:
  description: The tool that makes initramfs images on this system, V(initramfs-tools) or V(dracut).
  returned: success
  type: str
  sample: initramfs-tools
images:
  description: The initramfs of each kernel.
  returned: success
  type: list
  elements: dict
  contains:
    kernel:
      description: The version of the kernel.
      type: str
      returned: always
    path:
      description: The initramfs.
      type: str
      returned: always
    lacks:
      description: What it lacks in the end, in words. In check mode, what it lacks now.
      type: list
      elements: str
      returned: always
  sample: [{kernel: 6.1.0-37-amd64, path: /boot/initrd.img-6.1.0-37-amd64, lacks: []}]
steps:
  description: What was done (or would be, in check mode), in words.
  returned: success
  type: list
  elements: str
  sample: [build /boot/initrd.img-6.1.0-37-amd64]
problems:
  description: Empty; what is wrong makes the task fail.
  returned: success
  type: list
  elements: dict
"""

from ansible_collections.lunar.iscsi.plugins.module_utils._boot.initramfs_task import InitramfsTask
from ansible_collections.lunar.iscsi.plugins.module_utils._convergence import converge
from ansible_collections.lunar.iscsi.plugins.module_utils._module import CheckedModule


class WordsModule(CheckedModule):
    """One that keeps the secrets among words to itself."""

    def _log_invocation(self) -> None:
        for word in self.params["words"]:
            name, _equals, value = str(word).partition("=")
            if value and "password" in name:
                self.no_log_values.add(value)
        CheckedModule._log_invocation(self)


def main() -> None:
    """Look into it, build, look again, put it in place."""
    module = WordsModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "generator": {"type": "str", "choices": ["auto", "initramfs-tools", "dracut"], "default": "auto"},
            "kernels": {"type": "list", "elements": "str", "default": []},
            "modules": {"type": "list", "elements": "str", "default": []},
            "words": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 900},
        },
        supports_check_mode=True,
    )
    converge(module, InitramfsTask, module.params)


if __name__ == "__main__":
    main()
