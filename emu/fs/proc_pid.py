# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID and /proc/PID/task/TID: a process and a thread, as text (fs/proc/base.c, array.c, fd.c).

Whoever reads may be another one than what is read, and that may end at any time: then a look-up fails with ENOENT or
ESRCH, and so does a read of a file that is open, as it does in Linux.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from emu.fs.consts import O_PATH, S_IFDIR, S_IFREG
from emu.fs.cpumask import cpu_list, cpu_map
from emu.fs.dcache import Dentry, d_path
from emu.fs.file import File, PathFile, kiocb
from emu.fs.inode import Inode, Kstat
from emu.fs.iov_iter import iov_iter
from emu.fs.proc_inode import ProcDirectory, ProcInode, ProcLink, PseudoFs
from emu.fs.proc_maps import MapsRecords, PagemapFile, smaps_rollup
from emu.fs.proc_mem import MemFile, access_remote_vm
from emu.fs.seq_file import ListRecords, SeqFile, SeqOperations
from emu.mm.fork import mmput
from emu.mm.mm_types import PAGE_SIZE

if TYPE_CHECKING:
    from emu.fs.current import Current

_LIMITS = (
    ("cpu time", "seconds"), ("file size", "bytes"), ("data size", "bytes"), ("stack size", "bytes"),
    ("core file size", "bytes"), ("resident set", "bytes"), ("processes", "processes"), ("open files", "files"),
    ("locked memory", "bytes"), ("address space", "bytes"), ("file locks", "locks"), ("pending signals", "signals"),
    ("msgqueue size", "bytes"), ("nice priority", ""), ("realtime priority", ""), ("realtime timeout", "us"),
)  # fmt: skip
CAP_SYS_NICE = 23
RLIMIT_SIGPENDING = 11
Make = Callable[[Any, bool], "str | bytes | int"]  # of a task, and whether its whole process is meant
TICK = 10_000_000  # ns of a clock tick (USER_HZ 100)


class Subject:
    """A thread, or with `whole` its process: which one a directory of /proc is about, for ever (struct pid)."""

    def __init__(self, task: Any, whole: bool) -> None:
        self.first = task
        self.whole = whole
        self.pid: int = task.pid

    def task(self) -> Any | None:
        """The thread or the leader; None: it was reaped (get_proc_task)."""
        first = self.first
        task = first.machine.pids.get(self.pid)
        # After an exec by another thread that one has the number of the leader.
        return task if task is first or (task is not None and task.signal is first.signal) else None


@contextmanager
def _using(task: Any) -> Iterator[Any | None]:
    """The task's address space, which stays meanwhile; None: it has none any more (get_task_mm)."""
    mm = None if task is None or task.exiting else task.mm
    if mm is None or not mm.mm_users:
        yield None
        return
    mm.mm_users += 1
    try:
        yield mm
    finally:
        if mm.mm_users == 1:
            task.machine.detach(mm)
        mmput(mm)


class PidInode(ProcInode):
    """A file about a task: it belongs to the task's user."""

    __slots__ = ("subject",)

    def __init__(self, sb: PseudoFs, path: str, mode: int, subject: Subject) -> None:
        super().__init__(sb, path, mode)
        self.subject = subject

    def getattr(self) -> Kstat | int:
        return _owned(super().getattr(), self.subject)


def _owned(stat: Kstat | int, subject: Subject) -> Kstat | int:
    """Of a task that is not dumpable they are root's, but for directories that all may list (task_dump_owner)."""
    task = subject.task()
    if task is not None and not isinstance(stat, int):
        readable = stat.mode == S_IFDIR | 0o555 or task.dumpable == 1
        stat.uid, stat.gid = (task.cred.euid, task.cred.egid) if readable else (0, 0)
    return stat


