# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch 06, a VMA is marked before its vm_flags change. (With memory that never merges, or merging marks it first.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emu.mm.madvise import do_madvise
from emu.mm.mlock import sys_mlock2
from emu.mm.mm_types import VM_IO
from emu.mm.mprotect import do_mprotect_pkey
from tests.mm.rfc.lab import BASE, SIZE, Lab, R, lab

MADV_DONTFORK = 10


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda it: do_mprotect_pkey(it.box.mm, BASE, SIZE, R), {"flags", "entry"}),
        (lambda it: do_madvise(it.box.mm, BASE, SIZE, MADV_DONTFORK), {"flags"}),
        (lambda it: sys_mlock2(it.box.mm, BASE, SIZE, 0), {"flags"}),
    ],
    ids=["mprotect", "madvise", "mlock"],
)
def test_flags_do_not_change_under_a_reader(
    change: Callable[[Lab], int], fields: set[str], request: pytest.FixtureRequest
) -> None:
    for disabled, expected in (((), set()), (("vm_flags",), fields)):
        it = lab(*disabled)
        if request.node.callspec.id == "mlock":  # leaves alone what is I/O
            it.scheme.marks_before_merge = False
        else:
            it.vma.vm_flags |= VM_IO
        it.watch()
        it.at(20, lambda it=it: change(it))
        assert it.changed() == expected
