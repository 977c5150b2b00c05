# SPDX-License-Identifier: GPL-2.0-or-later
"""Making tasks: clone, clone3, fork, vfork (kernel/fork.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from greenlet import greenlet

from emu.kernel.args import copy_struct_from_user, order
from emu.kernel.ipc.sem import copy_semundo, exit_sem
from emu.kernel.pidfd import pidfd_create
from emu.kernel.process import RLIM_INFINITY, Process
from emu.kernel.signal import NSIG, SIGCHLD, SS_DISABLE, Signals
from emu.kernel.task import Task
from emu.mm.fork import dup_mm, mmput, trace_forked_vmas
from emu.sched.entity import State
from emu.tracepoint import Kind

CSIGNAL = 0xFF
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_PIDFD = 0x100, 0x200, 0x400, 0x800, 0x1000
CLONE_PTRACE, CLONE_VFORK, CLONE_PARENT, CLONE_THREAD, CLONE_NEWNS = 0x2000, 0x4000, 0x8000, 0x10000, 0x20000
CLONE_SYSVSEM, CLONE_SETTLS, CLONE_PARENT_SETTID = 0x40000, 0x80000, 0x100000
CLONE_CHILD_CLEARTID, CLONE_DETACHED, CLONE_UNTRACED = 0x200000, 0x400000, 0x800000
CLONE_CHILD_SETTID, CLONE_IO = 0x1000000, 0x80000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NAMESPACES = 0x10000000, 0x20000000, 0x7E020080
CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP = 0x100000000, 0x200000000
RLIMIT_NPROC = 6
MAX_PID_NS_LEVEL = 32
CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_CHECKPOINT_RESTORE = 21, 24, 40

if TYPE_CHECKING:
    from emu.mm.mm_types import mm_struct


def kernel_clone(
    task: Task,
    flags: int,
    stack: int,
    parent_tid: int,
    child_tid: int,
    tls: int,
    exit_signal: int,
    set_tid: tuple[int, ...] = (),
    pidfd: int = 0,
) -> int:
    """Make a task as `flags` (CLONE_*) say: its pid, or -errno. With CLONE_VFORK the caller sleeps until the child
    execs or ends. `stack`: the child's stack pointer, 0 = where the parent's is; `set_tid`: the pid it shall have, in
    each namespace; `pidfd`: where CLONE_PIDFD stores the child's descriptor."""
    error = _check_flags(task, flags)
    if error:
        return error
    child = copy_process(task, flags, stack, child_tid, tls, exit_signal, set_tid, pidfd)
    if isinstance(child, int):
        return child
    machine = task.machine
    if flags & CLONE_PARENT_SETTID:
        task.access.put_user(parent_tid, child.pid, 4)
    if flags & CLONE_VFORK:
        child.vfork_parent = task
    number = child.pid
    cost = machine.sched.cost
    machine.sched.charge(cost.clone_thread if flags & CLONE_VM else cost.fork)
    machine.sched.start(child)
    if flags & CLONE_VFORK:
        while child.vfork_parent is task:
            task.waiting_for = f"the vforked child {number}"
            if machine.sched.block(State.KILLABLE) < 0:
                child.vfork_parent = None
    return number


def _check_flags(task: Task, flags: int) -> int:
    """What may not go together (copy_process)."""
    if flags & CLONE_FS and flags & (CLONE_NEWNS | CLONE_NEWUSER):
        return -errno.EINVAL
    if flags & CLONE_THREAD and not flags & CLONE_SIGHAND:
        return -errno.EINVAL
    if flags & CLONE_SIGHAND and not flags & CLONE_VM:
        return -errno.EINVAL
    if flags & CLONE_CLEAR_SIGHAND and flags & CLONE_SIGHAND:
        return -errno.EINVAL
    if flags & CLONE_PARENT and task.signal.parent is None:
        return -errno.EINVAL
    if flags & CLONE_THREAD and flags & (CLONE_NEWUSER | CLONE_NEWPID):
        return -errno.EINVAL
    if flags & CLONE_PIDFD and flags & CLONE_DETACHED:
        return -errno.EINVAL
    return 0


def _check_late(task: Task, flags: int, tls: int, set_tid: tuple[int, ...]) -> int:
    """What is refused when the address space has been copied: 0 or -errno (copy_namespaces, copy_thread, alloc_pid).
    There is one namespace of each kind."""
    if flags & CLONE_NAMESPACES:
        return -errno.EINVAL if task.capable(CAP_SYS_ADMIN) else -errno.EPERM
    if flags & CLONE_SETTLS and not task.cpu.may_be_tls(tls):
        return -errno.EPERM
    if not set_tid:
        return 0
    if len(set_tid) > 1 or not 0 < set_tid[0] < task.machine.pid_max:
        return -errno.EINVAL
    if not (task.capable(CAP_SYS_ADMIN) or task.capable(CAP_CHECKPOINT_RESTORE)):
        return -errno.EPERM
    return -errno.EEXIST if set_tid[0] in task.machine.pids else 0