class PidDirectory(ProcDirectory):
    """A directory about a task. `entries` is called with the task. `of_process`: it is /proc/PID itself."""

    __slots__ = ("of_process", "subject")

    def __init__(
        self, sb: PseudoFs, path: str, subject: Subject, entries: Callable[[Any], dict[bytes, ProcInode]], mode: int
    ) -> None:
        super().__init__(sb, path, entries, mode)
        self.subject = subject
        self.of_process = subject.whole and path.count("/") == 1

    def getattr(self) -> Kstat | int:
        return _owned(super().getattr(), self.subject)

    def lookup(self, parent: Dentry, name: bytes, task: Current) -> Inode | int:
        found = self.subject.task()
        return -errno.ESRCH if found is None else self.entries(found).get(name, -errno.ENOENT)

    def readdir(self, dentry: Dentry, task: Current) -> list[tuple[bytes, int, int]] | int:
        found = self.subject.task()
        return -errno.ENOENT if found is None else super().readdir(dentry, found)


class PidText(PidInode):
    """A text about a task. `needs_mm`: it can be opened only while there is an address space; `outlives`: but read when
    the task is gone; else that gives `gone`."""

    __slots__ = ("gone", "make", "needs_mm", "outlives", "store")

    def __init__(
        self,
        sb: PseudoFs,
        path: str,
        subject: Subject,
        make: Make,
        store: Callable[[Any, Any, bytes], int] | None = None,
        needs_mm: bool = False,
        mode: int = 0o444,
        outlives: bool = False,
        gone: int = -errno.ESRCH,
    ) -> None:
        super().__init__(sb, path, S_IFREG | (mode | 0o200 if store else mode), subject)
        self.outlives = outlives
        self.gone = gone
        self.make = make
        self.store = store
        self.needs_mm = needs_mm

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        if flags & O_PATH:
            return PathFile(dentry, flags)
        found = self.subject.task()
        if self.needs_mm and (found is None or found.exiting):
            return -errno.ESRCH
        return self._file(dentry, flags)

    def _file(self, dentry: Dentry, flags: int) -> File:
        return PidFile(dentry, flags, self)

    def read_of(self) -> Any | None:
        """The task that a read is about; None: it is gone."""
        return self.subject.first if self.outlives else self.subject.task()


class PidFile(SeqFile):
    """An open text about a task (proc_single_show)."""

    can_write = True

    def __init__(self, dentry: Dentry, flags: int, inode: PidText) -> None:
        self.about = inode
        self.text: str | bytes = ""
        super().__init__(dentry, flags, ListRecords(self._records))

    def _records(self) -> list[bytes]:
        return [self.text.encode() if isinstance(self.text, str) else self.text]

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        about = self.about
        found = about.read_of()
        if found is None:
            return about.gone
        if iocb.pos == 0 or iocb.pos != self.read_pos:
            text = about.make(found, about.subject.whole)
            if isinstance(text, int):
                return text
            self.text = text
        return super().read_iter(task, iocb, to)

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        if self.about.store is None:
            return -errno.EINVAL
        size = source.count
        data = source.copy_from_iter(size)
        if len(data) < size:
            return -errno.EFAULT
        found = self.about.subject.task()
        return -errno.ESRCH if found is None else self.about.store(task, found, data) or size


class PidMemoryText(PidText):
    """A text that stands in the task's memory and is read from there each time. `pieces` is called with the address
    space, the position in the text and how many bytes are wanted."""

    __slots__ = ("pieces",)

    def __init__(
        self, sb: PseudoFs, path: str, subject: Subject, pieces: Callable[[Any, int, int], Iterator[bytes]], mode: int,
        needs_mm: bool,
    ) -> None:  # fmt: skip
        super().__init__(sb, path, subject, lambda *_: b"", None, needs_mm, mode, needs_mm)
        self.pieces = pieces

    def _file(self, dentry: Dentry, flags: int) -> File:
        return PidMemoryFile(dentry, flags, self)


class PidMemoryFile(PidFile):
    """An open text of this kind."""

    about: PidMemoryText

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        found = self.about.read_of()
        if found is None:
            return self.about.gone
        copied = 0
        with _using(found) as mm:
            for piece in () if mm is None else self.about.pieces(mm, iocb.pos, to.count):
                done = to.copy_to_iter(piece)
                copied += done
                if done < len(piece):
                    if not copied:
                        return -errno.EFAULT
                    break
        iocb.pos += copied
        return copied


