# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls of System V message queues, and their structures on each architecture (ipc/msg.c)."""

from __future__ import annotations

import struct
from errno import EFAULT, EINVAL, EPERM
from typing import TYPE_CHECKING

from emu.kernel.args import order, s32, slong
from emu.kernel.ipc.ids import (
    IPC_INFO,
    IPC_RMID,
    IPC_SET,
    pack_perm,
    pack_times,
    perm_from_user,
    stats,
    update_perm,
)
from emu.kernel.ipc.msg import MSGMAX, MSGMNB, MSGMNI, do_msgrcv, do_msgsnd, msg_msg, msg_queue, msgget

if TYPE_CHECKING:
    from emu.kernel.task import Task

MSG_STAT, MSG_INFO, MSG_STAT_ANY = 11, 12, 13
STATS = stats(MSG_STAT, MSG_STAT_ANY)
MSGSSZ, MSGSEG = 16, 0xFFFF
MSGPOOL = MSGMNI * MSGMNB // 1024
CAP_SYS_RESOURCE = 24


def _msqid64_ds(task: Task, queue: msg_queue) -> bytes:
    """struct msqid64_ds."""
    word = "Q" if task.word == 8 else "I"
    times = pack_times(task, queue.stime, queue.rtime, queue.ctime)
    counts = (queue.cbytes, len(queue.messages), queue.qbytes, queue.lspid, queue.lrpid)
    body = struct.pack(f"{order(task)}3{word}ii{2 * task.word}x", *counts)
    return pack_perm(task, queue.perm) + times + body


def _msginfo(task: Task, info: bool) -> bytes:
    queues = task.machine.msg.ids.objects.values()
    pool, entries, quantity = MSGPOOL, MSGMNB, MSGMNB
    if info:
        pool, entries = len(queues), sum(len(queue.messages) for queue in queues)
        quantity = sum(queue.cbytes for queue in queues)
    most = task.machine.msg.ids.most
    return struct.pack(order(task) + "7iH2x", pool, entries, MSGMAX, MSGMNB, most, MSGSSZ, quantity, MSGSEG)


def ksys_msgctl(task: Task, number: int, command: int, buffer: int) -> int:
    """msgctl with structures of the 64-bit kind (ksys_msgctl)."""
    number, command = s32(number), s32(command)
    if number < 0 or command < 0:
        return -EINVAL
    msg = task.machine.msg
    if command in (IPC_INFO, MSG_INFO):
        data = _msginfo(task, command == MSG_INFO)
        return msg.ids.highest if task.access.copy_to_user(buffer, data, "ksys_msgctl") else -EFAULT
    if command in STATS:
        return msg.ids.stat(task, number, STATS[command], buffer, _msqid64_ds, "copy_msqid_to_user")
    qbytes = 0
    given = None
    if command == IPC_SET:
        given = perm_from_user(task, buffer, 120 if task.word == 8 else 100)
        at = buffer + (88 if task.word == 8 else 80)
        told = None if given is None else task.access.get_user(at, task.word)
        if given is None or told is None:
            return -EFAULT
        qbytes = told
    elif command != IPC_RMID:
        return -EINVAL
    queue = msg.ids.controlled(task, number)
    if isinstance(queue, int):
        return queue
    if command == IPC_RMID:
        msg.remove(queue)
        return 0
    if qbytes > MSGMNB and not task.capable(CAP_SYS_RESOURCE):
        return -EPERM
    assert given is not None
    error = update_perm(queue.perm, *given)
    if not error:
        queue.qbytes = qbytes
        queue.ctime = queue.now()
        queue.senders.wake_up()
    return error


def sys_msgget(task: Task, key: int, flags: int, *_: int) -> int:
    return msgget(task, s32(key), s32(flags))


def sys_msgsnd(task: Task, number: int, address: int, size: int, flags: int, *_: int) -> int:
    told = task.access.get_user(address, task.word)
    if told is None:
        return -EFAULT
    kind = slong(task, told)
    if not 0 <= slong(task, size) <= MSGMAX or s32(number) < 0 or kind < 1:
        return -EINVAL
    text = task.access.copy_from_user(address + task.word, size)
    return -EFAULT if text is None else do_msgsnd(task, s32(number), msg_msg(kind, text), s32(flags))


def sys_msgrcv(task: Task, number: int, address: int, size: int, kind: int, flags: int, *_: int) -> int:
    if s32(number) < 0 or slong(task, size) < 0:
        return -EINVAL
    found = do_msgrcv(task, s32(number), size, slong(task, kind), s32(flags))
    if isinstance(found, int):
        return found
    if not task.access.put_user(address, found.kind, task.word):
        return -EFAULT
    text = found.text[:size]
    return len(text) if task.access.copy_to_user(address + task.word, text, "store_msg") else -EFAULT


def sys_msgctl(task: Task, number: int, command: int, buffer: int, *_: int) -> int:
    return ksys_msgctl(task, number, command, buffer)


SYSCALLS = {"msgget": sys_msgget, "msgsnd": sys_msgsnd, "msgrcv": sys_msgrcv, "msgctl": sys_msgctl}
