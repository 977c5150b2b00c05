# SPDX-License-Identifier: GPL-2.0-or-later
"""The stack of a program to be executed, which gets its strings while the caller's address space is still in use
(fs/exec.c: bprm_mm_init, copy_strings, setup_arg_pages)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.kernel.elf import EXSTACK_DEFAULT, EXSTACK_ENABLE_X
from emu.mm.gup import get_user_page_remote
from emu.mm.mm_types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, VM_EXEC, VM_STACK_FLAGS
from emu.mm.mmap_lock import (
    mmap_read_lock,
    mmap_read_unlock,
    mmap_write_downgrade,
    mmap_write_lock,
    mmap_write_unlock,
)
from emu.mm.mprotect import mprotect_fixup
from emu.mm.vma import expand_stack_locked, vm_stat_account, vma_link
from emu.mm.vma_init import vm_area_alloc

if TYPE_CHECKING:
    from emu.mm.mm_types import mm_struct, page

RLIMIT_STACK = 3
STACK_EXPAND = 128 << 10


class ArgumentStack:
    """The VMA below `top` and the strings that were put on it, the last one lowest, at `p`."""

    def __init__(self, mm: mm_struct, top: int, word: int) -> None:
        self.mm = mm
        self.p = top - word
        self._page: page | None = None
        self._page_at = -1
        mmap_write_lock(mm)
        self.vma = vm_area_alloc(mm, top - PAGE_SIZE, top, VM_STACK_FLAGS, top - PAGE_SIZE >> PAGE_SHIFT)
        vma_link(self.vma)
        vm_stat_account(mm, self.vma.vm_flags, 1)
        mm.memory.committed += 1
        mmap_write_unlock(mm)

    def begin(self) -> None:
        """The next strings are those of another call: their first page is looked up afresh."""
        self._page_at = -1

    def push(self, text: bytes) -> int:
        """Put a string and its NUL below the others: 0, -E2BIG when there is no page for it."""
        data = text + b"\0"
        while data:
            size = min(len(data), (self.p - 1 & PAGE_SIZE - 1) + 1)
            self.p -= size
            found = self._get_arg_page(self.p, True)
            if found is None:
                return -errno.E2BIG
            self.mm.memory.ram.write((found.pfn << PAGE_SHIFT) + (self.p & PAGE_SIZE - 1), data[-size:])
            data = data[:-size]
        return 0

    def push_kernel(self, text: bytes) -> int:
        """The same for a string of the kernel's own, a call for each (copy_string_kernel)."""
        self.begin()
        return self.push(text)

    def remove_arg_zero(self, text: bytes) -> int:
        """Take the lowest string away: 0 or -EFAULT."""
        end = self.p + len(text) + 1
        for at in range(self.p & PAGE_MASK, end, PAGE_SIZE):
            self.begin()
            if self._get_arg_page(max(at, self.p), False) is None:
                return -errno.EFAULT
        self.p = end
        return 0

    def _get_arg_page(self, at: int, write: bool) -> page | None:
        """The page at `at`, kept from the last time or looked up; the stack grows if need be (get_arg_page)."""
        start = at & PAGE_MASK
        if start == self._page_at:
            return self._page
        mm = self.mm
        if not write or start >= self.vma.vm_start:
            mmap_read_lock(mm)
        else:
            mmap_write_lock(mm)
            if expand_stack_locked(self.vma, start):
                mmap_write_unlock(mm)
                return None
            mmap_write_downgrade(mm)
        found = get_user_page_remote(mm, start, write)
        mmap_read_unlock(mm)
        if isinstance(found, int):
            return None
        self._page, self._page_at = found, start
        return found

    def finish(self, rlim_stack: int, executable: int) -> int:
        """The address space is the task's by now: leave room below the strings, as far as RLIMIT_STACK lets. The stack
        may be executed where the program asks for it (`executable`: EXSTACK_*). 0 or -errno (setup_arg_pages)."""
        mm, vma = self.mm, self.vma
        mmap_write_lock(mm)
        wanted = executable == EXSTACK_ENABLE_X or (executable == EXSTACK_DEFAULT and mm.read_implies_exec)
        if wanted:
            error = mprotect_fixup(vma, vma.vm_start, vma.vm_end, vma.vm_flags | VM_EXEC)
            if error:
                mmap_write_unlock(mm)
                return error
        mm.start_stack = self.p
        grow = min(STACK_EXPAND, max(0, (rlim_stack & PAGE_MASK) - (vma.vm_end - vma.vm_start)))
        error = expand_stack_locked(vma, vma.vm_start - grow)
        mmap_write_unlock(mm)
        return error
