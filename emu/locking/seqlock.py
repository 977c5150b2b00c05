# SPDX-License-Identifier: GPL-2.0-or-later
"""Sequence counters (include/linux/seqlock.h): a reader learns afterwards whether a writer was there meanwhile."""

from __future__ import annotations

from emu.sched.sched import Sched


class seqcount_t:
    """`sequence` is odd while a writer is inside. Writers exclude each other by a lock of their own."""

    __slots__ = ("line", "sched", "sequence")

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.sequence = 0
        self.line = sched.new_line() if len(sched.rqs) > 1 else None

    def write_seqcount_begin(self) -> None:
        """A writer enters; all readers inside will have to retry."""
        self._step()
        assert self.sequence & 1, "a sequence counter has two writers"

    def write_seqcount_end(self) -> None:
        """It leaves."""
        self._step()
        assert not self.sequence & 1, "a writer leaves a sequence counter that none is in"

    def _step(self) -> None:
        sched = self.sched
        if sched.clock > sched.horizon:
            sched.sync()
        if self.line is not None:
            self.line.write(sched)
        self.sequence = self.sequence + 1 & 0xFFFFFFFF

    def raw_seqcount_try_begin(self) -> int:
        """The counter for a reader that enters; -1 while a writer is inside."""
        sched = self.sched
        if sched.clock > sched.horizon:
            sched.sync()
        return -1 if self.sequence & 1 else self.sequence

    def read_seqcount_retry(self, start: int) -> bool:
        """Was a writer there since `start`: what was read must not be used."""
        sched = self.sched
        if sched.clock > sched.horizon:
            sched.sync()
        return self.sequence != start
