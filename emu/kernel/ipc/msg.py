# SPDX-License-Identifier: GPL-2.0-or-later
"""System V message queues (ipc/msg.c)."""

from __future__ import annotations

from errno import E2BIG, EACCES, EAGAIN, EIDRM, EINVAL, ENOMSG
from typing import TYPE_CHECKING, NamedTuple

from emu.kernel.ipc.ids import IpcIds, IpcObject, ipcperms, new_perm, signed_key
from emu.kernel.signal import ERESTARTNOHAND
from emu.locking.wait import wait_queue_head

if TYPE_CHECKING:
    from emu.kernel.task import Task

MSGMNI, MSGMAX, MSGMNB = 32000, 8192, 16384
IPC_NOWAIT, MSG_NOERROR, MSG_EXCEPT, MSG_COPY = 0o4000, 0o10000, 0o20000, 0o40000


class msg_msg(NamedTuple):
    """A message."""

    kind: int
    text: bytes


class msg_receiver:
    """A task that sleeps in msgrcv (struct msg_receiver)."""

    def __init__(self, kind: int, flags: int, size: int, pid: int) -> None:
        self.kind = kind
        self.flags = flags
        self.size = size
        self.pid = pid
        self.got: msg_msg | int | None = None
        self.wait = wait_queue_head()


class msg_queue(IpcObject):
    """A queue (struct msg_queue)."""

    def __init__(self, task: Task, key: int, flags: int) -> None:
        self.machine = task.machine
        self.perm = new_perm(task, key, flags)
        self.messages: list[msg_msg] = []
        self.cbytes = 0
        self.qbytes = MSGMNB
        self.stime = self.rtime = 0
        self.ctime = self.now()
        self.lspid = self.lrpid = 0
        self.receivers: list[msg_receiver] = []
        self.senders = wait_queue_head()
        self.removed = False

    def now(self) -> int:
        """Seconds since 1970."""
        return self.machine.realtime() // 10**9

    def fits(self, size: int) -> bool:
        """msg_fits_inqueue."""
        return size + self.cbytes <= self.qbytes and 1 + len(self.messages) <= self.qbytes

    def hand_over(self, message: msg_msg) -> bool:
        """Give a message to the first who waits for it (pipelined_send): False = nobody took it."""
        for receiver in list(self.receivers):
            if find_msg([message], receiver.kind, receiver.flags) is None:
                continue
            self.receivers.remove(receiver)
            too_long = len(message.text) > receiver.size and not receiver.flags & MSG_NOERROR
            receiver.got = -E2BIG if too_long else message
            receiver.wait.wake_up()
            if not too_long:
                self.lrpid, self.rtime = receiver.pid, self.now()
                return True
        return False


def find_msg(messages: list[msg_msg], kind: int, flags: int) -> int | None:
    """Which message a receiver gets (find_msg): the first, the first of a type or of another one, for a negative type
    the first of the lowest type up to it."""
    if flags & MSG_COPY:
        return kind if 0 <= kind < len(messages) else None
    if kind < 0:
        most = -kind
        fitting = [(message.kind, at) for at, message in enumerate(messages) if message.kind <= most]
        return min(fitting)[1] if fitting else None
    for at, message in enumerate(messages):
        if not kind or (message.kind != kind if flags & MSG_EXCEPT else message.kind == kind):
            return at
    return None


class MsgNamespace:
    """All queues (the messages' part of struct ipc_namespace)."""

    def __init__(self) -> None:
        self.ids: IpcIds[msg_queue] = IpcIds(MSGMNI)

    def remove(self, queue: msg_queue) -> None:
        """freeque."""
        self.ids.remove(queue)
        queue.removed = True
        for receiver in queue.receivers:
            receiver.got = -EIDRM
            receiver.wait.wake_up()
        queue.receivers = []
        queue.senders.wake_up()

    def show(self) -> str:
        """/proc/sysvipc/msg (sysvipc_msg_proc_show)."""
        rows = [
            "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid"
            "      stime      rtime      ctime\n"
        ]
        for queue in self.ids.objects.values():
            p = queue.perm
            rows.append(
                f"{signed_key(p):10d} {p.id:10d}  {p.mode:4o}  {queue.cbytes:10d} {len(queue.messages):10d} "
                f"{queue.lspid:5d} {queue.lrpid:5d} {p.uid:5d} {p.gid:5d} {p.cuid:5d} {p.cgid:5d} {queue.stime:10d} "
                f"{queue.rtime:10d} {queue.ctime:10d}\n"
            )
        return "".join(rows)


def msgget(task: Task, key: int, flags: int) -> int:
    """The queue of a key, or a new one: its identifier or -errno (ksys_msgget)."""
    ids: IpcIds[msg_queue] = task.machine.msg.ids
    return ids.get(task, key, flags, lambda: ids.add(msg_queue(task, key, flags)), lambda found: 0)


def do_msgsnd(task: Task, number: int, message: msg_msg, flags: int) -> int:
    """Send a message, waiting for room: 0 or -errno."""
    queue = task.machine.msg.ids.by_id(number)
    if queue is None:
        return -EINVAL
    size = len(message.text)
    while True:
        if not ipcperms(task, queue.perm, 0o222):
            return -EACCES
        if queue.removed:
            return -EIDRM
        if queue.fits(size):
            break
        if flags & IPC_NOWAIT:
            return -EAGAIN
        if _sleep(task, queue, size) < 0:
            return -EIDRM if queue.removed else -ERESTARTNOHAND
    queue.lspid, queue.stime = task.tgid, queue.now()
    if not queue.hand_over(message):
        queue.messages.append(message)
        queue.cbytes += size
    return 0


def _sleep(task: Task, queue: msg_queue, size: int) -> int:
    return task.wait_event(
        lambda: queue.removed or queue.fits(size),
        what=f"room in message queue {queue.perm.id}",
        queues=(queue.senders,),
    )


def do_msgrcv(task: Task, number: int, size: int, kind: int, flags: int) -> msg_msg | int:
    """Receive a message for a buffer of `size` bytes: it, or -errno."""
    if flags & MSG_COPY and (flags & MSG_EXCEPT or not flags & IPC_NOWAIT):
        return -EINVAL
    queue = task.machine.msg.ids.by_id(number)
    if queue is None:
        return -EINVAL
    if not ipcperms(task, queue.perm, 0o444):
        return -EACCES
    at = find_msg(queue.messages, kind, flags)
    if at is not None:
        message: msg_msg = queue.messages[at]
        if len(message.text) > size and not flags & MSG_NOERROR:
            return -E2BIG
        if not flags & MSG_COPY:
            del queue.messages[at]
            queue.cbytes -= len(message.text)
            queue.lrpid, queue.rtime = task.tgid, queue.now()
            queue.senders.wake_up()
        return message
    if flags & IPC_NOWAIT:
        return -ENOMSG
    receiver = msg_receiver(kind, flags, size, task.tgid)
    queue.receivers.append(receiver)
    task.wait_event(
        lambda: receiver.got is not None, what=f"a message in message queue {number}", queues=(receiver.wait,)
    )
    if receiver.got is not None:
        return receiver.got
    queue.receivers.remove(receiver)
    return -ERESTARTNOHAND
