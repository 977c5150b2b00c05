# SPDX-License-Identifier: GPL-2.0-or-later
"""A return from a handler through a frame that is no good ends in the signal that Linux sends on each architecture."""

from __future__ import annotations

import platform
import subprocess

import pytest

from tests.guests import TARGETS, guest, mmscope

KERNEL = "signal 11 code 128 address 0"  # SI_KERNEL: restore_sigcontext failed, or IRET did
GOES_ON = "goes on 1"
# For: a stack pointer that is low, askew, that maps half of the frame, that is the kernel's; a program counter that is
# no program's, registers of more rights, of even more.
EXPECTED = {
    "x86_64": [KERNEL, KERNEL, KERNEL, KERNEL, KERNEL, GOES_ON, KERNEL],
    # arm64_notify_segfault: SEGV_ACCERR at sp where something is mapped above. A tag in the program counter goes.
    "aarch64": ["signal 11 code 2 address 40", "signal 11 code 2 address {edge + 3}",
                "signal 11 code 2 address {edge + page - 64}", "signal 11 code 1 address fffffffffffff000",
                "signal 11 code 1 address 0", "signal 11 code 2 address {sp}", "signal 11 code 2 address {sp}"],
    # A frame of zeros at an odd address can be read. Of the MSR only the byte order is taken.
    "powerpc64": [KERNEL, "signal 11 code 1 address 0", KERNEL, KERNEL, "signal 11 code 3 address 8000000000000000",
                  GOES_ON, GOES_ON],
    "powerpc": [KERNEL, KERNEL, KERNEL, KERNEL, "signal 11 code 1 address c0000000", GOES_ON, GOES_ON],
}  # fmt: skip
EXPECTED["powerpc64le"] = EXPECTED["powerpc64"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_signal_that_linux_sends(target: str) -> None:
    ran = mmscope("run", guest("sigreturns", target))
    assert ran.status == 0, ran.err
    lines = ran.out.decode().splitlines()
    caught = [line.split(": ", 1)[1] for line in lines[:7]]
    for got, wanted in zip(caught, EXPECTED[target], strict=True):
        # Addresses that depend on where things lie: near the stack or what was mapped last.
        if "{" in wanted:
            assert got.startswith(wanted[: wanted.index("{")]), (got, wanted)
            address = int(got.split()[-1], 16)
            offset = {"{edge + 3}": 3, "{edge + page - 64}": 4096 - 64}.get(wanted[wanted.index("{") :])
            assert address > 1 << 40 and offset in (None, address & 4095)
        else:
            assert got == wanted
    rest = [line.split(": ", 1)[1] for line in lines[7:] if ": " in line]
    wanted = [GOES_ON if line == GOES_ON else "signal 11" for line in EXPECTED[target]]
    assert rest == wanted


def test_as_the_kernel_of_this_machine() -> None:
    if platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 host to compare with")
    native = subprocess.run([guest("sigreturns")], capture_output=True, timeout=60, env={})
    assert mmscope("run", guest("sigreturns")).out == native.stdout
