# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc: the running task and the machine, as text (fs/proc)."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from emu.fs.consts import (
    O_PATH,
    PROC_SUPER_MAGIC,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
)
from emu.fs.dcache import Dentry, d_path
from emu.fs.file import File, PathFile, kiocb
from emu.fs.inode import Inode, Kstat, SuperBlock, dt_type
from emu.fs.iov_iter import iov_iter
from emu.fs.proc_maps import MapsRecords, PagemapFile, smaps_rollup
from emu.fs.seq_file import ListRecords, SeqFile, SeqOperations
from emu.fs.tmpfs import MemoryDirectory

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.kernel.machine import Machine

PROC_DEV = 0x15
VERSION = "Linux version 6.18.0 (mmscope) #1 SMP"
_LIMITS = (
    ("cpu time", "seconds"), ("file size", "bytes"), ("data size", "bytes"), ("stack size", "bytes"),
    ("core file size", "bytes"), ("resident set", "bytes"), ("processes", "processes"), ("open files", "files"),
    ("locked memory", "bytes"), ("address space", "bytes"), ("file locks", "locks"), ("pending signals", "signals"),
    ("msgqueue size", "bytes"), ("nice priority", ""), ("realtime priority", ""), ("realtime timeout", "us"),
)  # fmt: skip
Entries = Callable[[Any], "dict[bytes, ProcInode]"]


class PseudoFs(SuperBlock):
    """A mount whose files are text that is made when it is read."""

    def __init__(self, machine: Machine, kind: str, device: int, magic: int) -> None:
        super().__init__(kind, device, magic)
        self.machine = machine
        self.now = machine.realtime


class ProcInode(Inode):
    """A file of /proc. It is made anew at each look-up; its path makes it the same."""

    __slots__ = ("ino", "mode", "path")
    sb: PseudoFs

    def __init__(self, sb: PseudoFs, path: str, mode: int) -> None:
        super().__init__(sb)
        self.path = path
        self.mode = mode
        self.ino = 0xF0000000 | zlib.crc32(path.encode()) & 0xFFFFFFF

    @property
    def i_mode(self) -> int:
        return self.mode

    @property
    def i_ino(self) -> int:
        return self.ino

    def getattr(self) -> Kstat | int:
        now = self.sb.now()
        links = 2 if self.mode & S_IFMT == S_IFDIR else 1
        return Kstat(self.s_dev, self.ino, self.mode, links, blksize=1024, atime=now, mtime=now, ctime=now)


class ProcDirectory(ProcInode):
    """A directory whose entries a function lists."""

    __slots__ = ("entries",)

    def __init__(self, sb: PseudoFs, path: str, entries: Entries, mode: int = 0o555) -> None:
        super().__init__(sb, path, S_IFDIR | mode)
        self.entries = entries

    def lookup(self, parent: Dentry, name: bytes, task: Current) -> Inode | int:
        return self.entries(task).get(name, -errno.ENOENT)

    def readdir(self, dentry: Dentry, task: Current) -> list[tuple[bytes, int, int]] | int:
        up = dentry.parent.inode
        found = [(b".", self.ino, dt_type(S_IFDIR)), (b"..", up.i_ino, dt_type(S_IFDIR))]
        return found + [(name, inode.ino, dt_type(inode.mode)) for name, inode in self.entries(task).items()]

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        return PathFile(dentry, flags) if flags & O_PATH else MemoryDirectory(dentry, flags, self)


class ProcText(ProcInode):
    """A file whose text is made when it is read; `store`, where given, takes what is written."""

    __slots__ = ("make", "store")

    def __init__(
        self,
        sb: PseudoFs,
        path: str,
        make: Callable[[Any], str | bytes],
        store: Callable[[Any, bytes], int] | None = None,
    ) -> None:
        super().__init__(sb, path, S_IFREG | (0o644 if store else 0o444))
        self.make = make
        self.store = store

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        if flags & O_PATH:
            return PathFile(dentry, flags)

        def records() -> list[bytes]:
            text = self.make(task)
            return [text.encode() if isinstance(text, str) else text]

        return ProcFile(dentry, flags, ListRecords(records), self.store)


