# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a task (kernel/exit.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.mmap import exit_mmap
from emu.mm.mmap_lock import mmap_read_lock, mmap_read_unlock
from emu.tracepoint import Kind

if TYPE_CHECKING:
    from emu.kernel.task import Task


def do_exit(task: Task) -> None:
    """Give back what the task has. Its exit code is set already.

    mmap_lock is taken for read three times, by the process accounting (acct_collect), by exit_mm and by exit_mmap,
    and then once
    for write.
    """
    mm = task.mm
    tp = task.machine.tp
    if mm.mm_users == 1:  # acct_collect: the size of the address space
        mmap_read_lock(mm)
        mmap_read_unlock(mm)
    if task.clear_child_tid and mm.mm_users > 1:
        task.access.put_user(task.clear_child_tid, 0, 4, "mm_release")
    mmap_read_lock(mm)  # exit_mm
    mmap_read_unlock(mm)
    mm.mm_users -= 1
    if mm.mm_users == 0:
        exit_mmap(mm)
        if mm.exe_file is not None:
            mm.exe_file.put()
    if hasattr(task, "files"):
        task.files.close_all()
    mm.memory.rcu.quiescent()
    if tp.on:
        assert task.exit_code is not None
        tp.emit(Kind.EXIT, result=task.exit_code)
