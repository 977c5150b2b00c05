# SPDX-License-Identifier: GPL-2.0-or-later
"""Every export holds every event, is read by the tools it is for, and says in one line what is wrong."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet
import pytest

from emu.trace import recorder
from emu.trace.kernel_record import kernel_lines
from emu.trace.reader import Trace
from emu.tracepoint import FIELDS, Kind, Reason, Row, Served
from emu.tracepoint import Path as LockPath
from tests.guests import ROOT, guest, mmscope
from tests.trace.export.synthetic import contention, row, write
from tests.trace.export.trace_processor import TraceProcessor
from tests.trace.rows import event, write_trace

HOSTILE = "\x1b]0;owned\x07\n# tracer: x\n[red]</script><b>&amp;;a b\"'"


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Threads that map and unmap against each other on four CPUs."""
    path = tmp_path_factory.mktemp("export") / "storm.mmscope"
    ran = mmscope("record", "--cpus", "4", "--call-graph", "fp", "-o", path, guest("mm_storm"))
    assert ran.status == 0, ran.err
    return path


def export(to: str, trace: Path, *options: str, status: int = 0) -> tuple[Path, str]:
    """The export beside the trace, and what was said."""
    out = trace.with_suffix(f".{to}{''.join(options)}")
    ran = mmscope("export", "--to", to, "-o", out, *options, trace)
    assert ran.status == status, ran.err
    assert not [name for name in os.listdir(out.parent) if "partial" in name]
    return out, ran.err


def rows_of(trace: Path) -> list[Row]:
    return list(Trace(str(trace)).rows())


def test_csv_holds_every_column(trace: Path) -> None:
    out, _ = export("csv", trace)
    names = {"kind": Kind, "path": LockPath, "reason": Reason, "served": Served}
    with out.open(newline="") as file:
        read = list(csv.DictReader(file))
    rows = rows_of(trace)
    assert len(read) == len(rows) > 5000
    for got, expected in zip(read, rows):
        for name, value in zip(FIELDS, expected):
            if name in names:
                assert got[name] == names[name](value).name.lower()
            elif isinstance(value, tuple):
                assert got[name] == " ".join(map(str, value))
            else:
                assert got[name] == ("" if value is None else str(value))


