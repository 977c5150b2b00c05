# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes through the page cache: in which pieces the kernel copies from the guest (generic_perform_write).

A guest sees the pieces as kernel faults: the copy is first tried with faults off, and only when nothing could be
copied is
the piece faulted in. How large a piece is depends on the folios of the page cache, which `Folios` keeps track of.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from emu.fs.iov_iter import iov_iter
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE

EXT4_MAX_ORDER = 11  # largest folio of the page cache of ext4 with 4 KiB blocks, as a power of two of pages


class Folios:
    """Which folios a file's cached pages form, as far as writes of this run made them."""

    def __init__(self, max_order: int) -> None:
        self.max_order = max_order
        self.start: dict[int, int] = {}  # index of a folio's first page -> its order

    def find(self, index: int) -> tuple[int, int] | None:
        """(first page, order) of the folio that holds a page."""
        for order in range(self.max_order + 1):
            first = index & -(1 << order)
            found = self.start.get(first)
            if found is not None and first + (1 << found) > index:
                return first, found
        return None

    def write_begin(self, pos: int, size: int) -> int:
        """The end (a file offset) of the folio that a write of `size` bytes at `pos` goes to; a new one is as large as
        the write and the alignment of its index allow (__filemap_get_folio)."""
        index = pos >> PAGE_SHIFT
        found = self.find(index)
        if found is None:
            order = min(max(0, size.bit_length() - 1 - PAGE_SHIFT), self.max_order)
            if index & (1 << order) - 1:
                order = (index & -index).bit_length() - 1
            while order and any(page in self.start for page in range(index + 1, index + (1 << order))):
                order -= 1
            self.start[index] = order
            found = index, order
        return found[0] + (1 << found[1]) << PAGE_SHIFT

    def drop_from(self, index: int) -> None:
        """Pages from `index` on left the cache (truncation)."""
        for first in [f for f, order in self.start.items() if f + (1 << order) > index]:
            del self.start[first]


def generic_perform_write(source: iov_iter, pos: int, folios: Folios, store: Callable[[int, bytes], int]) -> int:
    """Copy all of `source` to offset `pos` on, piece by piece, calling store(offset, data) -> 0 or -errno for each; the
    number of bytes stored, or -errno when none were."""
    written = 0
    chunk = PAGE_SIZE << folios.max_order
    status = 0
    while source.count:
        size = min(chunk - (pos & chunk - 1), source.count)
        size = min(size, folios.write_begin(pos, size) - pos)
        data = source.copy_folio_from_iter_atomic(size)
        if data:
            status = store(pos, data)
            if status < 0:
                break
            pos += len(data)
            written += len(data)
            continue
        if chunk > PAGE_SIZE:
            chunk //= 2
        if source.fault_in_readable(size) == size:
            status = -errno.EFAULT
            break
    return written or status
