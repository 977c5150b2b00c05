# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMAs of an address space, ordered by address: what Linux keeps in a maple tree.

A B+tree of height two whose nodes are never changed once they can be reached: a writer (mmap_lock held for write)
builds new leaves
and a new root and then stores one reference. A reader under RCU takes the root once and walks a snapshot. A VMA's own
bounds may
change under it, which is why a fault looks at them again after it has locked the VMA.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.mm.mm_types import vm_area_struct
    from emu.tracepoint import Clock

LEAF_MAX = 64


class _Leaf:
    """Up to LEAF_MAX VMAs with the ends they had when the leaf was built."""

    __slots__ = ("_gap", "ends", "first", "vmas")

    def __init__(self, vmas: list[vm_area_struct], ends: list[int]) -> None:
        self.vmas = vmas
        self.ends = ends
        self.first = vmas[0].vm_start
        self._gap = -1  # not known

    @property
    def gap(self) -> int:
        """The largest hole between two of them."""
        if self._gap < 0:
            holes = (vma.vm_start - end for vma, end in zip(self.vmas[1:], self.ends, strict=False))
            self._gap = max(holes, default=0)
        return self._gap


class _Root:
    __slots__ = ("ends", "leaves")

    def __init__(self, leaves: list[_Leaf], ends: list[int]) -> None:
        """`ends`: of each leaf the end of its last VMA."""
        self.leaves = leaves
        self.ends = ends


