# SPDX-License-Identifier: GPL-2.0-or-later
"""One static picture of a trace, for papers and READMEs: the heat map, the timelines and the fallback reasons as SVG.

It is drawn with shapes only, has its own background, is light, and turns dark where the viewer asks for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

import numpy as np

from emu.trace.reader import Trace
from emu.ui.html import palette
from emu.ui.html.collect import Array, Columns
from emu.ui.html.page import command, facts, write_text
from emu.ui.html.picture import Picture, Process, make_picture, share
from emu.ui.html.units import count, span

WIDTH = 1200
_LEFT, _RIGHT = 150, 24
_PLOT = WIDTH - _LEFT - _RIGHT
_MAP = 330  # height of the heat map
_GRAIN = 2  # a mark of the heat map is that wide and high at least
_MOST_LANES = 16
_MOST_ARROWS = 40
_REASONS = 70
_ABOUT = ("architecture", "locking", "CPUs", "guest RAM")

_STYLE = """
text{font:11px Inter,'Segoe UI','Helvetica Neue','Liberation Sans',Arial,sans-serif;fill:#56636f;fill:var(--soft)}
.t{font-size:21px;font-weight:700;letter-spacing:-.3px}
.h{font-size:12.5px;font-weight:650}
.t,.h{fill:#16202c;fill:var(--ink)}
.e{text-anchor:end}
.m{text-anchor:middle}
"""
# (light, dark). A program that knows no variables draws the light ones.
_FILLS = {
    "ground": ("#fff", "#12181f"),
    "ink": ("#16202c", "#e4ebf2"),
    "soft": ("#56636f", "#9aabbb"),
    "line": ("#d5dde5", "#283442"),
    "void": ("#f7f9fb", "#161e27"),
    "band": ("#e7edf3", "#1e2a37"),
    "file": ("#e2efe9", "#1b2e2c"),
    "exec": ("#ece6f4", "#27253a"),
    "run": ("#b4bfca", "#48576a"),
    "hold": ("#26323f", "#d5e0ea"),
    "read": ("#8d99a6", "#71818f"),
}


def write_svg(trace: Trace, path: str, program: str | None = None) -> int:
    """Write the picture of a trace to `path`: its size in bytes. `program`: see Images. ExportError when it
    cannot be written."""
    return write_text(path, lambda: svg(make_picture(trace, program=program)))


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


class _Canvas:
    """Collects shapes."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, style: str = "") -> None:
        name = f' class="{style}"' if style else ""
        self.parts.append(f'<text x="{_number(x)}" y="{_number(y)}"{name}>{escape(words)}</text>')

    def rectangles(self, shapes: Iterable[tuple[float, float, float, float]], style: str, extra: str = "") -> None:
        """One path of (x, y, width, height); `style` is the name of a colour, or a colour."""
        path = "".join(
            f"M{_number(x)} {_number(y)}h{_number(max(w, 0.3))}v{_number(max(h, 0.3))}h{_number(-max(w, 0.3))}z"
            for x, y, w, h in shapes
        )
        if path:
            self.parts.append(f'<path {self._fill(style)}{extra} d="{path}"/>')

    @staticmethod
    def _fill(style: str) -> str:
        return f'class="f-{style}"' if style in _FILLS else f'fill="{style}"'

    def legend(self, y: float, items: list[tuple[str, str, str]]) -> float:
        """Swatches with (colour, name, number), in lines: the y below them."""
        x = float(_LEFT)
        for colour, name, number in items:
            wide = 22 + 6.3 * (len(name) + len(number) + 1)
            if x + wide > WIDTH - _RIGHT:
                x, y = float(_LEFT), y + 16
            self.rectangles([(x, y - 8, 9, 9)], colour)
            self.text(x + 14, y, f"{name} {number}")
            x += wide
        return y + 16


def svg(picture: Picture) -> str:
    """The SVG of a picture."""
    canvas = _Canvas()
    length = max(1, picture.events.last - picture.events.first)
    canvas.text(_LEFT, 40, picture.lead[0], "t")
    y = 60.0
    for line in _wrapped(" ".join(picture.lead[1:]), 165):
        canvas.text(_LEFT, y, line)
        y += 15
    about = ", ".join(f"{name} {value}" for name, value in facts(picture) if name in _ABOUT)
    canvas.text(_LEFT, y, f"{_cut(command(picture), 90)} ({about})")
    y = _time_axis(canvas, y + 26, length)
    y = _heat_map(canvas, picture, y, length)
    y = _lanes(canvas, picture, y + 16, length)
    y = _reasons(canvas, picture, y + 16, length)
    for note in picture.notes:
        for line in _wrapped(note, 165):
            canvas.text(_LEFT, y, line)
            y += 14
    high = round(y + 14)
    light, dark = (";".join(f"--{name}:{pair[i]}" for name, pair in _FILLS.items()) for i in (0, 1))
    fills = "".join(f".f-{name}{{fill:{pair[0]};fill:var(--{name})}}" for name, pair in _FILLS.items())
    schemes = f"svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{high}" viewBox="0 0 {WIDTH} {high}" '
        f'role="img">'
        f"<title>{escape(command(picture))}: {escape(picture.lead[0])}</title>"
        f"<style>{schemes}{_STYLE}{fills}</style>"
        f'<rect class="f-ground" width="{WIDTH}" height="{high}"/>' + "\n".join(canvas.parts) + "</svg>\n"
    )


def _wrapped(text: str, room: int) -> list[str]:
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + len(word) + 1 > room:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [_cut(found, room) for found in (*lines, line) if found]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _time_axis(canvas: _Canvas, y: float, length: int) -> float:
    step = 10 ** (len(str(length)) - 1)
    while length / step < 5 and step > 1:
        step = step // 2 if str(step)[0] != "5" else step * 2 // 5
    step = max(1, step)
    for at in range(0, length + 1, step):
        x = _LEFT + at / length * _PLOT
        canvas.text(x, y, _tick(at) if at else "0", "m" if at else "")
        canvas.rectangles([(x, y + 4, 0.8, 5)], "line")
    return y + 12


def _tick(ns: int) -> str:
    """A round time without the zeros behind its point."""
    value, unit = span(ns).split("\u00a0")
    return f"{value.rstrip('0').rstrip('.') if '.' in value else value}\u00a0{unit}"


def _heat_map(canvas: _Canvas, picture: Picture, top: float, length: int) -> float:
    canvas.rectangles([(_LEFT, top, _PLOT, _MAP)], "void")
    if not picture.processes:
        return top + _MAP
    process, cells = picture.processes[0], picture.cells
    _bands(canvas, picture, process, top, length)
    ours = np.flatnonzero(cells.combos["process"][cells.combo] == 0)
    axis = process.axis
    served: list[tuple[str, str, str]] = []
    if len(ours) and len(axis.start):
        row = cells.row[ours]
        segment = np.searchsorted(axis.row, row, "right") - 1
        page = (axis.high[segment] - axis.low[segment]) / axis.pages[segment]
        low = axis.low[segment] + (row - axis.row[segment]) * page
        high = low + page * np.minimum(cells.row_step, axis.pages[segment])
        kind = cells.combos["served"][cells.combo[ours]].astype(np.int64)
        _marks(canvas, top, cells.time[ours] / length, low, high, kind, cells.count[ours])
        numbers = np.bincount(kind, cells.count[ours])
        words = palette.words()["served"]
        served = [(words[k][1], words[k][0], count(int(numbers[k]))) for k in np.argsort(-numbers) if numbers[k]]
    if len(picture.processes) > 1:
        canvas.text(_LEFT, top + _MAP + 14, f"process {process.pid}, which faulted most of {len(picture.processes)}")
        top += 16
    return canvas.legend(top + _MAP + 18, served)


def _marks(canvas: _Canvas, top: float, x: Array, low: Array, high: Array, kind: Array, number: Array) -> None:
    """One path a kind: a mark of the grid has the kind of most of its faults; neighbours in time are joined."""
    across, down = _PLOT // _GRAIN, _MAP // _GRAIN
    column = np.clip((x * across).astype(np.int64), 0, across - 1)
    line = np.clip(((1 - high) * down).astype(np.int64), 0, down - 1)
    tall = np.clip(np.ceil((high - low) * down).astype(np.int64), 1, 64)
    weight = np.zeros((int(kind.max(initial=0)) + 1, down, across), np.float64)
    for extra in range(int(tall.max(initial=1))):
        some = (tall > extra) & (line + extra < down)
        np.add.at(weight, (kind[some], line[some] + extra, column[some]), number[some])
    drawn = weight.sum(axis=0) > 0
    most = weight.argmax(axis=0)
    for value in np.unique(most[drawn]).tolist():
        mask = np.zeros((down, across + 2), np.int8)
        mask[:, 1:-1] = drawn & (most == value)
        edges = np.diff(mask, axis=1)
        lines, starts = np.nonzero(edges == 1)
        _, ends = np.nonzero(edges == -1)
        shapes = [
            (_LEFT + start * _GRAIN, top + at * _GRAIN, (end - start) * _GRAIN, float(_GRAIN))
            for at, start, end in zip(lines.tolist(), starts.tolist(), ends.tolist())
        ]
        canvas.rectangles(shapes, palette.words()["served"][value][1])


def _bands(canvas: _Canvas, picture: Picture, process: Process, top: float, length: int) -> None:
    first, axis = picture.events.first, process.axis
    shapes: dict[str, list[tuple[float, float, float, float]]] = {"band": [], "file": [], "exec": []}
    names: dict[tuple[float, float], tuple[float, str]] = {}
    if not process.bands:
        return
    lows = axis.place(np.array([band.start for band in process.bands], np.int64))
    highs = axis.place(np.array([band.end - 1 for band in process.bands], np.int64) + 1)
    ends = np.array([band.end for band in process.bands], np.int64)
    inside = np.searchsorted(axis.start, ends - 1, "right") - 1
    highs = np.minimum(
        highs, axis.high[inside]
    )  # the end of a band is the end of its segment, not the begin of the next
    for band, low, high in zip(process.bands, lows.tolist(), highs.tolist()):
        name = picture.texts[band.name]
        left = _LEFT + max(0, band.since - first) / length * _PLOT
        right = _LEFT + min(length, band.until - first) / length * _PLOT
        y, tall = top + (1 - high) * _MAP, (high - low) * _MAP
        style = "exec" if band.flags & 4 else "file" if name and not name.startswith("[") else "band"
        if right - left > 0.2 and tall > 0.2:
            shapes[style].append((left, y, right - left, max(0.6, tall - 0.8)))
        key = (round(y, 1), round(tall, 1))
        names[key] = (names.get(key, (0.0, ""))[0] + right - left, name or "anonymous")
    for style, found in shapes.items():
        canvas.rectangles(found, style)
    taken: list[float] = []
    for (y, tall), (_, name) in sorted(names.items(), key=lambda item: -item[0][1]):
        middle = min(max(y + tall / 2, top + 5), top + _MAP - 5)
        if tall > 4 and all(abs(middle - other) >= 12 for other in taken):
            taken.append(middle)
            short = name if name.startswith("[") else name.rsplit("/", 1)[-1]
            canvas.text(_LEFT - 8, middle + 4, _cut(short, 24), "e")


def _columns(since: Array, duration: Array, length: int) -> list[tuple[float, float]]:
    """(x, width) of intervals, those closer than half a pixel joined."""
    found: list[tuple[float, float]] = []
    for start, size in zip(since.tolist(), duration.tolist()):
        x, wide = _LEFT + start / length * _PLOT, size / length * _PLOT
        if found and x - (found[-1][0] + found[-1][1]) < 0.5:
            found[-1] = (found[-1][0], max(found[-1][1], x + wide - found[-1][0]))
        else:
            found.append((x, wide))
    return found


def _lane(
    columns: Columns, key: str, value: int, length: int, chosen: Array | None = None
) -> list[tuple[float, float]]:
    ours = columns[key] == value
    if chosen is not None:
        ours = ours & chosen
    return _columns(columns["since"][ours], columns["duration"][ours], length)


def _lanes(canvas: _Canvas, picture: Picture, y: float, length: int) -> float:
    waits, holds, runs = picture.waits, picture.holds, picture.runs
    cpus = picture.cpus[:_MOST_LANES]
    rest = f" (the first {_MOST_LANES} of {len(picture.cpus)})" if len(picture.cpus) > _MOST_LANES else ""
    canvas.text(_LEFT, y, f"CPUs{rest}: which task ran; below it, who began to wait there", "h")
    y += 8
    for cpu in cpus:
        canvas.text(_LEFT - 8, y + 10, f"CPU {cpu}", "e")
        for index, tid in enumerate(picture.tids):
            ours = runs["tid"] == tid
            shapes = [(x, y + 1, wide, 9.0) for x, wide in _lane(runs, "cpu", cpu, length, ours)]
            canvas.rectangles(shapes, palette.TASKS[index % len(palette.TASKS)])
        canvas.rectangles([(x, y + 11, wide, 2.5) for x, wide in _lane(waits, "cpu", cpu, length)], palette.WAIT)
        y += 17
    tasks = _chosen(picture)
    y += 18
    rest = (
        f" ({len(tasks)} of {len(picture.tids)}, those that waited and made wait most)"
        if len(tasks) < len(picture.tids)
        else ""
    )
    canvas.text(_LEFT, y, f"Tasks{rest}", "h")
    y += 8
    place = {}
    for tid in tasks:
        place[tid] = y
        canvas.text(_LEFT - 8, y + 10, f"task {tid}", "e")
        canvas.rectangles([(x, y + 1, wide, 9.0) for x, wide in _lane(runs, "tid", tid, length)], "run")
        canvas.rectangles([(x, y + 1, wide, 9.0) for x, wide in _lane(waits, "tid", tid, length)], palette.WAIT)
        for style, write in (("read", 0), ("hold", 1)):
            lanes = _lane(holds, "tid", tid, length, holds["write"] == write)
            canvas.rectangles([(x, y + 11, wide, 2.5) for x, wide in lanes], style)
        y += 17
    arrows = _arrows(canvas, waits, place, length)
    items = [
        ("run", "running", ""),
        (palette.WAIT, "waits for a lock", ""),
        ("hold", "holds mmap_lock to write", ""),
        ("read", "to read", ""),
    ]
    if arrows:
        items.append(
            (
                "ink",
                f"arrow: from the holder to who waited, the {arrows} longest of {count(len(waits['since']))} waits",
                "",
            )
        )
    return canvas.legend(y + 12, items)


def _chosen(picture: Picture) -> list[int]:
    """The tasks that get a line, ascending."""
    if len(picture.tids) <= _MOST_LANES:
        return picture.tids
    score = dict.fromkeys(picture.tids, 0)
    for key in ("tid", "holder"):
        tids, group = np.unique(picture.waits[key], return_inverse=True)
        for tid, total in zip(tids.tolist(), np.bincount(group, picture.waits["duration"]).tolist()):
            if tid in score:
                score[tid] += int(total)
    return sorted(sorted(picture.tids, key=lambda tid: (-score[tid], tid))[:_MOST_LANES])


def _arrows(canvas: _Canvas, waits: Columns, place: dict[int, float], length: int) -> int:
    drawn = 0
    for index in np.argsort(-waits["duration"], kind="stable").tolist():
        start, end = place.get(int(waits["holder"][index])), place.get(int(waits["tid"][index]))
        if start is None or end is None or start == end:
            continue
        x = _LEFT + min(length, int(waits["since"][index] + waits["duration"][index])) / length * _PLOT
        way = 1 if end > start else -1
        start, end = start + 5.5, end + (1 if way > 0 else 10)
        bend = min(14.0, 5 + abs(end - start) * 0.1)
        bend = -bend if x + bend > WIDTH - _RIGHT else bend
        n = _number
        canvas.parts.append(
            f'<path fill="none" stroke="#16202c" style="stroke:var(--ink)" stroke-width=".8" opacity=".7" '
            f'd="M{n(x)} {n(start)}C{n(x + bend)} {n(start + way * 4)} {n(x + bend)} {n(end - way * 8)} '
            f'{n(x)} {n(end - way * 3)}"/>'
            f'<path class="f-ink" opacity=".7" d="M{n(x)} {n(end)}l-1 {n(-way * 5)}l4.5 {n(way * 1.2)}z"/>'
        )
        drawn += 1
        if drawn == _MOST_ARROWS:
            break
    return drawn


def _reasons(canvas: _Canvas, picture: Picture, y: float, length: int) -> float:
    cells, words = picture.cells, palette.words()["reason"]
    reason = cells.combos["reason"][cells.combo].astype(np.int64)
    slow = np.flatnonzero(reason > 0)
    total = int(cells.count.sum())
    found = int(cells.count[slow].sum())
    canvas.text(_LEFT, y, f"Why not the fastest path: {share(found, total) if found else 'every fault took it'}" +
                (f" of {count(total)} faults" if found else ""), "h")  # fmt: skip
    if not found:
        return y + 20
    bars = _PLOT // 4
    bar = np.clip(cells.time[slow] * bars // length, 0, bars - 1)
    sums = np.zeros((len(words), bars))
    np.add.at(sums, (reason[slow], bar), cells.count[slow])
    top = sums.sum(axis=0).max()
    base = y + 14 + _REASONS
    canvas.rectangles([(_LEFT, base, _PLOT, 0.8)], "line")
    canvas.text(_LEFT - 8, y + 18, f"{count(int(top))} in {span(length / bars)}", "e")
    below = np.zeros(bars)
    for kind in range(1, len(words)):
        tall = sums[kind] / top * _REASONS
        shapes = [
            (_LEFT + at * 4, base - below[at] - tall[at], 3.4, float(tall[at])) for at in np.flatnonzero(tall).tolist()
        ]
        canvas.rectangles(shapes, words[kind][1])
        below += tall
    numbers = np.bincount(reason[slow], cells.count[slow], len(words))
    items = [(words[k][1], words[k][0], count(int(numbers[k]))) for k in np.argsort(-numbers) if numbers[k]]
    return canvas.legend(base + 18, items)
