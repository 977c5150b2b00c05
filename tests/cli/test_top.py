# SPDX-License-Identifier: GPL-2.0-or-later
"""mmscope top on a real terminal: sizes, keys, colours, statuses, signals, hostile names; and without a terminal."""

from __future__ import annotations

import os
import re
import shutil
import signal
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emu.tracepoint import Kind
from tests.guests import guest, mmscope
from tests.terminal import Terminal
from tests.trace.synthetic import ROUND_NS, row, storm, write

HOSTILE = "\x1b[31mred[bold]\x07\n\u202eevil\x9b2J\x1b]0;title\x07"
COLOUR = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:[349][0-7]|10[0-7]|[34]8)(?:;[0-9;]*)?m")
ROUNDS = 3000
ALT_SCREEN, LEAVE_ALT_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"
POINTER = b"\x1b]22;default\x07"  # textual's own: the shape of the mouse pointer


pytestmark = pytest.mark.timing  # a screen is waited for: not while other tests keep both CPUs busy


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("top") / "storm.mmscope"
    write(path, storm(ROUNDS))
    return path


@pytest.fixture
def replay(trace: Path) -> Iterator[Terminal]:
    with Terminal("top", "--replay", trace, columns=120, rows=40) as terminal:
        terminal.wait("Faults by kind")
        yield terminal


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, f"{pattern!r} is not in\n{text}"
    return float(found[1])


def rate(path: str, text: str) -> float:
    """Faults a second that were served under a lock."""
    return number(rf"{path} +\d+ +[\d.]+% +([\d.]+)k", text) * 1e3


def moment(text: str) -> float:
    """Seconds of virtual time that the picture shows."""
    return number(r"(\d+\.\d+) s [━─]", text)


def at_end(terminal: Terminal) -> None:
    terminal.press("end")
    terminal.wait("■ end")


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (200, 60)])
def test_every_pane_at_every_size(trace: Path, columns: int, rows: int) -> None:
    with Terminal("top", "--replay", trace, columns=columns, rows=rows) as terminal:
        terminal.wait("Faults by kind")
        at_end(terminal)
        text = terminal.wait(lambda text: "9000" in text)
        for heading in ("Faults by kind", "Served under", "Lock", "VMA", "CPU", "Thread"):
            assert heading in text, heading
        assert re.search(r"all +9000", text) and re.search(r"anon +9000", text)
        assert re.search(r"vma_lock +6000 +66\.7%", text) and re.search(r"mmap_lock +3000 +33\.3%", text)
        assert re.search(r"- write_locked +3000 +33\.3%", text)
        assert 180e3 <= rate("vma_lock", text) <= 220e3 and 90e3 <= rate("mmap_lock", text) <= 110e3
        assert re.search(r"Served under +faults +share +/s(?: now)?", text)
        assert re.search(r"mmap_lock pid 1000 +6000 +3000 .*12\.0 ms +4\.0 us +4\.0 us +4\.9 us 1000 munm", text)
        assert re.search(r"10000-110000 +rw-p +9000", text) and "[heap]" in text
        assert re.search(r"1001 +R +3000 +3000 12\.0 ms", text)
        assert terminal.screen.display[-1].startswith("space pause")
        assert len(text.splitlines()) == rows
        terminal.press("q")
        assert terminal.wait_end() == 0


def test_a_resize_while_it_plays(replay: Terminal) -> None:
    for columns, rows in ((80, 24), (200, 60), (20, 6), (100, 30)):
        replay.resize(columns, rows)
        last = "q quit ? help" if columns < 60 else "space pause"
        replay.wait(lambda text, last=last, rows=rows: text.splitlines()[rows - 1].startswith(last))  # type: ignore[misc]
    assert "Faults by kind" in replay.text


@pytest.mark.parametrize(("columns", "rows"), [(20, 10), (20, 3), (8, 2), (59, 24), (80, 17)])
def test_a_terminal_that_is_too_small(trace: Path, columns: int, rows: int) -> None:
    with Terminal("top", "--replay", trace, columns=columns, rows=rows) as terminal:
        terminal.wait("q quit"[:columns])
        if rows >= 10:
            terminal.press("end")
            terminal.wait("9000 faults")
        terminal.press("q")
        assert terminal.wait_end() == 0
        assert b"Traceback" not in terminal.raw


