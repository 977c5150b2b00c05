# SPDX-License-Identifier: GPL-2.0-or-later
"""mmscope diff: status, first divergence, tables; against records of the kernel; long traces; alignment against a
model."""

from __future__ import annotations

import json
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.trace.diff import Comparison, align
from emu.trace.reader import TraceError
from emu.tracepoint import Kind as K
from emu.tracepoint import Path as P
from emu.tracepoint import Row
from tests.guests import ROOT, guest, mmscope
from tests.trace.rows import event, write_trace

RECORD = ROOT / "traces" / "kernel" / "faults.txt"


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diff") / "faults"
    assert mmscope("record", "-o", path, guest("faults")).status == 0
    return path


def test_alike_is_status_0_and_says_nothing(faults: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    mmscope("record", "-o", again, guest("faults"))
    ran = mmscope("diff", faults, again)
    assert (ran.status, ran.out, ran.err) == (0, b"", "")


def test_a_record_with_a_line_taken_out(faults: Path, tmp_path: Path) -> None:
    """On either side; the program runs under another path than the recorded one, so only its own faults are
    compared."""
    lines = [
        f"{line}\n"
        for line in mmscope("script", "--format", "kernel", "--from-entry", faults).out.decode().split("\n")[:-1]
    ]
    record = tmp_path / "record"
    record.write_text("# program x\n" + "".join(lines))
    for pair in ((faults, record), (record, faults)):
        assert mmscope("diff", "--from-entry", *pair).status == 0
    number = next(n for n, line in enumerate(lines) if n > 20 and line.startswith("U"))
    record.write_text("".join(lines[:number] + lines[number + 1 :]))
    ran = mmscope("diff", "--from-entry", "--context", "2", faults, record)
    assert ran.status == 1
    out = ran.out.decode().splitlines()
    assert out[0].endswith(f"{len(lines) - 1} events, 1 only here")
    assert f"The first place: event {number + 1} of the one, {number + 1} of the other" in out
    assert f"- {lines[number].strip()}" in out
    assert sum(line.startswith("  ") and line[2] in "UKL" for line in out) == 4
    assert [line.split() for line in out if "page_fault_user" in line] == [["1", "page_fault_user"]]
    assert mmscope("diff", "--from-entry", "--events", "L", faults, record).status == 0
    assert mmscope("diff", "--from-entry", "--events", "U", record, faults).status == 1
    assert mmscope("diff", faults, record).status == 1, "without --from-entry the exec is there too"


def test_schemes_differ_in_path(faults: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    mmscope("record", "--locking", "mmap_lock", "-o", other, guest("faults"))
    out = mmscope("diff", "--events", "UK", faults, other).out.decode()
    assert "- page_fault_user" in out
    assert "vma_lock" in out
    table = [line.split() for line in out.splitlines() if "[stack]" in line]
    assert {row[-1] for row in table} == {"vma_lock", "mmap_lock"}


def test_trouble_is_status_2(faults: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("U 1 2 3\nwhat is this\n")
    for pair in ((faults, tmp_path / "none"), (faults, bad), (tmp_path, faults)):
        ran = mmscope("diff", *pair)
        assert (ran.status, ran.out, ran.err.count("\n")) == (2, b"", 1), ran.err
    assert "line 2 is not one of kernel-trace" in mmscope("diff", faults, bad).err
    bad.write_text("U 1 2 3\n")
    assert mmscope("diff", "--events", "S", faults, bad).status == 2
    assert mmscope("diff", "--events", "UX", faults, bad).status == 2


def fault(n: int, **more: object) -> Row:
    return event(K.PAGE_FAULT_USER, n, address=n << 12, ip=0x400, path=P.VMA_LOCK, served=1, **more)


def test_hundreds_of_thousands_of_events(tmp_path: Path) -> None:
    rows = [fault(n // 2 % 50000) for n in range(300_000)]
    a = write_trace(tmp_path / "a", rows)
    del rows[200_000:200_003], rows[10_000]
    b = write_trace(tmp_path / "b", rows)
    begun = time.process_time()
    found = Comparison(str(a), str(b))
    assert time.process_time() - begun < 20
    assert [(h.a1 - h.a0, h.b1 - h.b0) for h in found.hunks] == [(1, 0), (3, 0)]


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60))
def test_what_is_not_in_a_hunk_is_alike(left: list[int], right: list[int]) -> None:
    a, b = array("i", left), array("i", right)
    hunks = align(a, b)
    i = j = 0
    for hunk in hunks:
        assert a[i : hunk.a0] == b[j : hunk.b0]
        assert hunk.a1 > hunk.a0 or hunk.b1 > hunk.b0
        i, j = hunk.a1, hunk.b1
    assert a[i:] == b[j:]
    assert bool(hunks) == (left != right)


def test_an_insertion_is_one_place() -> None:
    base = [n % 7 + n % 11 * 10 for n in range(5000)]
    other = base[:1000] + [-1] * 200 + base[1000:4000] + base[4100:]
    hunks = align(array("i", base), array("i", other))
    assert (hunks[0].a0, hunks[0].a1, hunks[0].b0, hunks[0].b1) == (1000, 1000, 1000, 1200)
    assert sum(h.a1 - h.a0 for h in hunks) < 200


def test_a_record_is_known_by_its_lines(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(TraceError, match="is empty"):
        Comparison(str(empty), str(empty))
    empty.write_text("# exit 0\n")
    assert Comparison(str(empty), str(empty)).same


def test_a_record_of_the_first_task_or_of_all(tmp_path: Path) -> None:
    rows = [
        event(K.PAGE_FAULT_USER, 1, address=0x1000, ip=0x400000, code=6),
        event(K.SCHED_PROCESS_FORK, 2, code=1001, size=1001),
        event(K.PAGE_FAULT_USER, 3, pid=1001, tid=1001, address=0x2000, ip=0x400004, code=6),
        event(K.EXIT, 4, pid=1001, tid=1001, result=-11, code=1),
        event(K.PAGE_FAULT_USER, 5, address=0x3000, ip=0x400008, code=6),
        event(K.EXIT, 6, result=3, code=1),
    ]
    trace = write_trace(tmp_path / "trace", rows)
    printed = {}
    for option in ((), ("--children",)):
        printed[option] = mmscope("script", "--format", "kernel", *option, trace).out.decode()
        record = tmp_path / "record"
        record.write_text(printed[option])
        assert mmscope("diff", *option, record, trace).status == 0
    assert printed[()].splitlines() == ["U 1000 400000 6", "U 3000 400008 6", "# exit 3"]
    assert printed["--children",].splitlines() == [
        "U 1000 400000 6", "U 2000 400004 6", "U 3000 400008 6", "# exit 3",
    ]  # fmt: skip
    assert mmscope("diff", record, trace).status == 1


def test_script_of_some_tasks(tmp_path: Path) -> None:
    rows = [
        event(K.PAGE_FAULT_USER, n, pid=pid, tid=tid, address=0x1000 * n)
        for n, pid, tid in ((1, 1000, 1000), (2, 1000, 1001), (3, 1002, 1002), (4, 1000, 1001))
    ]
    trace = write_trace(tmp_path / "trace", rows)

    def addresses(*options: str) -> list[int]:
        lines = mmscope("script", "--format", "json", *options, trace).out.splitlines()
        return [json.loads(line)["address"] // 0x1000 for line in lines]

    assert addresses("--tid", "1001") == [2, 4]
    assert addresses("--tid", "1000,1002") == [1, 3]
    assert addresses("--pid", "1000") == [1, 2, 4]
    assert addresses("--pid", "1000", "--tid", "1002") == []
    text = mmscope("script", "--tid", "1002", trace).out.decode()
    assert text.count("\n") == 1 and "#3 " in text, "faults keep the numbers that report --fault takes"
