# SPDX-License-Identifier: GPL-2.0-or-later
"""System V shared memory: segments, and how they are attached and detached (ipc/shm.c)."""

from __future__ import annotations

from errno import EACCES, EINTR, EINVAL, ENOMEM, ENOSPC, EPERM
from typing import TYPE_CHECKING, Any

from emu.kernel.ipc.ids import IPC_PRIVATE, IpcIds, IpcObject, ipcperms, may_control, new_perm, signed_key
from emu.mm.gup import mm_populate
from emu.mm.mm_types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, vm_area_struct, vm_operations_struct
from emu.mm.mmap import MAP_FIXED, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE, do_mmap
from emu.mm.mmap_lock import mmap_write_lock_killable, mmap_write_unlock
from emu.mm.overcommit import OVERCOMMIT_NEVER, vm_enough_memory, vm_unacct_memory
from emu.mm.shmem import shmem_fault, shmem_file_setup
from emu.mm.vma import do_align_munmap

if TYPE_CHECKING:
    from emu.kernel.machine import Machine
    from emu.kernel.task import Task

SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC = 0o10000, 0o20000, 0o40000, 0o100000
SHM_HUGETLB, SHM_NORESERVE = 0o4000, 0o10000  # of shmget
SHM_DEST, SHM_LOCKED = 0o1000, 0o2000  # in the mode
SHMMNI, SHMMIN = 4096, 1
RLIMIT_MEMLOCK = 8
CAP_IPC_LOCK = 14


def shmmax(word: int) -> int:
    """Bytes in a segment, pages in all of them: no limit but a distance from the end of the numbers."""
    return (1 << 8 * word) - 1 - (1 << 24)


class shmid_kernel(IpcObject):
    """A segment (struct shmid_kernel)."""

    def __init__(self, task: Task, key: int, flags: int, size: int, accounted: bool) -> None:
        self.machine: Machine = task.machine
        self.perm = new_perm(task, key, flags)
        self.size = size
        self.pages = size + PAGE_SIZE - 1 >> PAGE_SHIFT
        self.accounted = accounted
        self.file = shmem_file_setup(self.machine.memory, f"/SYSV{key & 0xFFFFFFFF:08x} (deleted)", size)
        self.nattch = 0
        self.atime = self.dtime = 0
        self.ctime = self.now()
        self.cpid, self.lpid = task.tgid, 0

    def now(self) -> int:
        """Seconds since 1970."""
        return self.machine.realtime() // 10**9

    def user(self) -> int:
        """The process that does something now."""
        return int(self.machine.sched.current.tgid)


class shm_file:
    """An open segment: one for each shmat, so that attachments never merge (struct shm_file_data)."""

    aligns_huge = False

    def __init__(self, segment: shmid_kernel, writable: bool) -> None:
        self.segment = segment
        self.base = segment.file
        self.base.get()
        self.f_mapping = self.base.f_mapping
        self.f_ra = self.base.f_ra
        self.inode = self.base.inode
        self.f_mode = 3 if writable else 1
        self.f_flags = 2 if writable else 0
        self.f_count = 1
        self.name = self.base.name

    def mmap(self, vma: vm_area_struct) -> int:
        """shm_mmap: -EINVAL where the segment is gone, with its last VMA that remap_file_pages replaces."""
        error = _open(self.segment)
        if not error:
            vma.vm_ops = shm_vm_ops
        return error

    def punch_hole(self, offset: int, length: int) -> int:
        return self.base.punch_hole(offset, length)

    def get(self) -> None:
        self.f_count += 1

    def put(self) -> None:
        self.f_count -= 1
        if self.f_count == 0:
            self.base.put()


def _open(segment: shmid_kernel) -> int:
    """One VMA more (__shm_open): 0 or -EINVAL."""
    if segment.machine.shm.ids.by_id(segment.perm.id) is not segment:
        return -EINVAL
    segment.atime = segment.now()
    segment.lpid = segment.user()
    segment.nattch += 1
    return 0


def shm_open(vma: vm_area_struct) -> None:
    """A VMA was copied, by fork or by a cut."""
    _open(_segment(vma))


def shm_close(vma: vm_area_struct) -> None:
    """One VMA less; the last one takes a removed segment with it."""
    segment = _segment(vma)
    segment.dtime = segment.now()
    segment.lpid = segment.user()
    segment.nattch -= 1
    _may_destroy(segment)


def _segment(vma: vm_area_struct) -> shmid_kernel:
    target: Any = vma.vm_file
    segment: shmid_kernel = target.segment
    return segment


# No map_pages: a fault is never served under the VMA lock, and brings no neighbours in.
shm_vm_ops = vm_operations_struct(open=shm_open, close=shm_close, fault=shmem_fault)


class ShmNamespace:
    """All segments (the shared memory's part of struct ipc_namespace)."""

    def __init__(self) -> None:
        self.ids: IpcIds[shmid_kernel] = IpcIds(SHMMNI)
        self.total = 0  # pages

    def show(self, word: int) -> str:
        """/proc/sysvipc/shm (sysvipc_shm_proc_show); `word` bytes have a size of the reader."""
        width = 21 if word == 8 else 10
        head = (
            f"       key      shmid perms {'size':>{width}}  cpid  lpid nattch   uid   gid  cuid  cgid"
            f"      atime      dtime      ctime {'rss':>{width}} {'swap':>{width}}\n"
        )
        rows = []
        for segment in self.ids.objects.values():
            p = segment.perm
            rss = segment.file.f_mapping.nrpages << PAGE_SHIFT
            rows.append(
                f"{signed_key(p):10d} {p.id:10d}  {p.mode:4o} {segment.size:{width}d} {segment.cpid:5d} "
                f"{segment.lpid:5d}  {segment.nattch:5d} {p.uid:5d} {p.gid:5d} {p.cuid:5d} {p.cgid:5d} "
                f"{segment.atime:10d} {segment.dtime:10d} {segment.ctime:10d} {rss:{width}d} {0:{width}d}\n"
            )
        return head + "".join(rows)

    def destroy(self, segment: shmid_kernel) -> None:
        """shm_destroy."""
        self.total -= segment.pages
        self.ids.remove(segment)
        if segment.accounted:
            vm_unacct_memory(segment.machine.memory, segment.pages)
        segment.file.put()