def test_pause_step_speed_and_seek(replay: Terminal) -> None:
    replay.press("space")
    text = replay.wait("‖ paused")
    replay.read(0.5)
    assert moment(replay.text) == moment(text)
    replay.press("home")
    replay.wait(lambda text: moment(text) == 0.0)
    replay.press("s")
    text = replay.wait("fault at 0x10000, thread 1002, VMA 7: anon, vma_lock")
    assert moment(text) == pytest.approx(2.1e-6) and "1 faults" in text
    replay.press("s", "s")
    replay.wait("(write_locked)")
    replay.press("e")
    replay.wait(lambda text: re.search(r"event \d+", text) is not None)
    end = ROUNDS * ROUND_NS / 1e9
    replay.press("g", "50%", "enter")
    replay.wait(lambda text: moment(text) == pytest.approx(end / 2, rel=0.01))
    assert number(r"(\d+) faults", replay.text) == pytest.approx(3 * ROUNDS / 2, rel=0.01)
    replay.press("left")
    replay.wait(lambda text: moment(text) == pytest.approx(end * 0.49, rel=0.01))
    replay.press("pageup")
    replay.wait(lambda text: moment(text) == pytest.approx(end * 0.39, rel=0.01))
    replay.press("right", "pagedown")
    replay.wait(lambda text: moment(text) == pytest.approx(end * 0.5, rel=0.01))
    assert number(r"(\d+) faults", replay.text) == pytest.approx(3 * ROUNDS / 2, rel=0.01)
    replay.press("g", "1.5ms", "enter")
    replay.wait(lambda text: moment(text) == 0.0015)
    replay.press("g", "soon", "enter")
    replay.wait("is no time such as")
    replay.press("space")
    replay.wait("a second")
    before = number(r"▶ ([\d.]+) ms a second", replay.text)
    replay.press("+")
    replay.wait(lambda text: number(r"▶ ([\d.]+) ms a second", text) > before)
    replay.press("-", "-")
    replay.wait(lambda text: number(r"▶ ([\d.]+) ms a second", text) < before)
    now = moment(replay.text)
    replay.wait(lambda text: moment(text) > now)


def test_pages_of_locks_and_vmas(replay: Terminal) -> None:
    at_end(replay)
    replay.press("tab", "tab", "enter")
    text = replay.wait("How long it was waited for")
    for part in ("Held meanwhile by", "1000 munmap", "1001 page fault", "The last waits", "p99 4.0 us",
                 "longest hold: 4.9 us by 1000 in munmap"):  # fmt: skip
        assert part in text, part
    replay.press("escape")
    replay.wait("Faults by kind")
    replay.press("tab", "enter")
    text = replay.wait("VMA 7: 10000-110000 [heap]")
    for part in ("9000 faults", "thread 1001", "- write_locked", "Its lock"):
        assert part in text, part
    replay.press(*["-"] * 30)  # so slow that the picture of the begin stays
    replay.press("home")
    replay.wait("does not exist at this time")
    replay.press("escape")


def test_help_filter_and_sort(replay: Terminal) -> None:
    at_end(replay)
    replay.press("?")
    text = replay.wait("leave; a guest that still runs gets SIGTERM")
    assert "step to the next page fault" in text
    replay.press("?")
    replay.wait("Faults by kind")
    replay.press("t", "1001", "enter")
    text = replay.wait("only thread 1001")
    assert re.search(r"all +3000", text) and "vma_lock            3000" not in text
    replay.press("t", "10x", "enter")
    replay.wait("is no number")
    replay.press("escape")
    replay.wait(lambda text: "only thread" not in text and re.search(r"all +9000", text) is not None)
    replay.press("v", "9", "enter")
    replay.wait(lambda text: "only VMA 9" in text and re.search(r"all +0", text) is not None)
    replay.press("escape", "tab", "tab", "tab", "o")
    text = replay.wait("vmas by address")
    order = [text.index(name) for name in ("10000-110000", "7f0000-800000", "7fff0000-80000000")]
    assert order == sorted(order)
    replay.press("down", "f")
    replay.wait("only VMA 9")
    replay.press("shift+tab", "o")
    replay.wait("locks by contended")


def test_the_output_scrolls() -> None:
    first, last = "anonymous write: 4", "beyond the end of the file"
    with Terminal("top", guest("faults")) as terminal:
        terminal.wait("guest ended: status 0", 60)
        text = terminal.wait(last)
        assert first not in text
        terminal.press("shift+tab", *["up"] * 40)
        text = terminal.wait(first)
        assert last not in text
        terminal.press(*["down"] * 3)
        terminal.wait(lambda text: first not in text and last not in text)
        terminal.press(*["down"] * 60)
        terminal.wait(last)


