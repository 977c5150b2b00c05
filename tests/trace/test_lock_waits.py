# SPDX-License-Identifier: GPL-2.0-or-later
"""Waits for locks: who waited for whom, in which call, in chains; as sums in the manner of perf lock contention."""

from __future__ import annotations

from pathlib import Path

from emu.trace.lock_waits import Chains, Wait, chain_label, contention, find_waits
from emu.trace.reader import Trace
from emu.tracepoint import Kind as K
from emu.tracepoint import Row
from tests.guests import mmscope
from tests.trace.rows import event, write_trace

ROWS: list[Row] = [
    event(K.SYS_ENTER, 10, tid=1, text="munmap"),
    event(K.SYS_ENTER, 12, tid=2, text="mprotect"),
    event(K.CONTENTION_BEGIN, 20, tid=1, text="vma_lock", vma=5, address=1, code=1, holder=2),
    event(K.PAGE_FAULT_USER, 30, tid=3, duration=100, wait=60),
    event(K.CONTENTION_BEGIN, 30, tid=3, text="mmap_lock", address=1, holder=1),
    event(K.CONTENTION_END, 60, tid=1, text="vma_lock", vma=5, wait=40),
    event(K.VMA_LOCK_WRITE, 60, tid=1, vma=5, wait=40, holder=2),
    event(K.CONTENTION_END, 90, tid=3, text="mmap_lock", wait=60),
    event(K.MMAP_LOCK_ACQUIRE_RETURNED, 90, tid=3, address=1, result=1, wait=60, holder=1),
    event(K.SYS_EXIT, 95, tid=1, text="munmap"),
    event(K.SYS_EXIT, 96, tid=2, text="mprotect"),
    event(K.SYS_ENTER, 200, tid=4, text="brk"),
    event(K.CONTENTION_BEGIN, 210, tid=4, text="mmap_lock", address=1, code=1, holder=2),
    event(K.CONTENTION_END, 211, tid=4, text="mmap_lock", wait=1),
]


def waits(path: Path, rows: list[Row]) -> list[Wait]:
    return find_waits(Trace(str(write_trace(path / "trace", rows))))


def test_who_waited_for_whom(tmp_path: Path) -> None:
    found = waits(tmp_path, ROWS)
    assert [(w.tid, w.begin, w.wait, w.lock, w.id, w.write, w.holder, w.call, w.holder_call) for w in found] == [
        (1, 20, 40, "vma_lock", 5, True, 2, "munmap", "mprotect"),
        (3, 30, 60, "mmap_lock", 1, False, 1, "page fault", "munmap"),
        (4, 210, 1, "mmap_lock", 1, True, 2, "brk", "(no call)"),
    ]
    assert [wait.fault for wait in found] == [0, 1, 0], "the number that report --fault takes"
    chains = Chains(found)
    assert [chain_label(chains.chain(wait)) for wait in found] == [
        "1 munmap <- 2 mprotect",
        "3 page fault <- 1 munmap <- 2 mprotect",
        "4 brk <- 2 (no call)",
    ]


def test_waits_that_only_the_taking_tells(tmp_path: Path) -> None:
    found = waits(tmp_path, [row for row in ROWS if row[4] not in (K.CONTENTION_BEGIN, K.CONTENTION_END)])
    assert [(w.tid, w.begin, w.wait, w.lock, w.holder, w.call, w.holder_call) for w in found] == [
        (1, 20, 40, "vma_lock", 2, "munmap", "mprotect"),
        (3, 30, 60, "mmap_lock", 1, "page fault", "munmap"),
    ]


def test_waits_that_do_not_end_and_a_circle(tmp_path: Path) -> None:
    rows = [
        event(K.CONTENTION_BEGIN, 100, tid=7, text="mmap_lock", address=1, holder=8),
        event(K.CONTENTION_BEGIN, 110, tid=8, text="vma_lock", vma=2, holder=7),
        event(K.SYS_EXIT, 200, tid=1, text="read"),
    ]
    found = waits(tmp_path, rows)
    assert [(w.tid, w.wait, w.ended) for w in found] == [(7, 100, False), (8, 90, False)]
    assert chain_label(Chains(found).chain(found[0])).endswith("(a circle)")
    shown = mmscope("report", "--lock-waits", tmp_path / "trace")
    assert "2 waits were not over" in shown.out.decode()