def _may_have_another(task: Task) -> bool:
    """RLIMIT_NPROC and the number of threads of the system."""
    machine = task.machine
    if len(machine.pids) >= machine.max_threads:
        return False
    limit = task.rlimit(RLIMIT_NPROC)
    if limit == RLIM_INFINITY or task.cred.uid == 0 or task.capable(CAP_SYS_RESOURCE) or task.capable(CAP_SYS_ADMIN):
        return True
    return sum(1 for other in machine.pids.values() if other.cred.uid == task.cred.uid) < limit


def copy_process(
    task: Task,
    flags: int,
    stack: int,
    child_tid: int,
    tls: int,
    exit_signal: int,
    set_tid: tuple[int, ...],
    pidfd: int,
) -> Task | int:
    """The new task, not yet running; -errno with everything undone."""
    machine = task.machine
    if not _may_have_another(task):
        return -errno.EAGAIN
    if task.signal_pending():
        return -513  # ERESTARTNOINTR: a signal that comes while the child is made shall reach both or none
    mm: mm_struct | None = task.mm
    assert mm is not None
    if flags & CLONE_VM:
        mm.mm_users += 1
    else:
        mm = dup_mm(mm)
        if mm is None:
            return -errno.ENOMEM
    interrupted = task.fatal_signal_pending()  # one that came while the address space was copied
    error = -errno.EINTR if interrupted else _check_late(task, flags, tls, set_tid)
    if error:
        mmput(mm)
        return error
    number = set_tid[0] if set_tid else machine.alloc_pid()
    old = task.signals
    if flags & CLONE_THREAD:
        process = task.signal
    else:
        process = Process(number, [list(pair) for pair in task.rlimits])
        process.pgid, process.sid = task.pgid, task.sid
        process.parent = task.signal.parent if flags & CLONE_PARENT else task.signal
        process.argv, process.envp = task.signal.argv, task.signal.envp
        process.auxv, process.exe = task.signal.auxv, task.signal.exe
        process.oom_score_adj = task.signal.oom_score_adj
    if flags & CLONE_SIGHAND:
        sighand = old.sighand
        sighand.count += 1
    else:
        sighand = old.sighand.copy()
        if flags & CLONE_CLEAR_SIGHAND:
            sighand.flush_handlers()
    signals = Signals(sighand, process.shared_pending)
    signals.blocked = old.blocked if old.saved is None else old.saved
    signals.altstack = (0, 0, SS_DISABLE) if flags & CLONE_VM and not flags & CLONE_VFORK else old.altstack
    child = Task(machine, task.arch, mm, number, process, signals)
    child.comm = task.comm
    child.cred = task.cred.copy()
    child.cap_permitted, child.cap_bset = task.cap_permitted, task.cap_bset
    child.personality = task.personality
    child.dumpable = task.dumpable
    child.no_new_privs = task.no_new_privs
    child.timer_slack_ns = child.default_timer_slack_ns = task.timer_slack_ns
    child.thp_disabled = task.thp_disabled
    child.affinity = task.affinity
    child.policy, child.rt_priority, child.nice = task.policy, task.rt_priority, task.nice
    child.ioprio = task.ioprio
    if task.sched_reset_on_fork:
        child.nice = 0 if child.rt_priority else max(0, child.nice)
        child.policy, child.rt_priority = 0 if child.rt_priority else child.policy, 0
    else:
        child.custom_slice = task.custom_slice
    child.weight = child.prio_weight()
    child.set_pkru(task.pkru)
    child.rseq = (0, 0) if flags & CLONE_VM else task.rseq
    child.rseq_len = task.rseq_len
    child.rq = task.rq
    child.start_time = machine.clock()
    child.set_child_tid = child_tid if flags & CLONE_CHILD_SETTID else 0
    child.clear_child_tid = child_tid if flags & CLONE_CHILD_CLEARTID else 0
    if flags & CLONE_THREAD:
        child.exit_signal = -1
    elif flags & CLONE_PARENT:
        child.exit_signal = task.signal.leader.exit_signal
    else:
        child.exit_signal = exit_signal
    copy_semundo(task, child, bool(flags & CLONE_SYSVSEM))
    if flags & CLONE_FILES:
        task.files.count += 1
        child.files = task.files
    else:
        child.files = task.files.copy()
    child.fs = task.fs if flags & CLONE_FS else task.fs.copy()
    if flags & CLONE_PIDFD:
        fd = pidfd_create(task, child, bool(flags & CLONE_THREAD), 0)
        error = min(fd, 0)
        if not error and not task.access.put_user(pidfd, fd, 4):
            task.files.close(fd)
            error = -errno.EFAULT
        if error:
            _forget(child)
            return error
    # copy_thread
    child.thread = task.cpu.save()
    registers = child.cpu
    registers.set_syscall_result(0)
    if stack:
        registers.sp = stack
    if flags & CLONE_SETTLS:
        registers.set_tls(tls)
    machine.pids[number] = child
    process.threads.append(child)
    if not flags & CLONE_THREAD:
        process.leader = child
        child.real_parent = task.signal.leader.real_parent if flags & CLONE_PARENT else task
        machine.set_mm_owner(child)
        if process.parent is not None:
            process.parent.children.append(child)
    child.greenlet = greenlet(lambda *_: machine.run_task(child))
    if machine.tp.on:
        tp = machine.tp
        tp.emit(
            Kind.SCHED_PROCESS_FORK, code=number, size=child.tgid, flags=flags, text=child.comm, args=(child.mm.id,)
        )  # fmt: skip
        if not flags & CLONE_VM:
            tp.pid, tp.tid = child.tgid, child.pid
            trace_forked_vmas(mm)
            tp.pid, tp.tid = task.tgid, task.pid
    return child


