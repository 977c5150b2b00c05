# SPDX-License-Identifier: GPL-2.0-or-later
"""iov_iter: the guest buffers of a read or a write and how far it has come (lib/iov_iter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.mm.mm_types import PAGE_SIZE
from emu.mm.uaccess import Uaccess

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.fs.file import File


class iov_iter:
    """Segments of guest memory, consumed from the front. `count` is what is left in bytes."""

    __slots__ = ("access", "count", "offset", "segment", "segments")
    splices = False  # not guest memory: pages move to a pipe

    def __init__(self, access: Uaccess, segments: list[tuple[int, int]]) -> None:
        self.access = access
        self.segments = segments
        self.segment = 0
        self.offset = 0
        self.count = sum(length for _, length in segments)

    def _next(self, limit: int) -> tuple[int, int]:
        """(address, length) of the next contiguous piece, no longer than limit; length 0 at the end."""
        while self.segment < len(self.segments):
            base, length = self.segments[self.segment]
            if self.offset < length:
                return base + self.offset, min(limit, length - self.offset)
            self.segment += 1
            self.offset = 0
        return 0, 0

    def first_segment(self) -> tuple[int, int]:
        """(address, length) of what is left of the first segment that is not done; length 0 at the end."""
        return self._next(self.count)

    def advance(self, size: int) -> None:
        """Skip bytes (iov_iter_advance)."""
        size = min(size, self.count)
        self.count -= size
        while size:
            length = self.segments[self.segment][1] - self.offset
            if size < length:
                self.offset += size
                return
            size -= length
            self.segment += 1
            self.offset = 0

    def revert(self, size: int) -> None:
        """Take back the last `size` bytes (iov_iter_revert)."""
        self.count += size
        while size > self.offset:
            size -= self.offset
            self.segment -= 1
            self.offset = self.segments[self.segment][1]
        self.offset -= size

    def copy_to_iter(self, data: bytes, function: str = "_copy_to_iter") -> int:
        """Write bytes to the guest, advancing by what could be written, which is the result."""
        done = 0
        size = min(len(data), self.count)
        while done < size:
            address, length = self._next(size - done)
            written = self.access.copy_to_user_partial(address, data[done : done + length], function)
            self.advance(written)
            done += written
            if written < length:
                break
        return done

    def copy_page_to_iter(self, data: bytes, offset: int) -> int:
        """As copy_to_iter, for bytes that begin at `offset` of a page cache page or folio: the kernel goes page by
        page, and tries the rest of a page once more after a short copy (copy_page_to_iter)."""
        size = min(len(data), self.count)
        done = self.copy_to_iter(data[:size])
        if done < size and done and (offset + done) % PAGE_SIZE:
            done += self.copy_to_iter(data[done : done + 1])
        return done

    def zero(self, size: int, function: str = "iov_iter_zero") -> int:
        """Clear guest memory, advancing; bytes cleared."""
        done = 0
        size = min(size, self.count)
        while done < size:
            address, length = self._next(min(size - done, 1 << 20))
            written = self.access.copy_to_user_partial(address, bytes(length), function)
            self.advance(written)
            done += written
            if written < length:
                break
        return done

    def copy_from_iter(self, size: int, function: str = "_copy_from_iter") -> bytes:
        """Read up to `size` bytes from the guest, advancing; less when a page cannot be read."""
        size = min(size, self.count)
        if not size:
            return b""
        address, length = self._next(size)
        first = self.access.copy_from_user_partial(address, length, function)
        self.advance(len(first))
        if len(first) == size or len(first) < length:
            return first
        parts = [first]
        got = length
        while got < size:
            address, length = self._next(size - got)
            data = self.access.copy_from_user_partial(address, length, function)
            parts.append(data)
            self.advance(len(data))
            got += len(data)
            if len(data) < length:
                break
        return b"".join(parts)

    def copy_page_from_iter(self, size: int) -> bytes:
        """Fill (part of) one page from the guest; a short copy is tried once more (copy_page_from_iter)."""
        data = self.copy_from_iter(size)
        if data and len(data) < min(size, len(data) + self.count):
            data += self.copy_from_iter(1)
        return data

    def copy_folio_from_iter_atomic(self, size: int) -> bytes:
        """As copy_from_iter without serving faults; a short copy is tried once more (copy_folio_from_iter_atomic)."""
        task = self.access.mm.memory.sched.current
        task.pagefault_disabled += 1
        try:
            data = self.copy_from_iter(size, "copy_folio_from_iter_atomic")
            if data and len(data) < size and self.count:
                data += self.copy_from_iter(1, "copy_folio_from_iter_atomic")
        finally:
            task.pagefault_disabled -= 1
        return data

    def fault_in_readable(self, size: int) -> int:
        """Touch the next `size` bytes, a byte in each page; the number of bytes that cannot be read
        (fault_in_iov_iter_readable)."""
        left = min(size, self.count)
        segment, offset = self.segment, self.offset
        while left and segment < len(self.segments):
            base, length = self.segments[segment]
            piece = min(left, length - offset)
            start = base + offset
            address = start
            while address < start + piece:
                if self.access.get_user(address, 1, "fault_in_readable") is None:
                    return left - (address - start)
                address = (address & -PAGE_SIZE) + PAGE_SIZE
            left -= piece
            segment += 1
            offset = 0
        return 0


class _kvec_iter(iov_iter):
    """A buffer of the kernel's own."""

    __slots__ = ("data",)

    def __init__(self, access: Uaccess, size: int) -> None:
        super().__init__(access, [(0, size)])
        self.data = b""

    def copy_to_iter(self, data: bytes, function: str = "_copy_to_iter") -> int:
        data = data[: self.count]
        self.data += data
        self.count -= len(data)
        return len(data)

    def zero(self, size: int, function: str = "iov_iter_zero") -> int:
        return self.copy_to_iter(bytes(min(size, self.count)))


def kernel_read(task: Current, file: File, pos: int, size: int) -> bytes | int:
    """Read a file on the kernel's own behalf: less than `size` bytes at its end; -errno."""
    from emu.fs.file import kiocb

    to = _kvec_iter(task.access, size)
    done = file.read_iter(task, kiocb(pos), to)
    return done if done < 0 else to.data
