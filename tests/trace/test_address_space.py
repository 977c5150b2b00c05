# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces rebuilt from a trace are what the guest itself read in /proc/self/maps."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.trace.address_space import SPACE_KINDS, AddressSpace, AddressSpaces, Vma
from emu.trace.reader import Trace
from emu.tracepoint import Kind
from tests.guests import TARGETS, guest, mmscope
from tests.trace.rows import event


@pytest.mark.parametrize("locking", ["mmap_lock", "rfc", "6.18"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_moment_is_as_the_guest_saw_it(target: str, locking: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    ran = mmscope("record", "--locking", locking, "-o", trace, guest("maps", target))
    seen = ran.out.decode().split("--\n")[:-1]
    assert len(seen) == 4
    moments = [row[0] for row in Trace(str(trace)).rows((Kind.SYS_EXIT,)) if row[17] == "write" and row[16] == 3]
    assert len(moments) == 4
    for moment, text in zip(moments, seen):
        shown = mmscope("maps", "--at", f"{moment}ns", trace)
        assert shown.out.decode() == text
    assert mmscope("maps", trace).out.decode() == seen[-1], "the end is before the process goes"
    late = mmscope("maps", "--at", "99", trace)
    assert (late.status, "has ended" in late.err, late.out) == (0, True, b"")


def test_a_time_in_any_unit_and_a_bad_one(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    mmscope("record", "-o", trace, guest("maps"))
    shown = [mmscope("maps", "--at", text, trace).out for text in ("0.000002", "2us", "2000ns", "0.002ms")]
    assert len(set(shown)) == 1
    assert shown[0]
    for text in ("soon", "-1", "1 minute"):
        bad = mmscope("maps", f"--at={text}", trace)
        assert (bad.status, bad.err.count("\n")) == (2, 1)
    wrong = mmscope("maps", "--pid", "77", trace)
    assert wrong.status == 2
    assert "there is no process 77" in wrong.err


def put(
    vma: int, start: int, end: int, mm: int = 1, pid: int = 1, kind: Kind = Kind.VMA_CREATE, **more: object
) -> tuple:
    return event(kind, pid=pid, address=start, size=end - start, vma=vma, args=(mm, 0, 0, 0), flags=0x73, **more)


def test_processes_have_their_own() -> None:
    spaces = AddressSpaces()
    for row in (
        put(1, 0x1000, 0x5000),
        event(Kind.EXEC, pid=1, args=(1,)),
        put(2, 0x1000, 0x5000, mm=2),  # dup_mmap runs in the parent
        event(Kind.SCHED_PROCESS_FORK, pid=1, code=7, size=7, args=(2,)),
        event(Kind.SCHED_PROCESS_FORK, pid=7, code=8, size=7, flags=0x100),  # a thread
        put(3, 0x2000, 0x3000, mm=2, pid=7, kind=Kind.VMA_SPLIT),
        put(9, 0x8000, 0x9000, mm=3, pid=7),  # exec: the new address space is filled before it is taken
    ):
        spaces.apply(row)
    assert [(v.start, v.end) for v in spaces.of_pid(1) or ()] == [(0x1000, 0x5000)]
    assert [(v.id, v.start, v.end) for v in spaces.of_pid(7) or ()] == [(2, 0x1000, 0x2000), (3, 0x2000, 0x3000)]
    spaces.apply(event(Kind.EXEC, pid=7, args=(3,)))
    assert [v.id for v in spaces.of_pid(7) or ()] == [9]
    assert spaces.pids == [1, 7]
    assert spaces.of_pid(8) is None


def test_what_a_vma_covers_no_other_does() -> None:
    space = AddressSpace()
    space.put(Vma(1, 0x1000, 0x9000, 1, "f", 0x10000, 0, 5))
    space.put(Vma(2, 0x1000, 0x3000, 3))  # the lower part is cut off
    space.put(Vma(3, 0x8000, 0x9000, 3))
    assert [(v.id, v.start, v.end, v.offset) for v in space] == [
        (2, 0x1000, 0x3000, 0), (1, 0x3000, 0x8000, 0x12000), (3, 0x8000, 0x9000, 0),
    ]  # fmt: skip
    assert space.find(0x7FFF) == space.get(1)
    assert space.find(0x9000) is None
    assert (space.next(0x500), space.next(0x9000)) == (space.get(2), None)
    space.put(Vma(2, 0x0, 0xA000, 3))
    assert [v.id for v in space] == [2]
    space.remove(2)
    space.remove(2)
    assert len(space) == 0


def test_only_some_kinds_matter() -> None:
    assert int(Kind.VMA_MODIFY) in SPACE_KINDS
    spaces = AddressSpaces()
    spaces.apply(event(Kind.PAGE_FAULT_USER, address=0x1000))
    assert not spaces.pids


def test_forks_and_execs_of_a_real_run(tmp_path: Path) -> None:
    """A child begins with its parent's mappings, and an exec with none of them."""
    trace = tmp_path / "trace"
    mmscope("record", "--cpus", "2", "-o", trace, guest("fork_tree"))
    forks = [row for row in Trace(str(trace)).rows((Kind.SCHED_PROCESS_FORK,)) if not row[9] & 0x100]
    assert forks
    for row in forks[:3]:
        parent, child, moment = row[2], row[8], f"{row[0]}ns"
        own = mmscope("maps", "--pid", str(child), "--at", moment, trace).out.decode()
        assert own == mmscope("maps", "--pid", str(parent), "--at", moment, trace).out.decode()
        assert "[stack]" in own
