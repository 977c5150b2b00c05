# SPDX-License-Identifier: GPL-2.0-or-later
"""/sys and what of /proc tells of the CPUs: they are the machine's, not the host's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from emu.fs.cpumask import cpu_list, cpu_map
from emu.fs.proc import _cpuinfo, _global_stat
from emu.fs.proc_pid import _status
from emu.fs.sysfs import Link, SysFs
from emu.kernel.machine import Machine
from tests.guests import guest


@pytest.mark.parametrize(
    ("cpus", "text"), [([], ""), ([0], "0"), ([0, 1, 2], "0-2"), ([5, 0, 1, 3], "0-1,3,5"), ([64, 65, 1], "1,64-65")]
)
def test_lists(cpus: list[int], text: str) -> None:
    assert cpu_list(cpus) == text


@pytest.mark.parametrize(
    ("cpus", "width", "text"),
    [([0], 1, "1"), ([0, 3], 4, "9"), ([4], 5, "10"), ([0, 31], 32, "80000001"), ([32], 33, "1,00000000"),
     ([65, 1], 128, "00000000,00000002,00000000,00000002")],
)  # fmt: skip
def test_maps(cpus: list[int], width: int, text: str) -> None:
    assert cpu_map(cpus, width) == text


def find(machine: Machine, path: str) -> Any:
    found: Any = SysFs(machine).tree
    for name in path.split("/"):
        if isinstance(found[name], Link):
            raise AssertionError(f"{path}: {name} is a link")
        found = found[name]
    return found


def test_status_tells_which_cpus_and_nodes_the_task_may_use_and_how_many_threads_there_are() -> None:
    machine = Machine(memory=64 << 20, cpus=128)
    task = machine.spawn(str(guest("hello")), ["hello"], [])
    lines = dict(line.split(":\t", 1) for line in _status(task, False).splitlines())
    assert lines["Cpus_allowed"] == ",".join(["ffffffff"] * 4)
    assert lines["Cpus_allowed_list"] == "0-127"
    assert (lines["Mems_allowed"], lines["Mems_allowed_list"]) == ("3", "0-1")
    assert lines["Threads"] == "1"
    task.affinity = 1 << 3 | 1 << 64
    task.nvcsw = 7
    task.signal.threads.append(task)
    lines = dict(line.split(":\t", 1) for line in _status(task, False).splitlines())
    assert lines["Cpus_allowed_list"] == "3,64"
    assert lines["voluntary_ctxt_switches"] == "7"
    assert lines["Threads"] == "2"


def test_cpus_are_those_of_the_machine() -> None:
    machine = Machine(memory=32 << 20, cpus=128)
    cpu = "devices/system/cpu"
    assert find(machine, f"{cpu}/online") == "0-127"
    assert find(machine, f"{cpu}/cpu65/topology/thread_siblings_list") == "1,65"
    assert find(machine, f"{cpu}/cpu96/topology/physical_package_id") == "1"
    assert find(machine, f"{cpu}/cpu65/topology/core_siblings_list") == "0-31,64-95"
    assert find(machine, f"{cpu}/cpu33/cache/index3/shared_cpu_list") == "32-63,96-127"
    assert find(machine, f"{cpu}/cpu33/cache/index0/shared_cpu_list") == "33,97"
    assert find(machine, "devices/system/node/online") == "0-1"
    assert find(machine, "devices/system/node/node1/cpulist") == "32-63,96-127"


def test_a_small_machine_has_one_socket_and_no_siblings() -> None:
    machine = Machine(memory=32 << 20, cpus=3)
    assert find(machine, "devices/system/cpu/possible") == "0-2"
    assert find(machine, "devices/system/cpu/smt/active") == "0"
    assert find(machine, "devices/system/cpu/cpu2/topology/thread_siblings") == "4"
    assert find(machine, "devices/system/node/online") == "0"


@pytest.mark.parametrize("name", ["x86_64", "aarch64", "powerpc64le"])
def test_proc_tells_of_every_cpu(name: str) -> None:
    machine = Machine(memory=32 << 20, cpus=5)

    model = SimpleNamespace(vendor="GenuineIntel", family=6, model=106, model_name="mmscope", stepping=6)
    task: Any = SimpleNamespace(
        machine=machine, arch=SimpleNamespace(name=name, model=model, cpuinfo="cpu\n", timebase=512)
    )
    lines = _cpuinfo(task).splitlines()
    assert [line.split(":")[1].strip() for line in lines if line.startswith("processor")] == list("01234")
    stat = _global_stat(task).splitlines()
    assert [line.split()[0] for line in stat[:6]] == ["cpu", "cpu0", "cpu1", "cpu2", "cpu3", "cpu4"]


def test_pages_may_be_advised_to_merge_but_never_do() -> None:
    assert find(Machine(memory=64 << 20), "kernel/mm/ksm/run") == "0"
