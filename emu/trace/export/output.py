# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an export goes: a file that appears when it is whole, or a pipe."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat

CHUNK = 1 << 20


class ExportError(Exception):
    """The export cannot be written, in one line: which name, and why."""


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


class Output:
    """Bytes for `path`; "-" is standard output. A regular file is written under a name of its own and gets its name in
    `commit`, so that nobody reads half an export; devices and pipes are written as they are.

    As a context manager it commits at the end and leaves nothing behind after an exception; begin with `open`, which
    makes the file, within. ExportError; BrokenPipeError when the reader of a pipe has gone.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._parts: list[bytes] = []
        self._held = 0
        self._partial: str | None = None
        self._fd = -1

    def open(self) -> None:
        """Make the file."""
        path = self.path
        try:
            if path == "-":
                self._fd = os.dup(1)
                return
            if os.path.isdir(path):
                raise ExportError(f"{path}: is a directory")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            if not os.path.exists(path) or stat.S_ISREG(os.stat(path).st_mode):
                self._partial = f"{path}.{os.getpid()}.partial"
            self._fd = os.open(self._partial or path, flags, 0o666)
        except OSError as error:
            raise ExportError(f"{path}: cannot be written: {_reason(error)}") from None

    def write(self, data: bytes) -> None:
        """Append; held back until there is a chunk of it."""
        self._parts.append(data)
        self._held += len(data)
        if self._held >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        view = memoryview(b"".join(self._parts))
        self._parts.clear()
        self._held = 0
        done = 0
        try:
            while done < len(view):
                done += os.write(self._fd, view[done:])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ExportError(f"{self.path}: cannot be written: {_reason(error)}") from None

    def commit(self) -> None:
        """All is written: the file gets its name."""
        self.flush()
        try:
            os.close(self._fd)
            if self._partial is not None:
                os.replace(self._partial, self.path)
        except OSError as error:
            raise ExportError(f"{self.path}: cannot be written: {_reason(error)}") from None

    def abandon(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            os.close(self._fd)
        if self._partial is not None and os.path.exists(self._partial):
            os.unlink(self._partial)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()
            return
        try:
            self.commit()
        except BaseException:
            self.abandon()
            raise


class OutputDirectory:
    """A directory that appears when it is whole. `path`: where files go meanwhile. Begin with `open`, within."""

    def __init__(self, path: str) -> None:
        self.target = path
        self.path = f"{path.rstrip('/')}.{os.getpid()}.partial"

    def open(self) -> None:
        """Make the directory."""
        path = self.target
        try:
            if os.path.exists(path) and not os.path.isdir(path):
                raise ExportError(f"{path}: exists and is no directory")
            if os.path.isdir(path) and os.listdir(path):
                raise ExportError(f"{path}: is not empty: name a new directory")
            os.mkdir(self.path)
        except OSError as error:
            raise ExportError(f"{path}: cannot be made: {_reason(error)}") from None

    def __enter__(self) -> OutputDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if kind is None:
            try:
                os.rename(self.path, self.target)
                return
            except OSError as problem:
                error = problem
        shutil.rmtree(self.path, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise ExportError(f"{self.target}: cannot be written: {_reason(error)}") from None
