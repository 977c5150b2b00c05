# SPDX-License-Identifier: GPL-2.0-or-later
"""The dashboard on a terminal: textual gives the screen and the keys, emu.ui.top.picture what is on it."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import time
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Region as Area
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from emu.tracepoint import Path, Reason, Served
from emu.ui.top.guest import Guest
from emu.ui.top.lines import STYLES, Line, count, duration
from emu.ui.top.live import Live
from emu.ui.top.picture import LEAST_HEIGHT, LEAST_WIDTH, Run, draw, layout
from emu.ui.top.player import Player
from emu.ui.top.totals import Filter, totals
from emu.ui.top.views import PANES, SORTS, View, lock_rows, name_of, sorting, thread_rows, vma_rows

FRAME = 0.1  # seconds between two pictures, at least
SHARE = 0.04  # of the run's time that this process may take, to read events and to draw; with all around it 0.05
DRAW_SHARE = 0.02  # what of it is for drawing, and the rest for reading, where there are always more events to read
FIRST_COST = 0.012  # seconds of processor time that the first picture takes, about: a live run has to earn it first
SELDOM = 1.0  # seconds between two pictures, whatever reading takes: more only where a picture itself takes long
WORK = 0.05  # seconds of reading events in each frame of a live run, at most
SEEK_WORK = 0.3  # the same where no guest is held up: keys wait no longer than this
BEHIND = 1 << 16  # events that are still to be read, from which on the picture says so
_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|%)?\s*")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, None: 10**9}


def parse_moment(text: str, end: int) -> int | None:
    """Virtual ns of "1.5ms", "20us", "0.003" (seconds), "40%" of `end`; None when it is nothing of these."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    value = float(match[1])
    return int(end * value / 100) if match[2] == "%" else int(value * _UNITS[match[2]] + 0.5)


class _Driver(LinuxDriver):
    """Draws on standard output in UTF-8, whatever the locale."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        self._file = io.TextIOWrapper(io.FileIO(os.dup(1), "w"), encoding="utf-8", errors="replace", newline="")


class Canvas(Widget, can_focus=True):
    """The picture: lines that are sent to the terminal where they have changed."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "Canvas { width: 100%; height: 100%; background: ansi_default; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []
        self._styles: dict[str, Style] = {}

    def on_mount(self) -> None:
        colours = not self.app.no_color
        for name, text in STYLES.items():
            style = Style.parse(text) if text else Style()
            self._styles[name] = style if colours else style.without_color

    def show(self, lines: list[Line]) -> None:
        """Draw these lines."""
        old, self._lines = self._lines, lines
        if len(old) != len(lines):
            self.refresh()
            return
        width = self.size.width
        changed = [Area(0, y, width, 1) for y, line in enumerate(lines) if line != old[y]]
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width)
        styles = self._styles
        return Strip([Segment(text, styles[style]) for text, style in self._lines[y]]).adjust_cell_length(width)


