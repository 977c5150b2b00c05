# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's copies from and to guest memory: how far they come, and how long they take."""

from __future__ import annotations

from emu.mm.mm_types import PAGE_SIZE
from tests.support import make_box

BASE = 0x10000000


def test_a_copy_ends_at_the_first_page_that_is_not_there() -> None:
    box = make_box()
    box.map(BASE, 2 * PAGE_SIZE)
    access = box.access
    data = bytes(range(256)) * 12
    at = BASE + 2 * PAGE_SIZE - 1000
    assert access.copy_to_user_partial(at, data) == 1000
    assert not access.copy_to_user(at, data)
    assert access.copy_from_user_partial(at, len(data)) == data[:1000]
    assert access.copy_from_user(at, len(data)) is None
    assert access.copy_from_user(at, 1000) == data[:1000]


def test_a_copy_takes_time_for_each_whole_page_that_it_copied() -> None:
    box = make_box()
    box.map(BASE, 4 * PAGE_SIZE)
    access, sched = box.access, box.memory.sched
    assert access.copy_to_user(BASE, bytes(4 * PAGE_SIZE))  # the faults are over
    for start, size, pages in (
        (0, 3 * PAGE_SIZE, 3),
        (100, 3 * PAGE_SIZE, 3),
        (0, PAGE_SIZE - 1, 0),
        (0, PAGE_SIZE + 1, 1),
    ):
        before = sched.clock
        assert access.copy_from_user(BASE + start, size) == bytes(size)
        read = sched.clock
        assert access.copy_to_user(BASE + start, bytes(size))
        assert (read - before, sched.clock - read) == (pages * sched.cost.copy_user_page,) * 2
    # Of eight pages four are there.
    before = sched.clock
    assert len(access.copy_from_user_partial(BASE, 8 * PAGE_SIZE)) == 4 * PAGE_SIZE
    assert sched.clock - before >= 4 * sched.cost.copy_user_page
    assert sched.clock - before < 8 * sched.cost.copy_user_page
