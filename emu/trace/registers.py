# SPDX-License-Identifier: GPL-2.0-or-later
"""The user registers at a fault in user mode, as `record --user-regs` has them: recorded behind the page-table entries
of the fault, in the order of the names that the header of the trace has under `user_regs`."""

from __future__ import annotations

from typing import Any

from emu.tracepoint import Row

_NAMES = {
    "x86_64": (
        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp",
        "rip", "eflags", "fs_base", "gs_base",
    ),
    "aarch64": (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate"),
}  # fmt: skip
_POWERPC = (*(f"r{number}" for number in range(32)), "nip", "ctr", "lr", "xer", "cr")
_ENTRIES = 2  # what a fault has in `args` before them


class UserRegisters:
    """Reads those of the task that runs. The names are those of the first program's architecture; a task of another
    one has none."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._arch: str = machine.task.arch.name
        self.names = list(_NAMES.get(self._arch, _POWERPC))

    def __call__(self) -> tuple[int, ...]:
        task = self._machine.sched.current
        if task.arch.name != self._arch:
            return ()
        values = list(task.cpu.general.read())
        if self._arch == "x86_64":
            values += task.cpu.segment_bases()
        return tuple(values)


def registers_of(row: Row, metadata: dict[str, Any]) -> dict[str, int] | None:
    """Those of a fault by their names, None where they are not recorded."""
    names = metadata.get("user_regs")
    values = (row[18] or ())[_ENTRIES:]
    if not isinstance(names, list) or len(values) != len(names):
        return None
    return dict(zip(map(str, names), values))
