# SPDX-License-Identifier: GPL-2.0-or-later
"""Translated code of a frame is dropped by its physical address, whatever the page tables of an engine hold."""

from __future__ import annotations

import pytest

from emu.kernel.machine import Machine
from tests.guests import TARGETS, guest


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_tables_that_are_other_memory_by_now(target: str, pure: bool) -> None:
    program = str(guest("hello", target))
    machine = Machine(memory=16 << 20, pure=pure)
    task = machine.spawn(program, [program], [])
    engine = task.cpu.engine
    frame = machine.memory.alloc_page()
    assert frame is not None
    machine.ram.write(frame.pfn << 12, b"\xb7" * 4096)  # entries that are present and lead far out of RAM
    was, engine.root = engine.root, frame.pfn << 12
    faults: list[int] = []
    engine.on_fault = lambda address, *_: bool(faults.append(address))
    fills = engine.tlb_fills
    for pfn in range(64):
        engine.invalidate_code(pfn)
    assert engine.tlb_fills == fills and not faults, "the guest's page tables were asked"
    engine.root = was
