# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Typing into a guest's serial console."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from pathlib import Path

from lunarlab.common import LabError, say

_LEAVE = b"\x1d"  # Ctrl-]


def attach(path: Path) -> int:
    """Connect this terminal with a console socket until Ctrl-] or until the guest is gone.

    :raises LabError: there is no terminal or no guest.
    """
    if not sys.stdin.isatty():
        raise LabError("the console needs a terminal: leave out --attach to print what was written.")
    keyboard = sys.stdin.fileno()
    try:
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(path))
    except OSError as error:
        raise LabError(f"no guest listens on {path} ({error.strerror}): run 'make lab-up'.") from error
    say("connected; Ctrl-] leaves, Enter shows the prompt")
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        while True:
            ready, _writable, _failed = select.select([keyboard, line], [], [])
            if line in ready:
                heard = line.recv(4096)
                if not heard:
                    return 0
                os.write(sys.stdout.fileno(), heard)
            if keyboard in ready:
                typed = os.read(keyboard, 1024)
                if _LEAVE in typed or not typed:
                    return 0
                line.sendall(typed)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        line.close()
