# SPDX-License-Identifier: GPL-2.0-or-later
"""Follows a trace file that may still grow, and reads from any place of one.

The file is a sequence of Arrow messages: a schema, dictionaries, record batches, an end mark. `poll` notes where the
messages begin without decoding them; `batch` decodes one batch with the dictionaries that stand before it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence

import pyarrow as pa

from emu.tracepoint import FIELDS

_END = b"\xff\xff\xff\xff\0\0\0\0"
_KEEP = 2  # decoded batches


class _Pieces(io.RawIOBase):
    """The messages of some places of a file as one stream."""

    def __init__(self, fd: int, places: Iterator[tuple[int, int]]) -> None:
        super().__init__()
        self._fd = fd
        self._places = places
        self._at = self._left = 0
        self._done = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._done

    def read(self, size: int | None = -1) -> bytes:
        parts = []
        want = 1 << 62 if size is None or size < 0 else size
        while want:
            if not self._left:
                self._at, self._left = next(self._places, (0, 0))
                if not self._left:
                    break
            data = os.pread(self._fd, min(want, self._left), self._at)
            if not data:
                break
            parts.append(data)
            self._at += len(data)
            self._left -= len(data)
            self._done += len(data)
            want -= len(data)
        return b"".join(parts)


class TraceDamage(Exception):
    """A batch cannot be decoded; the text says why."""


class Follower:
    """A trace file, finished or growing. `ended`: its end mark has been seen."""

    def __init__(self, path: str, columns: Sequence[str] = FIELDS, *, check: bool = True) -> None:
        """Batches have the columns asked for only. `check` them: for a file that another program may have written.
        OSError when the file cannot be opened."""
        self.path = path
        self._options = pa.ipc.IpcReadOptions(
            use_threads=False, included_fields=[index for index, name in enumerate(FIELDS) if name in columns]
        )
        self._check = check
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.ended = False
        self._scanned = 0
        self._messages: list[tuple[int, int]] = []  # (offset, length) of the schema and the dictionaries
        self._batches: list[tuple[int, int, int]] = []  # offset, length, how many of _messages stand before it
        self._decoded: dict[int, pa.RecordBatch] = {}
        self._reader: pa.RecordBatchStreamReader | None = None
        self._reader_next = 0  # the batch that the reader gives next

    def close(self) -> None:
        """Close the file."""
        self._reader = None
        os.close(self._fd)

    @property
    def count(self) -> int:
        """Complete batches known so far."""
        return len(self._batches)

    def poll(self, limit: int = 1 << 30) -> bool:
        """Look for new messages, at most `limit` batches: were there any."""
        found = False
        size = os.fstat(self._fd).st_size
        with io.FileIO(self._fd, closefd=False) as file:
            while limit and not self.ended and size - self._scanned >= 8:
                if os.pread(self._fd, 8, self._scanned) == _END:
                    self.ended = True
                    break
                file.seek(self._scanned)
                try:
                    message = pa.ipc.read_message(file)
                except (pa.ArrowException, OSError, EOFError, ValueError):
                    break  # not complete yet, or damaged: who knows whether the file still grows can tell
                length = file.tell() - self._scanned
                if message.type == "record batch":
                    self._batches.append((self._scanned, length, len(self._messages)))
                    limit -= 1
                else:
                    self._messages.append((self._scanned, length))
                self._scanned += length
                found = True
        return found

    def batch(self, index: int) -> pa.RecordBatch:
        """Decode a batch below `count`; TraceDamage when it cannot be. Going forward is cheap."""
        found = self._decoded.get(index)
        if found is not None:
            return found
        if self._reader is None or self._reader_next != index:
            self._reader = None
        try:
            if self._reader is None:
                self._reader = pa.ipc.open_stream(_Pieces(self._fd, self._places(index)), options=self._options)
            batch = self._reader.read_next_batch()
            if self._check:
                batch.validate(full=True)
        except (pa.ArrowException, OSError, EOFError, ValueError, StopIteration) as error:
            self._reader = None
            text = str(error).splitlines()
            raise TraceDamage(text[0][:100] if text else type(error).__name__) from None
        self._reader_next = index + 1
        while len(self._decoded) >= _KEEP:
            del self._decoded[next(iter(self._decoded))]
        self._decoded[index] = batch
        return batch

    def _places(self, index: int) -> Iterator[tuple[int, int]]:
        """What a reader must see to decode the batches from `index` on, in the order of the file."""
        seen = self._batches[index][2]
        yield from self._messages[:seen]
        while index < len(self._batches):
            offset, length, before = self._batches[index]
            yield from self._messages[seen:before]
            seen = before
            yield offset, length
            index += 1