class PidRecords(PidInode):
    """A file with an open function of its own."""

    __slots__ = ("opened",)

    def __init__(
        self, sb: PseudoFs, path: str, subject: Subject, opened: Callable[[Dentry, int, Any], File | int], mode: int
    ) -> None:
        super().__init__(sb, path, S_IFREG | mode, subject)
        self.opened = opened

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        if flags & O_PATH:
            return PathFile(dentry, flags)
        found = self.subject.task()
        return -errno.ESRCH if found is None else self.opened(dentry, flags, found)


class _NoRecords(SeqOperations):
    def show(self, position: int) -> tuple[bytes, int] | None:
        return None


class MapsFile(SeqFile):
    """An open maps or smaps. It is of the address space that the task had when it was opened."""

    def __init__(self, dentry: Dentry, flags: int, subject: Subject, task: Any, details: bool) -> None:
        self.subject = subject
        self.mm = None if task.exiting else task.mm
        super().__init__(dentry, flags, _NoRecords() if self.mm is None else MapsRecords(self.mm, details))

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        found = self.subject.task()
        if found is None:
            return -errno.ESRCH
        with _using(found) as mm:
            return super().read_iter(task, iocb, to) if mm is not None and mm is self.mm else 0


class PidPagemap(PagemapFile):
    """An open pagemap."""

    def __init__(self, dentry: Dentry, flags: int, task: Any) -> None:
        self.task = task
        super().__init__(dentry, flags, task)

    def read_iter(self, task: Current, iocb: kiocb, to: iov_iter) -> int:
        with _using(self.task) as mm:
            return super().read_iter(task, iocb, to) if mm is not None and mm is self.mm else 0


def _open_maps(subject: Subject, details: bool, dentry: Dentry, flags: int, task: Any) -> File | int:
    return MapsFile(dentry, flags, subject, task, details)


def _open_pagemap(dentry: Dentry, flags: int, task: Any) -> File | int:
    return -errno.ESRCH if task.exiting else PidPagemap(dentry, flags, task)


def _open_mem(dentry: Dentry, flags: int, task: Any) -> File | int:
    """For who may trace the task."""
    if task.exiting:
        return -errno.ESRCH
    if not task.machine.sched.current.ptrace_may_access(task):
        return -errno.EACCES
    opened = task.mm

    @contextmanager
    def using() -> Iterator[Any | None]:
        with _using(task) as mm:
            yield mm if mm is opened else None

    return MemFile(dentry, flags, using)


def pid_directory(sb: PseudoFs, task: Any) -> PidDirectory:
    """/proc/PID, or /proc/TID of a thread: both are about the whole process."""
    subject = Subject(task, True)
    path = f"/{task.pid}"
    return PidDirectory(sb, path, subject, lambda t: _files(sb, path, subject, t), 0o555)


