# SPDX-License-Identifier: GPL-2.0-or-later
"""The one inode behind eventfds, epolls and their like (fs/anon_inodes.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from emu.fs.consts import ANON_INODE_FS_MAGIC
from emu.fs.dcache import Dentry
from emu.fs.inode import Inode, Kstat, Setattr, SuperBlock

if TYPE_CHECKING:
    from emu.fs.current import Cred


class AnonInode(Inode):
    """It has no type: its mode is 0600."""

    @property
    def i_mode(self) -> int:
        return 0o600

    @property
    def i_ino(self) -> int:
        return 1

    def getattr(self) -> Kstat | int:
        return Kstat(self.s_dev, self.i_ino, self.i_mode)

    def setattr_prepare(self, stat: Kstat, change: Setattr, cred: Cred, touch: bool) -> int:
        """Nothing of it can be changed, whoever asks (anon_inode_setattr)."""
        return -errno.EOPNOTSUPP


_SUPER = SuperBlock("anon_inodefs", 0xF, ANON_INODE_FS_MAGIC)
_INODE = AnonInode(_SUPER)


def anon_dentry(name: str, inode: Inode = _INODE) -> Dentry:
    """A place called anon_inode:`name`."""
    place = Dentry(None, b"anon_inode:" + name.encode(), inode)
    place.mount_writable = True
    return place
