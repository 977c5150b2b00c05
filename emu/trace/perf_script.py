# SPDX-License-Identifier: GPL-2.0-or-later
"""Events in the form of `perf script`: what stackcollapse-perf, speedscope and their like read.

A line of an event (comm, tid, CPU, time, subsystem:event and its fields), below it a line for each function of its call
stack, the innermost first: address, function with offset, file in brackets; then an empty line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from emu.trace.escape import printable
from emu.trace.export.names import Comms
from emu.trace.images import TraceSymbols
from emu.trace.script import ALL, Only, details
from emu.tracepoint import Kind, Row

_SUBSYSTEMS = (
    ("page_fault_", "exceptions"), ("mmap_lock_", "mmap_lock"), ("sys_", "raw_syscalls"), ("signal_", "signal"),
    ("exec", "sched"), ("exit", "sched"), ("sched_", "sched"), ("oom_", "oom"), ("contention_", "lock"),
    ("tlb_", "tlb"),
)  # fmt: skip
_KERNEL = "[kernel.kallsyms]"


def _event(kind: Kind) -> str:
    """The name with the subsystem that the kernel has it in; mmscope's own for what the kernel lacks."""
    name = kind.name.lower()
    return f"{next((of for begin, of in _SUBSYSTEMS if name.startswith(begin)), 'mmscope')}:{name}"


_EVENTS = {int(kind): _event(kind) for kind in Kind}


def perf_lines(
    rows: Iterable[Row], metadata: dict[str, Any], symbols: TraceSymbols, only: Only = ALL
) -> Iterator[str]:  # fmt: skip
    """The lines of the events that `only` chooses. An event without a recorded stack has its instruction alone."""
    comms = Comms(str(metadata.get("comm", "")))
    for row in rows:
        time, cpu, pid, tid, kind, _, ip = row[:7]
        if only(row):
            yield (
                f"{comms.of(tid)} {tid:7d} [{cpu:03d}] {time // 10**9:5d}.{time % 10**9:09d}: {_EVENTS[kind]}: "
                + details(row, symbols, stack=False)
            )
            if kind == Kind.PAGE_FAULT_KERNEL and row[17]:
                yield f"\t{0:16x} {printable(row[17])} ({_KERNEL})"
            image = symbols.image(pid)
            for depth, at in enumerate(row[20] or ((ip,) if ip else ())):
                found = symbols.lookup(image, at - (depth > 0))
                if found is not None:
                    file = printable(symbols.file(image, at - (depth > 0)))
                    yield f"\t{at:16x} {printable(found[0])}+{found[1] + (depth > 0):#x} ({file})"
                else:
                    yield f"\t{at:16x} [unknown] ([unknown])"
            yield ""
        if kind in (Kind.EXEC, Kind.SCHED_PROCESS_FORK):
            comms.follow(row)
            symbols.follow(row)
