# SPDX-License-Identifier: GPL-2.0-or-later
"""What the pictures are made of: VMAs in time, the address axis, cells, waits, tables, packed columns."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.trace.reader import Trace
from emu.trace.symbols import Symbols
from emu.tracepoint import Kind, Reason, Row, Served
from emu.tracepoint import Path as LockPath
from emu.ui.html import picture as picture_module
from emu.ui.html.axis import MAX_SEGMENTS, make_axis
from emu.ui.html.bands import bands
from emu.ui.html.cells import make_cells
from emu.ui.html.collect import Events, collect
from emu.ui.html.intervals import Calls, holds, runs, waits
from emu.ui.html.pack import Pack, script_json
from emu.ui.html.page import page
from emu.ui.html.picture import Picture, make_picture
from emu.ui.html.svg import svg
from emu.ui.html.tables import Table
from tests.guests import guest, mmscope
from tests.trace.rows import write_trace
from tests.ui.html.synthetic import churn, event, write


def events_of(tmp_path: Path, rows: list[Row]) -> Events:
    return collect(Trace(str(write(tmp_path / "trace", rows))))


def picture_of(tmp_path: Path, rows: list[Row], limit: int = 1 << 20) -> Picture:
    return make_picture(Trace(str(write(tmp_path / "trace", rows))), limit)


def table(picture: Picture, name: str) -> Table:
    (found,) = (table for table in picture.tables if table.name == name)
    return found


def vma(kind: Kind, time: int, number: int, start: int, end: int, name: str | None = None) -> Row:
    return event(kind, time, address=start << 12, size=(end - start) << 12, vma=number, text=name, flags=3)


def test_a_split_takes_its_part_from_the_vma_that_had_it(tmp_path: Path) -> None:
    found = events_of(tmp_path, [
        vma(Kind.VMA_CREATE, 0, 1, 10, 20, "a"),
        vma(Kind.VMA_SPLIT, 5, 2, 13, 20, "a"),
        vma(Kind.VMA_SPLIT, 6, 3, 13, 15, "a"),
        vma(Kind.VMA_REMOVE, 7, 3, 13, 15),
        vma(Kind.VMA_RESIZE, 8, 2, 15, 30, "a"),
    ])  # fmt: skip
    seen = sorted((b.vma, b.start, b.end, b.since, b.until) for b in bands(found))
    assert seen == [
        (1, 10, 13, 5, 9), (1, 10, 20, 0, 5), (2, 13, 20, 5, 6), (2, 15, 20, 6, 8), (2, 15, 30, 8, 9),
        (3, 13, 15, 6, 7),
    ]  # fmt: skip


def test_processes_have_address_spaces_of_their_own(tmp_path: Path) -> None:
    rows = [vma(Kind.VMA_CREATE, 0, 1, 10, 20), event(Kind.PAGE_FAULT_USER, 3, address=10 << 12, vma=1)]
    child = event(Kind.VMA_CREATE, 1, 200, 200, address=10 << 12, size=4096, vma=2)
    rows += [child, event(Kind.PAGE_FAULT_USER, 4, 200, 200, address=10 << 12, vma=2)]
    picture = picture_of(tmp_path, rows)
    assert [(p.pid, p.faults, len(p.bands)) for p in picture.processes] == [(100, 1, 1), (200, 1, 1)]
    assert picture.cells.combos["process"][picture.cells.combo].tolist() == [0, 1]


@given(
    st.lists(st.tuples(st.integers(0, 1 << 52), st.integers(1, 1 << 40)), max_size=60),
    st.lists(st.integers(0, 1 << 52), max_size=60),
)
def test_the_axis_holds_every_page_in_order(ranges: list[tuple[int, int]], pages: list[int]) -> None:
    touched = np.unique(np.array(pages, np.int64))
    starts = np.array([start for start, _ in ranges], np.int64)
    ends = np.array([start + size for start, size in ranges], np.int64)
    axis = make_axis(starts, ends, touched)
    assert (axis.pages > 0).all()
    assert (axis.high > axis.low).all()
    assert (axis.low[1:] >= axis.high[:-1] - 1e-9).all()
    if len(touched):
        rows = axis.rows(touched)
        assert (np.diff(rows) > 0).all()
        segment = np.searchsorted(axis.row, rows, "right") - 1
        assert (axis.start[segment] + rows - axis.row[segment] == touched).all()
        place = axis.place(touched)
        assert ((place >= 0) & (place < 1)).all()


def test_an_axis_of_very_many_parts_is_made_coarser() -> None:
    starts = np.arange(40_000, dtype=np.int64) * 200
    axis = make_axis(starts, starts + 3, starts + 1)
    assert 0 < len(axis.start) <= MAX_SEGMENTS
    assert axis.coarse > 1
    assert (np.diff(axis.rows(starts + 1)) > 0).all()


def test_cells_are_exact_until_there_are_too_many(tmp_path: Path) -> None:
    rows = churn(20_000)
    faults = [row for row in rows if row[4] == Kind.PAGE_FAULT_USER]
    exact = picture_of(tmp_path, rows)
    assert exact.cells.time.tolist() == sorted(row[0] for row in faults)
    assert exact.notes == ["/nowhere/churn: No such file or directory: no symbols"]
    axis = exact.processes[0].axis
    segment = np.searchsorted(axis.row, exact.cells.row, "right") - 1
    pages = axis.start[segment] + exact.cells.row - axis.row[segment]
    assert Counter(pages.tolist()) == Counter(row[5] >> 12 for row in faults)
    coarse = picture_of(tmp_path, rows, limit=1000)
    assert len(coarse.cells.time) <= 1000
    for name in ("count", "wait", "duration"):
        assert getattr(coarse.cells, name).sum() == getattr(exact.cells, name).sum(), name
    assert any(f"as {len(coarse.cells.time)} cells" in note.replace("\u202f", "") for note in coarse.notes)
    for name in ("served", "path", "reason"):
        both = []
        for picture in (exact, coarse):
            sums: Counter[int] = Counter()
            for value, count in zip(picture.cells.combos[name][picture.cells.combo], picture.cells.count):
                sums[int(value)] += int(count)
            both.append(sums)
        assert both[0] == both[1], name


def test_cells_end_where_nothing_is_alike() -> None:
    """Every fault in a VMA and a function of its own."""
    size = 5000
    number = np.arange(size, dtype=np.int64)
    same = np.zeros(size, np.int64)
    about = {"served": number % 3, "mode": same, "path": same, "reason": same, "process": same}
    about |= {"symbol": number, "vma": number}
    cells = make_cells(number * 1000, number * 7, number, number, about, limit=100)
    assert len(cells.time) <= 100
    assert cells.count.sum() == size
    assert cells.dropped == ("vma", "symbol")
    assert (np.diff(cells.time) >= 0).all()


def test_the_lead_names_the_longest_wait_and_who_held_the_lock(tmp_path: Path) -> None:
    lock = {"address": 1, "text": "mmap_lock"}
    write(tmp_path / "t", [
        event(Kind.PAGE_FAULT_USER, 1, 5, address=4096, path=int(LockPath.VMA_LOCK)),
        event(Kind.SYS_ENTER, 10, 7, text="munmap"),
        event(Kind.CONTENTION_BEGIN, 20, 8, **lock, holder=7), event(Kind.CONTENTION_END, 25, 8, **lock, wait=5),
        event(Kind.CONTENTION_BEGIN, 30, 9, **lock, holder=7), event(Kind.CONTENTION_END, 90, 9, **lock, wait=60),
        event(Kind.CONTENTION_BEGIN, 91, 8, **lock, holder=7), event(Kind.CONTENTION_END, 93, 8, **lock, wait=2),
    ])  # fmt: skip
    lead = [each.replace("\xa0", " ") for each in make_picture(Trace(str(tmp_path / "t"))).lead]
    assert "Tasks waited 3 times for locks, 67 ns in all." in lead
    assert lead[-1] == "Task 9 waited longest: 60 ns in a page fault for mmap_lock, which task 7 held in munmap."


def test_intervals_that_are_left_out_are_told_and_the_longest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_module, "MAX_INTERVALS", 3)
    rows = []
    for at in range(5):
        rows.append(event(Kind.CONTENTION_BEGIN, 100 * at, 8, address=1, text="mmap_lock", holder=7))
        rows.append(
            event(Kind.CONTENTION_END, 100 * at + 10 * at + 1, 8, address=1, text="mmap_lock", wait=10 * at + 1)
        )
    write(tmp_path / "t", rows)
    found = make_picture(Trace(str(tmp_path / "t")))
    assert found.waits["duration"].tolist() == [21, 31, 41]
    assert "The timelines draw the 3 longest waits of 5." in found.notes


def test_waits_and_the_calls_on_both_sides(tmp_path: Path) -> None:
    lock = {"address": 1, "text": "mmap_lock"}
    found = events_of(tmp_path, [
        event(Kind.SYS_ENTER, 10, 7, text="munmap"),
        event(Kind.CONTENTION_BEGIN, 20, 8, **lock, holder=7),
        event(Kind.SYS_ENTER, 21, 9, text="mprotect"),
        event(Kind.CONTENTION_BEGIN, 25, 9, **lock, holder=7, code=1),
        event(Kind.SYS_EXIT, 40, 7, text="munmap"),
        event(Kind.CONTENTION_END, 41, 8, **lock, wait=21, holder=7),
        event(Kind.MMAP_LOCK_RELEASED, 43, 7, address=1, code=1, duration=30),
        event(Kind.CONTENTION_END, 45, 9, **lock, wait=20, result=-4),
        event(Kind.CONTENTION_BEGIN, 50, 8, **lock, holder=9),
        event(Kind.EXIT, 60, 9),
    ])  # fmt: skip
    calls = Calls(found.calls)
    seen = waits(found, calls)
    names = [found.texts[number] for number in seen["call"].tolist()]
    holders = [found.texts[number] for number in seen["holder_call"].tolist()]
    told = list(zip(seen["since"].tolist(), seen["duration"].tolist(), seen["tid"].tolist(), seen["holder"].tolist(),
                    names, holders, seen["result"].tolist(), seen["open"].tolist()))  # fmt: skip
    assert told == [
        (20, 21, 8, 7, "", "munmap", 0, False),
        (25, 20, 9, 7, "mprotect", "munmap", -4, False),
        (50, 10, 8, 9, "", "mprotect", 0, True),
    ]
    held = holds(found, calls)
    assert (held["since"].tolist(), held["duration"].tolist(), held["write"].tolist()) == ([13], [30], [1])
    assert found.texts[held["call"][0]] == "munmap"


def test_waits_of_a_trace_without_contention_events(tmp_path: Path) -> None:
    found = events_of(tmp_path, [
        event(Kind.MMAP_LOCK_ACQUIRE_RETURNED, 100, 7, address=1, wait=30, holder=8, result=1),
        event(Kind.VMA_LOCK_WRITE, 200, 8, vma=5, wait=60, holder=7),
        event(Kind.VMA_LOCK_WRITE, 300, 8, vma=5),
    ])  # fmt: skip
    seen = waits(found, Calls(found.calls))
    assert [found.texts[number] for number in seen["lock"]] == ["mmap_lock", "vma_lock"]
    assert (seen["since"].tolist(), seen["duration"].tolist(), seen["write"].tolist()) == ([70, 140], [30, 60], [0, 1])


def test_runs_follow_the_switches(tmp_path: Path) -> None:
    found = events_of(tmp_path, [
        event(Kind.EXEC, 0, 7, cpu=0),
        event(Kind.SCHED_SWITCH, 30, 7, cpu=0, code=0, result=1),
        event(Kind.SCHED_SWITCH, 50, 0, cpu=0, code=8),
        event(Kind.SCHED_SWITCH, 40, 0, cpu=1, code=7),
        event(Kind.EXIT, 90, 8, cpu=0),
    ])  # fmt: skip
    seen = runs(found)
    told = sorted(zip(*(seen[name].tolist() for name in ("cpu", "since", "duration", "tid"))))
    assert told == [(0, 0, 30, 7), (0, 50, 40, 8), (1, 40, 50, 7)]


def test_a_task_that_ends_an_idle_time_runs_since_it_was_woken(tmp_path: Path) -> None:
    found = events_of(tmp_path, [
        event(Kind.EXEC, 0, 7, cpu=0),
        event(Kind.SCHED_PROCESS_FORK, 10, 7, cpu=0, code=8, size=100),
        event(Kind.SCHED_SWITCH, 30, 8, cpu=1, code=0, result=1),
        event(Kind.SCHED_WAKEUP, 45, 7, cpu=0, code=8, size=1),
        event(Kind.SCHED_WAKEUP, 70, 7, cpu=0, code=8, size=2),
        event(Kind.SCHED_SWITCH, 60, 8, cpu=1, code=0, result=1),
        event(Kind.SCHED_SWITCH, 80, 8, cpu=2, code=0, result=2),
        event(Kind.SCHED_SWITCH, 100, 7, cpu=0, code=0, result=2),
    ])  # fmt: skip
    seen = runs(found)
    told = sorted(zip(*(seen[name].tolist() for name in ("cpu", "since", "duration", "tid"))))
    assert told == [(0, 0, 100, 7), (1, 10, 20, 8), (1, 45, 15, 8), (2, 70, 10, 8)]


def test_tables_count_what_the_rows_say(tmp_path: Path) -> None:
    rows = churn(30_000)
    picture = picture_of(tmp_path, rows)
    faults = [row for row in rows if row[4] == Kind.PAGE_FAULT_USER]
    by_kind = Counter(Served(row[13]).name.lower() for row in faults)
    assert {row[2]: row[0] for row in table(picture, "kinds").rows} == by_kind
    by_path = Counter((LockPath(r[11]).name.lower(), Reason(r[12]).name.lower() if r[12] else "") for r in faults)
    assert {(row[2], row[3]): row[0] for row in table(picture, "paths").rows} == by_path
    assert {row[7]: row[0] for row in table(picture, "vmas").rows} == Counter(row[10] for row in faults)
    ended = Counter(row[3] for row in rows if row[4] == Kind.CONTENTION_BEGIN)
    assert {row[1]: row[3] for row in table(picture, "tasks").rows if row[3]} == ended
    total = sum(row[1] for row in table(picture, "contention").rows)  # type: ignore[misc]
    assert total == sum(ended.values())
    longest = table(picture, "waits").rows
    assert [row[0] for row in longest] == sorted((row[0] for row in longest), reverse=True)
    assert longest[0][0] == int(picture.waits["duration"].max())
    calls = Counter(row[17] for row in rows if row[4] == Kind.SYS_EXIT)
    assert {row[2]: row[0] for row in table(picture, "calls").rows} == calls


def test_a_trace_of_nothing(tmp_path: Path) -> None:
    for rows in ([], [event(Kind.EXIT, 0)]):
        picture = picture_of(tmp_path, rows)
        assert picture.lead == ["No page fault was recorded."]
        assert picture.processes == []
        assert "No page fault was recorded." in page(picture)
        assert "No page fault was recorded." in svg(picture)


@given(st.lists(st.integers(0, (1 << 53) - 1), max_size=50), st.booleans())
def test_packed_columns_come_back(values: list[int], ascending: bool) -> None:
    values = sorted(values) if ascending else values
    pack = Pack()
    pack.add("before", np.array([300, 1]))
    pack.add("x", np.array(values, np.int64), ascending=ascending)
    block = zlib.decompress(base64.b64decode(pack.base64()))
    offset, count, width, delta = pack.directory["x"]
    numbers = [sum(block[offset + plane * count + i] << 8 * plane for plane in range(width)) for i in range(count)]
    if delta:
        numbers = np.cumsum(numbers).astype(np.int64).tolist() if numbers else []
    assert numbers == values


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "&lt;", "\u2028\u2029", "\ud800"])
def test_json_that_may_stand_in_a_script(text: str) -> None:
    shown = script_json({text: text})
    assert not set(shown) & set("<>&\u2028\u2029")
    assert shown.isascii()


def test_a_long_trace_keeps_its_shape_rather_than_its_details() -> None:
    """Faults of many tasks and functions in a small grid of times and pages: the grid is not coarsened for them."""
    size = 200_000
    number = np.arange(size, dtype=np.int64)
    kept = dict.fromkeys(("served", "mode", "path", "reason", "process"), number % 2)
    about = {**kept, "task": number * 7919 % 64, "symbol": number * 104729 % 500}
    cells = make_cells(number * 10, number * 31 % 4096, number, number, about, limit=20_000)
    assert len(cells.time) <= 20_000
    assert "symbol" in cells.dropped
    assert len(np.unique(cells.time)) >= 64 and len(np.unique(cells.row)) >= 64


def test_addresses_are_those_of_the_program_that_a_process_ran_then(tmp_path: Path) -> None:
    """One address is a function of one program, another one after the next exec; --program stands for the first."""
    programs = [str(guest(name)) for name in ("faults", "workers", "mm_storm")]
    symbols = [Symbols.of_file(path) for path in programs]

    def names(at: int) -> list[str]:
        return [found[0] for each in symbols if (found := each.lookup(at)) is not None]

    at = next(at for at in range(0x1003000, 0x1008000, 16) if len(set(names(at))) == 3)
    first, second, given = names(at)

    def fault(time: int, pid: int) -> Row:
        return event(Kind.PAGE_FAULT_USER, time, pid=pid, tid=pid, ip=at, address=at)

    rows = [
        event(Kind.EXEC, 1, text=programs[0]), fault(2, 1000),
        event(Kind.SCHED_PROCESS_FORK, 3, code=1001, size=1001), fault(4, 1001),
        event(Kind.EXEC, 5, pid=1001, tid=1001, text=programs[1]), fault(6, 1001), fault(7, 1000), fault(8, 1001),
    ]  # fmt: skip
    digest = hashlib.sha256(Path(programs[0]).read_bytes()).hexdigest()
    trace = write_trace(tmp_path / "trace", rows, program=programs[0], sha256=digest)
    for program, expected in ((None, {first: 3, second: 2}), (programs[2], {given: 3, second: 2})):
        found = table(make_picture(Trace(str(trace)), program=program), "symbols")
        assert {row[2]: row[0] for row in found.rows} == expected


def test_the_program_that_was_given_names_the_functions_of_a_flame_graph(tmp_path: Path) -> None:
    row = event(Kind.PAGE_FAULT_USER, 2, ip=Symbols.of_file(str(guest("faults")))._symbols[5][0], address=4096)
    trace = write_trace(tmp_path / "trace", [event(Kind.EXEC, 1, text="/no/such/program"), row])
    assert mmscope("report", "--flame", tmp_path / "svg", "--program", guest("faults"), trace).status == 0
    assert Symbols.of_file(str(guest("faults")))._symbols[5][2] in (tmp_path / "svg").read_text()