class Dashboard(App[int]):
    """`guest`: what runs, or None for a replay."""

    ENABLE_COMMAND_PALETTE = False
    CSS = "Screen { background: ansi_default; overflow: hidden; }"
    _PROMPTS: ClassVar[dict[str, str]] = {
        "g": "go to (1.5ms, 20us, 40%)", "t": "only thread (empty: all)", "v": "only VMA number (empty: all)",
    }  # fmt: skip

    def __init__(self, player: Player, title: str, guest: Guest | None = None) -> None:
        super().__init__(driver_class=_Driver, ansi_color=True)
        self.player = player
        self.guest = guest
        self.run_title = title
        self.view = View(panes=PANES if guest is not None else PANES[:-1])
        self.message = ""
        self.prompt: tuple[str, str] | None = None  # key that asked, what was typed
        self.canvas = Canvas()
        self.frames = 0
        self.draw_seconds = 0.0  # processor time that went into drawing, and what comes with it
        self._frame_cost = 0.0  # of one picture, lately
        self._live = Live(guest, player) if guest is not None else None
        self._drawn: object = None
        self._drawn_size: Size | None = None
        self._drawn_at = self._ticked_at = self._begun = 0.0
        self._begun_cpu = self._used = 0.0
        self._drawing = False  # the processor time since the last look belongs to a picture
        self._due = True
        self._output_seen = -1
        self._leaving = False

    def compose(self) -> ComposeResult:
        yield self.canvas

    def on_mount(self) -> None:
        self.canvas.focus()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._terminated, number)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        """The empty screen is there: from now on time counts."""
        self._begun = self._ticked_at = time.monotonic()
        self._begun_cpu = self._used = time.process_time()
        if self.guest is not None and self.guest.poll() is None:
            self._due, self._frame_cost = False, FIRST_COST
            self._drawn_at, self._drawn_size = self._begun, self.canvas.size
        self.set_interval(FRAME, self._tick)
        self._tick()

    def _terminated(self, number: int) -> None:
        if self.guest is not None:
            self.guest.signal(number)
        self.exit(128 + number)

    def _interrupt(self) -> None:
        if self.guest is not None and self.guest.poll() is None:
            self.guest.signal(signal.SIGINT)
            self.message = "SIGINT was sent to the guest"
            self._due = True
        else:
            self.exit(130 if self.guest is None else self.guest.status)

    # The picture

    def _account(self) -> float:
        """Processor time of this process since the start; the part since the last call is put down to drawing where a
        picture was drawn."""
        now = time.process_time()
        if self._drawing:
            cost = now - self._used
            self.draw_seconds += cost
            self._frame_cost = (self._frame_cost + cost) / 2 if self._frame_cost else cost
            self._drawing = False
        self._used = now
        return now - self._begun_cpu

    def _tick(self) -> None:
        now = time.monotonic()
        elapsed, self._ticked_at = now - self._ticked_at, now
        if self._live is not None:
            self._live.update()
        running = self.guest is not None and self.guest.status is None
        left = SHARE * (now - self._begun) - self._account()  # may be less than nothing: it is paid back
        if not running or not self.player.live:
            self.player.tick(min(elapsed, 1.0), SEEK_WORK)
        else:
            wanted = self._frame_cost <= DRAW_SHARE * (now - self._drawn_at)
            budget = min(WORK, left - self._frame_cost if wanted else left)
            if budget > 0:
                self.player.tick(elapsed, budget)
        before, self._used = self._used, time.process_time()
        if running:
            seldom = max(SELDOM, self._frame_cost / DRAW_SHARE)  # pictures leave something to reading, too
            room = self._used - before + self._frame_cost <= left or now - self._drawn_at >= seldom
        else:
            room = self._frame_cost <= SHARE * (now - self._drawn_at) or not self.frames
        if self._due or room or self.canvas.size != self._drawn_size:
            self._show(now)

    def _state(self) -> tuple[str, str]:
        player = self.player
        if player.seeking:
            text, style = "» seeking", "warm"
        elif player.paused:
            text, style = "‖ paused", "note"
        elif player.live:
            text, style = "▶ live", "good"
            behind = player.source.total - player.model.events
            if behind > BEHIND:
                text, style = f"▶ live, {count(behind)} events behind", "warm"
        elif player.at_end and not player.source.growing:
            text, style = "■ end", "dim"
        else:
            text, style = f"▶ {duration(player.speed)} a second", "good"
        if self.guest is not None and self.guest.status is not None:
            if player.live and not player.paused:
                if not player.at_end:
                    return "» reading the rest", "warm"
                text, style = "■ end", "dim"
            text += f", guest ended: status {self.guest.status}"
        elif self.guest is not None and not player.live:
            text += ", guest runs on"
        return text, style

    def _show(self, now: float) -> None:
        size = self.canvas.size
        player = self.player
        key = (
            player.model, player.model.events, player.clock, self._state(), self.message, self.prompt, size,
            player.source.end_time(), self.guest.printed if self.guest is not None else 0,
        )  # fmt: skip
        if not self._due and key == self._drawn:
            return
        self._account()
        self._drawing = True
        self._drawn, self._drawn_size = key, size
        self._due = False
        self._drawn_at = now
        if self.guest is not None and self.guest.printed != self._output_seen:
            self._output_seen = self.guest.printed
            self.view.output = self.guest.lines()
        state, style = self._state()
        message = self.message
        if player.source.problem is not None:
            message = message or player.source.problem
        if self.prompt is not None:
            message = f"{self._PROMPTS[self.prompt[0]]}: {self.prompt[1]}_"
        end = max(float(player.source.end_time()), player.clock)
        run = Run(self.run_title, state, style, player.clock, end, message)
        self.canvas.show(draw(run, player.model, self.view, size.width, size.height))
        self.frames += 1

    def on_resize(self, event: events.Resize) -> None:
        self._due = True
        if self.guest is not None:  # `self.size` may still be that of before
            self.guest.resize(max(20, event.size.width), max(2, event.size.height // 7))

    # Keys

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self._due = True
        self.message = ""
        if event.key == "ctrl+c":
            self._interrupt()
        elif self.prompt is not None:
            self._type(event)
        else:
            action = self._ACTIONS.get(event.key) or self._ACTIONS.get(event.character or "")
            if action is not None:
                getattr(self, f"_key_{action[0]}")(*action[1:])
        now = time.monotonic()
        if now - self._drawn_at >= FRAME and not self._leaving:
            self._show(now)

    _ACTIONS: ClassVar[dict[str, tuple[Any, ...]]] = {
        "q": ("quit",), "?": ("help",), "space": ("pause",), "p": ("pause",), "s": ("step", True), "e": ("step", False),
        "+": ("speed", True), "=": ("speed", True), "-": ("speed", False), "left": ("seek", -0.01),
        "right": ("seek", 0.01), "pageup": ("seek", -0.1), "pagedown": ("seek", 0.1), "home": ("home",),
        "end": ("end",), "g": ("prompt", "g"), "t": ("prompt", "t"), "v": ("prompt", "v"), "tab": ("pane", 1),
        "shift+tab": ("pane", -1), "up": ("move", -1), "down": ("move", 1), "o": ("sort",), "enter": ("open",),
        "f": ("filter",), "escape": ("close",), "ctrl+z": ("suspend",), "ctrl+l": ("redraw",),
    }  # fmt: skip

    def _type(self, event: events.Key) -> None:
        assert self.prompt is not None
        asked, typed = self.prompt
        if event.key == "escape":
            self.prompt = None
        elif event.key == "backspace":
            self.prompt = asked, typed[:-1]
        elif event.key == "enter":
            self.prompt = None
            self._answer(asked, typed.strip())
        elif event.is_printable and event.character and len(typed) < 40:
            self.prompt = asked, typed + event.character

    def _answer(self, asked: str, typed: str) -> None:
        chosen = self.view.chosen
        if asked == "g":
            moment = parse_moment(typed, self.player.source.end_time())
            if moment is not None:
                self.player.seek(moment)
            elif typed:
                self.message = f"{typed!r} is no time such as 1.5ms, 20us, 0.003 or 40%"
            return
        if typed and not typed.isdecimal():
            self.message = f"{typed!r} is no number"
            return
        number = int(typed) if typed else None
        self.view.chosen = Filter(number, chosen.vma) if asked == "t" else Filter(chosen.tid, number)

    def _key_quit(self) -> None:
        self._leaving = True
        self.exit(0 if self.guest is None else self.guest.poll())

    def _key_help(self) -> None:
        self.view.page = None if self.view.page == ("help", None) else ("help", None)

    def _key_pause(self) -> None:
        self.player.pause()

    def _key_step(self, faults: bool) -> None:
        found = self.player.step(faults)
        last = self.player.model.last_fault
        if not faults:
            self.message = f"event {self.player.model.events}" if found else "no event behind this one"
        elif found and last is not None:
            _, tid, address, vma, served, path, reason = last
            self.message = f"fault at {address:#x}, thread {tid}, VMA {vma}: {name_of(Served, served)}, "
            self.message += f"{name_of(Path, path)}" + (f" ({name_of(Reason, reason)})" if reason else "")
        else:
            self.message = "no fault behind this one" if self.player.at_end else "no fault yet: once more to go on"

    def _key_speed(self, up: bool) -> None:
        self.player.faster(up)

    def _key_seek(self, part: float) -> None:
        end = max(self.player.source.end_time(), self.player.model.now)
        self.player.seek(int(self.player.target + part * end))

    def _key_home(self) -> None:
        self.player.seek(0)

    def _key_end(self) -> None:
        self.player.seek_end()

    def _key_prompt(self, key: str) -> None:
        self.prompt = key, ""

    def _key_pane(self, step: int) -> None:
        self.view.page = None
        panes = self.view.panes
        self.view.focus = panes[(panes.index(self.view.focus) + step) % len(panes)]

    def _key_move(self, step: int) -> None:
        if self.view.focus == "output":
            self.view.scroll = max(0, self.view.scroll - step)
        else:
            selected = self.view.selected
            selected[self.view.focus] = max(0, selected.get(self.view.focus, 0) + step)

    def _key_sort(self) -> None:
        pane = self.view.focus
        if pane in SORTS:
            self.view.sort[pane] = self.view.sort.get(pane, 0) + 1
            self.message = f"{pane} by {sorting(pane, self.view)}"
        else:
            self.message = f"{pane}: has one order only"

    def _chosen_row(self) -> tuple[str, Any] | None:
        """(what it is, its key) of the row that is selected."""
        pane, view = self.view.focus, self.view
        model = self.player.model
        rows: list[tuple[str, Any]] = []
        if pane == "locks":
            rows = [("lock", lock.key) for lock in lock_rows(model, view)]
        elif pane in ("vmas", "threads"):
            found = totals(model, view.chosen, max(self.player.clock, float(model.now)))
            if pane == "vmas":
                rows = [("vma", vma.id) for vma in vma_rows(model, found, view)]
            else:
                rows = [("thread", task.tid) for task in thread_rows(model, found, view)]
        at = view.selected.get(pane, 0)
        return rows[at] if at < len(rows) else None

    def _key_open(self) -> None:
        row = self._chosen_row()
        if self.view.page is not None:
            self.view.page = None
        elif self.view.focus == "output":
            self.view.page = "output", None
        elif row is not None and row[0] in ("vma", "lock"):
            self.view.page = row
        elif row is not None:
            self._key_filter()
        else:
            self.message = "Tab goes to the locks, VMAs, threads and the output, which can be opened"

    def _key_filter(self) -> None:
        row = self._chosen_row()
        chosen = self.view.chosen
        if row is not None and row[0] == "thread":
            self.view.chosen = Filter(None if chosen.tid == row[1] else row[1], chosen.vma)
        elif row is not None and row[0] == "vma":
            self.view.chosen = Filter(chosen.tid, None if chosen.vma == row[1] else row[1])
        else:
            self.message = "Tab goes to the threads and VMAs, which can be filtered by"

    def _key_close(self) -> None:
        if self.view.page is not None:
            self.view.page = None
        else:
            self.view.chosen = Filter()

    def _key_suspend(self) -> None:
        self.action_suspend_process()

    def _key_redraw(self) -> None:
        self.refresh(layout=True, repaint=True)

    # Mouse

    def on_click(self, event: events.Click) -> None:
        size = self.canvas.size
        if self.view.page is not None or size.width < LEAST_WIDTH or size.height < LEAST_HEIGHT:
            return
        for region in layout(size.width, size.height, "output" in self.view.panes):
            x, y = event.screen_x - region.x, event.screen_y - region.y
            if 0 <= x < region.width and 0 <= y < region.height:
                self.view.focus = region.pane
                if y:
                    first = max(0, self.view.selected.get(region.pane, 0) - max(1, region.height - 1) + 1)
                    self.view.selected[region.pane] = first + y - 1
                    if event.chain > 1:
                        self._key_open()
                self._due = True