@pytest.mark.parametrize("partition", ["kind", "time"])
def test_parquet_is_read_back_with_duckdb_and_pyarrow(trace: Path, partition: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    out, _ = export("parquet", trace, "--partition", partition)
    rows = rows_of(trace)
    kinds = Counter(Kind(r[4]).name.lower() for r in rows)
    where = f"'{out}/**/*.parquet', hive_partitioning = true"
    assert dict(duckdb.sql(f"select kind, count(*) from read_parquet({where}) group by 1").fetchall()) == kinds
    columns = "time, tid, address, ip, vma, wait, result, text, args, stack"
    found = duckdb.sql(f"select {columns} from read_parquet({where}) order by row").fetchall()
    wanted = [FIELDS.index(name) for name in columns.split(", ")]
    for got, expected in zip(found, rows, strict=True):
        plain = [tuple(value) if isinstance(value, list) else value for value in got]
        assert [value or None for value in plain] == [expected[index] or None for index in wanted]
    read = pyarrow.dataset.dataset(out, partitioning="hive").to_table()
    assert sorted(read.column("row").to_pylist()) == list(range(len(rows)))
    assert Counter(read.column("kind").to_pylist()) == kinds


@pytest.mark.parametrize("partition", ["kind", "time"])
def test_parquet_of_a_trace_of_several_batches(partition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event's row is its place in the trace, and every file has the trace's header."""
    monkeypatch.setattr(recorder, "BATCH", 3)
    rows = [event(Kind.PAGE_FAULT_USER, at, address=at) for at in range(10)]
    out, _ = export("parquet", write_trace(tmp_path / "trace", rows, seed=17), "--partition", partition)
    read = pyarrow.dataset.dataset(out, partitioning="hive").to_table(columns=["row", "time"]).to_pylist()
    assert sorted((each["row"], each["time"]) for each in read) == [(at, at) for at in range(10)]
    for file in out.rglob("*.parquet"):
        assert json.loads(pyarrow.parquet.read_schema(file).metadata[b"mmscope"])["seed"] == 17


def test_parquet_wants_a_new_directory(trace: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    ran = mmscope("export", "--to", "parquet", "-o", tmp_path / "out", trace)
    assert (ran.status, ran.err.count("\n")) == (2, 1) and "not empty" in ran.err
    assert os.listdir(tmp_path) == ["out"]


# What /sys/kernel/tracing/trace of Linux 6.18 shows, field by field.
_HEAD = r" *(?P<comm>.+)-(?P<tid>\d+) +\[\d{3}\] [d.][N.][sh.][\d.][\d.] +\d+\.\d+: "
_KERNEL_FORMATS = {
    "page_fault_user": r"address=0x\w+ ip=0x\w+ error_code=0x\w+",
    "page_fault_kernel": r"address=0x\w+ ip=\w+ error_code=0x\w+",
    "mmap_lock_start_locking": r"mm=\w{16} memcg_id=\d+ write=(true|false)",
    "mmap_lock_acquire_returned": r"mm=\w{16} memcg_id=\d+ write=(true|false) success=(true|false)",
    "mmap_lock_released": r"mm=\w{16} memcg_id=\d+ write=(true|false)",
    "contention_begin": r"\w{16} \(flags=[A-Z|]+\)",
    "contention_end": r"\w{16} \(ret=-?\d+\)",
    "sched_switch": r"prev_comm=.+ prev_pid=\d+ prev_prio=\d+ prev_state=[RSDX]\+? ==> next_comm=.+ next_pid=\d+ "
    r"next_prio=\d+",
    "sched_wakeup": r"comm=.+ pid=\d+ prio=\d+ target_cpu=\d{3}",
    "sched_process_fork": r"comm=.+ pid=\d+ child_comm=.+ child_pid=\d+",
    "task_newtask": r"pid=\d+ comm=.+ clone_flags=\w+ oom_score_adj=-?\d+",
    "sched_process_exec": r"filename=.+ pid=\d+ old_pid=\d+",
    "sched_process_exit": r"comm=.+ pid=\d+ prio=\d+ group_dead=(true|false)",
    "sys_enter": r"NR -?\d+ \((\w+, ){5}\w+\)",
    "sys_exit": r"NR -?\d+ = -?\d+",
    "signal_generate": r"sig=\d+ errno=-?\d+ code=-?\d+ comm=.+ pid=\d+ grp=\d res=\d",
    "signal_deliver": r"sig=\d+ errno=-?\d+ code=-?\d+ sa_handler=\w+ sa_flags=\w+",
    "tlb_flush": r"pages:-?\d+ reason:[\w ]+ \(\d\)",
}
_OWN = {"page_fault_served", "lock_wait", "lock_owner", "exit_status", "signal_info", "mark_victim"}
_NAMES = {"exec": "sched_process_exec", "exit": "sched_process_exit", "oom_kill": "mark_victim"}


def events_of(text: str) -> list[tuple[str, str]]:
    """(name, fields) of every line, all of which must look as the kernel's do."""
    found = []
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(_HEAD + r"(?P<name>\w+): (?P<fields>.*)", line)
            assert match is not None, line
            name, fields = match["name"], match["fields"]
            if name in _KERNEL_FORMATS:
                assert re.fullmatch(_KERNEL_FORMATS[name], fields), line
            found.append((name, fields))
    return found


@pytest.mark.parametrize("kind", ["storm", "contention"])
def test_ftrace_text_is_the_kernels(trace: Path, tmp_path: Path, kind: str) -> None:
    if kind == "contention":
        trace = write(tmp_path / "t", contention())
    out, said = export("ftrace", trace)
    assert "no place for" in said
    found = events_of(out.read_text())
    counted = Counter(name for name, _ in found)
    expected = Counter(_NAMES.get(name := Kind(r[4]).name.lower(), name) for r in rows_of(trace))
    switches = counted.pop("sched_switch")
    assert switches >= expected.pop("sched_switch", 0)
    assert {name: n for name, n in counted.items() if name not in _OWN and name != "task_newtask"} == expected
    assert counted["page_fault_served"] == expected["page_fault_user"] + expected["page_fault_kernel"]
    # The same faults in the same order as in the lines that are compared with the kernel's own.
    faults = [re.findall(r"0x(\w+)", fields) for name, fields in found if name == "page_fault_user"]
    assert faults == [
        line.split()[1:]
        for line in kernel_lines(sorted(rows_of(trace), key=lambda r: r[0]), children=True)
        if line[0] == "U"
    ]


def test_ftrace_text_tells_waits_that_the_kernels_format_has_no_place_for(tmp_path: Path) -> None:
    out, _ = export("ftrace", write(tmp_path / "t", contention()))
    waits = [fields for name, fields in events_of(out.read_text()) if name == "lock_wait"]
    assert waits == ["lock=0x1 wait=250 holder=0", "lock=0x1 wait=250 holder=1000", "lock=0x1 wait=20 holder=0"]
    owners = [fields for name, fields in events_of(out.read_text()) if name == "lock_owner"]
    assert owners == ["lock=0x1 name=mmap_lock holder=1000", "lock=0x1 name=mmap_lock holder=1001"]


def test_ftrace_text_is_in_the_order_of_time(tmp_path: Path) -> None:
    """Rows of different CPUs may stand out of order by more than a batch."""
    times = [5, 9, 1, 2, 8, 3, 12, 11, 4, 13]
    rows = [row(t, Kind.TLB_FLUSH, 1000 + i % 3, size=t) for i, t in enumerate(times)]
    out, _ = export("ftrace", write(tmp_path / "t", rows, batch=2))
    pages = [fields.split()[0] for name, fields in events_of(out.read_text()) if name == "tlb_flush"]
    assert pages == [f"pages:{t}" for t in sorted(times)]


def test_perfetto_takes_the_ftrace_text(trace: Path) -> None:
    out, _ = export("ftrace", trace)
    engine = TraceProcessor(out.read_bytes())
    assert engine.query("select name, value from stats where value != 0 and severity != 'info'") == []
    text = out.read_text()
    assert engine.query("select count(*) from sched") == [(text.count(" sched_switch: "),)]
    tids = {r[3] for r in rows_of(trace)}
    assert {tid for (tid,) in engine.query("select tid from thread where tid != 0")} == tids
    engine.close()


def test_trace_cmd_reports_the_same_events(trace: Path) -> None:
    """trace-cmd decodes the binary file by the formats in it; what it prints is the text export."""
    if shutil.which("trace-cmd") is None:
        pytest.skip("no trace-cmd")
    binary, _ = export("trace.dat", trace)
    text, _ = export("ftrace", trace)
    done = subprocess.run(
        ["trace-cmd", "report", "-t", "-O", "noplugins", "-N", binary], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed = []
    for line in done.stdout.splitlines()[1:]:
        match = re.fullmatch(r" *(.+)-(\d+) +\[(\d+)\] +(\d+\.\d+): (\w+): +(.*)", line)
        assert match is not None, line
        printed.append(match.groups())
    expected = []
    for line in text.read_text().splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r" *(.+)-(\d+) +\[(\d+)\] \S+ +(\d+\.\d+): (\w+): (.*)", line)
            assert match is not None, line
            fields = re.sub(r"^(mm=|)0{4,}(\w+) ", r"\g<1>0x\2 ", match[6])  # trace-cmd's %p
            fields = re.sub(r"^0x0 ", "(nil) ", fields)
            expected.append((*match.groups()[:5], fields))
    by_time = lambda e: (e[3], e[2])  # noqa: E731 (CPUs of one time come in any order)
    assert sorted(printed, key=by_time) == sorted(expected, key=by_time)


def test_perfetto_trace_in_its_own_engine(trace: Path) -> None:
    out, _ = export("perfetto", trace)
    rows = rows_of(trace)
    engine = TraceProcessor(out.read_bytes())
    assert engine.query("select name, value from stats where value != 0 and severity != 'info'") == []
    assert engine.query("select count(*) from slice where dur < 0") == [(0,)]
    counts = Counter(r[4] for r in rows)
    faults = counts[Kind.PAGE_FAULT_USER] + counts[Kind.PAGE_FAULT_KERNEL]
    assert engine.query("select count(*) from slice where category = 'fault'") == [(faults,)]
    assert engine.query("select count(*) from slice where category = 'syscall'") == [(counts[Kind.SYS_ENTER],)]
    instants = "'vma_create', 'vma_split', 'vma_merge', 'vma_resize', 'vma_remove'"
    vmas = sum(counts[k] for k in range(Kind.VMA_CREATE, Kind.VMA_REMOVE + 1))
    assert engine.query(f"select count(*) from slice where name in ({instants})") == [(vmas,)]
    names = "'mmap_lock write', 'mmap_lock read'"
    taken = sum(1 for r in rows if r[4] == Kind.MMAP_LOCK_ACQUIRE_RETURNED and r[16])
    assert engine.query(f"select count(*) from slice where name in ({names})") == [(taken,)]
    by_thread = Counter(r[3] for r in rows if r[4] in (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL))
    sql = "select tid, count(*) from slice join thread_track t on track_id = t.id join thread using (utid) "
    assert dict(engine.query(sql + "where category = 'fault' group by 1")) == by_thread
    assert engine.query("select distinct name from process where pid = 1000") == [("mm_storm",)]
    # The slices' arguments and times are the rows'.
    sql = (
        "select ts, dur, extract_arg(arg_set_id, 'debug.address'), extract_arg(arg_set_id, 'debug.path'), "
        "extract_arg(arg_set_id, 'debug.vma'), extract_arg(arg_set_id, 'debug.stack') is not null from slice "
        "where category = 'fault'"
    )
    expected = [
        (r[0], r[19], r[5], LockPath(r[11]).name.lower(), r[10], int(r[20] is not None))
        for r in rows
        if r[4] in (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL)
    ]
    assert sorted(engine.query(sql)) == sorted(expected)
    # Counters end at the totals.
    sql = "select t.name, max(value) from counter join counter_track t on track_id = t.id where t.name like 'faults%' "
    paths = Counter(r[11] for r in rows if r[4] in (Kind.PAGE_FAULT_USER, Kind.PAGE_FAULT_KERNEL))
    assert dict(engine.query(sql + "group by 1")) == {
        f"faults: {LockPath(path).name.lower()}": n for path, n in paths.items()
    }
    # A CPU runs one task after the other.
    assert {cpu for (cpu,) in engine.query("select distinct cpu from sched")} == {r[1] for r in rows}
    engine.close()


def test_perfetto_shows_who_waited_for_whom(tmp_path: Path) -> None:
    out, _ = export("perfetto", write(tmp_path / "t", contention()))
    engine = TraceProcessor(out.read_bytes())
    where = "join thread_track t on s.track_id = t.id join thread using (utid)"
    waits = engine.query(f"select tid, ts, dur from slice s {where} where s.name = 'wait for mmap_lock' order by ts")
    assert waits == [(1001, 150, 250), (1000, 500, 20)]
    flows = engine.query("select a.ts as t, a.name as n, b.ts as u, b.name as m from flow "
                         "join slice a on slice_out = a.id join slice b on slice_in = b.id order by a.ts")  # fmt: skip
    assert flows == [(400, "release mmap_lock", 400, "acquire mmap_lock"), (430, "release mmap_lock", 520,
                                                                           "acquire mmap_lock")]  # fmt: skip
    held = engine.query("select ts, dur, s.name from slice s join track t on track_id = t.id where t.name = "
                        "'mmap_lock held' order by ts")  # fmt: skip
    assert held == [(110, 290, "mmap_lock write"), (400, 30, "mmap_lock read")]
    waiters = engine.query("select ts, value from counter c join counter_track t on track_id = t.id "
                           "where t.name = 'lock waiters' order by ts, c.id")  # fmt: skip
    assert waiters == [(150, 1.0), (400, 0.0), (500, 1.0), (520, 0.0)]
    engine.close()


def test_mapped_bytes_follow_the_vmas(tmp_path: Path) -> None:
    rows = [
        row(1, Kind.VMA_CREATE, vma=1, address=0x1000, size=0x8000),
        row(2, Kind.VMA_SPLIT, vma=2, address=0x5000, size=0x4000),
        row(3, Kind.VMA_REMOVE, vma=2, address=0x5000, size=0x4000),
        row(4, Kind.VMA_RESIZE, vma=1, address=0x1000, size=0x6000),
    ]
    out, _ = export("perfetto", write(tmp_path / "t", rows))
    engine = TraceProcessor(out.read_bytes())
    sql = (
        "select value from counter c join counter_track t on track_id = t.id where t.name = 'mapped bytes' order by ts"
    )
    assert [value for (value,) in engine.query(sql)] == [0x8000, 0x8000, 0x4000, 0x6000]
    engine.close()


def test_folded_weighs_faults_waits_and_times(tmp_path: Path) -> None:
    trace = write(tmp_path / "t", contention())
    out, said = export("folded", trace)
    assert out.read_text() == "program;0x401000 1\n" and "14 events of other kinds" in said
    assert "1 have no call stack (record --call-graph fp): only their innermost function is shown" in said
    # The fault's wait counts once, though its lock's events tell it again; a wait outside of faults counts by itself.
    out, _ = export("folded", trace, "--weight", "wait")
    assert out.read_text() == "program;0x401000 250\nprogram;0x5;0x401100;mmap_lock_[k] 20\n"
    out, _ = export("folded", trace, "--weight", "duration")
    assert out.read_text() == "program;0x401000 300\n"


@pytest.mark.parametrize("to", ["csv", "ftrace", "folded"])
def test_hostile_names_stay_text(tmp_path: Path, to: str) -> None:
    rows = [
        row(1, Kind.EXEC, text=f"/bin/{HOSTILE.replace('/', '|')}", address=0, ip=1),
        row(2, Kind.VMA_CREATE, address=0x1000, size=0x1000, vma=1, text=HOSTILE),
        row(3, Kind.SYS_ENTER, text=HOSTILE, code=1),
        row(4, Kind.PAGE_FAULT_KERNEL, address=0x1000, text=HOSTILE, vma=1),
        row(5, Kind.CONTENTION_BEGIN, text=HOSTILE),
        row(6, Kind.CONTENTION_END, text=HOSTILE, wait=1),
        row(7, Kind.OOM_KILL, text=HOSTILE),
    ]
    out, said = export(to, write(tmp_path / "t", rows, comm=HOSTILE))
    text = out.read_bytes().decode() + said
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "# tracer: x" not in text.splitlines()
    if to == "csv":
        assert len(list(csv.reader(out.open(newline="")))) == 8
    if to == "folded":
        assert [line.rsplit(" ", 1)[1] for line in out.read_text().splitlines()] == ["1"]
        assert out.read_text().count(";") == 2  # the program and the two frames of the kernel


def test_hostile_names_in_perfetto(tmp_path: Path) -> None:
    rows = [row(1, Kind.VMA_CREATE, address=0x1000, size=0x1000, vma=1, text=HOSTILE)]
    out, _ = export("perfetto", write(tmp_path / "t", rows, comm=HOSTILE))
    engine = TraceProcessor(out.read_bytes())
    ((name,),) = engine.query("select extract_arg(arg_set_id, 'debug.mapping') from slice")
    assert "</script>" in name and name.isprintable()
    engine.close()


@pytest.mark.parametrize("to", ["script", "perf", "json", "csv", "parquet", "ftrace", "trace.dat", "perfetto"])
def test_all_that_is_known_of_a_fault_is_told(tmp_path: Path, to: str) -> None:
    """Registers (record --user-regs), the stack, page-table entries, waits: each number is one of its own."""
    registers = (0xA001, 0xA002, 2**64 - 3)
    stack = (0x401000, 0x401107)
    fault = row(
        1000, Kind.PAGE_FAULT_USER, address=0x7123, ip=0x401000, code=6, flags=0x1354, vma=31, path=2, served=1,
        reason=8, wait=257, holder=1017, result=0x100, duration=313, args=(0xB001, 0xB002, *registers), stack=stack,
    )  # fmt: skip
    trace = write(tmp_path / "t", [fault])
    if to in ("script", "perf", "json"):
        options = [] if to == "script" else ["--format", to]
        told = mmscope("script", *options, trace).out.decode()
    elif to == "parquet":
        told = repr(pyarrow.dataset.dataset(export(to, trace)[0]).to_table().to_pylist())
    elif to == "perfetto":
        engine = TraceProcessor(export(to, trace)[0].read_bytes())
        args = dict(engine.query("select key, display_value from args join slice using (arg_set_id)"))
        args |= dict(engine.query("select 'duration', dur from slice where category = 'fault'"))
        told = repr(args)
        engine.close()
    elif to == "trace.dat" and shutil.which("trace-cmd") is not None:
        binary, _ = export(to, trace)
        told = subprocess.run(["trace-cmd", "report", binary], capture_output=True, text=True, check=True).stdout
    else:
        told = export(to, trace)[0].read_text(errors="replace")
    for value in (0x7123, 31, 257, 1017, 313, 0xB001, 0xB002, *registers, 0x401000, 0x401107):
        assert re.search(rf"\b(0x)?0*{value:x}\b|\b{value}(ns)?\b", told), f"{value:#x} is not in {told}"
    assert "write_locked" in told and "mmap_lock" in told and "anon" in told


def test_an_empty_trace_gives_an_empty_export(tmp_path: Path) -> None:
    trace = write(tmp_path / "t", [])
    for to in ("csv", "ftrace", "folded", "perfetto", "trace.dat", "parquet"):
        export(to, trace)


@pytest.mark.parametrize("to", ["csv", "ftrace", "folded", "perfetto", "trace.dat", "parquet"])
def test_a_trace_that_was_cut_off_is_exported_as_far_as_it_goes(tmp_path: Path, to: str) -> None:
    whole = write(tmp_path / "whole", [row(t, Kind.TLB_FLUSH) for t in range(100)], batch=10)
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:-700])
    out, said = export(to, cut, status=1)
    assert "cut off" in said and out.exists()
    if to == "csv":
        assert 10 < len(out.read_text().splitlines()) < 100