def _may_destroy(segment: shmid_kernel) -> None:
    if segment.nattch == 0 and segment.perm.mode & SHM_DEST:
        segment.machine.shm.destroy(segment)


def shmget(task: Task, key: int, size: int, flags: int) -> int:
    """The segment of a key, or a new one: its identifier or -errno."""
    shm: ShmNamespace = task.machine.shm

    def make() -> int:
        most = shmmax(task.word)
        pages = size + PAGE_SIZE - 1 >> PAGE_SHIFT
        if not SHMMIN <= size <= most:
            return -EINVAL
        if shm.total + pages > most:
            return -ENOSPC
        if flags & SHM_HUGETLB:
            return -ENOMEM  # none are reserved
        memory = task.machine.memory
        accounted = not flags & SHM_NORESERVE or memory.overcommit_memory == OVERCOMMIT_NEVER
        if accounted and not vm_enough_memory(task.mm, pages):
            return -ENOMEM
        segment = shmid_kernel(task, key, flags, size, accounted)
        number = shm.ids.add(segment)
        if number < 0:
            if accounted:
                vm_unacct_memory(memory, pages)
            segment.file.put()
            return number
        segment.file.inode.i_ino = number
        shm.total += pages
        return number

    return shm.ids.get(task, key, flags, make, lambda found: -EINVAL if found.size < size else 0)


def do_shmat(task: Task, number: int, addr: int, flags: int) -> int:
    """Attach a segment: the address or -errno."""
    shm: ShmNamespace = task.machine.shm
    if number < 0:
        return -EINVAL
    map_flags = MAP_SHARED
    if addr:
        if addr & PAGE_SIZE - 1:
            if not flags & SHM_RND:
                return -EINVAL
            addr &= PAGE_MASK
            if not addr and flags & SHM_REMAP:
                return -EINVAL
        map_flags |= MAP_FIXED
    elif flags & SHM_REMAP:
        return -EINVAL
    prot, wanted = (PROT_READ, 0o444) if flags & SHM_RDONLY else (PROT_READ | PROT_WRITE, 0o666)
    if flags & SHM_EXEC:
        prot |= PROT_EXEC
        wanted |= 0o111
    segment = shm.ids.by_id(number)
    if segment is None:
        return -EINVAL
    if not ipcperms(task, segment.perm, wanted):
        return -EACCES
    segment.nattch += 1  # so that it stays meanwhile
    target = shm_file(segment, not flags & SHM_RDONLY)
    mm = task.mm
    populate = 0
    if mmap_write_lock_killable(mm):
        result = -EINTR
    else:
        result = 0
        if addr and not flags & SHM_REMAP:
            end = addr + segment.size
            if end >= 1 << 8 * task.word or next(mm.mm_mt.iterate(addr, end), None) is not None:
                result = -EINVAL
        if not result:
            result, populate = do_mmap(mm, target, addr, segment.size, prot, map_flags, 0)
        mmap_write_unlock(mm)
        if populate:
            mm_populate(mm, result, populate)
    target.put()
    segment.nattch -= 1
    _may_destroy(segment)
    return result


def ksys_shmdt(task: Task, addr: int) -> int:
    """Detach what was attached at an address: 0 or -errno.

    Its pieces are found by their distance from the address, also where a part was unmapped since.
    """
    if addr & PAGE_SIZE - 1:
        return -EINVAL
    mm = task.mm
    if mmap_write_lock_killable(mm):
        return -EINTR
    result = -EINVAL
    target: Any = None
    size = 0
    for vma in list(mm.mm_mt.iterate(addr, 1 << 64)):
        if target is not None and vma.vm_end - addr > size:
            break
        if vma.vm_ops is not shm_vm_ops or vma.vm_start - addr >> PAGE_SHIFT != vma.vm_pgoff:
            continue
        if target is None:
            target = vma.vm_file
            size = target.segment.size + PAGE_SIZE - 1 & PAGE_MASK
            result = 0
        elif vma.vm_file is not target:
            continue
        do_align_munmap(mm, vma.vm_start, vma.vm_end, unlock=False)
    mmap_write_unlock(mm)
    return result


def shm_rmid(task: Task, segment: shmid_kernel) -> int:
    """IPC_RMID: gone at once, or with its last attachment (do_shm_rmid)."""
    if not may_control(task, segment.perm):
        return -EPERM
    if segment.nattch:
        segment.perm.mode |= SHM_DEST
        segment.perm.key = IPC_PRIVATE
    else:
        task.machine.shm.destroy(segment)
    return 0


def shm_lock(task: Task, segment: shmid_kernel, lock: bool) -> int:
    """SHM_LOCK and SHM_UNLOCK: nothing is swapped out here, so only the mark changes (shmctl_do_lock)."""
    if not task.capable(CAP_IPC_LOCK) and (
        task.cred.euid not in (segment.perm.uid, segment.perm.cuid) or (lock and not task.signal.rlimit(RLIMIT_MEMLOCK))
    ):
        return -EPERM
    segment.perm.mode = segment.perm.mode & ~SHM_LOCKED | (SHM_LOCKED if lock else 0)
    return 0
