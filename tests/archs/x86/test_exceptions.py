# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs run without privileges, and an exception is the same however many came before."""

from __future__ import annotations

import platform
import subprocess

import pytest

from tests.guests import guest, mmscope


@pytest.mark.parametrize("options", [(), ("--pure",), ("--cpus", "2")])
def test_signals_are_those_of_linux(options: tuple[str, ...]) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 host to compare with")
    expected = subprocess.run([guest("exceptions")], capture_output=True, timeout=60, env={})
    ran = mmscope("run", *options, guest("exceptions"))
    assert (ran.out, ran.status) == (expected.stdout, expected.returncode), ran.err
    assert ran.out.count(b"signal 8 code 1 ") == 6