def _files(sb: PseudoFs, path: str, subject: Subject, task: Any) -> dict[bytes, ProcInode]:
    found: dict[bytes, ProcInode] = {}

    def directory(name: str, entries: Callable[[Any], dict[bytes, ProcInode]], mode: int) -> None:
        found[name.encode()] = PidDirectory(sb, f"{path}/{name}", subject, entries, mode)

    def text(
        name: str, make: Make, store: Any = None, needs_mm: bool = False, mode: int = 0o444, outlives: bool = False
    ) -> None:
        found[name.encode()] = PidText(sb, f"{path}/{name}", subject, make, store, needs_mm, mode, outlives)

    def link(name: str, target: Callable[[Any], bytes | Dentry | int]) -> None:
        def get(_: Any) -> bytes | Dentry | int:
            owner = subject.task()
            return -errno.ENOENT if owner is None or owner.exiting else target(owner)

        found[name.encode()] = ProcLink(sb, f"{path}/{name}", get)

    for name, make in _FILES.items():
        text(name, make)
    text("auxv", lambda t, _: bytes(t.auxv), needs_mm=True, mode=0o400, outlives=True)
    found[b"cmdline"] = PidMemoryText(sb, f"{path}/cmdline", subject, _cmdline, 0o444, False)
    found[b"environ"] = PidMemoryText(sb, f"{path}/environ", subject, _environ, 0o400, True)
    text("smaps_rollup", _smaps_rollup, needs_mm=True)
    text("comm", lambda t, _: t.comm + "\n", _set_comm)
    text("oom_score_adj", lambda t, _: f"{t.oom_score_adj}\n", _set_oom_score_adj)
    if subject.whole:
        text("timerslack_ns", _timerslack, _set_timerslack, mode=0o666)
    found[b"mem"] = PidRecords(sb, f"{path}/mem", subject, _open_mem, 0o600)
    for name, details in (("maps", False), ("smaps", True)):
        found[name.encode()] = PidRecords(sb, f"{path}/{name}", subject, partial(_open_maps, subject, details), 0o444)
    found[b"pagemap"] = PidRecords(sb, f"{path}/pagemap", subject, _open_pagemap, 0o400)
    link("exe", _exe)
    link("cwd", lambda t: t.fs.pwd)
    link("root", lambda t: t.fs.root)
    directory("fd", lambda t: _fds(sb, path, subject, t), 0o500)
    directory("fdinfo", lambda t: _fdinfos(sb, path, subject, t), 0o555)
    if subject.whole:
        directory("task", lambda t: _threads(sb, path, t), 0o555)
    return found


def _threads(sb: PseudoFs, path: str, task: Any) -> dict[bytes, ProcInode]:
    threads = {thread.pid: thread for thread in (*task.signal.threads, task.signal.leader)}
    found: dict[bytes, ProcInode] = {}
    for tid in sorted(threads):
        subject, inside = Subject(threads[tid], False), f"{path}/task/{tid}"

        def entries(t: Any, subject: Subject = subject, inside: str = inside) -> dict[bytes, ProcInode]:
            return _files(sb, inside, subject, t)

        found[b"%d" % tid] = PidDirectory(sb, inside, subject, entries, 0o555)
    return found


def _descriptors(task: Any) -> list[tuple[int, File]]:
    return [] if task.exiting else sorted(task.files.fd.items())


def _fds(sb: PseudoFs, path: str, subject: Subject, task: Any) -> dict[bytes, ProcInode]:
    found: dict[bytes, ProcInode] = {}
    for fd, file in _descriptors(task):
        mode = 0o500 if file.f_mode & 1 else 0
        mode |= 0o300 if file.f_mode & 2 else 0

        def get(_: Any, fd: int = fd) -> Dentry | int:
            owner = subject.task()
            its = None if owner is None or owner.exiting else owner.files.get(fd)
            return -errno.ENOENT if its is None else its.f_dentry

        found[b"%d" % fd] = ProcLink(sb, f"{path}/fd/{fd}", get, mode or 0o100)
    return found


def _fdinfos(sb: PseudoFs, path: str, subject: Subject, task: Any) -> dict[bytes, ProcInode]:
    def info(fd: int) -> Make:
        def make(t: Any, _: bool) -> str | int:
            from emu.fs.abi import flags_to_guest

            file = None if t.exiting else t.files.get(fd)
            if file is None:
                return -errno.ENOENT
            cloexec = 0o2000000 if fd in t.files.close_on_exec else 0
            flags = flags_to_guest(t.arch, file.f_flags | cloexec)
            head = f"pos:\t{file.f_pos}\nflags:\t0{flags:o}\nmnt_id:\t1\nino:\t{file.f_inode.i_ino}\n"
            return head + str(file.fdinfo())

        return make

    found: dict[bytes, ProcInode] = {}
    for fd, _ in _descriptors(task):
        found[b"%d" % fd] = PidText(sb, f"{path}/fdinfo/{fd}", subject, info(fd), gone=-errno.ENOENT)
    return found


