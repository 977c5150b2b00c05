# SPDX-License-Identifier: GPL-2.0-or-later
"""System V semaphores: sets of them, operations that happen as one, and what is undone at exit (ipc/sem.c)."""

from __future__ import annotations

from collections.abc import Sequence
from errno import E2BIG, EACCES, EAGAIN, EFBIG, EIDRM, EINTR, EINVAL, ENOSPC, ERANGE
from typing import TYPE_CHECKING, NamedTuple

from emu.kernel.ipc.ids import IpcIds, IpcObject, ipcperms, new_perm, signed_key
from emu.locking.wait import wait_queue_head

if TYPE_CHECKING:
    from emu.kernel.task import Task

SEMMSL, SEMOPM, SEMMNI, SEMVMX = 32000, 500, 32000, 32767
SEMMNS = SEMMNI * SEMMSL
SEMAEM = SEMVMX
IPC_NOWAIT, SEM_UNDO = 0o4000, 0x1000


class sembuf(NamedTuple):
    """One operation (struct sembuf)."""

    sem_num: int
    sem_op: int
    sem_flg: int


class sem_undo_list:
    """What the tasks that share it (CLONE_SYSVSEM) have to take back when the last of them ends, set by set."""

    def __init__(self) -> None:
        self.count = 1
        self.adjust: dict[sem_array, list[int]] = {}


class sem_queue:
    """A task that sleeps in semop (struct sem_queue)."""

    def __init__(self, sops: Sequence[sembuf], undo: list[int] | None, pid: int) -> None:
        self.sops = sops
        self.undo = undo
        self.pid = pid
        self.blocking = sops[0]
        self.status: int | None = None  # once it is decided
        self.wait = wait_queue_head()


class sem_array(IpcObject):
    """A set of semaphores (struct sem_array)."""

    def __init__(self, task: Task, key: int, flags: int, count: int) -> None:
        self.machine = task.machine
        self.perm = new_perm(task, key, flags)
        self.value = [0] * count
        self.pid = [0] * count
        self.pending: list[sem_queue] = []
        self.otime = 0
        self.ctime = self.now()
        self.undos: list[sem_undo_list] = []  # which have something of this set

    def now(self) -> int:
        """Seconds since 1970."""
        return self.machine.realtime() // 10**9

    def attempt(self, queue: sem_queue) -> int:
        """Do all operations or none: 0, 1 where it would have to sleep, -errno (perform_atomic_semop)."""
        value, undo = list(self.value), queue.undo
        adjust = None if undo is None else list(undo)
        for sop in queue.sops:
            found = value[sop.sem_num]
            result = found + sop.sem_op
            if (not sop.sem_op and found) or result < 0:
                queue.blocking = sop
                return -EAGAIN if sop.sem_flg & IPC_NOWAIT else 1
            if result > SEMVMX:
                return -ERANGE
            if sop.sem_flg & SEM_UNDO and adjust is not None:
                taken_back = adjust[sop.sem_num] - sop.sem_op
                if not -SEMAEM - 1 <= taken_back <= SEMAEM:
                    return -ERANGE
                adjust[sop.sem_num] = taken_back
            value[sop.sem_num] = result
        self.value = value
        if undo is not None and adjust is not None:
            undo[:] = adjust
        for sop in queue.sops:
            self.pid[sop.sem_num] = queue.pid
        return 0

    def update(self) -> bool:
        """Values changed: let those go on who can, who waits for zero first, each kind in the order in which they came
        (do_smart_update). True when one did."""
        went = False
        again = True
        while again:
            again = False
            for constant in (True, False):
                for queue in [each for each in self.pending if is_constant(each.sops) is constant]:
                    status = self.attempt(queue)
                    if status > 0:
                        continue
                    self.pending.remove(queue)
                    queue.status = status
                    queue.wait.wake_up()
                    went = went or not status
                    if not constant and not status:
                        again = True
                        break
                if again:
                    break
        return went

    def changed(self) -> None:
        """semctl set values: nobody takes anything back of these, and sleepers look again."""
        self.ctime = self.now()
        if self.update():
            self.otime = self.now()

    def set_value(self, number: int, value: int, pid: int) -> None:
        """SETVAL for one, without looking for sleepers."""
        for undo in self.undos:
            undo.adjust[self][number] = 0
        self.value[number], self.pid[number] = value, pid

    def waiting(self, number: int, for_zero: bool) -> int:
        """Tasks that sleep because of one semaphore (count_semcnt)."""
        return sum(q.blocking.sem_num == number and (q.blocking.sem_op == 0) is for_zero for q in self.pending)


