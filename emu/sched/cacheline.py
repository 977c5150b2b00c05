# SPDX-License-Identifier: GPL-2.0-or-later
"""A cache line that several CPUs write: it costs a transfer when another CPU had it last, and transfers queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.sched.sched import Sched


class CacheLine:
    """`owner`: number of the CPU that wrote it last, -1 = none yet; `free_at`: when the last transfer was done."""

    __slots__ = ("free_at", "owner")

    def __init__(self) -> None:
        self.owner = -1
        self.free_at = 0

    def write(self, sched: Sched) -> None:
        """The running CPU makes the line its own, by its clock after all who asked before."""
        number = sched.rq.id
        owner = self.owner
        if owner == number:
            return
        self.owner = number
        if owner < 0:
            return
        start = self.free_at
        if start < sched.clock:
            start = sched.clock
        self.free_at = sched.clock = start + sched.cost.transfer(owner, number)