# What the files say


def _set_comm(task: Any, target: Any, data: bytes) -> int:
    """comm_write: a thread may be named by those of its own process."""
    if target.signal is not task.signal:
        return -errno.EINVAL
    target.comm = data.split(b"\0")[0].rstrip(b"\n")[:15].decode("utf-8", "surrogateescape")
    return 0


def _set_oom_score_adj(task: Any, target: Any, data: bytes) -> int:
    try:
        value = int(data.strip())
    except ValueError:
        return -errno.EINVAL
    if not -1000 <= value <= 1000:
        return -errno.EINVAL
    target.oom_score_adj = value
    return 0


def _may_time(task: Any, target: Any) -> bool:
    return target is task or task.capable(CAP_SYS_NICE)


def _timerslack(target: Any, _: bool) -> str | int:
    """timerslack_ns_show."""
    if not _may_time(target.machine.sched.current, target):
        return -errno.EPERM
    return f"{target.timer_slack_ns}\n"


def _set_timerslack(task: Any, target: Any, data: bytes) -> int:
    """timerslack_ns_write: 0 is the default, and all that a real-time thread may have."""
    text = data.removesuffix(b"\n").removeprefix(b"+")
    if not text.isdigit() or int(text) >= 1 << 64:
        return -errno.ERANGE if text.isdigit() else -errno.EINVAL
    if not _may_time(task, target):
        return -errno.EPERM
    target.timer_slack_ns = 0 if target.rt_priority else int(text) or target.default_timer_slack_ns
    return 0


def _exe(task: Any) -> bytes | Dentry | int:
    file = task.mm.exe_file
    return file.f_dentry if isinstance(file, File) else -errno.ENOENT


def _cmdline(mm: Any, pos: int, count: int) -> Iterator[bytes]:
    """get_mm_cmdline: where the byte behind the last argument is not zero, setproctitle has written over them, perhaps
    into the environment (get_mm_proctitle)."""
    limit = mm.env_end if mm.env_start == mm.arg_end and mm.env_end >= mm.env_start else mm.arg_end
    count = min(count, limit - mm.arg_start - pos)
    if mm.arg_start >= mm.arg_end or count <= 0:
        return
    if access_remote_vm(mm, mm.arg_end - 1, 1) > b"\0":
        if pos < PAGE_SIZE:
            page = access_remote_vm(mm, mm.arg_start, PAGE_SIZE)
            yield page[: page.find(b"\0") + 1 or len(page)][pos : pos + count]
        return
    yield from _memory_pages(mm, mm.arg_start + pos, min(mm.arg_start + pos + count, mm.arg_end))


def _environ(mm: Any, pos: int, count: int) -> Iterator[bytes]:
    """environ_read."""
    return _memory_pages(mm, mm.env_start + pos, min(mm.env_start + pos + count, mm.env_end))


def _memory_pages(mm: Any, at: int, end: int) -> Iterator[bytes]:
    """What stands from `at` to `end`, up to a page at a time, until something cannot be read."""
    while at < end:
        piece = access_remote_vm(mm, at, min(PAGE_SIZE, end - at))
        if not piece:
            return
        yield piece
        at += len(piece)


def _smaps_rollup(task: Any, _: bool) -> str | int:
    with _using(task) as mm:
        return -errno.ESRCH if mm is None else smaps_rollup(mm)


def _statm(task: Any, _: bool) -> str:
    if task.exiting:
        return "0 0 0 0 0 0 0\n"
    mm = task.mm
    shared = mm.rss[0] + mm.rss[3]
    text = (mm.end_code + 4095 >> 12) - (mm.start_code >> 12)
    return f"{mm.total_vm} {sum(mm.rss)} {shared} {text} 0 {mm.data_vm + mm.stack_vm} 0\n"


def _masks(task: Any) -> tuple[int, int]:
    ignored = caught = 0
    for signo in range(1, 65):
        handler = task.signals.actions[signo].handler
        if handler == 1:
            ignored |= 1 << signo - 1
        elif handler:
            caught |= 1 << signo - 1
    return ignored, caught