def test_a_holder_that_waited_for_the_waiter_before_is_no_circle(tmp_path: Path) -> None:
    """2 waits for a fault of 1; it ends, but until 2 is awake 1 has begun to wait for 2."""
    rows = [
        event(K.CONTENTION_BEGIN, 100, tid=2, text="vma_lock", vma=2, holder=1),
        event(K.CONTENTION_BEGIN, 120, tid=1, text="mmap_lock", address=1, holder=2),
        event(K.CONTENTION_END, 130, tid=2, text="vma_lock", vma=2, wait=30),
        event(K.CONTENTION_END, 140, tid=1, text="mmap_lock", address=1, wait=20),
    ]
    found = waits(tmp_path, rows)
    chains = Chains(found)
    assert [chain_label(chains.chain(wait)) for wait in found] == [
        "2 (no call) <- 1 (no call)",
        "1 (no call) <- 2 (no call)",
    ]


def test_lock_is_report_in_the_manner_of_perf(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "trace", ROWS)
    for words, same in (
        (("contention",), ("--lock-waits",)),
        (("contention", "-t", "-k", "wait_max"), ("--lock-waits", "-t", "-k", "wait_max")),
        (("report", "-E", "1"), ("--by", "lock", "-E", "1")),
    ):
        ran, expected = mmscope("lock", *words, trace), mmscope("report", *same, trace)
        assert (ran.status, ran.out) == (0, expected.out)


def test_pieces_do_not_matter(tmp_path: Path, monkeypatch: object) -> None:
    import emu.trace.scan as scan

    whole = waits(tmp_path, ROWS)
    before = scan.PIECE
    try:
        scan.PIECE = 1
        import emu.trace.recorder as recorder

        recorder.BATCH, batch = 1, recorder.BATCH
        try:
            assert waits(tmp_path, ROWS) == whole
        finally:
            recorder.BATCH = batch
    finally:
        scan.PIECE = before


def test_sums_and_their_order(tmp_path: Path) -> None:
    found = waits(tmp_path, ROWS)
    by_lock = {each.label: each for each in contention(found, "lock")}
    read = by_lock[("mmap_lock of mm 1, read",)]
    assert (read.contended, read.wait_total, read.wait_max, read.wait_min, read.avg_wait) == (1, 60, 60, 60, 60)
    assert {each.label for each in contention(found, "call")} == {
        ("vma_lock", "munmap", "mprotect"), ("mmap_lock", "page fault", "munmap"), ("mmap_lock", "brk", "(no call)"),
    }  # fmt: skip
    assert {each.label: each.contended for each in contention(found, "owner")} == {
        ("2", "mprotect"): 1, ("1", "munmap"): 1, ("2", "(no call)"): 1,
    }  # fmt: skip
    trace = tmp_path / "trace"
    shown = mmscope("report", "--lock-waits", trace).out.decode()
    assert shown.index("3 page fault <- 1 munmap <- 2 mprotect") < shown.index("1 munmap <- 2 mprotect\n")
    lines = mmscope("report", "--lock-waits", "-t", "-k", "wait_min", "-E", "1", trace).out.decode().splitlines()
    assert lines[2].split() == ["1", "60", "ns", "60", "ns", "60", "ns", "60", "ns", "3"]
    assert "(2 more)" in lines[3]
    single = mmscope("report", "--lock-waits", "-i", trace).out.decode()
    assert single.count("<-") == 5


def test_nobody_waited(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace", [event(K.SYS_ENTER, text="read")])
    assert "nobody waited" in mmscope("report", "--lock-waits", tmp_path / "trace").out.decode()


def test_who_waits_for_the_same_lock_does_not_hold_it(tmp_path: Path) -> None:
    rows = [
        event(K.CONTENTION_BEGIN, 100, tid=7, text="mmap_lock", address=1, holder=8),
        event(K.CONTENTION_BEGIN, 110, tid=8, text="mmap_lock", address=1, holder=7),
        event(K.CONTENTION_END, 150, tid=7, text="mmap_lock", wait=50),
        event(K.CONTENTION_END, 160, tid=8, text="mmap_lock", wait=50),
    ]
    found = waits(tmp_path, rows)
    assert [len(Chains(found).chain(wait)) for wait in found] == [1, 1]
