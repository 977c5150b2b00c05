# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that executes another program has that program's functions from then on, in whatever shows functions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emu.trace.symbols import Symbols
from emu.tracepoint import Kind
from tests.guests import guest, mmscope
from tests.trace.rows import event, write_trace

FIRST, SECOND, CHILD = 1000, 1001, 1002
PROGRAMS = ("faults", "threads", "signals")


def shared_address() -> tuple[int, list[str]]:
    """An address at which each of PROGRAMS has a function of another name, and these names."""
    symbols = [Symbols.of_file(str(guest(name))) for name in PROGRAMS]
    for start, _, _ in symbols[0]._symbols:
        found = [each.lookup(start + 1) for each in symbols]
        names = [each[0] for each in found if each is not None]
        if len(set(names)) == len(PROGRAMS):
            return start + 1, names
    raise AssertionError("no such address")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """faults; its child 1001 executes threads and has a child 1002 that stays with it; faults then executes signals,
    and has a child by vfork, 1001 again. Each stage has another number of faults: 1, 2, 4, ... 32."""
    ip, names = shared_address()
    paths = [str(guest(name)) for name in PROGRAMS]
    time = 0

    def stage(pid: int, count: int) -> list[object]:
        nonlocal time
        time += 100
        return [
            event(Kind.PAGE_FAULT_USER, time + at, pid=pid, tid=pid, ip=ip, address=0x1000, stack=(ip, ip + 1))
            for at in range(count)
        ]

    rows = [
        event(Kind.EXEC, text=paths[0], ip=1, args=(1,)), *stage(FIRST, 1),
        event(Kind.SCHED_PROCESS_FORK, 190, code=SECOND, size=SECOND, text="faults", args=(2,)), *stage(SECOND, 2),
        event(Kind.EXEC, 290, pid=SECOND, tid=SECOND, text=paths[1], args=(3,)), *stage(SECOND, 4),
        event(Kind.SCHED_PROCESS_FORK, 390, pid=SECOND, tid=SECOND, code=CHILD, size=CHILD, args=(4,)),
        event(Kind.EXEC, 395, text=paths[2], args=(5,)), *stage(FIRST, 8), *stage(CHILD, 16),
        event(Kind.EXIT, 590, pid=SECOND, tid=SECOND),
        event(Kind.SCHED_PROCESS_FORK, 595, code=SECOND, size=SECOND, flags=0x4100, args=(5,)), *stage(SECOND, 32),
    ]  # fmt: skip
    trace = tmp_path_factory.mktemp("programs") / "trace"
    write_trace(trace, rows, program=paths[0], comm="faults", sha256=None)  # type: ignore[arg-type]
    return trace, names


def counts(names: list[str]) -> dict[str, int]:
    return {names[0]: 1 + 2, names[1]: 4 + 16, names[2]: 8 + 32}


@pytest.mark.parametrize("options", [["--by", "symbol"], []], ids=["by", "summary"])
def test_reports(programs: tuple[Path, list[str]], options: list[str]) -> None:
    trace, names = programs
    lines = [line.split() for line in mmscope("report", *options, trace).out.decode().splitlines()]
    found = {name: int(words[0]) for words in lines for name in names if name in words}
    assert found == counts(names)


@pytest.mark.parametrize("form", ["text", "perf"])
def test_script(form: str, programs: tuple[Path, list[str]]) -> None:
    trace, names = programs
    ran = mmscope("script", "--format", form, trace)
    assert not ran.err
    text = ran.out.decode()
    first = r"\({}\+" if form == "text" else r"page_fault_user:.*\n\s+[0-9a-f]+ {}\+.*/{}\)$"
    for name, program in zip(names, PROGRAMS):
        assert len(re.findall(first.format(re.escape(name), program), text, re.M)) == counts(names)[name]
    comms = [line.split()[0] for line in text.splitlines() if "page_fault_user" in line]
    assert [comms.count(name) for name in PROGRAMS] == [3, 20, 40]


def test_folded_stacks(programs: tuple[Path, list[str]], tmp_path: Path) -> None:
    trace, names = programs
    out = tmp_path / "folded"
    assert mmscope("export", "--to", "folded", "-o", out, trace).status == 0
    wanted = {f"{program};{name};{name} {counts(names)[name]}" for program, name in zip(PROGRAMS, names)}
    assert set(out.read_text().splitlines()) == wanted


def test_pictures(programs: tuple[Path, list[str]], tmp_path: Path) -> None:
    trace, names = programs
    for option in ("--flame", "--html"):
        assert mmscope("report", option, tmp_path / "out", trace).status == 0
        text = (tmp_path / "out").read_text()
        assert [name for name in names if name not in text] == []


def test_perfetto(programs: tuple[Path, list[str]], tmp_path: Path) -> None:
    trace, names = programs
    assert mmscope("export", "--to", "perfetto", "-o", tmp_path / "out", trace).status == 0
    data = (tmp_path / "out").read_bytes()
    for name in names:
        assert f"{name}+0x".encode() in data


def test_a_program_that_is_gone_leaves_addresses_and_one_line(tmp_path: Path) -> None:
    rows = [
        event(Kind.EXEC, text=str(guest("faults"))), event(Kind.EXEC, 1, text=str(tmp_path / "gone")),
        *(event(Kind.PAGE_FAULT_USER, 2 + at, ip=0x401234) for at in range(3)),
    ]  # fmt: skip
    trace = write_trace(tmp_path / "trace", rows, program=str(guest("faults")), sha256=None)
    for verb in (["script"], ["script", "--format", "perf"], ["export", "--to", "folded", "-o", "-"]):
        ran = mmscope(*verb, trace)
        assert ran.status == 0
        assert ran.err.count(f"{tmp_path}/gone: No such file or directory: no symbols") == 1
        assert "401234" in ran.out.decode()
