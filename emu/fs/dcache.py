# SPDX-License-Identifier: GPL-2.0-or-later
"""Dentries: the names by which inodes were reached (fs/dcache.c, without negative entries).

A parent holds its children weakly, a child its parent strongly: a dentry lives as long as a working directory, an
open file or a dentry below it needs it. Mount points are dentries that somebody keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakValueDictionary

from emu.fs.inode import Inode


class Dentry:
    """A name in a directory (struct dentry), together with what is mounted there (struct path)."""

    __slots__ = ("__weakref__", "children", "inode", "mount_writable", "mounted", "name", "parent", "unlinked")

    def __init__(self, parent: Dentry | None, name: bytes, inode: Inode) -> None:
        self.parent: Dentry = self if parent is None else parent
        self.name = name
        self.inode = inode
        self.mounted = False  # the root of a file system or of a writable part: always found by its name
        self.mount_writable: bool | None = None  # where a writable (or read-only) mount begins
        self.unlinked = False
        self.children: WeakValueDictionary[bytes, Dentry] | None = None

    def __repr__(self) -> str:
        return f"<dentry {d_path(self)!r}>"


def d_child(parent: Dentry, name: bytes, inode: Inode) -> Dentry:
    """The dentry for a name that was just looked up: the one in use if there is one for the same file, else a new
    one."""
    children = parent.children
    if children is None:
        children = parent.children = WeakValueDictionary()
    else:
        found = children.get(name)
        if found is not None:
            if found.inode is inode or found.inode.key == inode.key:
                found.inode = inode
                return found
            found.unlinked = True  # replaced behind our back
    new = Dentry(parent, name, inode)
    children[name] = new
    return new


def d_find(parent: Dentry, name: bytes) -> Dentry | None:
    """The dentry in use for a name, None when there is none (which says nothing about the file)."""
    return None if parent.children is None else parent.children.get(name)


def d_unlink(dentry: Dentry) -> None:
    """The name is gone (d_delete)."""
    dentry.unlinked = True
    siblings = dentry.parent.children
    if siblings is not None and siblings.get(dentry.name) is dentry:
        del siblings[dentry.name]


def d_move(dentry: Dentry, parent: Dentry, name: bytes) -> None:
    """The file got another name; what had that name is gone (d_move)."""
    target = d_find(parent, name)
    if target is not None and target is not dentry:
        d_unlink(target)
    siblings = dentry.parent.children
    if siblings is not None and siblings.get(dentry.name) is dentry:
        del siblings[dentry.name]
    dentry.parent = parent
    dentry.name = name
    if parent.children is None:
        parent.children = WeakValueDictionary()
    parent.children[name] = dentry


def d_exchange(one: Dentry, other: Dentry) -> None:
    """Two files swapped names (d_exchange)."""
    parent, name = one.parent, one.name
    one.parent, one.name = other.parent, other.name
    other.parent, other.name = parent, name
    for dentry in (one, other):
        if dentry.parent.children is None:
            dentry.parent.children = WeakValueDictionary()
        dentry.parent.children[dentry.name] = dentry


def ancestors(dentry: Dentry) -> Iterator[Dentry]:
    """The dentry, its parent, and so on up to the root."""
    while True:
        yield dentry
        if dentry.parent is dentry:
            return
        dentry = dentry.parent


def is_subdir(dentry: Dentry, top: Dentry) -> bool:
    """Is it `top` or below it."""
    return any(d is top for d in ancestors(dentry))


def mount_of(dentry: Dentry) -> Dentry:
    """The root of the mount it is on."""
    for place in ancestors(dentry):
        if place.mount_writable is not None:
            return place
    return place


def d_unlinked(dentry: Dentry) -> bool:
    """Has it, or a directory above it, been removed."""
    return any(d.unlinked for d in ancestors(dentry))


def dentry_path(dentry: Dentry) -> bytes:
    """The path from the root, without a mark for what was removed."""
    names = [d.name for d in ancestors(dentry) if d.parent is not d]
    if not names and dentry.name != b"/":
        return dentry.name  # pipe:[7], anon_inode:..., /memfd:name
    names.reverse()
    return b"/" + b"/".join(names)


def d_path(dentry: Dentry) -> bytes:
    """The path as /proc shows it, with " (deleted)" after one that is gone (d_path)."""
    path = dentry_path(dentry)
    return path + b" (deleted)" if dentry.unlinked else path
