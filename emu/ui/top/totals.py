# SPDX-License-Identifier: GPL-2.0-or-later
"""Sums of a model for one picture: faults by kind, path, reason, VMA, thread; of all, or of a chosen thread or VMA."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from emu.tracepoint import Reason
from emu.ui.top.model import BINS, Model

RECENT_PARTS = 16  # "now" is the last of so many parts of the time that has passed


@dataclass(frozen=True)
class Filter:
    """Which faults count: those of a thread, of a VMA, of both, or all."""

    tid: int | None = None
    vma: int | None = None

    def __str__(self) -> str:
        parts = [f"thread {self.tid}"] if self.tid is not None else []
        parts += [f"VMA {self.vma}"] if self.vma is not None else []
        return ", ".join(parts)


@dataclass
class Totals:
    """Counts of faults. Histories are faults in each bin of `bin_ns`; the last bin may be incomplete."""

    faults: int = 0
    waited: int = 0  # ns
    duration: int = 0  # ns
    span: float = 0.0  # virtual ns that passed
    bin_ns: int = 1
    by_kind: dict[tuple[int, int], int] = field(default_factory=dict)  # (kind, served)
    by_path: dict[int, int] = field(default_factory=dict)
    by_reason: dict[int, int] = field(default_factory=dict)
    by_vma: dict[int, list[int]] = field(default_factory=dict)  # count, ns waited
    by_tid: dict[int, list[int]] = field(default_factory=dict)
    retries: int = 0
    history: list[int] = field(default_factory=list)
    kind_history: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    path_history: dict[int, list[int]] = field(default_factory=dict)

    def rate(self, count: int) -> float:
        """Faults a second of virtual time, over all the time."""
        return count * 1e9 / self.span if self.span else 0.0

    def recent(self, history: list[int]) -> float:
        """Faults a second of virtual time in the last part of it."""
        if not history or not self.span:
            return 0.0
        bins = max(1, len(history) // RECENT_PARTS)
        first = max(0, len(history) - bins)
        time = self.span - first * self.bin_ns
        return sum(history[first:]) * 1e9 / time if time > 0 else 0.0


def totals(model: Model, chosen: Filter, span: float) -> Totals:
    """Add up what `chosen` lets through. `span`: virtual ns that have passed."""
    found = Totals(span=span, bin_ns=model.bin_ns)
    retry = int(Reason.RETRY)
    for (kind, served, path, reason, tid, vma), (count, wait, duration) in model.faults.items():
        if chosen.tid is not None and tid != chosen.tid:
            continue
        if chosen.vma is not None and vma != chosen.vma:
            continue
        found.faults += count
        found.waited += wait
        found.duration += duration
        found.by_kind[kind, served] = found.by_kind.get((kind, served), 0) + count
        found.by_path[path] = found.by_path.get(path, 0) + count
        if reason:
            found.by_reason[reason] = found.by_reason.get(reason, 0) + count
            if reason == retry:
                found.retries += count
        for entry in (found.by_vma.setdefault(vma, [0, 0]), found.by_tid.setdefault(tid, [0, 0])):
            entry[0] += count
            entry[1] += wait
    bins = min(BINS, int(span // model.bin_ns) + 1)
    found.history = [0] * bins
    if chosen == Filter():
        for (kind, served, path), history in model.history.items():
            _add(found, kind, served, path, enumerate(history))
    else:
        for (kind, served, path, tid, vma), places in model.bins.items():
            if chosen.tid in (None, tid) and chosen.vma in (None, vma):
                _add(found, kind, served, path, places.items())
    return found


def _add(found: Totals, kind: int, served: int, path: int, places: Iterable[tuple[int, int]]) -> None:
    """Add faults of one sort, as (bin, count), to the histories."""
    last = len(found.history) - 1
    of_kind = found.kind_history.setdefault((kind, served), [0] * (last + 1))
    of_path = found.path_history.setdefault(path, [0] * (last + 1))
    for at, count in places:
        if count:
            at = min(at, last)
            found.history[at] += count
            of_kind[at] += count
            of_path[at] += count
