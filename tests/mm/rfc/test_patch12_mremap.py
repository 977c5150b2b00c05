# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 12, mremap marks the source before it is copied and its pages move."""

from __future__ import annotations

from emu.mm.mremap import sys_mremap
from tests.mm.rfc.lab import BASE, SIZE, lab

TARGET = BASE + (1 << 32)


def test_pages_do_not_move_away_under_a_reader() -> None:
    for disabled, moved in (((), False), (("mremap",), True)):
        it = lab(*disabled)
        it.watch()
        it.at(20, lambda it=it: sys_mremap(it.box.mm, BASE, SIZE, SIZE, 3, TARGET))
        assert ("entry" in it.changed()) == moved