def is_constant(sops: Sequence[sembuf]) -> bool:
    """Do these operations change nothing."""
    return all(not sop.sem_op for sop in sops)


class SemNamespace:
    """All sets (the semaphores' part of struct ipc_namespace)."""

    def __init__(self) -> None:
        self.ids: IpcIds[sem_array] = IpcIds(SEMMNI)
        self.used = 0
        self.semmsl, self.semmns, self.semopm = SEMMSL, SEMMNS, SEMOPM  # of a set, of all sets, of one semop

    def remove(self, array: sem_array) -> None:
        """freeary."""
        self.used -= len(array.value)
        self.ids.remove(array)
        for undo in array.undos:
            del undo.adjust[array]
        array.undos = []
        for queue in array.pending:
            queue.status = -EIDRM
            queue.wait.wake_up()
        array.pending = []

    def show(self) -> str:
        """/proc/sysvipc/sem (sysvipc_sem_proc_show)."""
        rows = ["       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"]
        for array in self.ids.objects.values():
            p = array.perm
            rows.append(
                f"{signed_key(p):10d} {p.id:10d}  {p.mode:4o} {len(array.value):10d} {p.uid:5d} {p.gid:5d} {p.cuid:5d} "
                f"{p.cgid:5d} {array.otime:10d} {array.ctime:10d}\n"
            )
        return "".join(rows)


def semget(task: Task, key: int, count: int, flags: int) -> int:
    """The set of a key, or a new one of `count` semaphores: its identifier or -errno (ksys_semget)."""
    sem: SemNamespace = task.machine.sem
    if not 0 <= count <= sem.semmsl:
        return -EINVAL

    def make() -> int:
        if not count:
            return -EINVAL
        if sem.used + count > sem.semmns:
            return -ENOSPC
        number = sem.ids.add(sem_array(task, key, flags, count))
        if number >= 0:
            sem.used += count
        return number

    return sem.ids.get(task, key, flags, make, lambda found: -EINVAL if count > len(found.value) else 0)


def do_semtimedop(task: Task, number: int, sops: Sequence[sembuf], timeout: int | None) -> int:
    """Do operations as one, waiting at most `timeout` ns until all are possible: 0 or -errno (__do_semtimedop)."""
    if not sops or number < 0:
        return -EINVAL
    sem: SemNamespace = task.machine.sem
    if len(sops) > sem.semopm:
        return -E2BIG
    array = sem.ids.by_id(number)
    if array is None:
        return -EINVAL
    if max(sop.sem_num for sop in sops) >= len(array.value):
        return -EFBIG
    if not ipcperms(task, array.perm, 0o444 if is_constant(sops) else 0o222):
        return -EACCES
    undo = None
    if any(sop.sem_flg & SEM_UNDO for sop in sops):
        undo = _find_undo(task, array)
    queue = sem_queue(sops, undo, task.tgid)
    status = array.attempt(queue)
    if status <= 0:
        if not status:
            if not is_constant(sops):
                array.update()
            array.otime = array.now()
        return status
    array.pending.append(queue)
    result = task.wait_event(lambda: queue.status is not None, timeout, f"semaphore {number}", queues=(queue.wait,))
    if queue.status is not None:
        return queue.status
    array.pending.remove(queue)
    return -EINTR if result < 0 else -EAGAIN


def _find_undo(task: Task, array: sem_array) -> list[int]:
    """What the task takes back of a set (find_alloc_undo)."""
    if task.sysvsem is None:
        task.sysvsem = sem_undo_list()
    undo = task.sysvsem
    if array not in undo.adjust:
        undo.adjust[array] = [0] * len(array.value)
        array.undos.append(undo)
    return undo.adjust[array]


def copy_semundo(task: Task, child: Task, share: bool) -> None:
    """clone: a child shares the list of its parent or has none."""
    if share:
        if task.sysvsem is None:
            task.sysvsem = sem_undo_list()
        task.sysvsem.count += 1
        child.sysvsem = task.sysvsem


def exit_sem(task: Task) -> None:
    """A task ends: the last one that shares its list takes everything back."""
    undo, task.sysvsem = task.sysvsem, None
    if undo is None:
        return
    undo.count -= 1
    if undo.count:
        return
    for array, adjust in list(undo.adjust.items()):
        array.undos.remove(undo)
        for number, change in enumerate(adjust):
            if change:
                array.value[number] = max(0, min(SEMVMX, array.value[number] + change))
                array.pid[number] = task.tgid
        array.update()
        array.otime = array.now()
