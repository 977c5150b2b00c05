# SPDX-License-Identifier: GPL-2.0-or-later
"""How much memory may be promised (mm/util.c: __vm_enough_memory)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.mm_types import mm_struct

OVERCOMMIT_GUESS, OVERCOMMIT_ALWAYS, OVERCOMMIT_NEVER = 0, 1, 2
ADMIN_RESERVE_PAGES = 8192 >> 2  # 8 MiB kept for an administrator, on small machines less
USER_RESERVE_PAGES = 131072 >> 2  # 128 MiB that one process leaves to others of its user, on small machines less


def vm_commit_limit(memory: MemoryManager) -> int:
    """Pages that OVERCOMMIT_NEVER allows in all; there is no swap."""
    return memory.totalram * memory.overcommit_ratio // 100


def vm_enough_memory(mm: mm_struct, pages: int) -> bool:
    """Charge `pages` more, which a process wants, if the overcommit rule allows it."""
    memory = mm.memory
    memory.committed += pages
    if memory.overcommit_memory == OVERCOMMIT_ALWAYS:
        return True
    if memory.overcommit_memory == OVERCOMMIT_GUESS:
        if pages <= memory.totalram:
            return True
    else:
        allowed = vm_commit_limit(memory)
        if not mm.privileged:
            allowed -= min(ADMIN_RESERVE_PAGES, memory.totalram // 32)
        allowed -= min(mm.total_vm // 32, USER_RESERVE_PAGES, memory.totalram // 32)
        if memory.committed < allowed:
            return True
    memory.committed -= pages
    return False


def vm_acct_memory(memory: MemoryManager, pages: int) -> None:
    """Charge pages without asking."""
    memory.committed += pages


def vm_unacct_memory(memory: MemoryManager, pages: int) -> None:
    """Take back what was charged."""
    memory.committed -= pages
