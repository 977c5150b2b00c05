# SPDX-License-Identifier: GPL-2.0-or-later
"""Restartable sequences: what is read and written when a task goes back to its program, and when it starts over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from archs.base import SigAction, SigInfo
from emu.kernel.rseq import rseq_handle_notify_resume
from emu.kernel.signal import _handle_signal

AREA, SECTION, SIGNATURE = 0x1000, 0x2000, 0x53053053
START, LENGTH, ABORT = 0x400100, 0x20, 0x400200


class Words:
    """Guest memory by address, and what was written to it in order."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.written: list[tuple[int, int]] = []

    def get_user(self, address: int, size: int, function: str = "") -> int | None:
        return self.values.get(address)

    def put_user(self, address: int, value: int, size: int, function: str = "") -> bool:
        self.values[address] = value
        self.written.append((address, value))
        return True


def resume(ip: int, pointer: int = SECTION, **different: int) -> Any:
    """A task on CPU 5 that goes back to `ip`; its section is as `different` says."""
    words = Words()
    section = {"version": 0, "start": START, "length": LENGTH, "abort": ABORT} | different
    places = {"version": 0, "start": 8, "length": 16, "abort": 24}
    words.values = {AREA + 8: pointer, ABORT - 4: SIGNATURE}
    words.values |= {SECTION + places[name]: value for name, value in section.items()}
    signals: list[Any] = []
    task: Any = SimpleNamespace(
        access=words, rseq=(AREA, SIGNATURE), exiting=False, cpu=SimpleNamespace(pc=ip), force_sig=signals.append,
        machine=SimpleNamespace(sched=SimpleNamespace(rq=SimpleNamespace(id=5))), signals=signals, sigpending=False,
    )  # fmt: skip
    rseq_handle_notify_resume(task)
    return task


@pytest.mark.parametrize("pointer", [0, SECTION])
def test_the_section_is_cleared_before_the_cpu_is_stored_even_where_there_is_none(pointer: int) -> None:
    task = resume(0x400000, pointer)
    assert [address - AREA for address, _ in task.access.written] == [8, 0, 4, 20, 24]
    assert task.access.values[AREA + 8] == 0
    assert task.access.values[AREA] == task.access.values[AREA + 4] == 5
    assert task.cpu.pc == 0x400000 and not task.signals


@pytest.mark.parametrize(
    ("ip", "goes_to"),
    [(START - 1, START - 1), (START, ABORT), (START + LENGTH - 1, ABORT), (START + LENGTH, START + LENGTH)],
)
def test_a_section_that_was_interrupted_starts_over(ip: int, goes_to: int) -> None:
    assert resume(ip).cpu.pc == goes_to


@pytest.mark.parametrize("bad", [{"version": 1}, {"abort": START + 1}, {"abort": ABORT + 8}, {"length": 1 << 64}])
def test_a_section_that_makes_no_sense_kills(bad: dict[str, int]) -> None:
    task = resume(START, **bad)
    assert len(task.signals) == 1 and task.sigpending


def test_a_handler_returns_to_where_a_section_that_it_interrupted_is_given_up() -> None:
    task = resume(0, pointer=0)
    words = task.access
    words.values[AREA + 8] = SECTION
    words.written.clear()
    task.cpu = SimpleNamespace(pc=START + 4, sp=0)
    frames: list[tuple[int, int]] = []
    task.arch = SimpleNamespace(
        setup_rt_frame=lambda cpu, access, frame: frames.append((cpu.pc, len(access.written))) or True
    )
    task.machine.sched.charge = lambda ns: None
    task.machine.sched.cost = SimpleNamespace(signal_deliver=1)
    task.signals = SimpleNamespace(
        blocked=0, saved=None, altstack=(0, 0, 0), on_altstack=lambda sp: False, actions={}, sigpending=False
    )
    _handle_signal(task, SigInfo(10, 0), SigAction(handler=0x400300))
    assert frames == [(ABORT, 5)], "the section is cleared and the CPU told before the frame is made"
