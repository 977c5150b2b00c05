# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest physical memory."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from typing import Protocol

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT

_MADV_POPULATE_WRITE = 23
_MAP_NORESERVE = 0x4000  # not in the mmap module before Python 3.13
_ZERO_PAGE = bytes(PAGE_SIZE)


class _CodeUser(Protocol):
    def invalidate_code(self, pfn: int) -> None: ...
    def forget_entries(self) -> None: ...


class Ram:
    """`size` bytes from physical address 0. The host gives memory only to the parts that are touched."""

    def __init__(self, size: int) -> None:
        """`size`: bytes, a positive multiple of PAGE_SIZE (ValueError); OSError when the host has no address space
        for it."""
        if size <= 0 or size % PAGE_SIZE:
            raise ValueError(f"guest RAM of {size} bytes is no positive multiple of {PAGE_SIZE}")
        self.size = size
        self.npages = size >> PAGE_SHIFT
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._map = mmap.mmap(-1, size, flags=flags)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))  # on the host, of byte 0
        self.u8 = memoryview(self._map)
        self.u16 = self.u8.cast("H")
        self.u32 = self.u8.cast("I")
        self.u64 = self.u8.cast("Q")
        # One byte a frame: not 0 when an engine has filled its TLB for fetching from it, and may thus hold
        # translations.
        self._code = mmap.mmap(-1, max(self.npages, 1))
        self.code_map = memoryview(self._code)
        self.code_map_address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        # Likewise where it is code, and where it may be written: an odd number for an address of an engine, 2 =
        # several, 0 = nowhere.
        self._uses = [mmap.mmap(-1, 4 * max(self.npages, 1)) for _ in range(2)]
        self.coders, self.writers = (memoryview(uses).cast("I") for uses in self._uses)
        self.coders_address, self.writers_address = (
            ctypes.addressof(ctypes.c_char.from_buffer(uses)) for uses in self._uses
        )
        self.engines: list[_CodeUser] = []
        self._engines_made = 0

    def new_engine_number(self) -> int:
        self._engines_made += 1
        return self._engines_made

    def read(self, paddr: int, size: int) -> bytes:
        """`size` bytes at a physical address."""
        return self._map[paddr : paddr + size]

    def write(self, paddr: int, data: bytes) -> None:
        """Store bytes at a physical address; translations of code that they replace are dropped."""
        end = paddr + len(data)
        self._map[paddr:end] = data
        code = self.code_map
        for pfn in range(paddr >> PAGE_SHIFT, end + PAGE_SIZE - 1 >> PAGE_SHIFT):
            if code[pfn]:
                self.code_written(pfn)

    def zero(self, pfn: int) -> None:
        """Clear a frame that holds no code in use."""
        start = pfn << PAGE_SHIFT
        self._map[start : start + PAGE_SIZE] = _ZERO_PAGE

    def copy(self, dst_pfn: int, src_pfn: int) -> None:
        """Copy a frame to one that holds no code in use."""
        dst, src = dst_pfn << PAGE_SHIFT, src_pfn << PAGE_SHIFT
        self.u8[dst : dst + PAGE_SIZE] = self.u8[src : src + PAGE_SIZE]

    def code_written(self, pfn: int) -> None:
        """The content of a frame that held code has changed, or the frame has a new use: forget its translations."""
        self.code_map[pfn] = 0
        for engine in self.engines:
            engine.invalidate_code(pfn)

    def populate(self, pfn: int, count: int) -> int:
        """Have the host give memory to `count` frames at once, as far as there are so many: a fault of the host's less
        for each when it is touched. Returns the first frame behind them."""
        end = min(pfn + count, self.npages)
        with contextlib.suppress(OSError):  # before Linux 5.14, or no memory: then they get it one after the other
            self._map.madvise(_MADV_POPULATE_WRITE, pfn << PAGE_SHIFT, end - pfn << PAGE_SHIFT)
        return end

    def discard(self, pfn: int, count: int) -> None:
        """Give frames back to the host; they read as zero afterwards."""
        self._map.madvise(mmap.MADV_DONTNEED, pfn << PAGE_SHIFT, count << PAGE_SHIFT)

    def resident(self) -> int:
        """Bytes that the host really holds for this RAM (mincore)."""
        libc = ctypes.CDLL(None, use_errno=True)
        vector = (ctypes.c_ubyte * self.npages)()
        if libc.mincore(ctypes.c_void_p(self.address), ctypes.c_size_t(self.size), vector):
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(v & 1 for v in vector) << PAGE_SHIFT
