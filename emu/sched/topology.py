# SPDX-License-Identifier: GPL-2.0-or-later
"""Which CPUs share a core and a socket, as bit masks, and which idle CPU a task gets (kernel/sched/fair.c).

A new task goes to the socket with the most idle CPUs, but stays where its parent is while the difference is no more
than a pair of tasks (sched_balance_find_dst_group with NUMA_IMBALANCE_MIN); there to a core of which no thread is busy,
and to any idle CPU where there is no such core. A task that wakes goes to the CPU that it ran on if that is idle, else
as a new one (select_idle_sibling). Linux looks no further than the socket for it at first, and its balancer levels the
sockets some 100 ms later; runs here are often shorter than that, so it is done at once.
"""

from __future__ import annotations

from emu.sched.cost import Cost

NUMA_IMBALANCE_MIN = 2


class Topology:
    """The CPUs 0 .. cpus-1 of a machine whose sockets, cores and threads `cost` gives. All masks have a bit a CPU."""

    def __init__(self, cpus: int, cost: Cost) -> None:
        self.cpus = cpus
        self.sockets = [0] * cost.sockets
        self.socket_of = [cost.socket(cpu) for cpu in range(cpus)]
        self.sibling_of = [-1] * cpus  # the other thread of the core; -1: there is none
        self._first = 0  # CPUs whose core has no thread with a lower number
        for cpu in range(cpus):
            self.sockets[self.socket_of[cpu]] |= 1 << cpu
            sibling = cost.sibling(cpu)
            if 0 <= sibling < cpus:
                self.sibling_of[cpu] = sibling
            if sibling < 0 or sibling > cpu:
                self._first |= 1 << cpu
        self._step = cost.sockets * cost.cores  # from a thread to the other one of its core
        self._absent = ((1 << self._step) - 1) << cpus  # siblings that the machine does not have: never busy
        self._smt = cost.smt > 1
        # Cost.transfer of each pair of CPUs; and for each CPU the masks of the others, farthest first, with that time.
        self.transfer: list[list[int]] = []
        self.reach: list[tuple[tuple[int, int], ...]] = []
        everybody = (1 << cpus) - 1
        rows = [
            [cost.transfer_socket if other == socket else cost.transfer_remote for other in self.socket_of]
            for socket in range(cost.sockets)
        ]
        for cpu, socket in enumerate(self.socket_of):
            row = rows[socket].copy()
            row[cpu] = 0
            core = self.core_mask(cpu)
            if core != 1 << cpu:
                row[self.sibling_of[cpu]] = cost.transfer_smt
            self.transfer.append(row)
            near = self.sockets[socket]
            self.reach.append(
                (
                    (everybody ^ near, cost.transfer_remote),
                    (near & ~core, cost.transfer_socket),
                    (core, cost.transfer_smt),
                )
            )

    def core_mask(self, cpu: int) -> int:
        """The threads of a CPU's core."""
        sibling = self.sibling_of[cpu]
        return 1 << cpu | (1 << sibling if sibling >= 0 else 0)

    def _choose(self, idle: int, among: int) -> int:
        """Of the idle CPUs in `among` one whose core is idle, else any: the lowest number; -1 if there is none."""
        found = idle & among
        if not found:
            return -1
        if self._smt:
            cores = found & self._first & ((idle | self._absent) >> self._step)
            found = cores or found
        return (found & -found).bit_length() - 1

    def for_new(self, idle: int, allowed: int, parent: int) -> int:
        """An idle CPU for a task whose parent is on CPU `parent`; -1 where none is idle that it may use."""
        best, most = self.socket_of[parent], (idle & allowed & self.sockets[self.socket_of[parent]]).bit_count()
        slack = NUMA_IMBALANCE_MIN if most else 0
        for number, mask in enumerate(self.sockets):
            count = (idle & allowed & mask).bit_count()
            if count > most + slack:
                best, most, slack = number, count, 0
        return self._choose(idle, allowed & self.sockets[best])

    def for_woken(self, idle: int, allowed: int, prev: int) -> int:
        """An idle CPU for a task that ran on CPU `prev`; -1 where none is idle that it may use."""
        return prev if idle & allowed & 1 << prev else self.for_new(idle, allowed, prev)
