# SPDX-License-Identifier: GPL-2.0-or-later
"""Sequence counters (include/linux/seqlock.h): a reader learns afterwards whether a writer was there meanwhile."""

from __future__ import annotations

from emu.sched.cacheline import CacheLine
from emu.sched.sched import Sched


class seqcount_t:
    """`sequence` is odd while a writer is inside. Writers exclude each other by a lock of their own."""

    __slots__ = ("line", "sched", "sequence")

    def __init__(self, sched: Sched, line: CacheLine | None = None) -> None:
        """`line`: the cache line that it shares with something else."""
        self.sched = sched
        self.sequence = 0
        self.line = line if line is not None or len(sched.rqs) == 1 else sched.new_line()

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
        self._look()
        return -1 if self.sequence & 1 else self.sequence

    def read_seqcount_retry(self, start: int) -> bool:
        """Was a writer there since `start`: what was read must not be used."""
        self._look()
        return self.sequence != start

    def _look(self) -> None:
        sched = self.sched
        if sched.clock > sched.horizon:
            sched.sync()
        if self.line is not None:
            sched.read_line(self.line)