@pytest.mark.parametrize("to", ["csv", "ftrace", "folded", "perfetto", "trace.dat"])
def test_a_full_disk_is_one_line(trace: Path, to: str) -> None:
    ran = mmscope("export", "--to", to, "-o", "/dev/full", trace)
    assert (ran.status, ran.err) == (2, "mmscope: /dev/full: cannot be written: No space left on device\n")


def test_bad_places_are_one_line(trace: Path, tmp_path: Path) -> None:
    for out, what in ((tmp_path, "is a directory"), (tmp_path / "no" / "where", "No such file")):
        ran = mmscope("export", "--to", "csv", "-o", out, trace)
        assert ran.status == 2 and ran.err.count("\n") == 1 and what in ran.err
    ran = mmscope("export", "--to", "parquet", "-o", "-", trace)
    assert ran.status == 2 and "directory" in ran.err
    ran = mmscope("export", "--to", "csv", "-o", tmp_path / "x", tmp_path / "none")
    assert ran.status == 2 and not (tmp_path / "x").exists()


def test_the_reader_of_a_pipe_may_go(trace: Path) -> None:
    command = f"{sys.executable} -m emu.cli.main export --to ftrace -o - {trace} | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout == "# tracer: nop\n" and "Traceback" not in done.stderr


@pytest.mark.parametrize("to", ["csv", "parquet", "perfetto"])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, to: str) -> None:
    trace = write(tmp_path / "t", [row(t, Kind.TLB_FLUSH) for t in range(100)] * 3000)
    command = [sys.executable, "-m", "emu.cli.main", "export", "--to", to, "-o", str(tmp_path / "out"), str(trace)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    while process.poll() is None and not any("partial" in name for name in os.listdir(tmp_path)):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    assert os.listdir(tmp_path) == ["t"]