def _forget(child: Task) -> None:
    """Undo what was made for a task that will not be: its descriptors and its address space."""
    exit_sem(child)
    child.signals.sighand.count -= 1
    child.files.count -= 1
    if child.files.count == 0:
        child.files.close_all()
    mmput(child.mm)


def sys_clone(task: Task, flags: int, stack: int, parent_tid: int, fourth: int, fifth: int, *_: int) -> int:
    """clone. On x86-64 the child's tid comes before the thread pointer, elsewhere behind it
    (CONFIG_CLONE_BACKWARDS)."""
    child_tid, tls = (fourth, fifth) if task.arch.name == "x86_64" else (fifth, fourth)
    flags &= 0xFFFFFFFF
    if flags & CLONE_PIDFD and flags & CLONE_PARENT_SETTID:
        return -errno.EINVAL
    return kernel_clone(
        task, flags & ~CSIGNAL, stack, parent_tid, child_tid, tls, flags & CSIGNAL, pidfd=parent_tid
    )  # fmt: skip


def sys_fork(task: Task, *_: int) -> int:
    return kernel_clone(task, 0, 0, 0, 0, 0, SIGCHLD)


def sys_vfork(task: Task, *_: int) -> int:
    return kernel_clone(task, CLONE_VFORK | CLONE_VM, 0, 0, 0, 0, SIGCHLD)


def sys_clone3(task: Task, address: int, size: int, *_: int) -> int:
    """clone3: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
    cgroup."""
    if size > 4096:
        return -errno.E2BIG
    if size < 64:
        return -errno.EINVAL
    data = copy_struct_from_user(task, address, size, 88)
    if isinstance(data, int):
        return data
    words = struct.unpack(order(task) + "11Q", data)
    flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, _ = words
    if exit_signal & ~CSIGNAL or not 0 <= exit_signal <= NSIG:
        return -errno.EINVAL
    if flags & (CLONE_DETACHED | CSIGNAL) or flags >> 34 or flags & CLONE_INTO_CGROUP:
        return -errno.EINVAL
    if flags & (CLONE_THREAD | CLONE_PARENT) and exit_signal:
        return -errno.EINVAL
    if bool(stack) != bool(stack_size):
        return -errno.EINVAL
    if stack and not task.access.access_ok(stack, stack_size):
        return -errno.EINVAL
    if set_tid_size > MAX_PID_NS_LEVEL or bool(set_tid) != bool(set_tid_size):
        return -errno.EINVAL
    wanted = task.access.copy_from_user(set_tid, 4 * set_tid_size)
    if wanted is None:
        return -errno.EFAULT
    pids = struct.unpack(f"{order(task)}{set_tid_size}i", wanted)
    if flags & CLONE_PIDFD and flags & CLONE_PARENT_SETTID and pidfd == parent_tid:
        return -errno.EINVAL
    return kernel_clone(task, flags, stack + stack_size, parent_tid, child_tid, tls, exit_signal, pids, pidfd)


def sys_unshare(task: Task, flags: int, *_: int) -> int:
    """Stop sharing with other tasks: descriptors, directories, undone semaphores (ksys_unshare). There are no
    namespaces; address space and signal handlers can be named where nobody shares them."""
    if flags & CLONE_VM:
        flags |= CLONE_SIGHAND
    if flags & CLONE_SIGHAND:
        flags |= CLONE_THREAD
    private = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM
    if flags & ~(private | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_NAMESPACES):
        return -errno.EINVAL
    if flags & private and len(task.signal.threads) > 1:
        return -errno.EINVAL
    if flags & CLONE_SIGHAND and task.signals.sighand.count > 1:
        return -errno.EINVAL
    if flags & CLONE_VM and any(t.mm is task.mm for t in task.machine.pids.values() if t is not task and not t.exiting):
        return -errno.EINVAL
    if flags & CLONE_NAMESPACES:
        no_right = not flags & CLONE_NEWUSER and not task.capable(CAP_SYS_ADMIN)
        return -errno.EPERM if no_right else -errno.EINVAL
    if flags & CLONE_FS:
        task.fs = task.fs.copy()
    if flags & CLONE_FILES and task.files.count > 1:
        task.files.count -= 1
        task.files = task.files.copy()
    if flags & CLONE_SYSVSEM:
        exit_sem(task)
    return 0


SYSCALLS = {"unshare": sys_unshare, "clone": sys_clone, "clone3": sys_clone3, "fork": sys_fork, "vfork": sys_vfork}
