# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a trace does not depend on the schedule, and mmscope diff --by-set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from emu.trace.by_set import ANY_CALL, Fault, Ranges, Run, compare, ranges_of_lines, run_of_lines, run_of_trace
from emu.trace.reader import Trace, TraceError
from tests.guests import guest, mmscope

A: Fault = ("U", 0x1000, 6)
B: Fault = ("U", 0x1000, 7)
C: Fault = ("K", 0x2000, 2)


def test_ranges_of_several_runs() -> None:
    found = Ranges.of([Run({A, B}, Counter(mmap=3)), Run({A, C}, Counter(mmap=5, brk=1))])
    assert found.always == {A}
    assert found.ever == {A, B, C}
    assert found.writes == {"mmap": (3, 5), "brk": (0, 1)}
    assert ranges_of_lines(found.lines(), "x") == found


def test_what_happened_sometimes_is_no_difference() -> None:
    ours = Ranges.of([Run({A}, Counter(mmap=4))])
    theirs = Ranges.of([Run({A, B}, Counter(mmap=3)), Run({A}, Counter(mmap=5))])
    assert not compare(ours, theirs)
    assert not compare(theirs, ours)


def test_what_is_in_one_alone_is() -> None:
    ours = Ranges.of([Run({A, C}, Counter(mmap=6))])
    theirs = Ranges.of([Run({A, B}, Counter(mmap=3)), Run({A, B}, Counter(mmap=5, brk=1))])
    found = compare(ours, theirs)
    assert (found.only_a, found.only_b) == ([C], [B])
    assert found.writes == [("mmap", (6, 6), (3, 5))]


def test_a_record_without_calls_is_compared_by_the_sum() -> None:
    lines = ["L start w", "L got w", "L released w", "L start r", "L got r", "U 1234 4000 6", "K 2008 read 2"]
    record = Ranges.of([run_of_lines(lines, "x")])
    assert (record.always, record.writes) == ({A, C}, {ANY_CALL: (1, 1)})
    assert not compare(record, Ranges({A, C}, {A, C}, {"mmap": (0, 1), "brk": (0, 1)}))
    assert compare(record, Ranges({A, C}, {A, C}, {"mmap": (1, 1), "brk": (1, 1)})).writes
    with pytest.raises(TraceError):
        run_of_lines(["U 1234"], "x")
    with pytest.raises(TraceError):
        ranges_of_lines(["U 1000 6 never"], "x")


def test_the_verb(tmp_path: Path) -> None:
    one, other, faults = tmp_path / "one", tmp_path / "other", tmp_path / "faults"
    program = guest("fork_threads")
    for trace, cpus in ((one, "1"), (other, "4")):
        assert mmscope("record", "-o", trace, "--cpus", cpus, program).status == 0
    mmscope("record", "-o", faults, guest("faults"))
    record = tmp_path / "record"
    record.write_bytes(mmscope("script", "--format", "kernel", "--children", one).out)
    ran = mmscope("diff", "--by-set", record, one)
    assert (ran.status, ran.out, ran.err) == (0, b"", "")
    writes = run_of_trace(Trace(str(one))).writes
    assert (writes["munmap"] > 31, writes["mprotect"] > 31) == (True, True)
    assert mmscope("diff", one, other).status == 1  # the order differs

    lines = record.read_text().splitlines()
    user = next(line for line in lines if line.startswith("U 41000"))
    record.write_text("\n".join(line for line in lines if not line.startswith("U 41000")) + "\n")
    ran = mmscope("diff", "--by-set", record, one)
    assert ran.status == 1
    assert user.split()[1][:5] in ran.out.decode().split("Faults of one alone")[1]
    record.write_text("\n".join([*lines, "L start w", "L got w", "L released w"]) + "\n")
    ran = mmscope("diff", "--by-set", record, one)
    assert (ran.status, b"mmap_lock taken for write" in ran.out) == (1, True)
    assert mmscope("diff", "--by-set", one, faults).status == 1
    for arguments in (("--events", "U", one, other), (one, tmp_path / "missing")):
        ran = mmscope("diff", "--by-set", *arguments)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
