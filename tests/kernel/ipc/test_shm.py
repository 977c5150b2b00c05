# SPDX-License-Identifier: GPL-2.0-or-later
"""System V shared memory: segments of programs on every architecture, identifiers, rights, accounting."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from errno import EACCES, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, ENOSPC, EPERM

import pytest

from emu.kernel.ipc.ids import IPC_CREAT, IPC_EXCL
from emu.kernel.ipc.shm import (
    SHM_DEST,
    SHM_LOCKED,
    SHM_RDONLY,
    SHMMNI,
    do_shmat,
    ksys_shmdt,
    shm_lock,
    shm_rmid,
    shmget,
)
from emu.kernel.ipc.syscalls import ksys_shmctl
from emu.kernel.machine import Machine
from emu.kernel.task import Task
from emu.mm.mmap import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    ksys_munmap,
    sys_remap_file_pages,
    vm_mmap_pgoff,
)
from tests.guests import TARGETS, guest, mmscope


@pytest.fixture
def task() -> Iterator[Task]:
    program = str(guest("hello"))
    yield Machine(memory=32 << 20).spawn(program, [program], [])


@pytest.mark.parametrize("target", TARGETS)
def test_a_program_sees_what_it_sees_on_linux(target: str) -> None:
    native = subprocess.run([guest("sysv_shm"), "fork"], capture_output=True, timeout=60, env={})
    ran = mmscope("run", guest("sysv_shm", target), "fork")
    assert (ran.out, ran.status) == (native.stdout, 0), ran.err


def test_identifiers_come_in_turn_with_a_sequence_number(task: Task) -> None:
    ids = []
    for _ in range(70):
        ids.append(shmget(task, 0, 1, 0))
        assert shm_rmid(task, task.machine.shm.ids.by_id(ids[-1])) == 0
    assert ids == [*range(64), *range(1 << 15, (1 << 15) + 6)]


def test_there_are_only_so_many(task: Task) -> None:
    for _ in range(SHMMNI):
        assert shmget(task, 0, 1, 0) >= 0
    assert shmget(task, 0, 1, 0) == -ENOSPC
    assert len(task.machine.shm.show(8).splitlines()) == SHMMNI + 1


def test_no_frame_and_no_charge_is_left(task: Task) -> None:
    memory = task.machine.memory
    before = memory.committed
    number = shmget(task, 7, 40 << 12, IPC_CREAT | 0o600)
    assert memory.committed == before + 40
    first, second = do_shmat(task, number, 0, 0), do_shmat(task, number, 0, SHM_RDONLY)
    assert task.access.copy_to_user(first, b"x" * (40 << 12))
    assert task.access.copy_from_user(second + 4096, 3) == b"xxx"
    assert not task.access.copy_to_user(second, b"y")
    assert ksys_munmap(task.mm, first + 4096, 4096) == 0
    segment = task.machine.shm.ids.by_id(number)
    mapping = segment.file.f_mapping
    frames = list(mapping.pages.values())
    assert segment.nattch == 3 and mapping.nrpages == 40
    assert shm_rmid(task, segment) == 0
    assert segment.perm.mode == SHM_DEST | 0o600
    assert shmget(task, 7, 1, 0) == -ENOENT
    assert ksys_shmdt(task, first) == 0
    assert segment.nattch == 1
    assert ksys_shmdt(task, second) == 0
    assert task.machine.shm.ids.by_id(number) is None
    memory.rcu.quiescent()
    assert memory.committed == before and task.machine.shm.total == 0
    assert mapping.nrpages == 0 and all(page._refcount == 0 for page in frames)


def test_pieces_that_moved_stay(task: Task) -> None:
    """shmdt takes what still lies at its distance from the start, of this attachment alone."""
    number = shmget(task, 0, 4 << 12, 0o600)
    start = do_shmat(task, number, 0, 0)
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    assert vm_mmap_pgoff(task.mm, None, start + 8192, 4096, 3, flags, 0) == start + 8192
    assert ksys_shmdt(task, start + 4096) == -EINVAL
    assert ksys_shmdt(task, start) == 0
    assert [vma.vm_start for vma in task.mm.mm_mt.iterate(start, start + (4 << 12))] == [start + 8192]


def test_rights(task: Task) -> None:
    cred = task.cred
    cred.euid, cred.egid, cred.groups, cred.cap_effective = 10, 10, [10], 0
    number = shmget(task, 5, 4096, IPC_CREAT | 0o640)
    segment = task.machine.shm.ids.by_id(number)
    assert shmget(task, 5, 4096, IPC_CREAT | IPC_EXCL) == -EEXIST
    assert shmget(task, 5, 8192, 0) == -EINVAL
    cred.euid = 11  # of its group
    assert shmget(task, 5, 0, 0o400) == number
    assert shmget(task, 5, 0, 0o600) == -EACCES
    assert do_shmat(task, number, 0, 0) == -EACCES
    assert do_shmat(task, number, 0, SHM_RDONLY) > 0
    cred.egid, cred.groups = 11, [11]
    assert do_shmat(task, number, 0, SHM_RDONLY) == -EACCES
    assert shm_rmid(task, segment) == -EPERM
    assert shm_lock(task, segment, True) == -EPERM
    cred.cap_effective = 1 << 15  # CAP_IPC_OWNER
    assert do_shmat(task, number, 0, 0) > 0
    assert shm_rmid(task, segment) == -EPERM
    cred.euid = 10
    task.signal.rlimits[8] = [4096, 4096]
    assert shm_lock(task, segment, True) == 0 and segment.perm.mode & SHM_LOCKED
    assert shm_rmid(task, segment) == 0


def test_pointers_that_lead_nowhere(task: Task) -> None:
    number = shmget(task, 0, 1, 0o600)
    for command in (1, 2, 3, 13, 14, 15):
        assert ksys_shmctl(task, number, command, 8) == -EFAULT
    assert ksys_shmctl(task, number, 2 | 0x100, task.cpu.sp - 512) == -EINVAL  # IPC_64 is of ipc(2)


def test_more_than_may_be_promised(task: Task) -> None:
    task.machine.memory.overcommit_memory = 2
    assert shmget(task, 0, 30 << 20, 0o600) == -ENOMEM
    assert shmget(task, 0, 1 << 20, 0o600) >= 0


def test_remapped_after_its_removal_it_is_gone(task: Task) -> None:
    """remap_file_pages replaces the last VMA of a removed segment: the new one finds nothing (__shm_open)."""
    shm = task.machine.shm
    number = shmget(task, 0, 4096, 0o600)
    address = do_shmat(task, number, 0, 0)
    assert sys_remap_file_pages(task.mm, address, 4096, 0, 0, 0) == 0
    assert shm_rmid(task, shm.ids.by_id(number)) == 0
    assert sys_remap_file_pages(task.mm, address, 4096, 0, 0, 0) == -EINVAL
    assert shm.ids.by_id(number) is None and shm.total == 0
    assert sys_remap_file_pages(task.mm, address, 4096, 0, 0, 0) == -EINVAL
    assert ksys_shmdt(task, address) == -EINVAL
