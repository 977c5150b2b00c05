# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the panes, pane by pane, without a terminal."""

from __future__ import annotations

import re

import pytest

from emu.tracepoint import Kind, Path, Reason, Row, Served
from emu.ui.top.model import Model
from emu.ui.top.picture import Run, draw
from emu.ui.top.totals import Filter
from emu.ui.top.views import View
from tests.trace.synthetic import HEAP, MAIN, batch, fault, row, storm


def picture(rows: list[Row], view: View | None = None, width: int = 160, height: int = 50) -> list[str]:
    model = Model()
    model.feed(batch(rows))
    found = draw(Run(clock=model.now, end=model.now), model, view or View(), width, height)
    assert len(found) == height
    return ["".join(text for text, _ in line) for line in found]


def cells(lines: list[str], pattern: str) -> tuple[str, ...]:
    """What the groups of a pattern matched in the only line that has it."""
    found = [match for line in lines if (match := re.search(pattern, line)) is not None]
    assert len(found) == 1, (pattern, lines)
    return found[0].groups()


def rows_of_a_burst() -> list[Row]:
    """Faults under the VMA lock at first, under mmap_lock at the end."""
    rows = [
        row(Kind.VMA_CREATE, 0, address=0x10000, size=0x9000, flags=3, vma=HEAP, text="[heap]"),
        row(Kind.VMA_CREATE, 0, address=0x90000, size=0x1000, flags=5, vma=8, text="/a/path/of/lib.so"),
    ]
    rows += [fault(at, MAIN, 0, 0x10000) for at in range(8)]
    rows += [fault(64_000 + at, MAIN + 1, 1, 0x90000, vma=8, served=Served.FILE_READ, path=Path.MMAP_LOCK,
                   reason=Reason.RETRY, wait=50) for at in range(4)]  # fmt: skip
    return rows


def test_rates_and_sparklines_by_kind_and_by_path() -> None:
    lines = picture(rows_of_a_burst())
    number, share, now, spark = cells(lines, r"^anon +(\d+) +([\d.]+%) +(\d+) (\S.*?) {2,}")
    assert (number, share, now) == ("8", "66.7%", "0") and spark == "█"
    number, share, now, spark = cells(lines, r"^file_read +(\d+) +([\d.]+%) +([\d.]+M) ( +█) ")
    assert (number, share) == ("4", "33.3%") and float(now[:-1]) > 0.5 and len(spark) > 20
    number, share, spark = cells(lines, r" vma_lock +(\d+) +([\d.]+%) +0 (█ +)$")
    assert (number, share) == ("8", "66.7%")
    number, share, now, spark = cells(lines, r" mmap_lock +(\d+) +([\d.]+%) +([\d.]+M) ( +█)$")
    assert (number, share) == ("4", "33.3%") and len(spark) > 10
    assert cells(lines, r"after a retry +(\d+) +([\d.]+%)") == ("4", "33.3%")
    assert cells(lines, r"- retry +(\d+) +([\d.]+%) +(█*)[▏▎▍▌▋▊▉]? *$")[:2] == ("4", "33.3%")


def test_vmas_are_lines_of_maps_with_their_heat() -> None:
    lines = picture(rows_of_a_burst())
    assert cells(lines, r"^(10000-19000) +(rw-p) +(\d+) +(\S+) +(\S+) (█+) \[heap\]")[2:5] == ("8", "-", "36K")
    hot = cells(lines, r"^10000-19000 .* (█+) \[heap\]")[0]
    waited, warm = cells(lines, r"^90000-91000 +r-xp +4 +(\d+ ns) +4K (█+) +/a/path/of/lib.so")
    assert waited == "200 ns" and len(hot) == 8 and len(warm) == 4
    narrow = picture(rows_of_a_burst(), width=60, height=24)
    assert any(line.startswith("90000-91000") and line.rstrip().endswith("b.so") for line in narrow), "the path's end"


def test_cpus_tell_who_runs_and_who_waits_for_what() -> None:
    rows = storm(1)
    begin = next(at for at, found in enumerate(rows) if found[4] == Kind.CONTENTION_BEGIN)
    lines = picture(rows[: begin + 1])
    assert cells(lines, r" 0 +(1000) +(munmap)") == ("1000", "munmap")
    assert cells(lines, r" 1 +1001 +user +(1001 mmap_lock R <- 1000 munmap)") == ("1001 mmap_lock R <- 1000 munmap",)
    assert cells(lines, r" 1001 +(D) +0 +0 +- (mmap_lock R <- 1000 munmap)")[0] == "D"
    ended = picture([*rows, row(Kind.SCHED_SWITCH, 99_999, MAIN + 1, 1, result=1), row(Kind.EXIT, 99_999, MAIN)])
    assert cells(ended, r" 1000 +(X) +0 +0 +- ended") == ("X",)
    assert cells(ended, r" 1001 +(S) +1 +1  4\.0 us sleeps") == ("S",)
    assert cells(ended, r" 1 +(idle)") == ("idle",)


def test_locks_have_all_their_figures() -> None:
    lines = picture(storm(50))
    assert cells(
        lines, r"^mmap_lock pid 1000 +(\d+) +(\d+) +(\d+) +(.+ us) +(.+ us) +(.+ us) +(.+ us) (1000 munmap)"
    ) == ("100", "50", "0", "200 us", "4.0 us", "4.0 us", "4.9 us", "1000 munmap")


