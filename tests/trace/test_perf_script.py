# SPDX-License-Identifier: GPL-2.0-or-later
"""script --format perf, read as programs do that take the output of perf script; --event."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from emu.trace.reader import Trace
from emu.tracepoint import Kind
from tests.guests import guest, mmscope
from tests.trace.rows import event, write_trace

HEAD = re.compile(r"(\S.*?)\s+(\d+) \[(\d+)\]\s+(\d+\.\d{9}): (\S+): (.*)")
FRAME = re.compile(r"\s*([0-9a-f]+) (.+) \((\S*)\)")


def samples(text: str) -> list[tuple[re.Match[str], list[re.Match[str]]]]:
    """Blocks between empty lines: (line of the event, lines of its stack)."""
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        first, *rest = block.split("\n")
        head, frames = HEAD.fullmatch(first), [FRAME.fullmatch(line) for line in rest]
        assert head is not None and None not in frames, block
        found.append((head, [frame for frame in frames if frame is not None]))
    return found


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perf") / "workers"
    assert mmscope("record", "--cpus", "5", "--call-graph", "fp", "-o", path, guest("workers")).status == 0
    return path


def test_every_event_is_a_sample_in_the_order_of_time(trace: Path) -> None:
    found = samples(mmscope("script", "--format", "perf", trace).out.decode())
    kinds = Counter(head[5].split(":")[1] for head, _ in found)
    assert kinds == Counter(Kind(row[4]).name.lower() for row in Trace(str(trace)).rows())
    times = [float(head[4]) for head, _ in found]
    assert times == sorted(times)
    assert {head[5] for head, _ in found} >= {
        "exceptions:page_fault_user", "lock:contention_begin", "mmap_lock:mmap_lock_released", "sched:sched_switch",
        "raw_syscalls:sys_enter", "mmscope:vma_lock_read",
    }  # fmt: skip


def test_stacks_fold_into_what_the_export_folds(trace: Path, tmp_path: Path) -> None:
    """As stackcollapse-perf.pl does it: comm, then the functions without their offsets, the outermost first."""
    names = "page_fault_user,page_fault_kernel"
    counts: Counter[str] = Counter()
    for head, frames in samples(mmscope("script", "--format", "perf", "--event", names, trace).out.decode()):
        stack = [re.sub(r"\+0x[0-9a-f]+$", "", frame[2]) for frame in frames]
        counts[";".join([head[1], *reversed(stack)])] += 1
    assert mmscope("export", "--to", "folded", "-o", tmp_path / "folded", trace).status == 0
    lines = [line.rsplit(" ", 1) for line in (tmp_path / "folded").read_text().splitlines()]
    assert counts == {stack.replace("_[k]", ""): int(number) for stack, number in lines}
    assert any(stack.count(";") > 3 for stack in counts)


def test_other_programs_and_hostile_names(tmp_path: Path) -> None:
    """A function of the first program is not looked for in the second; nothing begins a line or a sample of its own."""
    program = str(guest("faults"))
    path = write_trace(tmp_path / "t", [
        event(Kind.EXEC, 1, text=program),
        event(Kind.EXEC, 2, text="/tmp/a\n\nb 1 [000] 1.0: x: \x1b[31m"),
        event(Kind.PAGE_FAULT_USER, 3, ip=0x1003480, stack=(0x1003480, 0x1003496), address=4096),
        event(Kind.SYS_ENTER, 4, text="\n\n\t1234 evil (evil)", args=(1,)),
    ], program=program)  # fmt: skip
    out = mmscope("script", "--format", "perf", path).out.decode()
    assert len(samples(out)) == 4 and "\x1b" not in out
    assert [frame[2] for frame in samples(out)[2][1]] == ["[unknown]", "[unknown]"]


def test_only_some_events(trace: Path) -> None:
    done = mmscope("script", "--event", "exit,exec", trace)
    assert [line.split(": ")[1] for line in done.out.decode().splitlines()] == ["exec", *["exit"] * 6]
    done = mmscope("script", "--event", "exit,nothing", trace)
    assert done.status == 2 and "'nothing' is no event" in done.err
