# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which CPUs go on."""

from __future__ import annotations

from heapq import heappop, heappush, heappushpop

_CPU_BITS = 8  # a number of a CPU takes: there are at most 256
_CPU_MASK = (1 << _CPU_BITS) - 1


class Turns:
    """The CPUs that wait for their turn: who has the smallest clock goes first, of several the one with the smallest
    number. A clock is a virtual time in ns, less than 1 << 63 (_turns.c takes one that is later for that)."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[int] = []

    def __len__(self) -> int:
        return len(self._heap)

    def first(self) -> int:
        """The clock of who is next. IndexError: there is none."""
        return self._heap[0] >> _CPU_BITS

    def push(self, clock: int, cpu: int) -> None:
        """A CPU waits from now on."""
        heappush(self._heap, clock << _CPU_BITS | cpu)

    def pop(self) -> tuple[int, int]:
        """Who is next waits no longer: clock and number. IndexError: there is none."""
        turn = heappop(self._heap)
        return turn >> _CPU_BITS, turn & _CPU_MASK

    def pushpop(self, clock: int, cpu: int) -> tuple[int, int]:
        """`push`, and then `pop`."""
        turn = heappushpop(self._heap, clock << _CPU_BITS | cpu)
        return turn >> _CPU_BITS, turn & _CPU_MASK
