# SPDX-License-Identifier: GPL-2.0-or-later
"""The CPUs' counters (RDTSC, CNTVCT_EL0, the time base) read virtual time, exactly, and on all CPUs alike."""

from __future__ import annotations

import pytest

from tests.guests import TARGETS, guest, mmscope

FREQUENCY = {"x86_64": 10**9, "aarch64": 62_500_000, "powerpc": 16_666_667}  # else 512 MHz


@pytest.mark.parametrize("options", [["--cpus", "1"], ["--cpus", "4"], ["--cpus", "4", "--pure"]])
@pytest.mark.parametrize("target", TARGETS)
def test_counters_read_virtual_time(target: str, options: list[str]) -> None:
    ran = mmscope("run", *options, guest("counters", target))
    assert ran.status == 0, ran.err
    told = ran.out.decode().splitlines()
    assert told[0] == f"frequency {FREQUENCY.get(target, 512_000_000)} Hz"
    upper = ["upper half is that of the whole"] if target.startswith("powerpc64") else []
    assert told[1:] == [
        "apart from CLOCK_MONOTONIC 0 times",
        "straight-line code takes its time",
        *upper,
        "apart in threads 0 times",
        "backwards 0 times",
    ]
