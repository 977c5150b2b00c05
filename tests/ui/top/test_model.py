# SPDX-License-Identifier: GPL-2.0-or-later
"""The dashboard's model: sums, waits, holders, VMAs, CPUs, and that the size of the pieces does not matter."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path as FilePath

import pytest

from emu.trace.grouping import group
from emu.trace.reader import Trace
from emu.trace.summary import Summary
from emu.tracepoint import Kind, Path, Reason, Served
from emu.ui.top.histogram import Histogram
from emu.ui.top.model import BINS, MAX_VMAS, VMA_OTHERS, Model
from emu.ui.top.totals import Filter, totals
from tests.guests import guest, record
from tests.trace.synthetic import HEAP, MAIN, ROUND_NS, batch, fault, row, storm

ROUNDS = 50


def fed(rows: list, piece: int = 1 << 20) -> Model:  # type: ignore[type-arg]
    model = Model()
    for at in range(0, len(rows), piece):
        model.feed(batch(rows[at : at + piece]))
    return model


def test_faults_by_kind_path_reason_vma_and_thread() -> None:
    model = fed(storm(ROUNDS))
    found = totals(model, Filter(), model.now)
    assert found.faults == 3 * ROUNDS
    assert found.by_kind == {(Kind.PAGE_FAULT_USER, Served.ANON): 3 * ROUNDS}
    assert found.by_path == {Path.VMA_LOCK: 2 * ROUNDS, Path.MMAP_LOCK: ROUNDS}
    assert found.by_reason == {Reason.WRITE_LOCKED: ROUNDS}
    assert found.by_vma == {HEAP: [3 * ROUNDS, 4000 * ROUNDS]}
    assert {tid: entry[0] for tid, entry in found.by_tid.items()} == {MAIN + n: ROUNDS for n in (1, 2, 3)}
    assert sum(found.history) == 3 * ROUNDS
    assert {path: sum(history) for path, history in found.path_history.items()} == found.by_path
    assert {key: sum(history) for key, history in found.kind_history.items()} == found.by_kind
    assert found.rate(found.faults) == pytest.approx(3e9 / ROUND_NS, rel=0.05)
    assert found.recent(found.history) == pytest.approx(3e9 / ROUND_NS, rel=0.25)
    assert totals(model, Filter(tid=MAIN + 1), model.now).by_path == {Path.MMAP_LOCK: ROUNDS}
    assert totals(model, Filter(vma=HEAP + 1), model.now).faults == 0


def test_retries_are_counted() -> None:
    model = fed([fault(n, MAIN, 0, 4096, reason=Reason.RETRY, path=Path.MMAP_LOCK) for n in range(5)])
    assert totals(model, Filter(), model.now).retries == 5


def test_a_lock_knows_its_waits_and_who_held_it_in_which_call() -> None:
    lock = fed(storm(ROUNDS)).locks["mmap_lock", 1]
    assert (lock.reads, lock.writes, lock.acquired, lock.pid) == (ROUNDS, ROUNDS, 2 * ROUNDS, MAIN)
    assert (lock.waits.count, lock.waits.total, lock.waits.mean) == (ROUNDS, 4000 * ROUNDS, 4000)
    assert lock.waits.quantile(0.99) == pytest.approx(4000, rel=1 / 32)
    assert (lock.longest_hold, lock.longest_holder, lock.longest_call) == (4900, MAIN, "munmap")
    assert lock.contended.holders == {(MAIN, "munmap"): [ROUNDS, 4000 * ROUNDS]}
    assert lock.contended.waiters == {(MAIN + 1, ""): [ROUNDS, 4000 * ROUNDS]}
    assert lock.contended.recent[-1].wait == 4000


def test_the_call_of_a_holder_is_that_in_which_it_was_waited_for() -> None:
    """The waiter goes on when the holder has left its call."""
    rows = storm(1)
    end = next(at for at, found in enumerate(rows) if found[4] == Kind.SYS_EXIT)
    wait = next(at for at, found in enumerate(rows) if found[4] == Kind.CONTENTION_END)
    rows.insert(wait, rows.pop(end))
    for piece in (1, 1000):
        assert list(fed(rows, piece).locks["mmap_lock", 1].contended.holders) == [(MAIN, "munmap")]


def test_other_locks_are_known_by_their_contention() -> None:
    model = fed([
        row(Kind.CONTENTION_BEGIN, 10, address=5, holder=1001, text="page_table_lock", code=1),
        row(Kind.CONTENTION_END, 30, address=5, wait=20, text="page_table_lock"),
    ])  # fmt: skip
    lock = model.locks["page_table_lock", 5]
    assert (lock.waits.total, list(lock.contended.holders)) == (20, [(1001, "")])
    assert model.tasks[MAIN].waits == 1


def test_cpus_and_what_their_tasks_wait_for() -> None:
    rows = storm(1)
    begin = next(at for at, found in enumerate(rows) if found[4] == Kind.CONTENTION_BEGIN)
    model = fed(rows[: begin + 1])
    assert model.cpus == {0: MAIN, 1: MAIN + 1, 2: MAIN + 2, 3: MAIN + 3}
    assert model.tasks[MAIN + 1].waiting == (("mmap_lock", 1), False, MAIN, 2000)
    assert model.tasks[MAIN].call == "munmap"
    model = fed([*rows, row(Kind.SCHED_SWITCH, 99_999, MAIN + 1, 1, code=0, result=1), row(Kind.EXIT, 99_999, MAIN)])
    assert model.tasks[MAIN + 1].waiting is None
    assert (model.cpus[1], model.tasks[MAIN + 1].state) == (0, "S")
    assert (model.cpus[0], model.tasks[MAIN].state, model.tasks[MAIN].call) == (0, "X", "")


def test_vmas_are_cut_resized_and_removed() -> None:
    rows = [
        row(Kind.VMA_CREATE, 1, address=0x1000, size=0x9000, flags=3, vma=1, text="a"),
        row(Kind.VMA_SPLIT, 2, address=0x4000, size=0x6000, flags=3, vma=2, text="a"),
        row(Kind.VMA_SPLIT, 3, address=0x4000, size=0x1000, flags=3, vma=3, text="a"),
        row(Kind.VMA_RESIZE, 4, address=0x1000, size=0x1000, flags=1, vma=1, text="a"),
        row(Kind.VMA_REMOVE, 5, address=0x4000, size=0x1000, flags=3, vma=3, text="a"),
    ]
    model = fed(rows)
    shape = {vma.id: (vma.start, vma.size, vma.flags, bool(vma.removed)) for vma in model.vmas.values()}
    assert shape == {
        1: (0x1000, 0x1000, 1, False),
        2: (0x5000, 0x5000, 3, False),
        3: (0x4000, 0x1000, 3, True),
    }


def test_mprotect_changes_what_a_vma_allows() -> None:
    model = fed([
        row(Kind.VMA_CREATE, 1, address=0x1000, size=0x9000, flags=3, vma=1, text="a"),
        row(Kind.VMA_MODIFY, 2, address=0x1000, size=0x9000, flags=1, vma=1, text="b"),
    ])  # fmt: skip
    assert (model.vmas[1].flags, model.vmas[1].name, model.vmas[1].since) == (1, "b", 1)


def comparable(model: Model) -> object:
    locks = {
        key: (lock.reads, lock.writes, lock.failed, lock.waits.classes, lock.contended.holders, lock.contended.waiters,
              lock.longest_hold, lock.longest_holder, lock.longest_call, lock.holds, lock.held,
              list(lock.contended.recent))
        for key, lock in model.locks.items()
    }  # fmt: skip
    return (
        model.events,
        model.now,
        model.bin_ns,
        model.faults,
        model.bins,
        model.history,
        locks,
        model.vmas,
        model.tasks,
        model.cpus,
    )


def test_the_size_of_the_pieces_does_not_matter() -> None:
    rows = storm(ROUNDS)
    whole = comparable(fed(rows))
    assert comparable(fed(rows, 1)) == whole
    assert comparable(fed(rows, 7)) == whole


def test_a_copy_goes_its_own_way() -> None:
    rows = storm(ROUNDS)
    model = fed(rows[:200])
    before = comparable(fed(rows[:200]))
    copied = model.copy()
    model.feed(batch(rows[200:]))
    assert comparable(copied) == before
    copied.feed(batch(rows[200:]))
    assert comparable(copied) == comparable(model)


def test_a_program_with_endless_vmas_and_threads_needs_bounded_memory() -> None:
    rows = []
    count = 3 * MAX_VMAS
    for number in range(1, count + 1):
        rows.append(row(Kind.VMA_CREATE, number, number, address=0x1000, size=0x1000, flags=3, vma=number))
        rows.append(fault(number, number, 0, 0x1000, vma=number))
        rows.append(row(Kind.VMA_REMOVE, number, number, address=0x1000, size=0x1000, flags=3, vma=number))
        rows.append(row(Kind.EXIT, number, number))
    model = fed(rows, 1000)
    assert len(model.vmas) <= MAX_VMAS + 1000
    assert len(model.tasks) <= MAX_VMAS + 1000
    assert len(model.faults) <= 2 * MAX_VMAS + 1000
    found = totals(model, Filter(), model.now)
    assert found.faults == count == sum(found.history)
    assert found.by_vma[VMA_OTHERS][0] > MAX_VMAS


def test_there_are_never_too_many_bins() -> None:
    model = fed([fault(2**n, MAIN, 0, 4096) for n in range(45)], 5)
    assert all(len(bins) <= BINS for bins in model.bins.values())
    found = totals(model, Filter(), model.now)
    assert sum(found.history) == 45 and len(found.history) <= BINS


def test_quantiles_are_close() -> None:
    source = random.Random(1)
    values = sorted(int(source.lognormvariate(8, 2)) for _ in range(5000))
    found = Histogram()
    for value in values:
        found.add(value)
    assert (found.count, found.total, found.longest) == (5000, sum(values), values[-1])
    for part in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = values[max(0, int(part * 5000) - 1)]
        assert exact <= found.quantile(part) <= exact * (1 + 1 / 16) + 1
    assert sum(number for _, number in found.octaves()) == 5000
    assert Histogram().quantile(0.5) == 0


@pytest.mark.parametrize(("program", "cpus"), [("thread_storm", 4), ("fork_tree", 3), ("faults", 1)])
def test_what_is_shown_at_the_end_is_what_the_report_says(tmp_path: FilePath, program: str, cpus: int) -> None:
    """The report counts in its own way, over the whole trace at once."""
    path = tmp_path / "t"
    assert record(path, guest(program), cpus=cpus).status == 0
    trace = Trace(str(path))
    model, report = Model(), Summary(trace)
    for found in trace.batches():
        for at in range(0, found.num_rows, 3000):
            model.feed(found.slice(at, 3000))
    shown = totals(model, Filter(), model.now)
    assert (model.events, model.now, shown.faults) == (report.events, report.end, report.faults)
    assert sum(shown.history) == report.faults
    assert {(served, kind): n for (kind, served), n in shown.by_kind.items()} == keyed(report.kinds.rows())
    by_path: Counter[int] = Counter()
    by_reason: Counter[int] = Counter()
    for way, reason, number in report.paths.rows():
        by_path[way] += number
        by_reason[reason] += number
    del by_reason[0]
    assert (shown.by_path, shown.by_reason, shown.retries) == (by_path, by_reason, by_reason[Reason.RETRY])
    assert {(vma,): entry[0] for vma, entry in shown.by_vma.items()} == keyed(report.vmas.rows())
    by_thread = {int(each.keys[0].split("/")[-1]): each.count for each in group(trace, ("thread",)).groups}
    assert {tid: entry[0] for tid, entry in shown.by_tid.items()} == by_thread
    for name, rows, written, failed in (
        ("mmap_lock", report.mmap_locks.rows(), (1, 1), 0),
        ("vma_lock", report.vma_locks.rows(), (Kind.VMA_LOCK_WRITE,), Kind.VMA_LOCK_READ_FAILED),
    ):
        locks = [lock for key, lock in model.locks.items() if key[0] == name]
        known = keyed(rows)
        assert sum(lock.writes for lock in locks) == known.get(written, 0)
        assert sum(lock.failed for lock in locks) == sum(n for key, n in known.items() if key[-1] == failed)
        assert sum(lock.acquired + lock.failed for lock in locks) == sum(known.values())
    waits = group(trace, ("lock",)).groups
    assert waits
    assert sum(lock.waits.total for lock in model.locks.values()) == sum(each.wait for each in waits)
    assert sum(lock.waits.count for lock in model.locks.values()) == sum(each.waited for each in waits)
    assert sum(lock.held for lock in model.locks.values()) == sum(each.duration for each in waits)


def keyed(rows: list[tuple[int, ...]]) -> dict[tuple[int, ...], int]:
    """Counts, which stand last in a row, by what is before them."""
    return {row[:-1]: row[-1] for row in rows}


def test_the_vmas_are_those_of_the_guest(tmp_path: FilePath) -> None:
    """Whatever happens to a VMA, the list never has two of one process in one place, and none that is empty."""
    trace = tmp_path / "t"
    for program, options in (("mm_storm", {"cpus": 4}), ("mremap", {}), ("merge", {}), ("forks", {"cpus": 2})):
        assert record(trace, guest(program), **options).status == 0
        model = Model()
        for found in Trace(str(trace)).batches():
            for at in range(0, found.num_rows, 500):
                model.feed(found.slice(at, 500))
                spaces: dict[int, list[tuple[int, int]]] = {}
                for vma in model.vmas.values():
                    assert vma.size > 0
                    if not vma.removed:
                        spaces.setdefault(vma.pid, []).append((vma.start, vma.start + vma.size))
                for space in spaces.values():
                    space.sort()
                    assert all(before[1] <= after[0] for before, after in pairwise(space))
        assert model.events and not any(not vma.removed for vma in model.vmas.values()), program
