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
from emu.mm.filemap import address_space
from emu.mm.mm_types import PAGE_SHIFT, PAGE_SIZE


def generic_perform_write(
    source: iov_iter,
    pos: int,
    mapping: address_space,
    write_end: Callable[[int, bytes], int],
    write_begin: Callable[[int, int], int] | None = None,
) -> int:
    """Copy all of `source` to offset `pos` on, piece by piece: the number of bytes stored, or -errno when none were.

    For each piece write_begin(offset, size) may refuse it before it is copied, and write_end(offset, data) stores what
    could be copied; both return 0 or -errno. A piece of which nothing could be copied is stored as well, empty: its
    page is in the cache from then on, and the file reaches up to it. So is a piece that could be copied in part, where
    its folio has no content yet to fill the rest (ext4_da_write_end); that part is the next piece.
    """
    written = 0
    chunk = PAGE_SIZE << mapping.folios.max_order
    status = 0
    short = 0  # bytes that could be copied of a piece that was refused
    while source.count:
        size = min(chunk - (pos & chunk - 1), short or source.count)
        short = 0
        if write_begin is not None:
            status = write_begin(pos, size)
            if status < 0:
                break
        uptodate = mapping.uptodate(pos >> PAGE_SHIFT)
        size = min(size, mapping.write_begin(pos, size) - pos)
        data = source.copy_folio_from_iter_atomic(size)
        if len(data) < size and not uptodate:
            short = len(data)
            source.revert(short)
            mapping.written(pos, pos + size)  # as zeros
            data = b""
        status = write_end(pos, data)
        if status < 0:
            break
        if data:
            pos += len(data)
            written += len(data)
            continue
        if chunk > PAGE_SIZE:
            chunk //= 2
        if short:
            continue
        if source.fault_in_readable(size) == size:
            status = -errno.EFAULT
            break
    return written or status
