# SPDX-License-Identifier: GPL-2.0-or-later
"""The address axis of a process: the parts of its address space that were mapped or touched, one above the other,
without the emptiness between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emu.ui.html.collect import Array

MAX_SEGMENTS = 1500
_NEAR = 64  # pages: touched pages closer than this are one cluster
_UNTOUCHED = 0.55  # height of what was mapped and never faulted on, where the smallest touched segment has 1
_GAP = 0.3
_ROOM = 0.02  # of the whole axis, for each segment: a line of text, as long as there are not too many
_POWER = 0.36  # a segment of n pages is n ** _POWER high


@dataclass
class Axis:
    """Segments in ascending order. `start`, `pages`: in pages; `row`: pages in those before; `low`, `high`: place on
    the axis, 0 at the lowest address, 1 at the highest. `coarse`: pages that a boundary was rounded to, 1 if none
    was."""

    start: Array
    pages: Array
    row: Array
    low: Array
    high: Array
    coarse: int

    def rows(self, pages: Array) -> Array:
        """Row numbers of pages that lie in segments."""
        index = np.searchsorted(self.start, pages, "right") - 1
        found: Array = self.row[index] + (pages - self.start[index])
        return found

    def place(self, pages: Array) -> Array:
        """Place on the axis of page numbers; what lies between segments is at the end of the one below."""
        if not len(self.start):
            return np.zeros(len(pages))
        index = np.clip(np.searchsorted(self.start, pages, "right") - 1, 0, None)
        part = np.clip((pages - self.start[index]) / self.pages[index], 0.0, 1.0)
        found: Array = self.low[index] + part * (self.high[index] - self.low[index])
        return found


def make_axis(starts: Array, ends: Array, touched: Array) -> Axis:
    """The axis for mapped ranges [starts, ends) and the pages (sorted, unique) that faults touched. All are page
    numbers, at most 2**52."""
    cluster_starts, cluster_ends = _clusters(touched)
    coarse = 1
    while True:
        low = np.concatenate([starts // coarse * coarse, cluster_starts // coarse * coarse])
        high = np.concatenate([-(-ends // coarse) * coarse, -(-cluster_ends // coarse) * coarse])
        edges = np.unique(np.concatenate([low, high]))
        if len(edges) <= MAX_SEGMENTS:
            break
        coarse *= 4
    if len(edges) < 2:
        empty = np.zeros(0)
        return Axis(empty.astype(np.int64), empty.astype(np.int64), empty.astype(np.int64), empty, empty, coarse)
    cover = np.zeros(len(edges), np.int64)
    np.add.at(cover, np.searchsorted(edges, low), 1)
    np.add.at(cover, np.searchsorted(edges, high), -1)
    covered = np.cumsum(cover)[:-1] > 0
    start, end = edges[:-1][covered], edges[1:][covered]
    pages = end - start
    hit = np.searchsorted(touched, end) > np.searchsorted(touched, start)
    weight = np.where(hit, np.maximum(1.0, pages.astype(float) ** _POWER), _UNTOUCHED)
    weight = np.maximum(weight, weight.sum() * min(_ROOM, 0.4 / len(weight)))
    gap = np.concatenate([[0.0], np.where(start[1:] > end[:-1], _GAP, 0.0)])
    tops = np.cumsum(weight + gap)
    total = tops[-1]
    return Axis(start, pages, np.cumsum(pages) - pages, (tops - weight) / total, tops / total, coarse)


def _clusters(touched: Array) -> tuple[Array, Array]:
    """Runs of touched pages with no wide gap inside."""
    if not len(touched):
        return touched, touched
    breaks = np.flatnonzero(np.diff(touched) > _NEAR)
    first = np.concatenate([[0], breaks + 1])
    last = np.concatenate([breaks, [len(touched) - 1]])
    return touched[first], touched[last] + 1
