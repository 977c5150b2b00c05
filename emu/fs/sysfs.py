# SPDX-License-Identifier: GPL-2.0-or-later
"""/sys: the machine's CPUs, caches and memory nodes (drivers/base/cpu.c, node.c, topology.c, cacheinfo.c).

It has what the machine has and nothing of the host's. CPUs are as many as the machine was given, arranged in sockets,
cores and threads as its table of costs says; a socket is a memory node. There are no huge pages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from emu.fs.cpumask import cpu_list, cpu_map
from emu.fs.proc_inode import ProcDirectory, ProcInode, ProcLink, ProcText, PseudoFs

if TYPE_CHECKING:
    from emu.kernel.machine import Machine

SYSFS_DEV = 0x14
SYSFS_MAGIC = 0x62656572
KERNEL_MAX = 255
LINE_SIZE = 64
# level, type, ways (those of Ice Lake; of another machine only the sizes differ)
_CACHES = ((1, "Data", 12, "l1d"), (1, "Instruction", 8, "l1i"), (2, "Unified", 20, "l2"), (3, "Unified", 12, "l3"))
Tree = dict[str, Any]  # name -> text, Link, a function that makes the text, or a directory


class Link(str):
    """The target of a symbolic link."""


class SysFs(PseudoFs):
    """The mount of /sys."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, "sysfs", SYSFS_DEV, SYSFS_MAGIC)
        self.tree = _tree(machine)
        self.root = ProcDirectory(self, "/", partial(self._list, self.tree, ""))

    def _list(self, tree: Tree, path: str, _: Any) -> dict[bytes, ProcInode]:
        return {name.encode(): self._inode(f"{path}/{name}", entry) for name, entry in tree.items()}

    def _inode(self, path: str, entry: Any) -> ProcInode:
        if isinstance(entry, dict):
            return ProcDirectory(self, path, partial(self._list, entry, path), 0o755)
        if isinstance(entry, Link):
            target = entry.encode()
            return ProcLink(self, path, lambda _: target)
        make: Callable[[], str] = entry if callable(entry) else lambda: str(entry)
        return ProcText(self, path, lambda _: make() + "\n")


def _tree(machine: Machine) -> Tree:
    cpus = range(machine.cpus)
    online = cpu_list(cpus)
    topology = machine.sched.topology
    nodes = [number for number, mask in enumerate(topology.sockets) if mask]
    cpu: Tree = {
        "kernel_max": str(KERNEL_MAX), "offline": "", "isolated": "", "online": online, "possible": online,
        "present": online,
        "smt": {"active": str(int(any(sibling >= 0 for sibling in topology.sibling_of))), "control": "on"},
    }  # fmt: skip
    cpu |= {f"cpu{number}": _cpu(machine, number) for number in cpus}
    listed = cpu_list(nodes)
    node: Tree = dict.fromkeys(("has_cpu", "has_memory", "has_normal_memory", "online", "possible"), listed)
    node |= {f"node{number}": _node(machine, number, nodes) for number in nodes}
    huge: Tree = {
        "enabled": "always madvise [never]", "defrag": "always defer defer+madvise madvise [never]",
        "shmem_enabled": "always within_size advise [never] deny force", "use_zero_page": "1",
        "hpage_pmd_size": "2097152",
    }  # fmt: skip
    # ksmd does not run, and nobody can start it
    ksm: Tree = {"run": "0", "pages_to_scan": "100", "sleep_millisecs": "20", "merge_across_nodes": "1"}
    ksm |= dict.fromkeys(("full_scans", "pages_shared", "pages_sharing", "pages_unshared", "pages_volatile"), "0")
    return {
        "block": {}, "bus": {}, "class": {}, "dev": {},
        "devices": {"system": {"cpu": cpu, "node": node}},
        "firmware": {}, "fs": {"cgroup": {}}, "module": {}, "power": {},
        "kernel": {"mm": {"transparent_hugepage": huge, "hugepages": {}, "ksm": ksm}},
    }  # fmt: skip


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def _cpu(machine: Machine, number: int) -> Tree:
    sched = machine.sched
    topology, cost, width = sched.topology, sched.cost, machine.cpus
    socket = topology.socket_of[number]
    core, package = _bits(topology.core_mask(number)), _bits(topology.sockets[socket])
    found: Tree = {
        "core_id": str(number % cost.cores), "physical_package_id": str(socket), "die_id": "0", "cluster_id": "-1",
    }  # fmt: skip
    for name, shared in (
        ("thread_siblings", core), ("core_cpus", core), ("core_siblings", package), ("package_cpus", package),
        ("die_cpus", package), ("cluster_cpus", [number]),
    ):  # fmt: skip
        found[name] = cpu_map(shared, width)
        found[name + "_list"] = cpu_list(shared)
    caches: Tree = {}
    for index, (level, kind, ways, entry) in enumerate(_CACHES):
        shared = package if level == 3 else core
        size = getattr(cost, entry)
        caches[f"index{index}"] = {
            "level": str(level), "type": kind, "size": f"{size}K", "coherency_line_size": str(LINE_SIZE),
            "ways_of_associativity": str(ways), "physical_line_partition": "1",
            "number_of_sets": str(size * 1024 // LINE_SIZE // ways),
            "id": str(socket if level == 3 else core[0]),
            "shared_cpu_map": cpu_map(shared, width), "shared_cpu_list": cpu_list(shared),
        }  # fmt: skip
    directory: Tree = {"topology": found, "cache": caches, f"node{socket}": Link(f"../../node/node{socket}")}
    if number:
        directory["online"] = "1"
    return directory


def _node(machine: Machine, number: int, nodes: list[int]) -> Tree:
    cpus = _bits(machine.sched.topology.sockets[number])

    def meminfo() -> str:
        memory = machine.memory
        total = memory.totalram * 4 // len(nodes)
        used = memory.allocator.allocated * 4 // len(nodes)
        rows = (("MemTotal", total), ("MemFree", total - used), ("MemUsed", used))
        return "\n".join(f"Node {number} {name + ':':<15}{kib:>9} kB" for name, kib in rows)

    directory: Tree = {
        "cpulist": cpu_list(cpus), "cpumap": cpu_map(cpus, machine.cpus),
        "distance": " ".join("10" if other == number else "21" for other in nodes), "meminfo": meminfo,
    }  # fmt: skip
    return directory | {f"cpu{cpu}": Link(f"../../cpu/cpu{cpu}") for cpu in cpus}
