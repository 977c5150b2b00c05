# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of kernel-trace, U, K and L: what an event looks like as one, and a file of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from emu.tracepoint import Kind, Row

LINE = re.compile(
    r"(?:U ([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+)|K ([0-9a-f]+) \S+ ([0-9a-f]+)|L (start|got|failed|released) ([rw]))$"
)
"""Groups: address and error code of a U, of a K, step and r or w of an L."""


def kernel_line(row: Row) -> str | None:
    """The line that kernel-trace prints for an event: a fault in user mode (U address ip error_code), one of the kernel
    (K address function error_code), a step of mmap_lock (L). None: it prints none for an event of this kind."""
    kind = row[4]
    if kind == Kind.PAGE_FAULT_USER:
        return f"U {row[5]:x} {row[6]:x} {row[7]:x}"
    if kind == Kind.PAGE_FAULT_KERNEL:
        return f"K {row[5]:x} {row[17] or '?'} {row[7]:x}"
    if kind == Kind.MMAP_LOCK_START_LOCKING:
        return f"L start {'w' if row[7] else 'r'}"
    if kind == Kind.MMAP_LOCK_ACQUIRE_RETURNED:
        return f"L {'got' if row[16] else 'failed'} {'w' if row[7] else 'r'}"
    if kind == Kind.MMAP_LOCK_RELEASED:
        return f"L released {'w' if row[7] else 'r'}"
    return None


def without_function(line: str) -> str:
    """A line without the name of the kernel's function, which differs from kernel to kernel."""
    if line[0] != "K":
        return line
    _, address, _, code = line.split(" ")
    return f"K {address} {code}"


def kernel_lines(rows: Iterable[Row], children: bool = False) -> Iterator[str]:
    """The lines that kernel-trace prints for the same events: those of the first task, with `children` those of all.
    `# exit STATUS`, of the first process, is the last line of a complete trace."""
    first = 0  # the first task, which is the first process as well
    status: int | None = None
    for row in rows:
        first = first or row[3]
        if row[4] == Kind.EXIT and row[2] == first and (row[7] or row[3] == first):
            status = row[16]  # code: it was the last task of the process
        if row[3] == first or children:
            line = kernel_line(row)
            if line is not None:
                yield line
    if status is not None:
        yield f"# exit {status}"


def first_line(path: str) -> str | None:
    """The first line of a file that is no comment; "" where a comment is all that it begins with, None where there is
    nothing or it cannot be read: opening it as a trace says why."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return None
    for line in head.split(b"\n"):
        if line.strip() and not line.startswith(b"#"):
            return line.decode("ascii", "replace")
    return "" if head.startswith(b"# ") else None


def is_record(path: str) -> bool:
    """Is the file a text record of kernel-trace: its first lines are comments or events of it."""
    first = first_line(path)
    return first is not None and (not first or LINE.match(first) is not None)
