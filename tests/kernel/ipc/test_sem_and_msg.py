# SPDX-License-Identifier: GPL-2.0-or-later
"""System V semaphores and message queues: rights, /proc/sysvipc, sizes, strace. What the guest programs sysv_sem and
sysv_msg print is held against the real kernel in test_tasks."""

from __future__ import annotations

import time
from errno import E2BIG, EACCES, EINVAL, ENOSPC, EPERM

import pytest

from emu.kernel.ipc.ids import IPC_CREAT, IPC_RMID
from emu.kernel.ipc.msg import IPC_NOWAIT, MSG_COPY, do_msgrcv, do_msgsnd, msg_msg, msgget
from emu.kernel.ipc.sem import SEMMNI, do_semtimedop, sembuf, semget
from emu.kernel.ipc.sys_msg import _msginfo, _msqid64_ds, ksys_msgctl
from emu.kernel.ipc.sys_sem import _semid64_ds, ksys_semctl
from emu.kernel.machine import Machine
from emu.kernel.task import Task
from tests.guests import TARGETS, guest, mmscope

SEM_SIZES = {"x86_64": 104, "aarch64": 88, "powerpc64": 88, "powerpc64le": 88, "powerpc": 76}
MSG_SIZES = {"x86_64": 120, "aarch64": 120, "powerpc64": 120, "powerpc64le": 120, "powerpc": 100}


def a_task(target: str = "x86_64") -> Task:
    program = str(guest("hello", target))
    return Machine(memory=32 << 20).spawn(program, [program], [])


@pytest.mark.parametrize("target", TARGETS)
def test_structures_are_as_long_as_linux_has_them(target: str) -> None:
    task = a_task(target)
    queue = task.machine.msg.ids.by_id(msgget(task, 0, 0o600))
    array = task.machine.sem.ids.by_id(semget(task, 0, 3, 0o600))
    assert queue is not None and array is not None
    assert len(_msqid64_ds(task, queue)) == MSG_SIZES[target]
    assert len(_semid64_ds(task, array)) == SEM_SIZES[target]
    assert len(_msginfo(task, False)) == 32


def test_who_may_use_and_remove_them() -> None:
    task = a_task()
    sem, msg = semget(task, 7, 1, IPC_CREAT | 0o600), msgget(task, 7, IPC_CREAT | 0o400)
    task.cred.uid = task.cred.euid = 5
    task.cred.egid, task.cred.groups, task.cred.cap_effective = 5, [5], 0
    assert do_semtimedop(task, sem, [sembuf(0, 1, 0)], None) == -EACCES
    assert do_semtimedop(task, sem, [sembuf(0, 0, 0)], None) == -EACCES
    assert semget(task, 7, 1, 0o600) == -EACCES
    assert do_msgsnd(task, msg, msg_msg(1, b""), 0) == -EACCES
    assert do_msgrcv(task, msg, 1, 0, IPC_NOWAIT) == -EACCES
    assert ksys_semctl(task, sem, 0, IPC_RMID, 0) == -EPERM
    assert ksys_msgctl(task, msg, IPC_RMID, 0) == -EPERM


def test_proc_shows_them() -> None:
    task = a_task()
    sem, msg = semget(task, -2, 4, IPC_CREAT | 0o640), msgget(task, 9, IPC_CREAT | 0o600)
    assert do_msgsnd(task, msg, msg_msg(1, b"12345"), 0) == 0
    assert do_semtimedop(task, sem, [sembuf(2, 5, 0)], None) == 0
    row = task.machine.sem.show().splitlines()[1].split()
    assert row[:4] == ["-2", str(sem), "640", "4"]
    assert int(row[8]) == task.machine.realtime() // 10**9
    row = task.machine.msg.show().splitlines()[1].split()
    assert row[:7] == ["9", str(msg), "600", "5", "1", str(task.tgid), "0"]


def test_a_copy_leaves_the_message_where_it_is() -> None:
    task = a_task()
    msg = msgget(task, 0, 0o600)
    assert do_msgsnd(task, msg, msg_msg(3, b"abc"), 0) == 0
    assert do_msgrcv(task, msg, 9, 0, MSG_COPY | IPC_NOWAIT) == msg_msg(3, b"abc")
    assert do_msgrcv(task, msg, 2, 0, IPC_NOWAIT) == -E2BIG
    assert do_msgrcv(task, msg, 9, 0, MSG_COPY) == -EINVAL
    assert do_msgrcv(task, msg, 9, 0, 0) == msg_msg(3, b"abc")


def test_strace_names_them() -> None:
    ran = mmscope("run", "--strace", guest("sysv_sem"))
    assert ", 3, IPC_CREAT|IPC_EXCL|0600) = -1 EEXIST (File exists)" in ran.err
    ran = mmscope("run", "--strace", guest("sysv_msg"))
    assert "IPC_RMID, NULL) = 0" in ran.err or "IPC_RMID, 0" in ran.err


def test_many_objects_are_found_by_key_at_once() -> None:
    task = a_task()
    began = time.process_time()
    made = [semget(task, key, 1, IPC_CREAT | 0o600) for key in range(1, SEMMNI + 1)]
    assert [semget(task, key, 1, 0) for key in range(1, SEMMNI + 1)] == made
    assert semget(task, SEMMNI + 1, 1, IPC_CREAT) == -ENOSPC
    assert time.process_time() - began < 10, "neither a key nor a free index is searched for"