def click(terminal: Terminal, text: str, times: int = 1) -> None:
    """The left button of the mouse where `text` stands on the screen (SGR mouse reports)."""
    row = next(number for number, line in enumerate(terminal.screen.display) if text in line)
    place = f"{terminal.screen.display[row].index(text) + 1};{row + 1}"
    os.write(terminal.fd, f"\x1b[<0;{place}M\x1b[<0;{place}m".encode() * times)


def test_a_click_selects_and_a_double_click_opens(replay: Terminal) -> None:
    at_end(replay)
    click(replay, "7f0000-800000")
    replay.press("f")
    replay.wait("only VMA 9")
    replay.press("escape")
    replay.wait(lambda text: "only VMA" not in text)
    click(replay, "10000-110000", times=2)
    replay.wait("VMA 7: 10000-110000 [heap]")


def test_no_color_has_no_colours(trace: Path) -> None:
    for env, coloured in (({"NO_COLOR": "1"}, False), ({}, True)):
        with Terminal("top", "--replay", trace, env=env) as terminal:
            terminal.wait("Faults by kind")
            at_end(terminal)
            terminal.press("tab", "down", "?", "?", "q")
            terminal.wait_end()
            assert (COLOUR.search(terminal.raw) is not None) == coloured


def test_a_live_run_shows_the_guest_and_its_output_and_keeps_the_trace(tmp_path: Path) -> None:
    kept = tmp_path / "kept.mmscope"
    with Terminal("top", "-o", kept, guest("faults"), columns=100, rows=60) as terminal:
        text = terminal.wait("guest ended: status 0", 60)
        assert "Output of the guest" in text
        terminal.wait("beyond the end of the file")
        expected = sum(1 for line in mmscope("script", kept).out.splitlines() if b": page_fault_" in line)
        terminal.wait(lambda text: re.search(rf"all +{expected} ", text) is not None)
        terminal.press("q")
        assert terminal.wait_end() == 0
        assert b"[ mmscope top: " in terminal.raw.split(LEAVE_ALT_SCREEN)[-1]
    with Terminal("record", "-o", tmp_path / "recorded", guest("faults"), columns=100, rows=60) as terminal:
        assert terminal.wait_end() == 0
    assert kept.read_bytes() == (tmp_path / "recorded").read_bytes()


def test_the_status_is_the_guests_and_no_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    for arguments in ((guest("segv"),), (guest("hello"),)):
        expected = mmscope("record", "-o", tmp_path / "t", *arguments).status
        with Terminal("top", *arguments, env={"TMPDIR": str(tmp_path / "tmp")}) as terminal:
            terminal.wait("guest ended", 60)
            assert list((tmp_path / "tmp").iterdir()) == []
            terminal.press("q")
            assert terminal.wait_end() == expected


def test_threads_on_several_cpus(tmp_path: Path) -> None:
    with Terminal("top", "--cpus", "4", guest("mm_storm"), columns=160, rows=50) as terminal:
        text = terminal.wait("guest ended: status 0", 90)
        assert number(r"mmap_lock pid 1000 +\d+ +(\d+)", text) > 0, "mm_storm's threads wait for each other"
        for cpu in range(4):
            assert re.search(rf"  {cpu}  idle", text), cpu
        assert re.search(r"100[1-8] +X +\d+ +\d+ +[\d.]+ [num]s ended", text)
        terminal.press("q")
        assert terminal.wait_end() == 0


def running(*arguments: str | Path) -> Terminal:
    """A guest that computes for long."""
    terminal = Terminal("top", *arguments, guest("compute"), "100000000")
    terminal.wait("▶ live", 60)
    return terminal


