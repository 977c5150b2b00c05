# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs with many tasks leave the same trace, to the byte, however the machine is made to run them; a seed changes
the trace, and not what the program prints."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.guests import guest, record

# name, architecture: each architecture, and each way to wait, at least once.
WORKLOADS = [
    ("cow", "x86_64"),
    ("pipes", "aarch64"),
    ("thread_signals", "powerpc64"),
    ("mm_storm", "powerpc64le"),
    ("robust", "powerpc"),
    ("exec_self", "x86_64"),
    ("alarms", "x86_64"),
    ("alarms", "powerpc"),
    ("clocks", "x86_64"),
    ("counters", "x86_64"),
    ("counters", "powerpc64le"),
]
WAYS: list[dict[str, object]] = [{}, {"serve_inside": False}, {"pure": True}]


def digest(trace: Path) -> str:
    return hashlib.sha256(trace.read_bytes()).hexdigest()


@pytest.mark.parametrize("cpus", [1, 4, 64])
@pytest.mark.parametrize(("name", "target"), WORKLOADS)
def test_same_bytes_every_way(tmp_path: Path, name: str, target: str, cpus: int) -> None:
    seen = set()
    for number, way in enumerate(WAYS):
        trace = tmp_path / f"{number}.mmscope"
        ran = record(trace, guest(name, target), timeout=300, cpus=cpus, **way)
        assert ran.status == 0, ran.err
        seen.add((digest(trace), ran.out))
    assert len(seen) == 1


@pytest.mark.parametrize(("name", "target"), WORKLOADS[:4])
def test_a_seed_changes_the_schedule_only(tmp_path: Path, name: str, target: str) -> None:
    outputs, traces = set(), set()
    for seed in (0, 1, 2):
        trace = tmp_path / f"{seed}.mmscope"
        ran = record(trace, guest(name, target), cpus=4, seed=seed)
        assert ran.status == 0, ran.err
        outputs.add(ran.out)
        traces.add(digest(trace))
    assert len(outputs) == 1
    assert len(traces) == 3
