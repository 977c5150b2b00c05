# SPDX-License-Identifier: GPL-2.0-or-later
"""What `mmscope stat` prints: counters, laid out like those of perf stat."""

from __future__ import annotations

import sys

from emu.kernel.machine import Machine
from emu.trace.escape import printable

_FAULTS = (("page-faults", "page_faults"), ("pgfault", "pgfault"))
_ROWS = (
    ("mmap_lock-read", "mmap_lock_read"),
    ("mmap_lock-write", "mmap_lock_write"),
    ("syscalls", "syscalls"),
    ("tlb-fills", "tlb_fills"),
    ("pages-allocated", "pgalloc_normal"),
    ("pages-freed", "pgfree"),
)


def print_stat(machine: Machine, argv: list[str], elapsed: float) -> None:
    """Print on stderr. `elapsed`: seconds of the host."""
    stats = machine.stats()
    assert machine.task is not None
    seconds = stats["virtual_ns"] / 1e9
    lines = [
        "",
        f" Counter stats for '{printable(' '.join(argv))}' ({machine.task.arch.name}, --locking {machine.locking}):",
        "",
    ]
    scheme = tuple((event, event) for event in machine.memory.scheme.events)
    for label, key in _FAULTS + scheme + _ROWS:
        value = stats.get(key, 0)
        rate = f"# {value / seconds:12.3e} /s of virtual time" if seconds and value else ""
        lines.append(f"{value:>18,}      {label:<22} {rate}".rstrip())
    lines.append(f"{stats['retired']:>18,}      {'code-bytes':<22}")
    lines += ["", f"{seconds:>18.9f} seconds virtual time", f"{elapsed:>18.9f} seconds elapsed on the host", ""]
    sys.stderr.write("\n".join(lines) + "\n")
