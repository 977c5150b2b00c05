# SPDX-License-Identifier: GPL-2.0-or-later
"""The system-call table of a task: from the architecture's numbers to the functions that serve them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from errno import ENOSYS
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emu.kernel.task import Task

NO_RESULT: Any = object()
"""A system call returns it when the registers hold the result already (sigreturn, a task that ended)."""

MODULES = (
    "emu.kernel.sys_mm",
    "emu.kernel.sys_signal",
    "emu.kernel.sys_process",
    "emu.kernel.sys_prctl",
    "emu.kernel.sys_sched",
    "emu.kernel.pidfd",
    "emu.kernel.process_vm",
    "emu.kernel.process_madvise",
    "emu.kernel.kcmp",
    "emu.kernel.sys_signalfd",
    "emu.kernel.fork",
    "emu.kernel.sys_exec",
    "emu.kernel.futex.syscalls",
    "emu.kernel.ipc.syscalls",
    "emu.kernel.sys_time",
    "emu.kernel.sys_timer",
    "emu.kernel.sys_read_write",
    "emu.kernel.sys_splice",
    "emu.kernel.sys_open",
    "emu.kernel.sys_stat",
    "emu.kernel.sys_namei",
    "emu.kernel.sys_poll",
    "emu.kernel.sys_socket",
)
ARCH_SPECIFIC = ("arch_prctl",)


def sys_ni_syscall(task: Task, *args: int) -> int:
    """Not there: ENOSYS, and its name is remembered."""
    number = task.cpu.syscall_args()[0]
    name = task.arch.syscalls.get(number, f"syscall {number}")
    missing = task.machine.missing_syscalls
    missing[name] = missing.get(name, 0) + 1
    return -ENOSYS


def _of_architecture(name: str) -> Callable[..., int]:
    def call(task: Task, *args: int) -> int:
        result = task.arch.arch_syscall(name, task.cpu, args, task.access)
        return -ENOSYS if result is None else result

    return call


def build_table(task: Task) -> list[Callable[..., int]]:
    """Functions by number; the last one serves every number beyond."""
    functions: dict[str, Callable[..., int]] = {}
    for module in MODULES:
        functions.update(importlib.import_module(module).SYSCALLS)
    numbers = task.arch.syscalls
    table: list[Callable[..., int]] = [sys_ni_syscall] * (max(numbers) + 2)
    for number, name in numbers.items():
        if name in functions:
            table[number] = functions[name]
        elif name in ARCH_SPECIFIC:
            table[number] = _of_architecture(name)
    return table
