# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole picture for a terminal of any size: where the panes are, the line of the run, the line of the keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from emu.trace.escape import printable
from emu.tracepoint import Path
from emu.ui.top.lines import Line, Span, count, duration, fit, seconds
from emu.ui.top.model import LockKey, Model
from emu.ui.top.pages import help_page, lock_page, vma_page
from emu.ui.top.totals import Totals, totals
from emu.ui.top.views import DRAW, View, kind_name, output, share

LEAST_WIDTH, LEAST_HEIGHT = 60, 18  # below it: the plainer picture
WIDE = 120
_KEYS = (("space", "pause"), ("s", "step"), ("+-", "speed"), ("←→", "seek"), ("g", "go to"), ("tab", "pane"),
         ("o", "sort"), ("f", "filter"), ("enter", "open"), ("?", "help"), ("q", "quit"))  # fmt: skip
_ESSENTIAL = ("space", "s", "?", "q")


@dataclass
class Run:
    """What runs or ran, and how the picture moves."""

    title: str = ""
    state: str = ""
    state_style: str = "good"
    clock: float = 0.0  # virtual ns shown
    end: float = 0.0  # virtual ns of the end of the trace
    message: str = ""  # one line for the person, until the next key


@dataclass(frozen=True)
class Region:
    """Where a pane is."""

    pane: str
    x: int
    y: int
    width: int
    height: int


def layout(width: int, height: int, output: bool = True) -> list[Region]:
    """The panes of a screen of at least LEAST_WIDTH x LEAST_HEIGHT cells; two lines above and one below are left.
    `output`: with that of the guest."""
    top, room = 2, height - 3
    out = max(2, room // 7) if output else 0
    rest = room - out
    left = width * 42 // 80 if width < WIDE else width * 59 // 100
    right = width - left - 1
    regions = []
    if width < WIDE:
        upper = max(4, rest * 6 // 18)
        lock = max(3, rest * 4 // 18)
        tasks = max(2, rest * 3 // 18)
        vma = rest - upper - lock - tasks
        half = width // 2
        y = top + upper
        regions += [Region("locks", 0, y, width, lock), Region("vmas", 0, y + lock, width, vma)]
        y += lock + vma
        regions += [Region("cpus", 0, y, half, tasks), Region("threads", half + 1, y, width - half - 1, tasks)]
    else:
        upper = max(4, rest * 7 // 20)
        lock = max(3, rest * 5 // 20)
        lower = rest - upper - lock
        half = lower // 2
        y = top + upper
        regions += [Region("locks", 0, y, width, lock), Region("vmas", 0, y + lock, left, lower)]
        y += lock
        regions += [
            Region("cpus", left + 1, y, right, half),
            Region("threads", left + 1, y + half, right, lower - half),
        ]
    regions[:0] = [Region("faults", 0, top, left, upper), Region("paths", left + 1, top, right, upper)]
    if output:
        regions.append(Region("output", 0, height - 1 - out, width, out))
    return regions


def head(run: Run, model: Model, found: Totals, view: View, width: int) -> list[Line]:
    """Two lines: what runs, and where in time the picture is."""
    first: Line = [("mmscope top  ", "title"), (run.state, run.state_style)]
    if str(view.chosen):
        first += [("  only ", "note"), (str(view.chosen), "note")]
    first += [("  ", ""), (printable(run.title), "")]
    room = 12 if width < 100 else 30
    part = min(1.0, run.clock / run.end) if run.end else 1.0
    filled = int(part * room)
    second: Line = [
        (f"{seconds(run.clock)} s ", "title"),
        ("━" * filled, "cool"),
        ("─" * (room - filled), "dim"),
        (f" {100 * part:3.0f}%", "dim"),
        (f"  {count(model.events)} events", ""),
        (f"  {count(found.faults)} faults", ""),
        (f"  {count(found.recent(found.history))}/s", ""),
    ]
    return [fit(first, width), fit(second, width)]


def foot(run: Run, width: int) -> Line:
    """The message, or the keys that fit."""
    if run.message:
        return fit([(printable(run.message), "note")], width)
    keys = list(_KEYS)
    while sum(len(key) + len(what) + 3 for key, what in keys) > width + 2 and len(keys) > len(_ESSENTIAL):
        keys.remove(next(item for item in reversed(keys) if item[0] not in _ESSENTIAL))
    line: list[Span] = []
    for key, what in keys:
        line += [(key, "key"), (f" {what}  ", "")]
    return fit(line, width)


def plainer(run: Run, model: Model, found: Totals, width: int, height: int) -> list[Line]:
    """What a terminal that is too small for panes gets."""
    under = found.by_path.get(int(Path.VMA_LOCK), 0)
    waits = sum(lock.waits.count for lock in model.locks.values())
    waited = sum(lock.waits.total for lock in model.locks.values())
    lines: list[Line] = [
        [(run.state, run.state_style)],
        [(f"{seconds(run.clock)} s", "title")],
        [(f"{count(found.faults)} faults", "")],
        [(f"{count(found.recent(found.history))} faults/s", "")],
        [(f"{share(under, found.faults)} VMA lock", "")],
        [(f"{count(waits)} waits {duration(waited)}", "")],
    ]
    kinds = sorted(found.by_kind.items(), key=lambda item: -item[1])
    lines += [[(f"{count(number):>6} {kind_name(*key)}", "")] for key, number in kinds]
    if run.message:
        lines.insert(0, [(printable(run.message), "note")])
    lines = [fit(line, width) for line in lines[: max(0, height - 1)]]
    while len(lines) < height - 1:
        lines.append(fit([], width))
    if height:
        lines.append(fit([("q quit ? help", "key")], width))
    return lines


def draw(run: Run, model: Model, view: View, width: int, height: int) -> list[Line]:
    """Exactly `height` lines of `width` cells."""
    found = totals(model, view.chosen, max(run.clock, float(model.now)))
    if view.page is not None and view.page[0] == "help":
        return [*help_page(width, height - 1), foot(run, width)][:height]
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        return plainer(run, model, found, width, height)
    lines = head(run, model, found, view, width)
    body = height - 3
    if view.page is not None:
        what, which = view.page
        if what == "vma":
            lines += vma_page(model, cast(int, which), found.span, width, body)
        elif what == "lock":
            lines += lock_page(model, cast(LockKey, which), found.span, width, body)
        else:
            lines += output(model, found, view, width, body)
        return [*lines, foot(run, width)]
    rows: list[dict[int, Line]] = [{} for _ in range(height)]
    for region in layout(width, height, "output" in view.panes):
        for at, line in enumerate(DRAW[region.pane](model, found, view, region.width, region.height)):
            rows[region.y + at][region.x] = line
    for row in rows[2 : height - 1]:
        whole: Line = []
        for x in sorted(row):
            if x:
                whole.append((" ", ""))
            whole += row[x]
        lines.append(fit(whole, width))
    return [*lines, foot(run, width)]
