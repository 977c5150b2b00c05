# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMA lock of 6.18: what a look-up sees of a tree that others change."""

from __future__ import annotations

import pytest

from emu.tracepoint import Reason
from tests.locking.threads import Threads
from tests.support import make_box

US = 1000
BASE, PAGE = 0x10_0000_0000, 4096
BEGIN = 70 * US  # of the look-up


@pytest.mark.parametrize(("change_at", "found"), [(BEGIN - 10 * US, False), (BEGIN, False), (BEGIN + 1, True)])
def test_a_look_up_that_gives_its_turn_away_sees_what_was_done_before_it_began(change_at: int, found: bool) -> None:
    cpus = Threads(2)
    box = make_box("6.18", sched=cpus.sched)
    assert box.map(BASE, PAGE, flags=0x32) == BASE
    mm = box.mm
    seen = []

    def reader() -> None:
        cpus.at(50 * US)
        cpus.work(BEGIN - cpus.sched.clock)  # guest code, which runs ahead
        vma = mm.scheme.lock_vma_under_rcu(mm, BASE)
        seen.append((vma is not None, mm.scheme.reason))
        if vma is not None:
            mm.scheme.vma_end_read(vma)

    def writer() -> None:
        cpus.at(50 * US + 1)
        cpus.work(change_at - cpus.sched.clock)
        vma = mm.mm_mt.load(BASE)
        assert vma is not None and not seen
        mm.mm_mt.erase(vma)
        cpus.at(90 * US)

    cpus.start(reader)
    cpus.start(writer)
    cpus.run()
    assert seen == [(found, Reason.NONE if found else Reason.NO_VMA)]
