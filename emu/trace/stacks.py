# SPDX-License-Identifier: GPL-2.0-or-later
"""Call stacks added up: how many faults, or how much time, under each path of calls of the guest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from emu.trace.escape import printable
from emu.trace.export.names import Comms
from emu.trace.images import TraceSymbols
from emu.tracepoint import Kind, Row

Weight = Literal["faults", "wait", "duration"]
WEIGHTS: tuple[Weight, ...] = ("faults", "wait", "duration")
UNITS = {"faults": "faults", "wait": "ns waited for locks", "duration": "ns in faults"}
_FAULTS = (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)


@dataclass
class Stacks:
    """`counts`: weight by frames, outermost first, the program's name as the first. `used`, `other`: events that
    weigh, and those of other kinds; `bare`: those of `used` that were recorded without a call stack, so that their
    innermost function is all that is known."""

    weight: Weight
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    used: int = 0
    bare: int = 0
    other: int = 0

    def note(self) -> str:
        """What these stacks leave out, in a line."""
        text = f"{self.used} events weigh; left out: {self.other} events of other kinds"
        if self.bare:
            text += f"; {self.bare} have no call stack (record --call-graph fp): only their innermost function is shown"
        return text


class Folder:
    """Adds rows, which come in the order of time, up to `stacks`."""

    def __init__(self, metadata: dict[str, Any], symbols: TraceSymbols, weight: Weight) -> None:
        self.stacks = Stacks(weight)
        self._comms = Comms(str(metadata.get("comm", "")))
        self._symbols = symbols
        self._names: dict[tuple[int, int, bool], str] = {}  # by program, address
        self._calls: dict[int, tuple[str, int]] = {}  # by tid: name and ip of the system call that is open
        self._fault_end: dict[int, int] = {}  # by tid: when its last fault ended
        self._waiting: dict[int, tuple[int, ...] | None] = {}  # by tid: the stack at which it began to wait

    def add(self, rows: Iterable[Row]) -> Stacks:
        """Add rows; the stacks so far."""
        weight = self.stacks.weight
        for row in rows:
            kind, tid = row[4], row[3]
            amount = 0
            if kind in _FAULTS:
                self._fault_end[tid] = row[0] + row[19]
                amount = 1 if weight == "faults" else row[14] if weight == "wait" else row[19]
                leaves = self._kernel_leaves(tid, row[17]) if kind == Kind.PAGE_FAULT_KERNEL else ()
                if amount:
                    self._count(row, row[20], row[6], leaves, amount)
            elif kind == Kind.CONTENTION_END and weight == "wait":
                stack = row[20] or self._waiting.pop(tid, None)
                # What a fault waited for is in the fault's own row.
                amount = row[14] if row[0] > self._fault_end.get(tid, -1) else 0
                if amount:
                    self._count(row, stack, 0, self._kernel_leaves(tid, row[17] or "lock"), amount)
            elif kind in (Kind.EXEC, Kind.SCHED_PROCESS_FORK):
                self._comms.follow(row)
                self._symbols.follow(row)
            elif kind == Kind.CONTENTION_BEGIN:
                self._waiting[tid] = row[20]
            elif kind == Kind.SYS_ENTER:
                self._calls[tid] = row[17] or "syscall", row[6]
            elif kind == Kind.SYS_EXIT:
                self._calls.pop(tid, None)
            if amount:
                self.stacks.used += 1
            else:
                self.stacks.other += 1
        return self.stacks

    def _kernel_leaves(self, tid: int, function: str | None) -> tuple[str, ...]:
        call = self._calls.get(tid)
        names = ([f"sys_{call[0]}"] if call is not None else []) + [function or "?"]
        return tuple(_frame(name) + "_[k]" for name in names)

    def _count(self, row: Row, stack: tuple[int, ...] | None, ip: int, leaves: tuple[str, ...], amount: int) -> None:
        pid, tid = row[2], row[3]
        if not stack:
            self.stacks.bare += 1
            ip = ip or self._calls.get(tid, ("", 0))[1]
            stack = (ip,) if ip else ()
        image = self._symbols.image(pid)
        frames = [self._name(image, at, index > 0) for index, at in enumerate(stack)]
        self.stacks.counts[(_separated(self._comms.of(tid)), *reversed(frames), *leaves)] += amount

    def _name(self, image: int, address: int, is_return: bool) -> str:
        key = image, address, is_return
        name = self._names.get(key)
        if name is None:
            found = self._symbols.lookup(image, address - is_return)
            name = self._names[key] = _frame(found[0]) if found else f"{address:#x}"
        return name


def _frame(name: str) -> str:
    """A name that can stand in a line of folded stacks: no separator, no control character."""
    return _separated(printable(name)) or "?"


def _separated(name: str) -> str:
    return name.replace(";", ":").replace(" ", "_")


def folded_lines(stacks: Stacks) -> list[str]:
    """`outer;inner weight`, in the order of names: what flame graph programs read."""
    return [f"{';'.join(frames)} {count}" for frames, count in sorted(stacks.counts.items())]
