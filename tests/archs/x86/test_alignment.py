# SPDX-License-Identifier: GPL-2.0-or-later
"""The alignment check exception: what it asks of an instruction, and that EFLAGS.AC belongs to a task. What the
hardware does with many more instructions is in the record of the guest program alignment."""

from __future__ import annotations

import pytest

from archs.x86 import ARCHES
from archs.x86.alignment import misaligned
from emu.hw.ram import Ram

# Code, RBX, RSP: does it raise the exception.
CASES = {
    "4 bytes at 2": ("8b03", 0x1002, 0x2000, True),
    "4 bytes at 4": ("8b03", 0x1004, 0x2000, False),
    "4 bytes with an index": ("8b041b", 0x1001, 0x2000, True),
    "relative to the next instruction": ("8b05fd0f0000", 0, 0x2000, True),
    "16 bytes that need not be aligned otherwise": ("0f1003", 0x1008, 0x2000, True),
    "16 bytes that must always be": ("0f2803", 0x1008, 0x2000, False),
    "no access": ("488d03", 0x1001, 0x2000, False),
    "push": ("53", 0, 0x2004, True),
    "push of 16 bits": ("6653", 0, 0x2002, False),
    "return": ("c3", 0, 0x2004, True),
    "call": ("e800000000", 0, 0x2008, False),
    "not an instruction": ("0fff", 0, 0x2000, False),
}


@pytest.mark.parametrize("name", CASES)
def test_misaligned(name: str) -> None:
    code, rbx, rsp, raised = CASES[name]
    registers = {"rbx": rbx, "rsp": rsp, "fs_base": 0}
    assert misaligned(bytes.fromhex(code) + b"\x90", 0x400000, registers.__getitem__) == raised


@pytest.mark.parametrize("native", [True, False])
def test_the_flag_is_a_tasks_own(native: bool) -> None:
    cpu = ARCHES[0].make_cpu(Ram(1 << 20), native, False)
    without = cpu.save()
    cpu.thread.checks_alignment = True  # type: ignore[attr-defined]
    with_it = cpu.save()
    for saved, expected in ((without, False), (with_it, True), (without, False)):
        cpu.restore(saved)
        assert cpu.thread.checks_alignment is expected  # type: ignore[attr-defined]
