# SPDX-License-Identifier: GPL-2.0-or-later
"""Root, working directory and umask of a process (struct fs_struct)."""

from __future__ import annotations

from emu.fs.dcache import Dentry


class fs_struct:
    """What relative paths start from."""

    __slots__ = ("pwd", "root", "umask")

    def __init__(self, root: Dentry, pwd: Dentry, umask: int) -> None:
        self.root = root
        self.pwd = pwd
        self.umask = umask

    def copy(self) -> fs_struct:
        """For a child without CLONE_FS (copy_fs_struct)."""
        return fs_struct(self.root, self.pwd, self.umask)
