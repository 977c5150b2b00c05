# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes through the page cache: in which pieces the kernel copies from the guest (generic_perform_write).

A guest sees the pieces as kernel faults: the copy is first tried with faults off, and only when nothing could be
copied is
the piece faulted in. How large a piece is depends on the folios of the page cache (emu/mm/folios.py).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from emu.fs.iov_iter import iov_iter
from emu.mm.folios import Folios
from emu.mm.mm_types import PAGE_SIZE


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