class VmaTree:
    """Look-ups take O(log n); an update copies one or two leaves and the root's lists. `changes` counts updates,
    `changed_at` is when the last one was made, in ns of the `clock` of the CPU that made it."""

    __slots__ = ("_clock", "_root", "changed_at", "changes")

    def __init__(self, clock: Clock) -> None:
        self._root = _Root([], [])
        self._clock = clock
        self.changes = self.changed_at = 0

    def find(self, address: int) -> vm_area_struct | None:
        """The first VMA that ends above `address`: the one that contains it, or the next one (find_vma)."""
        root = self._root
        i = bisect_right(root.ends, address)
        if i == len(root.ends):
            return None
        leaf = root.leaves[i]
        return leaf.vmas[bisect_right(leaf.ends, address)]

    def load(self, address: int) -> vm_area_struct | None:
        """The VMA that contains `address`, or None (mas_walk)."""
        root = self._root
        i = bisect_right(root.ends, address)
        if i == len(root.ends):
            return None
        leaf = root.leaves[i]
        vma = leaf.vmas[bisect_right(leaf.ends, address)]
        return vma if vma.vm_start <= address else None

    def prev(self, address: int) -> vm_area_struct | None:
        """The last VMA that ends at or below `address`."""
        root = self._root
        i = bisect_right(root.ends, address)
        if i < len(root.ends):
            leaf = root.leaves[i]
            j = bisect_right(leaf.ends, address)
            if j:
                return leaf.vmas[j - 1]
        return root.leaves[i - 1].vmas[-1] if i else None

    def next(self, vma: vm_area_struct) -> vm_area_struct | None:
        """The VMA behind `vma`."""
        return self.find(vma.vm_end)

    def iterate(self, start: int = 0, end: int = 1 << 64) -> Iterator[vm_area_struct]:
        """The VMAs that overlap [start, end), of the tree as it is now."""
        root = self._root
        i = bisect_right(root.ends, start)
        for leaf in root.leaves[i:]:
            if leaf.first >= end:
                return
            for vma in leaf.vmas:
                if vma.vm_end <= start:
                    continue
                if vma.vm_start >= end:
                    return
                yield vma

    def __iter__(self) -> Iterator[vm_area_struct]:
        return self.iterate()

    def __len__(self) -> int:
        return sum(len(leaf.vmas) for leaf in self._root.leaves)

    def replace(self, old: Iterable[vm_area_struct], new: Iterable[vm_area_struct]) -> None:
        """Take `old` VMAs out and put `new` ones in, in one publication.

        A VMA whose bounds have changed is given in both. The result must be free of overlaps (AssertionError).
        """
        removed, added = list(old), list(new)
        if len(removed) < 2 and len(added) < 2 and self._replace_one(*removed or (None,), *added or (None,)):
            return
        gone = {id(vma) for vma in removed}
        added.sort(key=lambda vma: vma.vm_start)
        root = self._root
        leaves = root.leaves
        # The leaves that hold what goes or lie where something comes.
        low, high = len(leaves), 0
        for vma in removed:
            i = max(0, min(bisect_right(root.ends, vma.vm_start), len(leaves) - 1) - 1)
            while vma not in leaves[i].vmas:
                i += 1
            low, high = min(low, i), max(high, i + 1)
        if added and leaves:
            low = min(low, bisect_right(root.ends, added[0].vm_start), len(leaves) - 1)
            high = max(high, min(bisect_right(root.ends, added[-1].vm_end - 1), len(leaves) - 1) + 1)
        if low > high:
            low, high = 0, 0
        merged = [vma for leaf in leaves[low:high] for vma in leaf.vmas if id(vma) not in gone] + added
        merged.sort(key=lambda vma: vma.vm_start)
        for a, b in pairwise(merged):
            assert a.vm_end <= b.vm_start, f"{a} overlaps {b}"
        pieces = []
        if merged:
            count = -(-len(merged) // LEAF_MAX)
            size = -(-len(merged) // count)
            parts = [merged[i : i + size] for i in range(0, len(merged), size)]
            pieces = [_Leaf(part, [vma.vm_end for vma in part]) for part in parts]
        self._publish(low, pieces, high)

    def _replace_one(self, gone: vm_area_struct | None, new: vm_area_struct | None) -> bool:
        """`replace` for one VMA or none on each side, within one leaf: False = it does not fit there."""
        root = self._root
        place = gone or new
        if place is None or not root.leaves:
            return False
        i = min(bisect_right(root.ends, place.vm_start), len(root.leaves) - 1)
        leaf = root.leaves[i]
        vmas, ends = leaf.vmas.copy(), leaf.ends.copy()
        if gone is None:
            at = bisect_right(ends, place.vm_start)
        elif gone in vmas:
            at = vmas.index(gone)
            del vmas[at], ends[at]
        else:
            return False
        if new is not None:
            below = ends[at - 1] if at else 0  # no leaf before reaches above place.vm_start
            if at < len(vmas):
                above = vmas[at].vm_start
            else:
                above = root.leaves[i + 1].first if i + 1 < len(root.leaves) else new.vm_end
            if not below <= new.vm_start < new.vm_end <= above:
                return False
            vmas.insert(at, new)
            ends.insert(at, new.vm_end)
        if not 0 < len(vmas) <= LEAF_MAX:
            return False
        self._publish(i, [_Leaf(vmas, ends)], i + 1)
        return True

    def _publish(self, low: int, pieces: list[_Leaf], high: int) -> None:
        """`pieces` take the place of the leaves low .. high-1 (rcu_assign_pointer)."""
        leaves, ends = self._root.leaves.copy(), self._root.ends.copy()
        leaves[low:high] = pieces
        ends[low:high] = [leaf.ends[-1] for leaf in pieces]
        self._root = _Root(leaves, ends)
        self.changes += 1
        self.changed_at = self._clock.clock

    def store(self, vma: vm_area_struct) -> None:
        """Put one VMA in."""
        self.replace((), (vma,))

    def erase(self, vma: vm_area_struct) -> None:
        """Take one VMA out."""
        self.replace((vma,), ())

    def holes_down(self, low: int, high: int, size: int) -> Iterator[tuple[int, int, vm_area_struct | None]]:
        """Holes of at least `size` bytes in [low, high), from the top: (start, end, the VMA above)."""
        root = self._root
        end = high
        above = self.find(high - 1)
        if above is not None and above.vm_start < high:
            end = above.vm_start
        i = bisect_right(root.ends, high - 1)
        for k in range(min(i, len(root.leaves) - 1), -1, -1):
            leaf = root.leaves[k]
            if k > 0 and leaf.ends[-1] <= end and end - leaf.ends[-1] < size and leaf.gap < size:
                end, above = leaf.first, leaf.vmas[0]
                if end <= low:
                    return
                continue
            for j in range(len(leaf.vmas) - 1, -1, -1):
                vma = leaf.vmas[j]
                if vma.vm_start >= end:
                    above = vma if vma.vm_start >= high or above is None else above
                    continue
                start = max(vma.vm_end, low)
                if end - start >= size:
                    yield start, end, above
                end, above = vma.vm_start, vma
                if end <= low:
                    return
        if end - low >= size:
            yield low, end, above

    def holes_up(self, low: int, high: int, size: int) -> Iterator[tuple[int, int, vm_area_struct | None]]:
        """Holes of at least `size` bytes in [low, high), from the bottom: (start, end, the VMA above)."""
        root = self._root
        start = low
        for leaf in root.leaves[bisect_right(root.ends, low) :]:
            if leaf.first >= high:
                break
            if leaf.first - start < size and leaf.gap < size:
                start = max(start, leaf.ends[-1])
                continue
            for vma in leaf.vmas:
                if vma.vm_end <= start:
                    continue
                end = min(vma.vm_start, high)
                if end - start >= size:
                    yield start, end, vma
                start = max(start, vma.vm_end)
                if start >= high:
                    return
        if high - start >= size:
            above = self.find(start)
            yield start, high, above
