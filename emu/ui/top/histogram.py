# SPDX-License-Identifier: GPL-2.0-or-later
"""A histogram of durations in nanoseconds with a bounded relative error, as HDR histograms are."""

from __future__ import annotations

_SUB_BITS = 5  # 32 classes for each power of two: quantiles are off by less than 1/32


class Histogram:
    """Counts values >= 0. `count`, `total` and `longest` are exact."""

    __slots__ = ("classes", "count", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.longest = 0
        self.classes: dict[int, int] = {}

    def add(self, value: int) -> None:
        """Count one value."""
        self.count += 1
        self.total += value
        if value > self.longest:
            self.longest = value
        shift = max(0, value.bit_length() - _SUB_BITS - 1)
        key = shift << 8 | value >> shift
        self.classes[key] = self.classes.get(key, 0) + 1

    @property
    def mean(self) -> float:
        """Mean of all values; 0 without any."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> int:
        """The value that `share` (0 to 1) of all values do not exceed, by less than 1/32 too high; 0 without any."""
        left = share * self.count
        for key in sorted(self.classes):
            left -= self.classes[key]
            if left <= 0:
                shift = key >> 8
                return min(self.longest, (((key & 255) + 1) << shift) - 1)
        return self.longest

    def octaves(self) -> list[tuple[int, int]]:
        """(lower bound, count) for each power of two that holds values."""
        found: dict[int, int] = {}
        for key, count in self.classes.items():
            low = (key & 255) << (key >> 8)
            octave = 1 << low.bit_length() >> 1
            found[octave] = found.get(octave, 0) + count
        return sorted(found.items())

    def copy(self) -> Histogram:
        """One of the same counts."""
        new = Histogram()
        new.count, new.total, new.longest, new.classes = self.count, self.total, self.longest, dict(self.classes)
        return new
