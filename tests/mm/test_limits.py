# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process may not exceed: the number of its mappings, and what the machine promises."""

from __future__ import annotations

from errno import ENOMEM

import pytest

from emu.mm.mmap import ksys_munmap
from emu.mm.mprotect import do_mprotect_pkey
from emu.mm.mremap import sys_mremap
from tests.support import Box, make_box

PAGE = 4096
BASE = 0x10_0000_0000
READ, WRITE = 1, 2
FIXED, NORESERVE = 0x32, 0x4022


@pytest.fixture
def box() -> Box:
    return make_box("6.18", 64 << 20)


def fill(box: Box) -> None:
    """Mappings until the limit: each of three pages, a page apart."""
    box.memory.max_map_count = 20
    number = 0
    while box.mm.map_count <= box.memory.max_map_count:
        result = box.map(BASE + number * 4 * PAGE, 3 * PAGE, READ | WRITE, FIXED)
        assert result > 0
        number += 1


def test_the_number_of_mappings(box: Box) -> None:
    """mmap goes one beyond the limit, what splits stops at it, and what needs no new VMA goes on."""
    fill(box)
    assert box.mm.map_count == box.memory.max_map_count + 1
    before = [(vma.vm_start, vma.vm_end, vma.vm_flags) for vma in box.mm.mm_mt]
    assert box.map(0, PAGE, READ, 0x22) == -ENOMEM
    assert ksys_munmap(box.mm, BASE + PAGE, PAGE) == -ENOMEM
    assert do_mprotect_pkey(box.mm, BASE, PAGE, READ) == -ENOMEM
    assert sys_mremap(box.mm, BASE, PAGE, 2 * PAGE, 1, 0) == -ENOMEM
    assert [(vma.vm_start, vma.vm_end, vma.vm_flags) for vma in box.mm.mm_mt] == before
    assert do_mprotect_pkey(box.mm, BASE, 3 * PAGE, READ) == 0
    assert ksys_munmap(box.mm, BASE + 2 * PAGE, PAGE) == 0  # the end of one: nothing is split
    assert ksys_munmap(box.mm, BASE, 2 * PAGE) == 0
    assert box.map(BASE, PAGE, READ, FIXED) == BASE


def test_overcommit_by_guess(box: Box) -> None:
    """Mode 0 refuses only what could never be."""
    total = box.memory.totalram
    assert box.map(0, (total + 1) * PAGE) == -ENOMEM
    assert box.map(0, total * PAGE) > 0
    assert box.map(0, total * PAGE) > 0
    assert box.map(0, 4 * total * PAGE, READ | WRITE, NORESERVE) > 0


def test_overcommit_always(box: Box) -> None:
    box.memory.overcommit_memory = 1
    assert box.map(0, 100 * box.memory.totalram * PAGE) > 0


def test_overcommit_never(box: Box) -> None:
    """Mode 2: what all may write to stays below the limit, less a part for others; NORESERVE does not count."""
    memory, mm = box.memory, box.mm
    memory.overcommit_memory, memory.overcommit_ratio = 2, 50
    limit, reserve = memory.totalram // 2, memory.totalram // 32
    mm.privileged = False
    assert box.map(0, limit * PAGE) == -ENOMEM
    assert box.map(0, limit * PAGE, READ | WRITE, NORESERVE) == -ENOMEM
    assert box.map(0, (limit - reserve) * PAGE) == -ENOMEM  # an administrator's part
    big = box.map(0, (limit - 2 * reserve - 64) * PAGE)
    assert big > 0
    left = limit - reserve - mm.total_vm // 32 - memory.committed
    assert 0 < left < limit // 16
    assert box.map(0, left * PAGE) == -ENOMEM
    shared_text = box.map(0, left * PAGE, READ)  # nothing can be written to: it is not counted
    assert shared_text > 0
    assert do_mprotect_pkey(mm, shared_text, left * PAGE, READ | WRITE) == -ENOMEM
    mm.privileged = True
    assert do_mprotect_pkey(mm, shared_text, left * PAGE, READ | WRITE) == 0
    counted = memory.committed
    assert ksys_munmap(mm, big, PAGE) == 0
    assert memory.committed == counted - 1
