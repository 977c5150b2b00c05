# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of every VMA: where it lay, from when to when."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass

from emu.tracepoint import Kind
from emu.ui.html.collect import Events

PAGE_SHIFT = 12


@dataclass(slots=True)
class Band:
    """One VMA while its range stays the same. Pages are addresses >> 12, times ns; `end` and `until` are exclusive."""

    pid: int
    vma: int
    start: int
    end: int
    since: int
    until: int
    flags: int
    name: int  # index into Events.texts


class _Space:
    """The address space of one process at one moment."""

    def __init__(self) -> None:
        self.starts: list[int] = []  # sorted
        self.at: dict[int, Band] = {}  # by start
        self.of: dict[int, Band] = {}  # by VMA

    def add(self, band: Band) -> None:
        insort(self.starts, band.start)
        self.at[band.start] = band
        self.of[band.vma] = band

    def drop(self, band: Band) -> None:
        del self.starts[bisect_left(self.starts, band.start)]
        del self.at[band.start]
        if self.of.get(band.vma) is band:
            del self.of[band.vma]

    def overlapping(self, start: int, end: int) -> list[Band]:
        index = bisect_right(self.starts, start) - 1
        if index < 0 or self.at[self.starts[index]].end <= start:
            index += 1
        found = []
        while index < len(self.starts) and self.starts[index] < end:
            found.append(self.at[self.starts[index]])
            index += 1
        return found


def bands(events: Events) -> list[Band]:
    """Every VMA of every process, a band for each range that it had, in order of their begin.

    An event of a VMA tells the range that it has from now on. A range that another VMA takes over (a split names the
    new VMA only) is cut out of the one that had it, since VMAs never overlap.
    """
    spaces: dict[int, _Space] = {}
    done: list[Band] = []
    columns = events.vmas
    texts = columns["text"].tolist()
    rows = zip(
        columns["time"].tolist(), columns["pid"].tolist(), columns["kind"].tolist(), columns["address"].tolist(),
        columns["size"].tolist(), columns["flags"].tolist(), columns["vma"].tolist(), texts,
    )  # fmt: skip
    last = events.last + 1
    for time, pid, kind, address, size, flags, vma, text in rows:
        space = spaces.get(pid)
        if space is None:
            space = spaces[pid] = _Space()
        start = address >> PAGE_SHIFT
        end = max(start + 1, address + size + 4095 >> PAGE_SHIFT)
        old = space.of.get(vma)
        if old is not None:
            if kind != Kind.VMA_REMOVE and (old.start, old.end, old.flags, old.name) == (start, end, flags, text):
                continue
            space.drop(old)
            old.until = time
        if kind == Kind.VMA_REMOVE:
            continue
        for other in space.overlapping(start, end):
            space.drop(other)
            other.until = time
            for rest_start, rest_end in ((other.start, start), (end, other.end)):
                if rest_start < rest_end:
                    rest = Band(pid, other.vma, rest_start, rest_end, time, last, other.flags, other.name)
                    space.add(rest)
                    done.append(rest)
        band = Band(pid, vma, start, end, time, last, flags, text)
        space.add(band)
        done.append(band)
    return [band for band in done if band.since < band.until]