@pytest.mark.parametrize(
    ("pane", "sort", "expected"),
    [("vmas", 0, ["10000", "7f0000"]), ("vmas", 1, ["10000", "7f0000"]), ("threads", 0, ["1001", "1002"]),
     ("threads", 1, ["1001", "1000"]), ("threads", 3, ["1000", "1001"])],
)  # fmt: skip
def test_panes_are_sorted(pane: str, sort: int, expected: list[str]) -> None:
    lines = picture(storm(50), View(sort={pane: sort}))
    head = "VMA " if pane == "vmas" else "Thread "
    at = next(at for at, line in enumerate(lines) if head in line)
    column = lines[at].index(head)
    assert [line[column:].split()[0].split("-")[0] for line in lines[at + 1 : at + 3]] == expected


def test_locks_that_were_waited_for_come_before_those_that_were_taken_often() -> None:
    rows = [row(Kind.VMA_LOCK_READ, at, vma=HEAP) for at in range(500)]
    rows += [row(Kind.CONTENTION_BEGIN, 600, address=5, holder=1001, text="ptl", code=1),
             row(Kind.CONTENTION_END, 630, address=5, wait=20, text="ptl")]  # fmt: skip
    lines = picture(rows)
    at = next(at for at, line in enumerate(lines) if line.startswith("Lock "))
    assert lines[at + 1].startswith("ptl 0x5 ") and lines[at + 2].startswith("vma_lock of VMA 7 ")
    lines = picture(rows, View(sort={"locks": 2}))
    assert lines[at + 1].startswith("vma_lock of VMA 7 ")


def test_the_page_of_a_lock_shows_its_long_waits_whatever_its_height() -> None:
    rows = []
    for at in range(12):
        for _ in range(at + 1):
            rows.append(row(Kind.MMAP_LOCK_ACQUIRE_RETURNED, at, address=1, result=1, wait=100 << at, holder=1001))
    view = View(page=("lock", ("mmap_lock", 1)))
    low = picture(rows, view, 80, 24)
    assert cells(low, r"^  shorter +(\d+) ") == (str(sum(range(1, 9))),)
    assert cells(low, r"^  from 131 us +(\d+) +([\d.]+%)") == ("12", "15.4%")
    high = picture(rows, view, 80, 60)
    assert cells(high, r"^  from 64 ns +(\d+) ") == ("1",) and not any("shorter" in line for line in high)


def test_each_process_has_its_own_mmap_lock() -> None:
    """A child's is taken by its parent first, which copies the address space into it."""
    rows = []
    for mm, pid in ((1, 1000), (2, 1001)):
        rows.append(row(Kind.MMAP_LOCK_ACQUIRE_RETURNED, mm, address=mm, code=1, result=1))
        rows.append(row(Kind.MMAP_LOCK_ACQUIRE_RETURNED, 10 + mm, pid, pid=pid, address=mm, code=1, result=1))
    lines = picture(rows)
    assert {line.split("  ")[0] for line in lines if line.startswith("mmap_lock ")} >= {
        "mmap_lock pid 1000", "mmap_lock pid 1001",
    }  # fmt: skip
    rows.append(row(Kind.VMA_CREATE, 20, 1001, pid=1001, address=0x1000, size=0x1000, flags=3, vma=9))
    only = picture(rows, View(chosen=Filter(vma=9)))
    assert {line.split("  ")[0] for line in only if line.startswith("mmap_lock ") and "%" not in line} == {
        "mmap_lock pid 1001"
    }


def test_help_fits_into_20_columns() -> None:
    lines = picture(storm(1), View(page=("help", None)), 20, 60)
    text = " ".join(" ".join(lines).split())
    assert "pause, go on" in text and "step to the next page fault" in text


def test_of_vmas_with_as_many_faults_those_that_are_unmapped_come_last() -> None:
    rows = [
        row(Kind.VMA_CREATE, 1, address=0x10000, size=0x1000, vma=1), row(Kind.VMA_CREATE, 2, address=0x20000,
        size=0x1000, vma=2), fault(3, MAIN, 0, 0x10000, vma=1), fault(4, MAIN, 0, 0x20000, vma=2),
        row(Kind.VMA_REMOVE, 5, address=0x10000, size=0x1000, vma=1),
    ]  # fmt: skip
    lines = picture(rows)
    shown = [line.split()[0] for line in lines if re.match(r"[12]0000-", line)]
    assert shown == ["20000-21000", "10000-11000"]


def test_p99_of_a_lock_is_the_wait_that_few_exceed() -> None:
    rows = storm(100)
    for at in [at for at, each in enumerate(rows) if each[14] == 4000][-9:]:  # those of the last three rounds
        rows[at] = (*rows[at][:14], 8000, *rows[at][15:])  # type: ignore[assignment]
    found = cells(picture(rows), r"^mmap_lock pid 1000 +\d+ +(\d+) +\d+ +.+ us +(.+) us +(.+) us +.+ us 1000 munmap")
    assert found == ("100", "4.1", "8.0")
