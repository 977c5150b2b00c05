# SPDX-License-Identifier: GPL-2.0-or-later
"""What one run of a sweep was asked to do, and what came out of it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

# What the scaling benchmarks of guestprogs say, and what will-it-scale says at its end (operations a second).
_COUNTED = re.compile(r"^(\d+) operations in (\d+) ns$", re.MULTILINE)
_AVERAGE = re.compile(r"^average:(\d+)$", re.MULTILINE)
MARK = "{n}"


@dataclass(frozen=True)
class Job:
    """One run."""

    program: str
    args: tuple[str, ...]  # MARK in them stands for the number of CPUs
    locking: str
    cpus: int
    memory: int = 1 << 30
    seed: int = 0
    env: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    timeout: int | None = None  # virtual ns
    costs: str | None = None  # name of a table of costs; None: the usual one
    cpu: str | None = None  # model of the CPUs; None: the usual one
    check: bool = False
    pure: bool = False
    hold: int | None = None  # transfer_hold instead of the table's, to calibrate it

    def argv(self) -> list[str]:
        """The guest's arguments, its own name first."""
        return [self.program, *(word.replace(MARK, str(self.cpus)) for word in self.args)]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        values = json.loads(text)
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**fields)


@dataclass
class Result:
    """What a run gave. Times are virtual, in ns."""

    status: int = 0
    ns: int = 0  # from start to end
    faults: int = 0
    paths: dict[str, int] = field(default_factory=dict)  # faults by the lock that served them
    waits: dict[str, int] = field(default_factory=dict)  # ns waited, by lock, of all tasks together
    missing: dict[str, int] = field(default_factory=dict)  # system calls that were answered with ENOSYS
    messages: list[str] = field(default_factory=list)
    operations: int = 0  # as the program told; 0: it did not
    operations_ns: int = 0  # in which it did them
    timed_out: bool = False  # all of this is what was done until the job's timeout
    problem: str = ""  # why there is no result

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Result:
        return cls(**json.loads(text))

    @property
    def operation_rate(self) -> float | None:
        """Operations a second of virtual time, if the program told how many it did."""
        return self.operations / self.operations_ns * 1e9 if self.operations_ns else None

    @property
    def fault_rate(self) -> float:
        """Page faults a second of virtual time, start and end of the program included."""
        return self.faults / self.ns * 1e9 if self.ns else 0.0

    def read_output(self, text: str) -> None:
        """Find in what the program printed how many operations it did; several such lines are added up."""
        for count, ns in _COUNTED.findall(text):
            self.operations += int(count)
            self.operations_ns = max(self.operations_ns, int(ns))
        if not self.operations:
            averages = _AVERAGE.findall(text)
            if averages:
                self.operations, self.operations_ns = int(averages[-1]), 10**9