_STATES = {"R": "running", "S": "sleeping", "D": "disk sleep", "T": "stopped", "Z": "zombie", "X": "dead"}


def get_task_state(task: Any) -> str:
    """The letter of what a task is doing."""
    if task.zombie:
        return "Z"
    if task in task.signal.parked:
        return "T"
    return ("R", "S", "D", "D", "X")[task.state]


def _stat(task: Any, whole: bool) -> str:
    """do_task_stat."""
    process, gone = task.signal, task.exiting
    mm = task.mm
    ignored, caught = _masks(task)
    low31 = (1 << 31) - 1
    if whole:
        utime, stime = process.cpu_ns()
        minor, major = process.faults()
    else:
        utime, stime, minor, major = task.utime, task.stime, task.min_flt, task.maj_flt
    tail = (0,) * 7
    layout = (mm.start_code, mm.end_code, mm.start_stack)
    if not gone:
        tail = (
            mm.start_data, mm.end_data, mm.start_brk, mm.arg_start, mm.arg_end, mm.env_start, mm.env_end,
        )  # fmt: skip
    code = task.exit_code if gone and task.exit_code is not None else 0
    rq = task.rq
    fields = [
        task.pid, f"({task.comm})", get_task_state(task), task.ppid, task.pgid, task.sid, 0, -1,
        0x400004 if gone else 0x400000, minor, process.cmin_flt if whole else 0,
        major, process.cmaj_flt if whole else 0, utime // TICK, stime // TICK,
        process.cutime // TICK if whole else 0, process.cstime // TICK if whole else 0,
        -1 - task.rt_priority if task.rt_priority else 20 + task.nice, task.nice, len(process.threads) or 1, 0,
        task.start_time // TICK, 0 if gone else mm.total_vm << 12, 0 if gone else sum(mm.rss), task.rlimit(5),
        *((0, 0, 0) if gone else layout), 0, 0, task.signals.pending & low31, task.signals.blocked & low31,
        ignored & low31, caught & low31, 0, 0, 0, task.exit_signal if task.exit_signal >= 0 else -1,
        rq.id if rq is not None else 0, task.rt_priority, task.policy, 0, 0, 0, *tail,
        code << 8 if code >= 0 else -code,
    ]  # fmt: skip
    return " ".join(map(str, fields)) + "\n"


