# SPDX-License-Identifier: GPL-2.0-or-later
"""report --by: faults and locks by one key or two, with exact numbers; a trace of ten million events in time and
memory."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from collections import Counter
from itertools import permutations
from pathlib import Path

import pyarrow as pa
import pytest

from emu.trace import recorder, scan
from emu.trace.grouping import KEYS, Group, Grouping, group
from emu.trace.reader import Trace
from emu.trace.schema import FORMAT, Encoder
from emu.tracepoint import Kind as K
from emu.tracepoint import Path as P
from emu.tracepoint import Reason, Row
from tests.guests import ROOT, TARGETS, guest, mmscope
from tests.trace.rows import event, write_trace


def rows() -> list[Row]:
    """Two threads: tid 1 faults on its own and in read, tid 2 waits for mmap_lock in a fault and in munmap."""
    return [
        event(K.VMA_CREATE, 0, tid=1, address=0x1000, size=0x2000, flags=0x73, vma=5, text="/a file"),
        event(K.VMA_CREATE, 0, tid=1, address=0x8000, size=0x1000, flags=0x73, vma=6),
        event(K.PAGE_FAULT_USER, 10, tid=1, address=0x1000, ip=0x400, vma=5, path=P.VMA_LOCK, served=1, duration=7),
        event(K.VMA_LOCK_READ, 10, tid=1, vma=5),
        event(K.SYS_ENTER, 20, tid=1, ip=0x404, text="read"),
        event(K.PAGE_FAULT_KERNEL, 21, tid=1, address=0x2000, text="copy_to_user", vma=5, path=P.MMAP_LOCK,
              reason=Reason.KERNEL_MODE, served=1, duration=3),
        event(K.MMAP_LOCK_ACQUIRE_RETURNED, 22, tid=1, address=1, result=1),
        event(K.MMAP_LOCK_RELEASED, 23, tid=1, address=1, duration=1),
        event(K.SYS_EXIT, 30, tid=1, text="read"),
        event(K.PAGE_FAULT_USER, 40, tid=2, address=0x8000, ip=0x408, vma=6, path=P.MMAP_LOCK,
              reason=Reason.WRITE_LOCKED, served=1, wait=100, holder=1, duration=150),
        event(K.VMA_LOCK_READ_FAILED, 41, tid=2, vma=6, reason=Reason.WRITE_LOCKED),
        event(K.MMAP_LOCK_ACQUIRE_RETURNED, 141, tid=2, address=1, result=1, wait=100, holder=1),
        event(K.MMAP_LOCK_RELEASED, 150, tid=2, address=1, duration=9),
        event(K.SYS_ENTER, 200, tid=2, ip=0x40C, text="munmap"),
        event(K.MMAP_LOCK_ACQUIRE_RETURNED, 501, tid=2, address=1, code=1, result=1, wait=300, holder=1),
        event(K.VMA_LOCK_WRITE, 502, tid=2, vma=6, wait=40, holder=1),
        event(K.MMAP_LOCK_RELEASED, 600, tid=2, address=1, code=1, duration=99),
        event(K.SYS_EXIT, 601, tid=2, text="munmap"),
    ]  # fmt: skip


def grouped(path: Path, keys: str) -> Grouping:
    return group(Trace(str(path)), tuple(keys.split(",")))


def counts(found: Grouping) -> dict[tuple[str, ...], int]:
    return {each.keys: each.count for each in found.groups}


@pytest.fixture(params=["one piece", "a piece an event"])
def trace(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param != "one piece":
        monkeypatch.setattr(recorder, "BATCH", 1)
        monkeypatch.setattr(scan, "PIECE", 1)
    return write_trace(tmp_path / "trace", rows())


def test_faults(trace: Path) -> None:
    assert counts(grouped(trace, "vma")) == {("1000-3000 rw-p /a file",): 2, ("8000-9000 rw-p anonymous",): 1}
    assert counts(grouped(trace, "path")) == {("mmap_lock",): 2, ("vma_lock",): 1}
    assert counts(grouped(trace, "reason")) == {("-",): 1, ("kernel_mode",): 1, ("write_locked",): 1}
    assert counts(grouped(trace, "thread")) == {("1000/1",): 2, ("1000/2",): 1}
    assert counts(grouped(trace, "syscall")) == {("(no call)",): 2, ("read",): 1}
    assert counts(grouped(trace, "symbol")) == {("0x400",): 1, ("0x408",): 1, ("[kernel] copy_to_user",): 1}
    found = grouped(trace, "thread,path")
    assert counts(found) == {("1000/1", "mmap_lock"): 1, ("1000/1", "vma_lock"): 1, ("1000/2", "mmap_lock"): 1}
    slow = next(each for each in found.groups if each.keys[0] == "1000/2")
    assert slow == Group(("1000/2", "mmap_lock"), 1, 1 / 3, 1, 100, 100.0, 100, 100, 150, 0)


def test_locks(trace: Path) -> None:
    found = {each.keys: each for each in grouped(trace, "lock").groups}
    read, write = found[("mmap_lock of mm 1, read",)], found[("mmap_lock of mm 1, write",)]
    assert (read.count, read.waited, read.wait, read.duration, read.refused) == (2, 1, 100, 10, 0)
    assert (write.count, write.wait, write.longest, write.duration) == (1, 300, 300, 99)
    order = [each.wait for each in grouped(trace, "lock").groups]
    assert order[0] and order == sorted(order, reverse=True), "those first that were waited for longest"
    refused = found[("VMA lock 6 8000 anonymous, read",)]
    assert (refused.count, refused.refused) == (0, 1)
    by_call = counts(grouped(trace, "lock,syscall"))
    assert by_call[("mmap_lock of mm 1, read", "page fault")] == 1
    assert by_call[("mmap_lock of mm 1, read", "read")] == 1
    assert by_call[("mmap_lock of mm 1, write", "munmap")] == 1
    by_symbol = counts(grouped(trace, "symbol,lock"))
    assert by_symbol[("[kernel] copy_to_user", "mmap_lock of mm 1, read")] == 1
    assert by_symbol[("0x408", "mmap_lock of mm 1, read")] == 1
    assert by_symbol[("0x40c", "mmap_lock of mm 1, write")] == 1
    by_reason = counts(grouped(trace, "reason,lock"))
    assert by_reason[("write_locked", "mmap_lock of mm 1, read")] == 1
    assert by_reason[("-", "mmap_lock of mm 1, write")] == 1


def test_a_wait_that_two_events_tell_counts_once(tmp_path: Path) -> None:
    """The taking of mmap_lock tells its wait, and so does the end of the contention; of others the end alone does."""
    found = [
        event(K.CONTENTION_BEGIN, 1, tid=2, text="mmap_lock", address=1, holder=1),
        event(K.CONTENTION_END, 8, tid=2, text="mmap_lock", address=1, wait=7),
        event(K.MMAP_LOCK_ACQUIRE_RETURNED, 8, tid=2, address=1, result=1, wait=7, holder=1),
        event(K.CONTENTION_BEGIN, 9, tid=2, text="vma_lock", address=1, vma=6, code=1),
        event(K.CONTENTION_END, 19, tid=2, text="vma_lock", address=1, vma=6, wait=10),
        event(K.VMA_LOCK_WRITE, 19, tid=2, vma=6, wait=10),
        event(K.CONTENTION_BEGIN, 20, tid=2, text="pt_lock", address=0x7000),
        event(K.CONTENTION_END, 25, tid=2, text="pt_lock", address=0x7000, wait=5),
    ]
    groups = grouped(write_trace(tmp_path / "trace", found), "lock").groups
    assert [(each.count, each.wait) for each in groups] == [(1, 10), (1, 7), (1, 5)]


def test_percentiles_are_right_to_a_thousandth(tmp_path: Path) -> None:
    rng = random.Random(7)
    waits = [int(rng.paretovariate(0.5) * 100) for _ in range(5000)]
    faults = [event(K.PAGE_FAULT_USER, index, wait=wait, path=1) for index, wait in enumerate(waits)]
    found = grouped(write_trace(tmp_path / "trace", faults), "path").groups[0]
    exact = sorted(waits)[len(waits) * 99 // 100 - 1]
    assert exact * 0.998 <= found.p99 <= exact
    assert (found.waited, found.wait, found.longest) == (5000, sum(waits), max(waits))


def test_every_program_has_its_own_symbols(tmp_path: Path) -> None:
    hello, faults = guest("hello"), guest("faults")
    ips = [_main(program) for program in (hello, faults)]
    found = [
        event(K.EXEC, 0, pid=1, tid=1, text=str(hello), args=(1,)),
        event(K.PAGE_FAULT_USER, 1, pid=1, tid=1, ip=ips[0]),
        event(K.SCHED_PROCESS_FORK, 2, pid=1, tid=1, code=2, size=2, args=(2,)),
        event(K.PAGE_FAULT_USER, 3, pid=2, tid=2, ip=ips[0]),
        event(K.EXEC, 4, pid=2, tid=2, text=str(faults), address=0x1000, args=(3,)),
        event(K.PAGE_FAULT_USER, 5, pid=2, tid=2, ip=ips[1] + 0x1000),
        event(K.PAGE_FAULT_USER, 6, pid=1, tid=1, ip=ips[0]),
    ]
    import hashlib

    digest = hashlib.sha256(hello.read_bytes()).hexdigest()
    path = write_trace(tmp_path / "trace", found, program=str(hello), sha256=digest)
    assert counts(grouped(path, "symbol")) == {("main",): 4}
    assert counts(grouped(path, "symbol,thread")) == {
        ("main", "1/1"): 2, ("main", "2/2"): 2,
    }  # fmt: skip


def _main(program: Path) -> int:
    from emu.trace.symbols import Symbols

    return next(start for start, _, name in Symbols.of_file(str(program))._symbols if name == "main")


@pytest.mark.parametrize("target", TARGETS)
def test_real_traces_add_up(target: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    mmscope("record", "-o", path, guest("faults", target))
    events = list(Trace(str(path)).rows())
    faults = [row for row in events if row[4] in (1, 2)]
    for keys in [*((key,) for key in KEYS), *permutations(KEYS, 2)]:
        found = grouped(path, ",".join(keys))
        if "lock" not in keys:
            assert found.total == len(faults) == sum(each.count for each in found.groups)
        else:
            taken = Counter(row[4] for row in events if row[4] != 4 or row[16])
            assert found.total == taken[4] + taken[6] + taken[9]
        assert abs(sum(each.share for each in found.groups) - 1) < 1e-9
    by_path = Counter(P(row[11]).name.lower() for row in faults)
    assert counts(grouped(path, "path")) == {(name,): count for name, count in by_path.items()}
    assert ("main",) in counts(grouped(path, "symbol"))


@pytest.mark.parametrize("keys", ["", "vma,vma", "colour", "vma,path,reason", "vma,"])
def test_bad_keys_are_one_line(keys: str, tmp_path: Path) -> None:
    shown = mmscope("report", "--by", keys, tmp_path / "trace")
    assert (shown.status, shown.out, shown.err.count("\n")) == (2, b"", 1)


def test_ten_million_events(tmp_path: Path) -> None:
    """Twenty seconds and two GiB are the limit; counted is the time of the processor, which does not depend on what
    else runs."""
    path = tmp_path / "trace"
    encoder = Encoder({"format": FORMAT, "program": "/none", "sha256": "", "arch": "x86_64", "locking": "6.18"})
    batch = encoder.encode([
        event(K.PAGE_FAULT_USER, n * 100, tid=1000 + n % 64, address=n << 12, ip=0x400000 + n % 4000 * 4, vma=n % 2000,
              path=1, served=1, wait=n % 5 * n, duration=400) if n % 2 else
        event(K.MMAP_LOCK_ACQUIRE_RETURNED, n * 100, tid=1000 + n % 64, address=1, code=n // 2 % 2, result=1, wait=n
        % 3) for n in range(16384)
    ])  # fmt: skip
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), emit_dictionary_deltas=True)
    times = 10_000_000 // batch.num_rows + 1
    with pa.ipc.new_stream(str(path), encoder.schema, options=options) as writer:
        for _ in range(times):
            writer.write_batch(batch)
    for options_given in ((), ("--by", "vma,reason"), ("--by", "lock,thread")):
        code = (
            "import json, resource, sys; from emu.cli.main import main; status = main(sys.argv[1:]);"
            "used = resource.getrusage(resource.RUSAGE_SELF);"
            "print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]), file=sys.stderr); sys.exit(status)"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, "report", *options_given, str(path)], capture_output=True, text=True, cwd=ROOT
        )
        assert ran.returncode == 0, ran.stderr
        seconds, kib = json.loads(ran.stderr.splitlines()[-1])
        assert seconds < 20, options_given
        assert kib < 2 << 20, options_given
        assert str(times * 8192) in ran.stdout
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 << 20
