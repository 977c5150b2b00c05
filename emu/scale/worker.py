# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of a sweep, in a process of its own: python -m emu.scale.worker JOB RESULT, both JSON (RESULT: a file).

The guest's output goes to this process's. Events are counted as they come and never stored.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from dataclasses import replace

from emu.kernel.elf import ExecError
from emu.kernel.machine import Machine
from emu.locking.lockdep import Violation
from emu.scale.result import Job, Result
from emu.sched.cost import ICELAKE, MACHINES
from emu.tracepoint import Kind, Path, Tracepoints

_FAULTS = (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)


class Account:
    """Adds up the rows of a run: faults by path, waits by lock."""

    def __init__(self, tp: Tracepoints) -> None:
        self.tp = tp
        self.paths = [0] * len(Path)
        self.waits: dict[str, int] = {}
        self._waiting: dict[tuple[int, str], int] = {}  # since when, by tid and lock

    def drain(self) -> None:
        """Take all finished rows."""
        paths, waits = self.paths, self.waits
        for row in self.tp.drain():
            kind = row[4]
            if kind in _FAULTS:
                paths[row[11]] += 1
            elif kind == Kind.CONTENTION_BEGIN:
                self._waiting[row[3], row[17] or "?"] = row[0]
            elif kind == Kind.CONTENTION_END:
                name = row[17] or "?"
                self._waiting.pop((row[3], name), None)
                waits[name] = waits.get(name, 0) + row[14]

    def end(self, now: int) -> None:
        """The run is over, at `now` (virtual ns): who still waits has waited until then."""
        self.tp.end()
        self.drain()
        for (_, name), begun in self._waiting.items():
            self.waits[name] = self.waits.get(name, 0) + max(0, now - begun)


def run(job: Job) -> Result:
    """Run it. Raises ExecError, MemoryError or OSError where it cannot be started."""
    costs = MACHINES[job.costs] if job.costs is not None else ICELAKE
    if job.hold is not None:
        costs = replace(costs, transfer_hold=job.hold)
    machine = Machine(
        memory=job.memory,
        locking=job.locking,
        pure=job.pure or os.environ.get("MMSCOPE_PURE") == "1",
        writable=list(job.writable),
        seed=job.seed,
        cpus=job.cpus,
        timeout=job.timeout,
        costs=costs,
        cpu=job.cpu,
        check=job.check,
    )
    account = Account(machine.tp)
    machine.tp.on = True
    machine.on_idle_rows = account.drain
    machine.spawn(job.program, job.argv(), list(job.env))
    gc.freeze()
    gc.disable()
    result = Result(status=machine.run())
    result.timed_out = machine.sched.timed_out and job.timeout is not None
    result.ns = machine.stats()["virtual_ns"]
    account.end(result.ns)
    result.faults = sum(account.paths)
    result.paths = {path.name.lower(): count for path, count in zip(Path, account.paths) if count}
    result.waits = account.waits
    result.missing = dict(machine.missing_syscalls)
    result.messages = list(machine.messages)
    return result


def main() -> int:
    job = Job.from_json(sys.argv[1])
    try:
        result = run(job)
    except (ExecError, MemoryError, OSError) as problem:
        result = Result(problem=str(problem) or type(problem).__name__)
    except Violation as found:
        result = Result(problem=found.lines[0])
    except AssertionError as bug:
        where = traceback.extract_tb(bug.__traceback__)[-1]
        result = Result(problem=f"kernel BUG: {bug} ({where.name}, {os.path.basename(where.filename)}:{where.lineno})")
    with open(sys.argv[2], "w") as file:
        file.write(result.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
