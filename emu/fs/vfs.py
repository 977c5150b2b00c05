# SPDX-License-Identifier: GPL-2.0-or-later
"""The file tree of a machine: the host's, read-only but for chosen directories, with /dev, /dev/shm, /proc and /sys
of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from emu.fs.consts import O_RDONLY
from emu.fs.dcache import Dentry
from emu.fs.devices import Devices, populate_dev
from emu.fs.file import File
from emu.fs.files import files_struct
from emu.fs.fs_struct import fs_struct
from emu.fs.host_stream import open_host_fd
from emu.fs.hostfs import HostFs
from emu.fs.namei import LOOKUP_DIRECTORY, LOOKUP_FOLLOW, do_open, lookup_one, path_lookup
from emu.fs.pipe import PipeFs
from emu.fs.proc import ProcFs
from emu.fs.random import RandomPool
from emu.fs.sysfs import SysFs
from emu.fs.tmpfs import SHM_DEV, TmpFs
from emu.fs.unix_socket import SockFs

if TYPE_CHECKING:
    from emu.kernel.machine import Machine
    from emu.kernel.task import Task

UMASK = 0o022
DEV_DEV, DEV_SHM_DEV = 6, 0x18


class SetupError(Exception):
    """The file tree cannot be made as asked; the text says why."""


class Vfs:
    """All mounts of a machine."""

    def __init__(self, machine: Machine) -> None:
        memory, now = machine.memory, machine.realtime
        self.random = RandomPool(machine.seed)
        self.devices = Devices(self.random)
        self.hostfs = HostFs(memory, now)
        self.hostfs.device_open = self.devices.open
        self.pipefs = PipeFs()
        self.sockfs = SockFs()
        self.shm_mnt = TmpFs(memory, now, SHM_DEV, self.devices.open)
        self.proc = ProcFs(machine)
        self.root = Dentry(None, b"/", self.hostfs.inode(os.lstat("/")))
        self.root.mounted = True
        self.root.mount_writable = False
        self.mounts: list[tuple[Dentry, str]] = [(self.root, "rootfs")]
        dev, _ = populate_dev(TmpFs(memory, now, DEV_DEV, self.devices.open))
        self._mount(self.root, b"dev", dev, "devtmpfs")
        shm = Dentry(None, b"shm", TmpFs(memory, now, DEV_SHM_DEV, self.devices.open).make_root(0o1777))
        self._mount(dev, b"shm", shm, "tmpfs")
        self._mount(self.root, b"sys", Dentry(None, b"sys", SysFs(machine).root), "sysfs")
        self._mount(self.root, b"proc", Dentry(None, b"proc", self.proc.root), "proc")

    def _mount(self, parent: Dentry, name: bytes, place: Dentry, source: str) -> None:
        from weakref import WeakValueDictionary

        place.parent = parent
        place.name = name
        if parent.children is None:
            parent.children = WeakValueDictionary()
        parent.children[name] = place
        place.mounted = True
        place.mount_writable = True
        self.mounts.append((place, source))

    def make_writable(self, task: Task, directory: str) -> None:
        """Let the guest write below a directory of the host."""
        place = path_lookup(task, self.root, os.fsencode(os.path.realpath(directory)), LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
        if isinstance(place, int):
            raise SetupError(f"{directory}: cannot be made writable: {os.strerror(-place)}")
        if place is not self.root:
            place.mounted = True
            self.mounts.append((place, "host"))
        place.mount_writable = True

    def locate(self, task: Any, path: bytes) -> Dentry | None:
        """The dentry of an absolute path without symbolic links, None when it is not there."""
        place = self.root
        for name in path.split(b"/"):
            if name:
                found = lookup_one(place, name, task)
                if isinstance(found, int):
                    return None
                place = found
        return place


def set_up_task_files(machine: Machine, task: Task, path: str) -> File:
    """Give a new task root and working directory and its standard streams; the program's open file. SetupError."""
    if machine.vfs is None:
        machine.vfs = Vfs(machine)
    vfs: Vfs = machine.vfs
    task.fs = fs_struct(vfs.root, vfs.root, UMASK)
    task.files = files_struct(task.word)
    try:
        working = vfs.locate(task, os.fsencode(os.getcwd()))
    except OSError:
        working = None
    if working is not None:
        task.fs.pwd = working
    for directory in machine.writable:
        vfs.make_writable(task, directory)
    for number, host_fd in enumerate(machine.stdio):
        file = open_host_fd(vfs.hostfs, host_fd, task, lambda name: vfs.locate(task, name))
        if file is not None:
            task.files.install(number, file)
    program = do_open(task, task.fs.pwd, os.fsencode(path), O_RDONLY, 0)
    if isinstance(program, int):
        raise SetupError(f"{path}: cannot be opened: {os.strerror(-program)}")
    return program
