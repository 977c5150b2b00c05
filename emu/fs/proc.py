# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc: the machine, as text, and where its processes are found (fs/proc). The files of a process: proc_pid.py."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emu.fs.consts import (
    PROC_SUPER_MAGIC,
    S_IFDIR,
)
from emu.fs.dcache import Dentry
from emu.fs.inode import Inode, dt_type
from emu.fs.proc_inode import ProcDirectory, ProcInode, ProcLink, ProcText, PseudoFs, proc_ino
from emu.fs.proc_pid import pid_directory
from emu.fs.proc_sys import sys_directory

if TYPE_CHECKING:
    from emu.fs.current import Current
    from emu.kernel.machine import Machine

PROC_DEV = 0x15
VERSION = "Linux version 6.18.0 (mmscope) #1 SMP"


class ProcRoot(ProcDirectory):
    """/proc itself: what concerns the machine, then a directory for each process (proc_root)."""

    __slots__ = ()

    def lookup(self, parent: Dentry, name: bytes, task: Current) -> Inode | int:
        """A thread that leads no process has a directory too, though it is not listed."""
        if name.isdigit() and name[:1] != b"0":
            found = self.sb.machine.pids.get(int(name))
            return -errno.ENOENT if found is None else pid_directory(self.sb, found)
        return super().lookup(parent, name, task)

    def readdir(self, dentry: Dentry, task: Current) -> list[tuple[bytes, int, int]] | int:
        found = super().readdir(dentry, task)
        if isinstance(found, int):
            return found
        pids = sorted(process.leader.pid for process in self.sb.machine.processes())
        return found + [(b"%d" % pid, proc_ino(f"/{pid}"), dt_type(S_IFDIR)) for pid in pids]


class ProcFs(PseudoFs):
    """The mount of /proc."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "proc", PROC_DEV, PROC_SUPER_MAGIC)
        self.root = ProcRoot(self, "/", self._top)

    def text(self, path: str, make: Callable[[Any], str | bytes]) -> ProcText:
        return ProcText(self, path, make)

    def _top(self, task: Any) -> dict[bytes, ProcInode]:
        found: dict[bytes, ProcInode] = {}
        for name, make in _GLOBAL.items():
            found[name.encode()] = self.text("/" + name, make)
        found[b"sys"] = sys_directory(self)
        found[b"sysvipc"] = ProcDirectory(
            self,
            "/sysvipc",
            lambda _: {
                b"msg": self.text("/sysvipc/msg", lambda t: t.machine.msg.show()),
                b"sem": self.text("/sysvipc/sem", lambda t: t.machine.sem.show()),
                b"shm": self.text("/sysvipc/shm", lambda t: t.machine.shm.show(t.word)),
            },
        )
        found[b"self"] = ProcLink(self, "/self", lambda t: b"%d" % t.tgid)
        found[b"thread-self"] = ProcLink(self, "/thread-self", lambda t: b"%d/task/%d" % (t.tgid, t.pid))
        found[b"mounts"] = ProcLink(self, "/mounts", lambda _: b"self/mounts")
        return found


def _meminfo(task: Any) -> str:
    memory = task.machine.memory
    total = memory.totalram
    free = total - memory.allocator.allocated
    limit = total * memory.overcommit_ratio // 100
    spaces = {other.mm.id: other.mm for other in task.machine.pids.values() if not other.exiting}.values()
    rss = [sum(mm.rss[kind] for mm in spaces) for kind in range(4)]
    tables = sum(mm.pgtable.tables for mm in spaces)
    rows = (
        ("MemTotal", total), ("MemFree", free), ("MemAvailable", free), ("Buffers", 0), ("Cached", 0),
        ("SwapCached", 0), ("AnonPages", rss[1]), ("Mapped", rss[0] + rss[3]), ("Shmem", rss[3]),
        ("PageTables", tables), ("SwapTotal", 0), ("SwapFree", 0), ("CommitLimit", limit),
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
    running = sum((rq.curr is not None) + rq.waiting for rq in sched.rqs)
    lines += [
        f"ctxt {sum(rq.nr_switches for rq in sched.rqs)}", f"btime {machine.boot_time // 10**9}",
        f"processes {sched.forks}", f"procs_running {max(1, running)}", "procs_blocked 0",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _loadavg(task: Any) -> str:
    """Averages are not kept; running and existing threads, and the last pid, are true."""
    machine = task.machine
    running = sum((rq.curr is not None) + rq.waiting for rq in machine.sched.rqs)
    return f"0.00 0.00 0.00 {max(1, running)}/{machine.sched.tasks} {machine.last_pid}\n"


_GLOBAL: dict[str, Callable[[Any], str | bytes]] = {
    "cpuinfo": _cpuinfo,
    "filesystems": lambda _: "nodev\ttmpfs\nnodev\tproc\n\text4\n",
    "loadavg": _loadavg,
    "meminfo": _meminfo,
    "stat": _global_stat,
    "swaps": lambda _: "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "uptime": _uptime,
    "version": lambda _: VERSION + "\n",
    "vmstat": _vmstat,
}
