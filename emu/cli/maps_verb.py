# SPDX-License-Identifier: GPL-2.0-or-later
"""maps: the address space of a process as it was at some time of the trace."""

from __future__ import annotations

import argparse
import sys

import pyarrow.compute as pc

from emu.cli.failure import Failure, tell
from emu.cli.trace_file import open_trace, progress
from emu.trace.address_space import VSYSCALL, AddressSpaces, Newest
from emu.trace.escape import printable


def maps(arguments: argparse.Namespace) -> int:
    """Print the VMAs as /proc/PID/maps would have; 1 when the trace was cut off. `arguments`: file, at (ns
    or None), pid (or None)."""
    trace = open_trace(arguments.file)
    at: int | None = arguments.at
    spaces = AddressSpaces()
    with progress(trace):
        newest = Newest(keep_ended=at is None)
        for batch in trace.batches():
            newest.add(batch if at is None else batch.filter(pc.less_equal(batch.column("time"), at)))
        for row in newest.rows():
            spaces.apply(row)
    if trace.problem:
        tell(trace.problem)
    when = "at the end" if at is None else f"at {at} ns"
    if not spaces.pids:
        raise Failure(f"{arguments.file}: there is no address space {when}: no VMA and no exec is recorded until then")
    pid = spaces.pids[0] if arguments.pid is None else arguments.pid
    space = spaces.of_pid(pid)
    known = ", ".join(map(str, spaces.pids))
    if space is None:
        raise Failure(f"{arguments.file}: there is no process {pid} {when}; there are {known}")
    if arguments.pid is None and len(spaces.pids) > 1:
        tell(f"this is process {pid} of {known}: --pid shows another")
    for vma in space:
        sys.stdout.write(printable(vma.maps_line()) + "\n")
    if not len(space):
        tell(f"process {pid} has no VMAs {when}: it has ended, or has not begun")
    elif trace.metadata.get("arch") == "x86_64":
        sys.stdout.write(VSYSCALL + "\n")
    sys.stdout.flush()
    return 1 if trace.problem else 0
