# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of file descriptors of a process (struct files_struct, fs/file.c)."""

from __future__ import annotations

import errno

from emu.fs.consts import FMODE_PATH
from emu.fs.file import File

NR_OPEN = 1 << 20  # sysctl fs.nr_open


class files_struct:
    """Descriptors and their close-on-exec flags. `max_fds` is the size that the kernel's table would have: select
    looks at it."""

    def __init__(self, word: int = 8) -> None:
        self.fd: dict[int, File] = {}
        self.close_on_exec: set[int] = set()
        self.next_fd = 0  # no descriptor below it is free
        self.max_fds = 8 * word
        self.count = 1  # tasks that share it

    def get(self, fd: int) -> File | None:
        """The open file of a descriptor, without a reference."""
        return self.fd.get(fd)

    def fdget(self, fd: int) -> File | None:
        """As `get`, but no file that only stands for a place (O_PATH), which most calls do not take."""
        file = self.fd.get(fd)
        return None if file is None or file.f_mode & FMODE_PATH else file

    def find_free(self, start: int) -> int:
        """The lowest free descriptor from `start` on."""
        fd = max(start, self.next_fd)
        table = self.fd
        while fd in table:
            fd += 1
        return fd

    def _expand(self, fd: int) -> None:
        if fd >= self.max_fds:
            self.max_fds = max(1 << fd.bit_length(), 0 if self.max_fds % 64 == 0 else 256)

    def alloc(self, file: File, limit: int, start: int = 0, cloexec: bool = False) -> int:
        """Give the file the lowest free descriptor from `start` on, below `limit` (RLIMIT_NOFILE); -EMFILE. The table
        takes over the caller's reference."""
        fd = self.find_free(start)
        if fd >= min(limit, NR_OPEN):
            return -errno.EMFILE
        self.install(fd, file, cloexec)
        return fd

    def install(self, fd: int, file: File, cloexec: bool = False) -> None:
        """Put a file into a free slot (fd_install)."""
        self._expand(fd)
        self.fd[fd] = file
        if cloexec:
            self.close_on_exec.add(fd)
        else:
            self.close_on_exec.discard(fd)
        if fd == self.next_fd:
            self.next_fd = fd + 1

    def remove(self, fd: int) -> File | None:
        """Take a file out of the table; its reference goes to the caller."""
        file = self.fd.pop(fd, None)
        if file is not None:
            self.close_on_exec.discard(fd)
            self.next_fd = min(self.next_fd, fd)
        return file

    def close(self, fd: int) -> int:
        """close(2): 0 or -EBADF."""
        file = self.remove(fd)
        if file is None:
            return -errno.EBADF
        file.flush(self)
        file.put()
        return 0

    def do_close_on_exec(self) -> None:
        """What execve closes."""
        for fd in sorted(self.close_on_exec):
            self.close(fd)

    def close_all(self) -> None:
        """The process ends (exit_files)."""
        for fd in sorted(self.fd):
            self.close(fd)

    def copy(self) -> files_struct:
        """For a child without CLONE_FILES (dup_fd)."""
        new = files_struct()
        new.fd = dict(self.fd)
        for file in new.fd.values():
            file.get()
        new.close_on_exec = set(self.close_on_exec)
        new.next_fd = self.next_fd
        new.max_fds = self.max_fds
        return new