def _status(task: Any, _: bool) -> str:
    """proc_pid_status."""
    mm, process = task.mm, task.signal
    cred = task.cred
    ignored, caught = _masks(task)

    def kib(name: str, pages: int) -> str:
        return f"{name}:\t{pages * 4:8d} kB\n"

    state = get_task_state(task)
    memory = ""
    if not task.exiting:
        rss = sum(mm.rss)
        text = (mm.end_code + 4095 >> 12) - (mm.start_code >> 12)
        mm.hiwater_rss = max(mm.hiwater_rss, rss)
        memory = "".join((
            kib("VmPeak", max(mm.hiwater_vm, mm.total_vm)), kib("VmSize", mm.total_vm), kib("VmLck", mm.locked_vm),
            kib("VmPin", mm.pinned_vm), kib("VmHWM", mm.hiwater_rss), kib("VmRSS", rss), kib("RssAnon", mm.rss[1]),
            kib("RssFile", mm.rss[0]), kib("RssShmem", mm.rss[3]), kib("VmData", mm.data_vm), kib("VmStk", mm.stack_vm),
            kib("VmExe", text), kib("VmLib", max(mm.exec_vm - text, 0)), kib("VmPTE", mm.pgtable.tables),
            kib("VmSwap", 0),
            "HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\n",
        ))  # fmt: skip
    cpus = task.machine.cpus
    allowed = [cpu for cpu in range(cpus) if task.affinity >> cpu & 1]
    nodes = [number for number, mask in enumerate(task.machine.sched.topology.sockets) if mask]
    private, shared = task.signals.private.mask, process.shared_pending.mask
    return "".join((
        f"Name:\t{task.comm}\nUmask:\t{task.fs.umask:04o}\nState:\t{state} ({_STATES[state]})\nTgid:\t{task.tgid}\n",
        f"Ngid:\t0\nPid:\t{task.pid}\nPPid:\t{task.ppid}\nTracerPid:\t0\n",
        f"Uid:\t{cred.uid}\t{cred.euid}\t{cred.suid}\t{cred.fsuid}\n",
        f"Gid:\t{cred.gid}\t{cred.egid}\t{cred.sgid}\t{cred.fsgid}\n",
        f"FDSize:\t{0 if task.exiting else task.files.max_fds}\nGroups:\t{''.join(f'{g} ' for g in cred.groups)}\n",
        f"{memory}Threads:\t{len(process.threads) or 1}\n",
        f"SigQ:\t{task.queued_signals()}/{task.rlimit(RLIMIT_SIGPENDING)}\n",
        f"SigPnd:\t{private:016x}\nShdPnd:\t{shared:016x}\n",
        f"SigBlk:\t{task.signals.blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n",
        f"CapInh:\t0000000000000000\nCapPrm:\t{task.cap_permitted:016x}\nCapEff:\t{cred.cap_effective:016x}\n",
        f"CapBnd:\t{task.cap_bset:016x}\nCapAmb:\t0000000000000000\nNoNewPrivs:\t{task.no_new_privs}\n",
        "Seccomp:\t0\nSeccomp_filters:\t0\n",
        f"Cpus_allowed:\t{cpu_map(allowed, cpus)}\nCpus_allowed_list:\t{cpu_list(allowed)}\n",
        f"Mems_allowed:\t{cpu_map(nodes, len(nodes))}\nMems_allowed_list:\t{cpu_list(nodes)}\n",
        f"voluntary_ctxt_switches:\t{task.nvcsw}\nnonvoluntary_ctxt_switches:\t{task.nivcsw}\n",
    ))  # fmt: skip


def _limits(task: Any, _: bool) -> str:
    lines = [f"{'Limit':25} {'Soft Limit':20} {'Hard Limit':20} {'Units':10}\n"]
    for (name, unit), (soft, hard) in zip(_LIMITS, task.rlimits):
        show = ["unlimited" if v == (1 << 64) - 1 else str(v) for v in (soft, hard)]
        lines.append(f"Max {name:21} {show[0]:20} {show[1]:20} {unit:10}\n")
    return "".join(lines)


def _mounts(task: Any, _: bool) -> str:
    lines = []
    for place, source in task.machine.vfs.mounts:
        where = d_path(place).decode("utf-8", "backslashreplace").replace(" ", "\\040").replace("\n", "\\012")
        mode = "rw" if place.mount_writable else "ro"
        lines.append(f"{source} {where} {place.inode.sb.name} {mode},relatime 0 0\n")
    return "".join(lines)


def _mountinfo(task: Any, _: bool) -> str:
    lines = []
    for number, (place, source) in enumerate(task.machine.vfs.mounts):
        where = d_path(place).decode("utf-8", "backslashreplace").replace(" ", "\\040").replace("\n", "\\012")
        mode = "rw" if place.mount_writable else "ro"
        dev = place.inode.s_dev
        lines.append(
            f"{number + 1} {1 if number else 0} {dev >> 8}:{dev & 255} / {where} {mode},relatime - "
            f"{place.inode.sb.name} {source} {mode}\n"
        )
    return "".join(lines)


_FILES: dict[str, Make] = {
    "cgroup": lambda _, __: "0::/\n",
    "limits": _limits,
    "mountinfo": _mountinfo,
    "mounts": _mounts,
    "oom_score": lambda _, __: "666\n",
    "personality": lambda t, _: f"{t.personality:08x}\n",
    "stat": _stat,
    "statm": _statm,
    "status": _status,
    "wchan": lambda _, __: "0",
}
