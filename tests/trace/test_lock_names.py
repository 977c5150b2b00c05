# SPDX-License-Identifier: GPL-2.0-or-later
"""Two page tables have two locks: in every report, and in the trace of a real run."""

from __future__ import annotations

from pathlib import Path

from emu.sched.sched import Sched
from emu.trace.export.names import lock_address
from emu.trace.grouping import group
from emu.trace.lock_names import lock_mode, lock_name
from emu.trace.lock_waits import contention, find_waits
from emu.trace.reader import Trace
from emu.tracepoint import Kind as K
from emu.tracepoint import Tracepoints
from emu.ui.top.model import Model
from emu.ui.top.views import lock_name as name_in_top
from tests.support import make_box
from tests.trace.synthetic import row, write

TABLES = (0x1C3000, 0x1C4000)


def waits(path: Path) -> Trace:
    """Two waits for the lock of each table, and one for mmap_lock of an mm with the number of a table."""
    rows = []
    for number, (name, lock) in enumerate([("ptl", TABLES[0]), ("ptl", TABLES[1]), ("mmap_lock", TABLES[1])] * 2):
        at = 1000 * number
        rows.append(row(K.CONTENTION_BEGIN, at, 1001, 1, address=lock, text=name, code=1, holder=1002))
        rows.append(row(K.CONTENTION_END, at + 100, 1001, 1, address=lock, text=name, code=1, holder=1002, wait=100))
    write(path, rows)
    return Trace(str(path))


def test_two_tables_are_two_locks(tmp_path: Path) -> None:
    trace = waits(tmp_path / "t")
    names = {"ptl 0x1c3000", "ptl 0x1c4000"}
    assert {each.label[0]: each.contended for each in contention(find_waits(trace), "lock")} == dict.fromkeys(
        names | {f"mmap_lock of mm {TABLES[1]}, write"}, 2
    )
    assert {each.keys[0] for each in group(trace, ("lock",)).groups} == names
    assert len({lock_address(each) for each in trace.rows() if each[4] == K.CONTENTION_BEGIN}) == 3


def test_top_tells_them_apart(tmp_path: Path) -> None:
    model = Model()
    for batch in waits(tmp_path / "t").batches():
        model.feed(batch)
    names = {name_in_top(key, model) for key in model.locks}
    assert names == {"ptl 0x1c3000 pid 1000", "ptl 0x1c4000 pid 1000"}


def test_names() -> None:
    assert lock_name("vma_lock", 1, 17) == "vma_lock of VMA 17"
    assert lock_name("pipe->mutex", 3) == "pipe->mutex 0x3"
    assert (lock_mode("mmap_lock", 0), lock_mode("vma_lock", 1), lock_mode("ptl", 1)) == ("read", "write", "")


def test_a_table_gives_its_lock_its_address() -> None:
    """The locks of two tables of one address space, on a machine with two CPUs."""
    box = make_box(sched=Sched(Tracepoints(), 2))
    table = box.mm.pgtable
    idents = []
    for address in (0x10000, 0x400000):
        slot = table.alloc(address)
        idents.append(table.pte_lockptr(slot).ident)
        assert idents[-1] == slot * 8 & -4096
    assert idents[0] != idents[1]