@pytest.mark.parametrize(
    ("how", "expected"),
    [("ctrl+c", 130), ("q", 143), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_ending_a_run_restores_the_terminal(how: str | int, expected: int) -> None:
    with running() as terminal:
        if isinstance(how, str):
            terminal.press(how)
        else:
            os.kill(terminal.pid, how)
        if expected == 130:
            terminal.wait("guest ended: status 130")
            terminal.press("q")
        assert terminal.wait_end() == expected
        assert terminal.raw.count(ALT_SCREEN) == terminal.raw.count(LEAVE_ALT_SCREEN) == 1
        assert b"\x1b[?25h" in terminal.raw.split(LEAVE_ALT_SCREEN)[-1]
        assert termios.tcgetattr(terminal.fd)[3] == terminal.before[3]


def test_a_killed_dashboard_takes_its_guest_along() -> None:
    with running() as terminal:
        (child,) = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children").read_text().split()
        os.kill(terminal.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_live_run_can_be_paused_while_the_guest_goes_on() -> None:
    with running() as terminal:
        terminal.press("space")
        text = terminal.wait("‖ paused")
        shown = moment(text)
        terminal.read(0.5)
        assert moment(terminal.text) == shown
        terminal.press("end")
        terminal.wait(lambda text: moment(text) > shown)


def test_hostile_names_and_output_reach_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    names = (f"/tmp/{HOSTILE}", "[link=x]\x1b[2J")
    rows = storm(50, names)
    rows.append(row(Kind.SYS_ENTER, 10**6, text=HOSTILE))
    rows.append(row(Kind.CONTENTION_END, 10**6, text=f"lock{HOSTILE}", wait=5, holder=1000, address=3))
    write(path, rows, comm=HOSTILE, arch=HOSTILE, locking=HOSTILE)
    for columns in (200, 20):
        with Terminal("top", "--replay", path, columns=columns, rows=60) as terminal:
            terminal.wait("150 faults" if columns == 20 else "Faults by kind")
            at_end(terminal)
            terminal.press("tab", "tab", "enter", "escape", "tab", "enter", "escape", "s", "q")
            terminal.wait_end()
            for part in (b"\x1b[31mred", b"\x1b]0;", b"\x07", "\u202e".encode(), "\x9b".encode()):
                assert part not in terminal.raw.replace(POINTER, b""), part
    program = tmp_path / HOSTILE.replace("/", "")
    shutil.copy(guest("hello"), program)
    with Terminal("top", program, columns=200) as terminal:
        terminal.wait("guest ended")
        terminal.press("q")
        terminal.wait_end()
        for part in (b"\x1b[31mred", b"\x1b]0;", b"\x07", "\u202e".encode()):
            assert part not in terminal.raw.replace(POINTER, b""), part


def test_without_a_terminal_lines_are_printed(trace: Path) -> None:
    ran = mmscope("top", "--replay", trace)
    lines = ran.out.decode().splitlines()
    assert ran.status == 0 and ran.err == "" and len(lines) == 10
    assert f"{len(storm(ROUNDS))} events" in lines[-1]
    assert "9000 faults" in lines[-1] and "vma_lock 66.7%" in lines[-1] and "waits 3000 (12.0 ms)" in lines[-1]
    assert "\x1b" not in ran.out.decode()
    ran = mmscope("top", guest("faults"))
    text = ran.out.decode()
    assert ran.status == 0
    assert "| beyond the end of the file" in text
    assert re.search(r"vma_lock [\d.]+%", text.splitlines()[-1])
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--replay", "/nowhere/t"), "cannot be read"),
        (("--replay", "/dev/null"), "is empty"),
        (("--replay", "/etc/passwd"), "not a trace"),
        (("--replay", "/etc/passwd", "/bin/true"), "either --replay FILE or a program"),
        ((), "is missing"),
        (("/nowhere/program",), "No such file"),
        (("-o", "/dev/full", "/bin/true"), "must be a regular file"),
        (("-o", "/nowhere/t", "/bin/true"), "cannot be written"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_one_line(arguments: tuple[str, ...], reason: str) -> None:
    ran = mmscope("top", *arguments)
    assert (ran.status, ran.out) == (2, b"")
    assert ran.err.startswith("mmscope: ") and ran.err.count("\n") == 1 and reason in ran.err
    with Terminal("top", *arguments) as terminal:
        assert terminal.wait_end() == 2
        assert reason in terminal.text.replace("\n", "") and ALT_SCREEN not in terminal.raw


def test_a_trace_that_was_cut_off_is_shown_as_far_as_it_goes(trace: Path, tmp_path: Path) -> None:
    data = trace.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) * 2 // 3])
    ran = mmscope("top", "--replay", tmp_path / "cut")
    assert ran.status == 1 and "cut off" in ran.err and len(ran.out.splitlines()) == 10
    with Terminal("top", "--replay", tmp_path / "cut") as terminal:
        terminal.wait("cut off or damaged")
        terminal.press("q")
        assert terminal.wait_end() == 1