class ProcFile(SeqFile):
    """An open text file of /proc."""

    can_write = True

    def __init__(
        self, dentry: Dentry, flags: int, operations: SeqOperations, store: Callable[[Any, bytes], int] | None
    ) -> None:
        self.store = store
        super().__init__(dentry, flags, operations)

    def write_iter(self, task: Current, iocb: kiocb, source: iov_iter) -> int:
        if self.store is None:
            return -errno.EINVAL
        size = source.count
        data = source.copy_from_iter(size)
        if len(data) < size:
            return -errno.EFAULT
        return self.store(task, data) or size


class ProcRecords(ProcInode):
    """A file that is read record by record, or has an open function of its own."""

    __slots__ = ("opened",)

    def __init__(
        self, sb: PseudoFs, path: str, opened: Callable[[Dentry, int, Any], File | int], mode: int = 0o444
    ) -> None:
        super().__init__(sb, path, S_IFREG | mode)
        self.opened = opened

    def open(self, dentry: Dentry, flags: int, task: Current) -> File | int:
        return PathFile(dentry, flags) if flags & O_PATH else self.opened(dentry, flags, task)


class ProcLink(ProcInode):
    """A symbolic link: to text, or, as a magic link, to a place."""

    __slots__ = ("target",)

    def __init__(
        self, sb: PseudoFs, path: str, target: Callable[[Any], bytes | Dentry | int], mode: int = 0o777
    ) -> None:
        super().__init__(sb, path, S_IFLNK | mode)
        self.target = target

    def get_link(self, task: Current) -> bytes | Dentry | int:
        return self.target(task)

    def readlink(self, task: Current) -> bytes | int:
        target = self.target(task)
        return d_path(target) if isinstance(target, Dentry) else target


