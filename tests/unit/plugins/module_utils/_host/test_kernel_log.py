# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's log, record by record as /dev/kmsg gives it: from a socket that keeps records apart, and the device of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.lunar.iscsi.plugins.module_utils._errors import HostError
from ansible_collections.lunar.iscsi.plugins.module_utils._host.kernel_log import KernelLog, Line, collect, parse_record, read_kernel_log

ERROR = b"6,1042,59873320781,-; connection3:0: detected conn error (1022)\n"


@pytest.mark.parametrize("record, line", [
    pytest.param(ERROR, Line(59873.320781, " connection3:0: detected conn error (1022)"), id="plain"),
    pytest.param(b"6,1042,59873320781,-,caller=T312; session3: x\n", Line(59873.320781, " session3: x"), id="with its caller"),
    pytest.param(b"6,339,5140900,-;scsi host2: x; y\n SUBSYSTEM=scsi\n DEVICE=+scsi:host2\n", Line(5.1409, "scsi host2: x; y"), id="with a dictionary"),
    pytest.param(b"6,1,2,-;caf\xe9\n", Line(0.000002, "caf\ufffd"), id="no UTF-8"),
    pytest.param(b"14,1042,59873320781,-; connection3:0: detected conn error (1022)\n", None, id="by a user, who may be anybody's root"),
    pytest.param(b"30,1042,59873320781,-;systemd[1]: connection3:0: x\n", None, id="by a daemon"),
    pytest.param(b"6,1042,-; connection3:0: x\n", None, id="a field is missing"),
    pytest.param(b"6,1042,abc,-; connection3:0: x\n", None, id="no time"),
    pytest.param(b"no semicolon\n", None, id="no record"),
])
def test_a_record(record: bytes, line: t.Optional[Line]) -> None:
    assert parse_record(record) == line


@pytest.fixture
def device() -> t.Iterator[t.Tuple[t.Callable[[bytes], None], t.Callable[[], bytes]]]:
    """Records in, records out, one at a time, as the device does."""
    inside, outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    outside.setblocking(False)
    yield inside.sendall, lambda: os.read(outside.fileno(), 8192)
    inside.close()
    outside.close()


def test_only_what_is_asked_for_and_all_of_it(device: t.Any) -> None:
    write, read = device
    for record in (b"5,0,0,-;Linux version 6.1\n", ERROR, b"6,1043,60000000000,-;eth0: link up\n", b"6,1044,60000000001,-; session3: x\n"):
        write(record)
    assert collect(read, [b"connection", b"session"]) == KernelLog(
        [Line(59873.320781, " connection3:0: detected conn error (1022)"), Line(60000.000001, " session3: x")], True)


def test_what_was_overwritten_while_reading_is_passed_over() -> None:
    steps: t.List[t.Any] = [BrokenPipeError(), ERROR, BlockingIOError()]

    def read() -> bytes:
        step = steps.pop(0)
        if isinstance(step, bytes):
            return step
        raise step

    assert collect(read, [b"connection"]) == KernelLog([Line(59873.320781, " connection3:0: detected conn error (1022)")], True)


@pytest.mark.parametrize("bounds", [{"records": 1000}, {"seconds": 0.05}], ids=["records", "seconds"])
def test_a_log_that_grows_as_fast_as_it_is_read_has_an_end(bounds: t.Dict[str, t.Any]) -> None:
    log = collect(lambda: ERROR, [b"connection"], **bounds)
    assert log.lines and not log.complete


def test_an_error_in_the_middle_is_no_end() -> None:
    def read() -> bytes:
        raise OSError(22, "Invalid argument")

    assert not collect(read, [b"connection"]).complete


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"^the kernel's log \S+: cannot be read: No such file or directory\. Run the task as root"):
        read_kernel_log([b"x"], str(tmp_path / "kmsg"))


def test_a_log_that_can_be_opened_and_not_be_read(tmp_path: Path) -> None:
    assert read_kernel_log([b"x"], str(tmp_path)) == KernelLog([], False)


def test_the_log_of_this_machine_has_what_dmesg_prints() -> None:
    printed = subprocess.run(["dmesg", "--kernel", "--notime"], capture_output=True, text=True, check=False)
    if printed.returncode or not printed.stdout:
        pytest.skip("the kernel's log is not for this user")
    log = read_kernel_log([b""])
    assert log.complete
    wanted = [line.strip() for line in printed.stdout.splitlines()[-50:] if line.isascii() and "\\" not in line]
    assert wanted and not set(wanted) - {line.text.strip() for line in log.lines}
