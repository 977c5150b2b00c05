# SPDX-License-Identifier: GPL-2.0-or-later
"""Identity, limits, names, scheduling and the end of a process (kernel/sys.c, kernel/exit.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

from archs.base import SIGCHLD, SigInfo
from emu.fs.devices import get_random_bytes_user
from emu.fs.iov_iter import iov_iter
from emu.kernel.args import order, pack_timeval, put_struct, s32
from emu.kernel.exec import READ_IMPLIES_EXEC
from emu.kernel.exit import (
    P_ALL,
    P_PGID,
    P_PID,
    P_PIDFD,
    WALL,
    WCLONE,
    WCONTINUED,
    WEXITED,
    WNOHANG,
    WNOTHREAD,
    WNOWAIT,
    WUNTRACED,
    Waited,
    do_wait,
)
from emu.kernel.pidfd import PidFile, pidfd_get_task
from emu.kernel.process import RLIM_INFINITY
from emu.kernel.rseq import rseq_reset_rseq_cpu_node_id
from emu.kernel.syscall import NO_RESULT
from emu.kernel.task import CAP_ALL

if TYPE_CHECKING:
    from emu.kernel.task import Task

RELEASE = "6.18.0"
INIT = 1  # the process of this number is outside of the machine, with all rights: orphans and queries know it
RLIMIT_NOFILE, RLIM_NLIMITS = 7, 16
CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 6, 7, 8, 19, 21, 24
_UNCHANGED = 0xFFFFFFFF


def sys_getpid(task: Task, *_: int) -> int:
    return task.tgid


def sys_gettid(task: Task, *_: int) -> int:
    return task.pid


def sys_getppid(task: Task, *_: int) -> int:
    return task.ppid


def sys_getpgrp(task: Task, *_: int) -> int:
    return task.pgid


def find_task(task: Task, pid: int) -> Task | None:
    """The task of a pid, 0 = the caller (find_task_by_vpid)."""
    return task if s32(pid) == 0 else task.machine.pids.get(s32(pid))


def no_task(pid: int, of_init: int) -> int:
    """What a query says of a pid that no task has: -ESRCH, but for process 1, which is outside of the machine."""
    return of_init if s32(pid) == INIT else -errno.ESRCH


def sys_getpgid(task: Task, pid: int, *_: int) -> int:
    found = find_task(task, pid)
    return no_task(pid, INIT) if found is None else found.pgid


def sys_getsid(task: Task, pid: int, *_: int) -> int:
    found = find_task(task, pid)
    return no_task(pid, INIT) if found is None else found.sid


def sys_setpgid(task: Task, pid: int, pgid: int, *_: int) -> int:
    number = s32(pid) or task.tgid
    group = s32(pgid) or number
    if group < 0:
        return -errno.EINVAL
    found = task.machine.pids.get(number)
    if found is None:
        return -errno.ESRCH
    if found is not found.signal.leader:
        return -errno.EINVAL
    process = found.signal
    if process.parent is task.signal:
        if process.sid != task.sid:
            return -errno.EPERM
        if process.did_exec:
            return -errno.EACCES
    elif process is not task.signal:
        return -errno.ESRCH
    if process.sid == process.tgid:
        return -errno.EPERM  # the leader of a session
    if group != number and not any(p.pgid == group and p.sid == task.sid for p in task.machine.processes()):
        return -errno.EPERM
    process.pgid = group
    return 0


def sys_setsid(task: Task, *_: int) -> int:
    if any(process.pgid == task.tgid for process in task.machine.processes()):
        return -errno.EPERM
    task.signal.sid = task.signal.pgid = task.tgid
    return task.tgid


# Users and groups


def sys_getuid(task: Task, *_: int) -> int:
    return task.cred.uid


def sys_geteuid(task: Task, *_: int) -> int:
    return task.cred.euid


def sys_getgid(task: Task, *_: int) -> int:
    return task.cred.gid


def sys_getegid(task: Task, *_: int) -> int:
    return task.cred.egid


def _update_capabilities(task: Task, had_root: bool) -> None:
    """Capabilities follow the user IDs as they change from or to root (cap_emulate_setxuid)."""
    cred = task.cred
    has_root = 0 in (cred.uid, cred.euid, cred.suid)
    if had_root and not has_root:
        task.cap_permitted = 0
    cred.cap_effective = task.cap_permitted if cred.euid == 0 else 0
    task.set_mm_rights()


def _seen_by_others(task: Task) -> tuple[int, ...]:
    cred = task.cred
    return cred.euid, cred.egid, cred.fsuid, cred.fsgid


def _committed(task: Task, before: tuple[int, ...]) -> None:
    """Who became another user is not to be looked into by that one, nor killed with its parent (commit_creds)."""
    if _seen_by_others(task) != before:
        task.dumpable = 0
        task.pdeath_signal = 0


def _setres(task: Task, kind: str, real: int, effective: int, saved: int, capability: int) -> int:
    """setresuid and setresgid: each may become one of the three that are held, or anything with the capability."""
    cred = task.cred
    held = (getattr(cred, kind), getattr(cred, "e" + kind), getattr(cred, "s" + kind))
    wanted = [v & 0xFFFFFFFF for v in (real, effective, saved)]
    if not task.capable(capability) and any(v != _UNCHANGED and v not in held for v in wanted):
        return -errno.EPERM
    had_root = 0 in (cred.uid, cred.euid, cred.suid)
    before = _seen_by_others(task)
    for prefix, value in zip(("", "e", "s"), wanted):
        if value != _UNCHANGED:
            setattr(cred, prefix + kind, value)
    setattr(cred, "fs" + kind, getattr(cred, "e" + kind))
    if kind == "uid":
        _update_capabilities(task, had_root)
    _committed(task, before)
    return 0


def sys_setresuid(task: Task, real: int, effective: int, saved: int, *_: int) -> int:
    return _setres(task, "uid", real, effective, saved, CAP_SETUID)


def sys_setresgid(task: Task, real: int, effective: int, saved: int, *_: int) -> int:
    return _setres(task, "gid", real, effective, saved, CAP_SETGID)


def _setre(task: Task, kind: str, real: int, effective: int, capability: int) -> int:
    cred = task.cred
    old = getattr(cred, kind)
    real, effective = real & 0xFFFFFFFF, effective & 0xFFFFFFFF
    if real != _UNCHANGED and not task.capable(capability) and real not in (old, getattr(cred, "e" + kind)):
        return -errno.EPERM
    saved = _UNCHANGED
    if real != _UNCHANGED or (effective != _UNCHANGED and effective != old):
        saved = effective if effective != _UNCHANGED else getattr(cred, "e" + kind)
    return _setres(task, kind, real, effective, saved, capability)


def sys_setreuid(task: Task, real: int, effective: int, *_: int) -> int:
    return _setre(task, "uid", real, effective, CAP_SETUID)


def sys_setregid(task: Task, real: int, effective: int, *_: int) -> int:
    return _setre(task, "gid", real, effective, CAP_SETGID)


def _set(task: Task, kind: str, value: int, capability: int) -> int:
    if task.capable(capability):
        return _setres(task, kind, value, value, value, capability)
    return _setres(task, kind, _UNCHANGED, value, _UNCHANGED, capability)


def sys_setuid(task: Task, uid: int, *_: int) -> int:
    return -errno.EINVAL if uid & 0xFFFFFFFF == _UNCHANGED else _set(task, "uid", uid, CAP_SETUID)


def sys_setgid(task: Task, gid: int, *_: int) -> int:
    return -errno.EINVAL if gid & 0xFFFFFFFF == _UNCHANGED else _set(task, "gid", gid, CAP_SETGID)


def _setfs(task: Task, kind: str, value: int, capability: int) -> int:
    cred = task.cred
    old: int = getattr(cred, "fs" + kind)
    value &= 0xFFFFFFFF
    held = [getattr(cred, p + kind) for p in ("", "e", "s", "fs")]
    if value != _UNCHANGED and (value in held or task.capable(capability)):
        before = _seen_by_others(task)
        setattr(cred, "fs" + kind, value)
        _committed(task, before)
    return old


def sys_setfsuid(task: Task, uid: int, *_: int) -> int:
    return _setfs(task, "uid", uid, CAP_SETUID)


def sys_setfsgid(task: Task, gid: int, *_: int) -> int:
    return _setfs(task, "gid", gid, CAP_SETGID)


def _getres(task: Task, addresses: tuple[int, ...], values: tuple[int, ...]) -> int:
    for address, value in zip(addresses, values):
        if not task.access.put_user(address, value, 4):
            return -errno.EFAULT
    return 0


def sys_getresuid(task: Task, real: int, effective: int, saved: int, *_: int) -> int:
    return _getres(task, (real, effective, saved), (task.cred.uid, task.cred.euid, task.cred.suid))


def sys_getresgid(task: Task, real: int, effective: int, saved: int, *_: int) -> int:
    return _getres(task, (real, effective, saved), (task.cred.gid, task.cred.egid, task.cred.sgid))


def sys_getgroups(task: Task, count: int, address: int, *_: int) -> int:
    groups = task.cred.groups
    count = s32(count)
    if count < 0 or 0 < count < len(groups):
        return -errno.EINVAL
    if count:
        for i, gid in enumerate(groups):
            if not task.access.put_user(address + 4 * i, gid, 4):
                return -errno.EFAULT
    return len(groups)


def sys_setgroups(task: Task, count: int, address: int, *_: int) -> int:
    count &= 0xFFFFFFFF
    if not task.capable(CAP_SETGID):
        return -errno.EPERM
    if count > 65536:
        return -errno.EINVAL
    data = task.access.copy_from_user(address, 4 * count, "__get_user_4")
    if data is None:
        return -errno.EFAULT
    task.cred.groups = sorted(struct.unpack(f"{order(task)}{count}I", data))
    return 0


def sys_capget(task: Task, header: int, data: int, *_: int) -> int:
    """capget of version 3 for any task; another version is answered with the one that is spoken."""
    version = task.access.get_user(header, 4)
    if version is None:
        return -errno.EFAULT
    if version not in (0x20080522, 0x20071026):
        if not task.access.put_user(header, 0x20080522, 4):
            return -errno.EFAULT
        return -errno.EINVAL if data else 0
    if not data:
        return 0
    number = task.access.get_user(header + 4, 4)
    if number is None:
        return -errno.EFAULT
    if s32(number) < 0:
        return -errno.EINVAL
    found = task.machine.pids.get(number) if number else task
    if found is None and no_task(number, 0):
        return -errno.ESRCH
    effective, permitted = (found.cred.cap_effective, found.cap_permitted) if found is not None else (CAP_ALL, CAP_ALL)
    words = (effective & _UNCHANGED, permitted & _UNCHANGED, 0, effective >> 32, permitted >> 32, 0)
    return put_struct(task, data, struct.pack(order(task) + "6I", *words))


def sys_capset(task: Task, header: int, data: int, *_: int) -> int:
    text = task.access.copy_from_user(header, 8)
    if text is None:
        return -errno.EFAULT
    version, pid = struct.unpack(order(task) + "Ii", text)
    if version not in (0x20080522, 0x20071026):
        return -errno.EINVAL
    if pid not in (0, task.pid):
        return -errno.EPERM
    text = task.access.copy_from_user(data, 24)
    if text is None:
        return -errno.EFAULT
    e0, p0, _i0, e1, p1, _i1 = struct.unpack(order(task) + "6I", text)
    effective, permitted = (e1 << 32 | e0) & CAP_ALL, (p1 << 32 | p0) & CAP_ALL
    if permitted & ~task.cap_permitted or effective & ~permitted:
        return -errno.EPERM
    task.cap_permitted, task.cred.cap_effective = permitted, effective
    task.set_mm_rights()
    return 0


# Limits and use of resources


def do_prlimit(task: Task, resource: int, new: tuple[int, int] | None) -> tuple[int, int] | int:
    """Read and perhaps set a limit: the old (soft, hard), or -errno (do_prlimit)."""
    if not 0 <= resource < RLIM_NLIMITS:
        return -errno.EINVAL
    soft, hard = task.rlimits[resource]
    if new is not None:
        if new[0] > new[1]:
            return -errno.EINVAL
        if resource == RLIMIT_NOFILE and new[1] > 1 << 20:
            return -errno.EPERM
        if new[1] > hard and not task.capable(CAP_SYS_RESOURCE):
            return -errno.EPERM
        task.rlimits[resource] = list(new)
    return soft, hard


def _check_prlimit_permission(task: Task, target: Task) -> bool:
    mine, its = task.cred, target.cred
    same = {its.uid, its.euid, its.suid} == {mine.uid} and {its.gid, its.egid, its.sgid} == {mine.gid}
    return target is task or same or task.capable(CAP_SYS_RESOURCE)


def sys_prlimit64(task: Task, pid: int, resource: int, new: int, old: int, *_: int) -> int:
    wanted: tuple[int, int] | None = None
    if new:
        data = task.access.copy_from_user(new, 16)
        if data is None:
            return -errno.EFAULT
        soft, hard = struct.unpack(order(task) + "QQ", data)
        wanted = soft, hard
    target = find_task(task, pid)
    if target is None:
        return -errno.ESRCH
    if not _check_prlimit_permission(task, target):
        return -errno.EPERM
    found = do_prlimit(target, resource & 0xFFFFFFFF, wanted)
    if isinstance(found, int):
        return found
    return put_struct(task, old, struct.pack(order(task) + "QQ", *found)) if old else 0


def sys_getrlimit(task: Task, resource: int, address: int, *_: int) -> int:
    found = do_prlimit(task, resource & 0xFFFFFFFF, None)
    if isinstance(found, int):
        return found
    if task.word == 8:
        data = struct.pack(order(task) + "QQ", *found)
    else:
        data = struct.pack(order(task) + "II", *(min(v, 0xFFFFFFFF) for v in found))
    return put_struct(task, address, data)


def sys_old_getrlimit(task: Task, resource: int, address: int, *_: int) -> int:
    """getrlimit of PowerPC 32: no limit above 2**31 - 1."""
    found = do_prlimit(task, resource & 0xFFFFFFFF, None)
    if isinstance(found, int):
        return found
    values = (min(v, 0x7FFFFFFF) for v in found)
    return put_struct(task, address, struct.pack(order(task) + "II", *values))


def sys_setrlimit(task: Task, resource: int, address: int, *_: int) -> int:
    data = task.access.copy_from_user(address, 2 * task.word)
    if data is None:
        return -errno.EFAULT
    values = struct.unpack(order(task) + ("QQ" if task.word == 8 else "II"), data)
    soft, hard = (RLIM_INFINITY if task.word == 4 and v == 0xFFFFFFFF else v for v in values)
    found = do_prlimit(task, resource & 0xFFFFFFFF, (soft, hard))
    return found if isinstance(found, int) else 0


def sys_getrusage(task: Task, who: int, address: int, *_: int) -> int:
    process, mm = task.signal, task.mm
    mm.hiwater_rss = max(mm.hiwater_rss, sum(mm.rss))
    if s32(who) == 0:
        utime, stime = process.cpu_ns()
        threads = process.threads
        switches = process.nvcsw + sum(t.nvcsw for t in threads), process.nivcsw + sum(t.nivcsw for t in threads)
        data = _rusage(task, utime, stime, max(process.maxrss, mm.hiwater_rss), process.faults(), switches)
    elif s32(who) == 1:
        faults, switches = (task.min_flt, task.maj_flt), (task.nvcsw, task.nivcsw)
        data = _rusage(task, task.utime, task.stime, mm.hiwater_rss, faults, switches)
    elif s32(who) == -1:
        faults, switches = (process.cmin_flt, process.cmaj_flt), (process.cnvcsw, process.cnivcsw)
        data = _rusage(task, process.cutime, process.cstime, process.cmaxrss, faults, switches)
    else:
        return -errno.EINVAL
    return put_struct(task, address, data)


def sys_times(task: Task, address: int, *_: int) -> int:
    ticks = task.machine.clock() // 10_000_000
    if address:
        letter = "4q" if task.word == 8 else "4i"
        process = task.signal
        times = (ns // 10_000_000 for ns in (*process.cpu_ns(), process.cutime, process.cstime))
        error = put_struct(task, address, struct.pack(order(task) + letter, *times))
        if error:
            return error
    return ticks


def sys_sysinfo(task: Task, address: int, *_: int) -> int:
    memory = task.machine.memory
    total = memory.totalram << 12
    free = memory.totalram - memory.allocator.allocated << 12
    seconds = -(-task.machine.clock() // 1_000_000_000)
    shared = task.mm.rss[3] << 12
    o = order(task)
    if task.word == 8:
        data = struct.pack(o + "q3Q6QHHIQQI4x", seconds, 0, 0, 0, total, free, shared, 0, 0, 0, 1, 0, 0, 0, 0, 1)
    else:
        data = struct.pack(o + "i3I6IHHIII8x", seconds, 0, 0, 0, total, free, shared, 0, 0, 0, 1, 0, 0, 0, 1)
    return put_struct(task, address, data)


# Names


def sys_uname(task: Task, address: int, *_: int) -> int:
    fields = ("Linux", task.machine.hostname, RELEASE, "#1 SMP", task.arch.uname_machine, task.machine.domainname)
    data = b"".join(text.encode("utf-8", "surrogateescape")[:64].ljust(65, b"\0") for text in fields)
    return put_struct(task, address, data)


def _set_name(task: Task, field: str, address: int, size: int) -> int:
    """A new name for the machine: 0, -EPERM, -EINVAL or -EFAULT."""
    if not task.capable(CAP_SYS_ADMIN):
        return -errno.EPERM
    if not 0 <= s32(size) <= 64:
        return -errno.EINVAL
    text = task.access.copy_from_user(address, s32(size))
    if text is None:
        return -errno.EFAULT
    setattr(task.machine, field, text.split(b"\0")[0].decode("utf-8", "surrogateescape"))
    return 0


def sys_sethostname(task: Task, address: int, size: int, *_: int) -> int:
    return _set_name(task, "hostname", address, size)


def sys_setdomainname(task: Task, address: int, size: int, *_: int) -> int:
    return _set_name(task, "domainname", address, size)


def sys_personality(task: Task, persona: int, *_: int) -> int:
    old = task.personality
    if persona & 0xFFFFFFFF != 0xFFFFFFFF:
        task.personality = persona & 0xFFFFFFFF
        task.mm.read_implies_exec = bool(persona & READ_IMPLIES_EXEC)
    return old


def sys_getrandom(task: Task, address: int, size: int, flags: int, *_: int) -> int:
    if flags & 0xFFFFFFFF & ~7 or flags & 6 == 6:
        return -errno.EINVAL
    size = min(size, 0x7FFFF000)
    if not task.access.access_ok(address, size):
        return -errno.EFAULT
    return get_random_bytes_user(task.machine.vfs.random, iov_iter(task.access, [(address, size)]))


# Threads' bookkeeping


def sys_set_tid_address(task: Task, address: int, *_: int) -> int:
    task.clear_child_tid = address
    return task.pid


def sys_set_robust_list(task: Task, head: int, size: int, *_: int) -> int:
    if size != 3 * task.word:
        return -errno.EINVAL
    task.robust_list = (head, size)
    return 0


def sys_get_robust_list(task: Task, pid: int, head: int, size: int, *_: int) -> int:
    found = find_task(task, pid)
    if found is None and (error := no_task(pid, 0)):
        return error
    if not task.capable(CAP_SYS_PTRACE) if found is None else not task.ptrace_may_access(found):
        return -errno.EPERM
    if not task.access.put_user(size, 3 * task.word, task.word):
        return -errno.EFAULT
    ok = task.access.put_user(head, found.robust_list[0] if found is not None else 0, task.word)
    return 0 if ok else -errno.EFAULT


def sys_rseq(task: Task, address: int, length: int, flags: int, signature: int, *_: int) -> int:
    """rseq: a record in which the thread finds the CPU that it runs on."""
    length, flags, signature = length & 0xFFFFFFFF, flags & 0xFFFFFFFF, signature & 0xFFFFFFFF
    if flags & 1:
        if flags & ~1 or task.rseq[0] != address or not address or task.rseq_len != length:
            return -errno.EINVAL
        if task.rseq[1] != signature:
            return -errno.EPERM
        if not rseq_reset_rseq_cpu_node_id(task):
            return -errno.EFAULT
        task.rseq = (0, 0)
        return 0
    if flags:
        return -errno.EINVAL
    if task.rseq[0]:
        if task.rseq[0] != address or task.rseq_len != length:
            return -errno.EINVAL
        return -errno.EBUSY if task.rseq[1] == signature else -errno.EPERM
    if length < 32 or address % 32:
        return -errno.EINVAL
    if not task.access.access_ok(address, length):
        return -errno.EFAULT
    access = task.access
    if access.get_user(address + 8, 8) is None:
        return -errno.EFAULT
    task.rseq, task.rseq_len = (address, signature), length
    task.rseq_restart = True  # filled in on the way back to the program
    return 0


def sys_exit(task: Task, code: int, *_: int) -> Any:
    """The thread ends, and its process with the last one."""
    task.exit_code = code & 0xFF
    return NO_RESULT


def sys_exit_group(task: Task, code: int, *_: int) -> Any:
    """The process ends (do_group_exit)."""
    process = task.signal
    if process.execing is not None:
        task.exit_code = 0
    else:
        process.kill_all(code & 0xFF, task)
        task.exit_code = process.group_exit
    return NO_RESULT


def _rusage(
    task: Task, utime: int, stime: int, maxrss: int, faults: tuple[int, int], switches: tuple[int, int]
) -> bytes:
    """struct rusage; times in ns, `maxrss` in pages, faults minor and major, switches voluntary and not."""
    values = (maxrss * 4, 0, 0, 0, *faults, 0, 0, 0, 0, 0, 0, *switches)
    times = pack_timeval(task, utime) + pack_timeval(task, stime)
    return times + struct.pack(order(task) + ("14q" if task.word == 8 else "14i"), *values)


def _rusage_of_child(task: Task, child: Waited) -> bytes:
    faults, switches = (child.min_flt, child.maj_flt), (child.nvcsw, child.nivcsw)
    return _rusage(task, child.utime, child.stime, child.maxrss, faults, switches)


def sys_wait4(task: Task, pid: int, status: int, options: int, usage: int, *_: int) -> int:
    options = s32(options) & 0xFFFFFFFF
    if options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE):
        return -errno.EINVAL
    number = s32(pid)
    if number == -(1 << 31):
        return -errno.ESRCH
    if number == -1:
        kind = P_ALL
    elif number <= 0:
        kind, number = P_PGID, -number or task.pgid
    else:
        kind = P_PID
    found = do_wait(task, kind, number, options | WEXITED)
    if isinstance(found, int):
        return found
    if status and not task.access.put_user(status, found.status, 4):
        return -errno.EFAULT
    if usage:
        data = _rusage_of_child(task, found)
        error = put_struct(task, usage, data)
        if error:
            return error
    return found.pid


def sys_waitpid(task: Task, pid: int, status: int, options: int, *_: int) -> int:
    return sys_wait4(task, pid, status, options, 0)


def _kernel_waitid(task: Task, which: int, number: int, options: int) -> Waited | int:
    """kernel_waitid: what was found; 0 or -errno."""
    if options & ~(WNOHANG | WNOWAIT | WEXITED | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE):
        return -errno.EINVAL
    if not options & (WEXITED | WUNTRACED | WCONTINUED):
        return -errno.EINVAL
    kind, number = which & 0xFFFFFFFF, s32(number)
    nonblock = False
    if kind == P_PIDFD:
        if number < 0:
            return -errno.EINVAL
        file = pidfd_get_task(task, number)
        if not isinstance(file, PidFile):
            return -errno.EBADF
        kind, number = P_PID, file.pid
        nonblock = file.nonblock
        if file.task() is None:
            return -errno.ECHILD
    if kind > P_PGID or (kind == P_PID and number <= 0) or (kind == P_PGID and number < 0):
        return -errno.EINVAL
    if kind == P_PGID and number == 0:
        number = task.pgid
    found = do_wait(task, kind, number, options | (WNOHANG if nonblock else 0))
    if found == 0 and nonblock and not options & WNOHANG:
        return -errno.EAGAIN
    return found


def sys_waitid(task: Task, which: int, number: int, info: int, options: int, usage: int, *_: int) -> int:
    """waitid: siginfo is stored even where there was nothing to tell, or an error."""
    found = _kernel_waitid(task, which, number, options & 0xFFFFFFFF)
    told = SigInfo(0)
    if not isinstance(found, int):
        if usage:
            data = _rusage_of_child(task, found)
            error = put_struct(task, usage, data)
            if error:
                return error
        told = SigInfo(SIGCHLD, found.code, pid=found.pid, uid=found.uid, status=found.value)
    if info:
        # Only the fields up to si_status are stored, one by one: not what lies between them.
        data = task.arch.pack_siginfo(told)
        error = put_struct(task, info, data[:12], "__do_sys_waitid")
        fields = 16 if task.word == 8 else 12
        error = error or put_struct(task, info + fields, data[fields : fields + 12], "__do_sys_waitid")
        if error:
            return error
    return found if isinstance(found, int) else 0


def sys_eperm(task: Task, *_: int) -> int:
    """What needs a privilege that a container does not give."""
    return -errno.EPERM


SYSCALLS = {
    "getpid": sys_getpid,
    "gettid": sys_gettid,
    "getppid": sys_getppid,
    "getpgrp": sys_getpgrp,
    "getpgid": sys_getpgid,
    "setpgid": sys_setpgid,
    "getsid": sys_getsid,
    "setsid": sys_setsid,
    "getuid": sys_getuid,
    "geteuid": sys_geteuid,
    "getgid": sys_getgid,
    "getegid": sys_getegid,
    "setuid": sys_setuid,
    "setgid": sys_setgid,
    "setreuid": sys_setreuid,
    "setregid": sys_setregid,
    "setresuid": sys_setresuid,
    "setresgid": sys_setresgid,
    "getresuid": sys_getresuid,
    "getresgid": sys_getresgid,
    "setfsuid": sys_setfsuid,
    "setfsgid": sys_setfsgid,
    "getgroups": sys_getgroups,
    "setgroups": sys_setgroups,
    "capget": sys_capget,
    "capset": sys_capset,
    "prlimit64": sys_prlimit64,
    "getrlimit": sys_getrlimit,
    "old_getrlimit": sys_old_getrlimit,
    "ugetrlimit": sys_getrlimit,
    "setrlimit": sys_setrlimit,
    "getrusage": sys_getrusage,
    "times": sys_times,
    "sysinfo": sys_sysinfo,
    "uname": sys_uname,
    "sethostname": sys_sethostname,
    "personality": sys_personality,
    "getrandom": sys_getrandom,
    "set_tid_address": sys_set_tid_address,
    "set_robust_list": sys_set_robust_list,
    "get_robust_list": sys_get_robust_list,
    "rseq": sys_rseq,
    "wait4": sys_wait4,
    "waitid": sys_waitid,
    "waitpid": sys_waitpid,
    "exit": sys_exit,
    "exit_group": sys_exit_group,
    "reboot": sys_eperm,
    "setdomainname": sys_setdomainname,
}
