# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own accesses to guest memory (copy_from_user, copy_to_user, get_user, put_user, strncpy_from_user,
clear_user).

Each takes the name that a fault in it has in the trace: that of the function with the access in it, as x86-64 has it.
Each goes through the guest's page tables with the kernel's rights. Where they do not allow it the architecture's
fault entry is called as for a fault in kernel mode, at the first byte of the page that is not there, and the access
goes on or fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from emu.hw.mmu import SETTLED, PageTableFormat, walk
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE, mm_struct

READ, WRITE = 0, 1
_MASKED = frozenset({"_copy_from_user", "get_sigset_argpack"}).union(
    f"__{way}_user_{size}" for way in ("get", "put") for size in (1, 2, 4, 8)
)
_NEGATIVE = 1 << 63


class Uaccess:
    """Access to one address space. `kernel_fault(address, syndrome, function) -> bool` is the fault entry's.

    `user_ptr_max`: where the architecture has it, an address that is not in user space is not refused but replaced by
    this one, at which nothing can be mapped, and faults there (mask_user_address; None: has it not).
    """

    def __init__(
        self,
        mm: mm_struct,
        kernel_fault: Callable[[int, int, str], bool],
        byteorder: Literal["little", "big"],
        user_ptr_max: int | None = None,
    ) -> None:
        self.user_ptr_max = user_ptr_max
        self.mm = mm
        self.ram = mm.memory.ram
        self.table = mm.pgtable
        self.hw = mm.pgtable.format.hw
        self.pkru = 0  # of the thread: what protection keys forbid it
        self._settled = SETTLED[PageTableFormat(self.hw)]
        self._pfn_mask = mm.pgtable.format.pfn_mask
        self.byteorder: Literal["little", "big"] = byteorder
        self.kernel_fault = kernel_fault
        self.word = 8 if mm.task_size >> 32 else 4

    def _translate(self, address: int, access: int, function: str) -> int:
        """Physical address of one guest byte, faulting as needed; -1 = EFAULT."""
        mask, value = self._settled[access]
        entry = self.table.peek(address)
        if entry & mask == value and not self.pkru & 3:  # most of them: 0.6 us, a walk takes 4 to 8
            return (entry & self._pfn_mask) + (address & PAGE_SIZE - 1)
        root = self.table.root
        while True:
            paddr, _perms, syndrome = walk(self.hw, self.ram, root, address, access, False, self.pkru)
            if paddr >= 0:
                return paddr + (address & PAGE_SIZE - 1)
            if not self.kernel_fault(address, syndrome, function):
                return -1

    def _run_into_fault(self, address: int, access: int, function: str) -> None:
        """Access all that is in user space from `address` on, and then what is not."""
        while self._translate(address, access, function) >= 0:
            address = (address & -PAGE_SIZE) + PAGE_SIZE

    def writable(self, address: int, function: str) -> bool:
        """Touch one byte for writing, its content left alone; False = EFAULT."""
        return self.access_ok(address, 1) and self._translate(address, WRITE, function) >= 0

    def access_ok(self, address: int, size: int) -> bool:
        """Does the range lie in user space at all."""
        return 0 <= address <= self.mm.task_size - size

    def copy_from_user(self, address: int, size: int, function: str = "_copy_from_user") -> bytes | None:
        """`size` bytes of guest memory, or None = EFAULT."""
        if not size:
            return b""
        if not self.access_ok(address, size):
            if self.user_ptr_max is None or function not in _MASKED or not size:
                return None
            self._run_into_fault(min(address, self.user_ptr_max), READ, function)
            return None
        if (address & PAGE_SIZE - 1) + size <= PAGE_SIZE:
            if size == 0:
                return b""
            paddr = self._translate(address, READ, function)
            return None if paddr < 0 else self.ram.read(paddr, size)
        got = self.copy_from_user_partial(address, size, function)
        return got if len(got) == size else None

    def copy_from_user_partial(self, address: int, size: int, function: str = "_copy_from_user") -> bytes:
        """As many of `size` bytes as can be read."""
        size = max(0, min(size, self.mm.task_size - address))
        pages = size >> PAGE_SHIFT
        parts = []
        while size > 0:
            count = min(size, PAGE_SIZE - (address & PAGE_SIZE - 1))
            paddr = self._translate(address, READ, function)
            if paddr < 0:
                break
            parts.append(self.ram.read(paddr, count))
            address += count
            size -= count
        if pages:
            self._copied(pages - (size >> PAGE_SHIFT))
        return b"".join(parts)

    def copy_to_user(self, address: int, data: bytes, function: str = "_copy_to_user") -> bool:
        """Write to guest memory; False = EFAULT, what came before the bad page is written."""
        if not data:
            return True
        if not self.access_ok(address, len(data)):
            return False
        return self.copy_to_user_partial(address, data, function) == len(data)

    def copy_to_user_partial(self, address: int, data: bytes, function: str = "_copy_to_user") -> int:
        """Write as much as can be written; the number of bytes."""
        size = max(0, min(len(data), self.mm.task_size - address))
        done = 0
        while done < size:
            at = address + done
            count = min(size - done, PAGE_SIZE - (at & PAGE_SIZE - 1))
            paddr = self._translate(at, WRITE, function)
            if paddr < 0:
                break
            self.ram.write(paddr, data[done : done + count])
            done += count
        if done >= PAGE_SIZE:
            self._copied(done >> PAGE_SHIFT)
        return done

    def _copied(self, pages: int) -> None:
        """So much was copied: it takes time."""
        sched = self.mm.memory.sched
        sched.charge(pages * sched.cost.copy_user_page)

    def get_user(self, address: int, size: int, function: str = "") -> int | None:
        """An unsigned integer of 1, 2, 4 or 8 bytes in the guest's byte order; None = EFAULT."""
        data = self.copy_from_user(address, size, function or f"__get_user_{size}")
        return None if data is None else int.from_bytes(data, self.byteorder)

    def put_user(self, address: int, value: int, size: int, function: str = "") -> bool:
        """Store the low `size` bytes of an integer in the guest's byte order, all or none of them; False = EFAULT."""
        function = function or f"__put_user_{size}"
        data = (value & (1 << 8 * size) - 1).to_bytes(size, self.byteorder)
        if self.user_ptr_max is not None and function in _MASKED and not self.access_ok(address, size):
            if address & _NEGATIVE:
                syndrome = walk(self.hw, self.ram, self.table.root, self.user_ptr_max, WRITE, False)[2]
                self.kernel_fault(2 * _NEGATIVE - 1, syndrome, function)
            elif address + size <= self.user_ptr_max + PAGE_SIZE:  # what is above is not canonical: no page fault
                self._run_into_fault(address, WRITE, function)
            return False
        if (address & PAGE_SIZE - 1) + size > PAGE_SIZE and self.access_ok(address, size):
            last = address + size - 1 & -PAGE_SIZE
            if self._translate(address, WRITE, function) < 0 or self._translate(last, WRITE, function) < 0:
                return False
        return self.copy_to_user(address, data, function)

    def strncpy_from_user(self, address: int, limit: int, function: str = "strncpy_from_user") -> bytes | None:
        """A string without its NUL, at most `limit` bytes (then there was no NUL among them); None = EFAULT.

        The kernel reads a word at a time, which may reach into the page behind the string; where that fails it goes on
        byte by byte, and so faults again (do_strncpy_from_user).
        """
        if self.user_ptr_max is not None:
            address = min(address, self.user_ptr_max)
        elif not 0 <= address < self.mm.task_size:
            return None
        else:
            limit = min(limit, self.mm.task_size - address)
        word = self.word
        text = b""
        while len(text) + word <= limit:
            at = address + len(text)
            inside = (PAGE_SIZE - (at & PAGE_SIZE - 1)) // word * word  # whole words up to the end of the page
            paddr = self._translate(at, READ, function)
            if paddr < 0:
                break
            if not inside:
                head = PAGE_SIZE - (at & PAGE_SIZE - 1)
                chunk = self.ram.read(paddr, head)
                paddr = self._translate(at + head, READ, function)
                if paddr < 0:
                    break
                chunk += self.ram.read(paddr, word - head)
            else:
                chunk = self.ram.read(paddr, min(inside, (limit - len(text)) // word * word))
            end = chunk.find(0)
            if end >= 0:
                return text + chunk[:end]
            text += chunk
        while len(text) < limit:
            at = address + len(text)
            paddr = self._translate(at, READ, function)
            if paddr < 0:
                return None
            chunk = self.ram.read(paddr, min(limit - len(text), PAGE_SIZE - (at & PAGE_SIZE - 1)))
            end = chunk.find(0)
            if end >= 0:
                return text + chunk[:end]
            text += chunk
        return text

    def strnlen_user(self, address: int, limit: int) -> bytes | None:
        """A string without its NUL, at most `limit` bytes, measured by aligned words, so that
        what follows it is not touched. None = EFAULT."""
        text = b""
        while len(text) < limit:
            at = address + len(text)
            count = PAGE_SIZE - (at & PAGE_SIZE - 1)
            if not self.access_ok(at, 1):
                if self.user_ptr_max is None:
                    return None
                at = min(at, self.user_ptr_max)
            aligned = at & -self.word
            paddr = self._translate(aligned, READ, "strnlen_user")
            if paddr < 0:
                return None
            chunk = self.ram.read(paddr + at - aligned, count)
            end = chunk.find(0)
            if end >= 0:
                return (text + chunk[:end])[:limit]
            text += chunk
        return text[:limit]

    def clear_user(self, address: int, size: int, function: str = "clear_user") -> bool:
        """Zero guest memory; False = EFAULT."""
        return self.copy_to_user(address, bytes(size), function)
