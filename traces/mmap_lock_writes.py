# SPDX-License-Identifier: GPL-2.0-or-later
"""How often a native program and its children take mmap_lock for write, by the system call that does.

Counts from the first image on, not the exec of it. Needs root, x86-64 and tracefs. Address-space randomisation is off.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import Counter
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
EVENTS = ("raw_syscalls/sys_enter", "raw_syscalls/sys_exit", "mmap_lock/mmap_lock_acquire_returned")
_NO_RANDOMIZE = 0x0040000
_EXECVE = 59
_LINE = re.compile(r"^.*-(\d+)\s+\[\d+\]\s+\S+\s+[\d.]+:\s+(\w+): (.*)$")


def record_writes(command: list[str], names: dict[int, str]) -> Counter[str]:
    """Run `command` (its output goes nowhere): times by name of the system call, "fault" = outside of one."""
    instance = TRACEFS / "instances" / f"mmscope-{os.getpid()}"
    instance.mkdir()
    try:
        _write(instance / "tracing_on", "0")
        _write(instance / "buffer_size_kb", "16384")
        _write(instance / "options" / "event-fork", "1")
        for event in EVENTS:
            _write(instance / "events" / event / "enable", "1")
        pid = os.fork()
        if pid == 0:
            _become(command, instance)
        os.waitpid(pid, 0)
        _write(instance / "tracing_on", "0")
        for stats in instance.glob("per_cpu/*/stats"):
            if "overrun: 0\n" not in stats.read_text():
                raise SystemExit("the kernel's buffer lost events")
        return _count((instance / "trace").read_text(), pid, names)
    finally:
        for event in EVENTS:
            _write(instance / "events" / event / "enable", "0")
        instance.rmdir()


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _become(command: list[str], instance: Path) -> None:
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        ctypes.CDLL(None).personality(_NO_RANDOMIZE)
        _write(instance / "set_event_pid", str(os.getpid()))
        _write(instance / "tracing_on", "1")
        os.execve(command[0], command, {})
    finally:
        os._exit(127)


def _count(text: str, first: int, names: dict[int, str]) -> Counter[str]:
    inside: dict[int, int] = {}  # the system call that a task is in
    writes: Counter[str] = Counter()
    begun = False
    for line in text.splitlines():
        found = _LINE.match(line)
        if not found:
            continue
        task, event, rest = int(found[1]), found[2], found[3]
        if event == "sys_enter":
            inside[task] = int(rest.split()[1])
        elif event == "sys_exit":
            number = inside.pop(task, None)
            begun = begun or (task == first and number == _EXECVE)
        elif begun and "write=true" in rest and "success=true" in rest:
            number = inside.get(task)
            writes["fault" if number is None else names.get(number, f"syscall {number}")] += 1
    return writes