class ProcFs(PseudoFs):
    """The mount of /proc."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "proc", PROC_DEV, PROC_SUPER_MAGIC)
        self.root = ProcDirectory(self, "/", self._top)

    def _text(self, path: str, make: Callable[[Any], str | bytes]) -> ProcText:
        return ProcText(self, path, make)

    def _top(self, task: Any) -> dict[bytes, ProcInode]:
        found: dict[bytes, ProcInode] = {}
        for name, make in _GLOBAL.items():
            found[name.encode()] = self._text("/" + name, make)
        found[b"sys"] = ProcDirectory(self, "/sys", self._sys)
        found[b"sysvipc"] = ProcDirectory(
            self, "/sysvipc", lambda _: {b"shm": self._text("/sysvipc/shm", lambda t: t.machine.shm.show(t.word))}
        )
        pid = b"%d" % task.tgid
        found[b"self"] = ProcLink(self, "/self", lambda t: b"%d" % t.tgid)
        found[b"thread-self"] = ProcLink(self, "/thread-self", lambda t: b"%d/task/%d" % (t.tgid, t.pid))
        found[b"mounts"] = ProcLink(self, "/mounts", lambda _: b"self/mounts")
        found[pid] = ProcDirectory(self, f"/{task.tgid}", lambda t: self._process(t, f"/{t.tgid}", True))
        return found

    def _process(self, task: Any, path: str, leader: bool) -> dict[bytes, ProcInode]:
        found: dict[bytes, ProcInode] = {}
        for name, make in _PROCESS.items():
            found[name.encode()] = self._text(f"{path}/{name}", make)
        found[b"comm"] = ProcText(self, f"{path}/comm", lambda t: t.comm + "\n", _set_comm)
        found[b"oom_score_adj"] = ProcText(
            self, f"{path}/oom_score_adj", lambda t: f"{t.oom_score_adj}\n", _set_oom_score_adj
        )
        found[b"maps"] = ProcRecords(self, f"{path}/maps", lambda d, f, t: SeqFile(d, f, MapsRecords(t.mm, False)))
        found[b"smaps"] = ProcRecords(self, f"{path}/smaps", lambda d, f, t: SeqFile(d, f, MapsRecords(t.mm, True)))
        found[b"pagemap"] = ProcRecords(self, f"{path}/pagemap", PagemapFile, 0o400)
        found[b"exe"] = ProcLink(self, f"{path}/exe", _exe)
        found[b"cwd"] = ProcLink(self, f"{path}/cwd", lambda t: t.fs.pwd)
        found[b"root"] = ProcLink(self, f"{path}/root", lambda t: t.fs.root)
        found[b"fd"] = ProcDirectory(self, f"{path}/fd", lambda t: self._fds(t, path), 0o500)
        found[b"fdinfo"] = ProcDirectory(self, f"{path}/fdinfo", lambda t: self._fdinfos(t, path))
        if leader:
            found[b"task"] = ProcDirectory(self, f"{path}/task", lambda t: self._threads(t, path))
        return found

    def _threads(self, task: Any, path: str) -> dict[bytes, ProcInode]:
        inside = f"{path}/task/{task.pid}"
        return {b"%d" % task.pid: ProcDirectory(self, inside, lambda t: self._process(t, inside, False))}

    @staticmethod
    def _dentry_of(file: File) -> Callable[[Any], Any]:
        return lambda _: file.f_dentry

    def _fds(self, task: Any, path: str) -> dict[bytes, ProcInode]:
        found: dict[bytes, ProcInode] = {}
        for fd, file in sorted(task.files.fd.items()):
            mode = 0o500 if file.f_mode & 1 else 0
            mode |= 0o300 if file.f_mode & 2 else 0
            found[b"%d" % fd] = ProcLink(self, f"{path}/fd/{fd}", self._dentry_of(file), mode or 0o100)
        return found

    def _fdinfos(self, task: Any, path: str) -> dict[bytes, ProcInode]:
        def info(file: File, fd: int) -> Callable[[Any], str]:
            def make(t: Any) -> str:
                from emu.fs.abi import flags_to_guest

                cloexec = 0o2000000 if fd in t.files.close_on_exec else 0
                flags = flags_to_guest(t.arch, file.f_flags | cloexec)
                head = f"pos:\t{file.f_pos}\nflags:\t0{flags:o}\nmnt_id:\t1\nino:\t{file.f_inode.i_ino}\n"
                return head + file.fdinfo()

            return make

        return {
            b"%d" % fd: self._text(f"{path}/fdinfo/{fd}", info(file, fd)) for fd, file in sorted(task.files.fd.items())
        }

    def _sys(self, task: Any) -> dict[bytes, ProcInode]:
        found: dict[bytes, ProcInode] = {}
        for directory in _SYSCTL:
            found[directory.encode()] = ProcDirectory(self, f"/sys/{directory}", partial(self._sysctls, directory))
        return found

    def _sysctls(self, directory: str, _: Any) -> dict[bytes, ProcInode]:
        memory = self.machine.memory
        found: dict[bytes, ProcInode] = {}
        for name, value in _SYSCTL[directory].items():
            path = f"/sys/{directory}/{name}"
            if isinstance(value, str):
                found[name.encode()] = self._text(path, partial(_constant, value + "\n"))
                continue
            found[name.encode()] = ProcText(
                self, path, partial(_show_sysctl, memory, name), partial(_set_sysctl, memory, name, *value)
            )
        return found


_SYSCTL: dict[str, dict[str, str | tuple[int, int]]] = {
    "vm": {
        "overcommit_memory": (0, 2), "overcommit_ratio": (0, 1 << 31), "max_map_count": (0, 1 << 31),
        "mmap_min_addr": (0, 1 << 47), "legacy_va_layout": "0", "nr_hugepages": "0", "swappiness": "60",
    },
    "kernel": {
        "osrelease": "6.18.0", "ostype": "Linux", "hostname": "mmscope", "domainname": "(none)",
        "version": "#1 SMP", "pid_max": "4194304", "randomize_va_space": "0", "ngroups_max": "65536",
        "shmmax": "18446744073692774399", "shmall": "18446744073692774399", "shmmni": "4096",
        "cap_last_cap": "40", "threads-max": "192730", "overflowuid": "65534", "overflowgid": "65534",
    },
    "fs": {"nr_open": "1048576", "file-max": "9223372036854775807", "pipe-max-size": "1048576"},
}  # fmt: skip


def _constant(text: str, _: Any) -> str:
    return text


def _show_sysctl(memory: Any, name: str, _: Any) -> str:
    return f"{getattr(memory, name)}\n"


def _set_sysctl(memory: Any, name: str, low: int, high: int, _: Any, data: bytes) -> int:
    try:
        value = int(data.strip(b" \n\0"))
    except ValueError:
        return -errno.EINVAL
    if not low <= value <= high:
        return -errno.EINVAL
    setattr(memory, name, value)
    return 0


def _set_comm(task: Any, data: bytes) -> int:
    task.comm = data.split(b"\0")[0].rstrip(b"\n")[:15].decode("utf-8", "surrogateescape")
    return 0


def _set_oom_score_adj(task: Any, data: bytes) -> int:
    try:
        value = int(data.strip())
    except ValueError:
        return -errno.EINVAL
    if not -1000 <= value <= 1000:
        return -errno.EINVAL
    task.oom_score_adj = value
    return 0


def _exe(task: Any) -> bytes | Dentry | int:
    file = task.mm.exe_file
    return file.f_dentry if isinstance(file, File) else -errno.ENOENT


def _user_bytes(task: Any, start: int, end: int) -> bytes:
    """Guest memory as the kernel reads it for /proc, stopping at what is not there."""
    data: bytes = task.access.copy_from_user_partial(start, end - start, "__access_remote_vm")
    return data


def _cmdline(task: Any) -> bytes:
    mm = task.mm
    data = _user_bytes(task, mm.arg_start, mm.arg_end)
    if data and data[-1]:  # setproctitle: it runs on into the environment
        data += _user_bytes(task, mm.arg_end, mm.env_end)
        data = data.split(b"\0")[0]
    return data


def _environ(task: Any) -> bytes:
    return _user_bytes(task, task.mm.env_start, task.mm.env_end)


def _statm(task: Any) -> str:
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


def _stat(task: Any) -> str:
    mm = task.mm
    ignored, caught = _masks(task)
    ticks = task.machine.clock() // 10_000_000
    low31 = (1 << 31) - 1
    fields = [
        task.tgid, f"({task.comm})", "R", task.ppid, task.pgid, task.sid, 0, -1, 0x400000, task.min_flt, 0,
        0, 0, ticks, 0, 0, 0, 20, task.nice, 1, 0, 0, mm.total_vm << 12, sum(mm.rss), task.rlimit(5),
        mm.start_code, mm.end_code,
        mm.start_stack, 0, 0, task.signals.pending & low31, task.signals.blocked & low31, ignored & low31,
        caught & low31, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, mm.start_data,
        mm.end_data, mm.start_brk, mm.arg_start, mm.arg_end, mm.env_start, mm.env_end, 0,
    ]  # fmt: skip
    return " ".join(map(str, fields)) + "\n"


def _status(task: Any) -> str:
    mm = task.mm
    cred = task.cred
    ignored, caught = _masks(task)
    rss = sum(mm.rss)
    text = (mm.end_code + 4095 >> 12) - (mm.start_code >> 12)
    exec_pages = max(mm.exec_vm - text, 0)
    mm.hiwater_rss = max(mm.hiwater_rss, rss)

    def kib(name: str, pages: int) -> str:
        return f"{name}:\t{pages * 4:8d} kB\n"

    groups = "".join(f"{g} " for g in cred.groups)
    return "".join((
        f"Name:\t{task.comm}\nUmask:\t{task.fs.umask:04o}\nState:\tR (running)\nTgid:\t{task.tgid}\nNgid:\t0\n",
        f"Pid:\t{task.pid}\nPPid:\t{task.ppid}\nTracerPid:\t0\n",
        f"Uid:\t{cred.uid}\t{cred.euid}\t{cred.suid}\t{cred.fsuid}\n",
        f"Gid:\t{cred.gid}\t{cred.egid}\t{cred.sgid}\t{cred.fsgid}\n",
        f"FDSize:\t{task.files.max_fds}\nGroups:\t{groups}\n",
        kib("VmPeak", max(mm.hiwater_vm, mm.total_vm)), kib("VmSize", mm.total_vm), kib("VmLck", mm.locked_vm),
        kib("VmPin", mm.pinned_vm), kib("VmHWM", mm.hiwater_rss), kib("VmRSS", rss), kib("RssAnon", mm.rss[1]),
        kib("RssFile", mm.rss[0]), kib("RssShmem", mm.rss[3]), kib("VmData", mm.data_vm), kib("VmStk", mm.stack_vm),
        kib("VmExe", text), kib("VmLib", exec_pages), kib("VmPTE", mm.pgtable.tables), kib("VmSwap", 0),
        "HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\nThreads:\t1\n",
        f"SigQ:\t0/{task.rlimit(11)}\nSigPnd:\t0000000000000000\nShdPnd:\t{task.signals.pending:016x}\n",
        f"SigBlk:\t{task.signals.blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n",
        f"CapInh:\t0000000000000000\nCapPrm:\t{cred.cap_effective:016x}\nCapEff:\t{cred.cap_effective:016x}\n",
        f"CapBnd:\t{cred.cap_effective:016x}\nCapAmb:\t0000000000000000\nNoNewPrivs:\t{task.no_new_privs}\n",
        "Seccomp:\t0\nSeccomp_filters:\t0\nCpus_allowed:\t1\nCpus_allowed_list:\t0\nMems_allowed:\t1\n",
        "Mems_allowed_list:\t0\nvoluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n",
    ))  # fmt: skip


def _limits(task: Any) -> str:
    lines = [f"{'Limit':25} {'Soft Limit':20} {'Hard Limit':20} {'Units':10}\n"]
    for (name, unit), (soft, hard) in zip(_LIMITS, task.rlimits):
        show = ["unlimited" if v == (1 << 64) - 1 else str(v) for v in (soft, hard)]
        lines.append(f"Max {name:21} {show[0]:20} {show[1]:20} {unit:10}\n")
    return "".join(lines)


def _mounts(task: Any) -> str:
    lines = []
    for place, source in task.machine.vfs.mounts:
        where = d_path(place).decode("utf-8", "backslashreplace").replace(" ", "\\040").replace("\n", "\\012")
        mode = "rw" if place.mount_writable else "ro"
        lines.append(f"{source} {where} {place.inode.sb.name} {mode},relatime 0 0\n")
    return "".join(lines)


def _mountinfo(task: Any) -> str:
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


def _meminfo(task: Any) -> str:
    memory = task.machine.memory
    total = memory.totalram
    free = total - memory.allocator.allocated
    limit = total * memory.overcommit_ratio // 100
    anon = task.mm.rss[1]
    rows = (
        ("MemTotal", total), ("MemFree", free), ("MemAvailable", free), ("Buffers", 0), ("Cached", 0),
        ("SwapCached", 0), ("AnonPages", anon), ("Mapped", task.mm.rss[0]), ("Shmem", task.mm.rss[3]),
        ("PageTables", task.mm.pgtable.tables), ("SwapTotal", 0), ("SwapFree", 0), ("CommitLimit", limit),
        ("Committed_AS", max(memory.committed, 0)),
    )  # fmt: skip
    text = "".join(f"{name + ':':15} {pages * 4:8d} kB\n" for name, pages in rows)
    return (
        text
        + "VmallocTotal:   34359738367 kB\nHugePages_Total:       0\nHugePages_Free:        0\n"
        + "Hugepagesize:       2048 kB\n"
    )


def _vmstat(task: Any) -> str:
    memory = task.machine.memory
    lines = [f"nr_free_pages {memory.totalram - memory.allocator.allocated}\n"]
    lines += [f"{name} {count}\n" for name, count in memory.vm_events().items()]
    return "".join(lines)


def _uptime(task: Any) -> str:
    hundredths = task.machine.clock() // 10_000_000
    return f"{hundredths // 100}.{hundredths % 100:02d} 0.00\n"


def _cpuinfo(task: Any) -> str:
    describe = _CPUINFO.get(task.arch.name, _cpuinfo_powerpc)
    return "\n".join(describe(task, cpu) for cpu in range(task.machine.cpus)) + "\n"


def _cpuinfo_x86(task: Any, cpu: int) -> str:
    machine, model = task.machine, task.arch.model
    topology, cost = machine.sched.topology, machine.sched.cost
    socket = topology.socket_of[cpu]
    siblings = topology.sockets[socket].bit_count()
    cores = len({number % (cost.sockets * cost.cores) for number in range(machine.cpus)
                 if topology.socket_of[number] == socket})  # fmt: skip
    rows = (
        ("processor\t", cpu), ("vendor_id\t", model.vendor), ("cpu family\t", model.family),
        ("model\t\t", model.model), ("model name\t", model.model_name), ("stepping\t", model.stepping),
        ("cpu MHz\t\t", "1000.000"),
        ("cache size\t", f"{cost.l3} KB"), ("physical id\t", socket), ("siblings\t", siblings),
        ("core id\t\t", cpu % cost.cores), ("cpu cores\t", cores), ("apicid\t\t", cpu), ("fpu\t\t", "yes"),
        ("clflush size\t", 64), ("cache_alignment\t", 64), ("address sizes\t", "46 bits physical, 48 bits virtual"),
    )  # fmt: skip
    return "".join(f"{name}: {value}\n" for name, value in rows)


def _cpuinfo_arm64(_: Any, cpu: int) -> str:
    return f"processor\t: {cpu}\nBogoMIPS\t: 100.00\nCPU implementer\t: 0x41\n"


def _cpuinfo_powerpc(task: Any, cpu: int) -> str:
    """show_cpuinfo of arch/powerpc/kernel/setup-common.c: what concerns all CPUs stands behind the last one."""
    text = f"processor\t: {cpu}\n{task.arch.cpuinfo}"
    if cpu == task.machine.cpus - 1:
        text += f"\ntimebase\t: {task.arch.timebase}\n"
    return text


_CPUINFO = {"x86_64": _cpuinfo_x86, "aarch64": _cpuinfo_arm64}


def _global_stat(task: Any) -> str:
    """Ticks of 10 ms: a CPU is in user space whenever it is not idle."""
    machine = task.machine
    sched = machine.sched
    now = machine.clock()
    busy, idle = [], []
    for rq in sched.rqs:
        slept = rq.idle_ns + (max(0, now - rq.clock) if rq.curr is None else 0)
        idle.append(min(slept, now) // 10_000_000)
        busy.append(max(0, now - slept) // 10_000_000)
    lines = [f"cpu  {sum(busy)} 0 0 {sum(idle)} 0 0 0 0 0 0"]
    lines += [f"cpu{cpu} {b} 0 0 {i} 0 0 0 0 0 0" for cpu, (b, i) in enumerate(zip(busy, idle))]
    running = sum(rq.curr is not None for rq in sched.rqs) + sum(len(rq.queue) for rq in sched.rqs)
    lines += [
        f"ctxt {sum(rq.nr_switches for rq in sched.rqs)}", f"btime {machine.boot_time // 10**9}",
        f"processes {sched.forks}", f"procs_running {max(1, running)}", "procs_blocked 0",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


_GLOBAL: dict[str, Callable[[Any], str | bytes]] = {
    "cpuinfo": _cpuinfo,
    "filesystems": lambda _: "nodev\ttmpfs\nnodev\tproc\n\text4\n",
    "loadavg": lambda t: f"0.00 0.00 0.00 1/1 {t.tgid}\n",
    "meminfo": _meminfo,
    "stat": _global_stat,
    "swaps": lambda _: "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "uptime": _uptime,
    "version": lambda _: VERSION + "\n",
    "vmstat": _vmstat,
}
_PROCESS: dict[str, Callable[[Any], str | bytes]] = {
    "auxv": lambda t: t.auxv,
    "cgroup": lambda _: "0::/\n",
    "cmdline": _cmdline,
    "environ": _environ,
    "limits": _limits,
    "mountinfo": _mountinfo,
    "mounts": _mounts,
    "oom_score": lambda _: "666\n",
    "personality": lambda t: f"{t.personality:08x}\n",
    "smaps_rollup": lambda t: smaps_rollup(t.mm),
    "stat": _stat,
    "statm": _statm,
    "status": _status,
    "wchan": lambda _: "0",
}
