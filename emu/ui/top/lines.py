# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of styled text, and tables, bars and sparklines made of them. A line is a list of (text, style name)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

Span = tuple[str, str]
Line = list[Span]
Cell = str | Span

# Names that the views use, as rich styles of the terminal's own sixteen colours.
STYLES = {
    "": "",
    "head": "reverse",
    "focus": "bold reverse",
    "title": "bold",
    "dim": "dim",
    "good": "green",
    "warm": "yellow",
    "hot": "red",
    "cool": "cyan",
    "key": "bold cyan",
    "select": "reverse",
    "note": "bold yellow",
}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SPARKS = "▁▂▃▄▅▆▇█"


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fit(line: Line, width: int, fill: str = "") -> Line:
    """The line cut or filled to exactly `width` cells; `fill`: the style of what is added."""
    out: Line = []
    left = width
    for text, style in line:
        size = cells(text)
        if size > left:
            text, size = set_cell_size(text, left), left
        if text:
            out.append((text, style))
        left -= size
    if left:
        out.append((" " * left, fill))
    return out


def end_of(text: str, width: int) -> str:
    """A path is known by its end: that of `text`, where it does not fit into `width` cells."""
    if cells(text) <= width:
        return text
    while text and cells(text) >= width:
        text = text[1:]
    return "…" + text


def bar(share: float, width: int) -> Span:
    """A horizontal bar of `share` (0 to 1) of `width` cells, coloured by its heat."""
    share = min(1.0, max(0.0, share))
    eighths = round(share * width * 8)
    if share and not eighths:
        eighths = 1
    text = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    style = "hot" if share >= 0.66 else "warm" if share >= 0.33 else "good"
    return text.ljust(width), style


def sparkline(values: Sequence[float], width: int) -> str:
    """`values` over time in `width` cells, scaled to the highest; a space where there was nothing at all."""
    if not values or width <= 0:
        return " " * max(0, width)
    count = len(values)
    merged = []
    for cell in range(width):
        first = cell * count // width
        last = max(first + 1, (cell + 1) * count // width)
        merged.append(sum(values[first:last]) / (last - first))
    highest = max(merged)
    if highest <= 0:
        return " " * width
    top = len(_SPARKS) - 1
    return "".join(" " if value <= 0 else _SPARKS[min(top, int(value / highest * top + 0.5))] for value in merged)


@dataclass(frozen=True)
class Column:
    """A column of a table: `width` cells, or 0 for what the others leave; `right`: adjusted to the right."""

    heading: str
    width: int = 0
    right: bool = False


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    width: int,
    height: int,
    *,
    selected: int = -1,
    focused: bool = False,
) -> list[Line]:
    """`height` lines: the headings and the rows. Columns that do not fit are left out from the
    right, but one of width 0 keeps at least 8 cells."""
    shown = list(range(len(columns)))
    fixed = [column.width for column in columns]

    def need(indices: list[int]) -> int:
        return sum((fixed[i] or 8) + 1 for i in indices) - 1

    flexible = [i for i in shown if not fixed[i]]
    while need(shown) > width and len(shown) > 1:
        shown.remove(next(i for i in reversed(shown) if i not in flexible or len(shown) == len(flexible)))
    spare = width - need(shown)
    parts = [i for i in shown if not fixed[i]]
    widths = {i: fixed[i] for i in shown}
    for at, i in enumerate(parts):
        widths[i] = 8 + spare // len(parts) + (1 if at < spare % len(parts) else 0)

    def line(row: Sequence[Cell], style: str) -> Line:
        out: Line = []
        for position, i in enumerate(shown):
            cell = row[i]
            text, own = (cell, "") if isinstance(cell, str) else cell
            size = cells(text)
            if columns[i].right and size <= widths[i]:
                text = " " * (widths[i] - size) + text
            elif size != widths[i]:
                text = set_cell_size(text, widths[i]) if size < widths[i] else set_cell_size(text, widths[i] - 1) + "…"
            out.append((text, style or own))
            if position < len(shown) - 1:
                out.append((" ", style))
        return fit(out, width, style)

    lines = [line([column.heading for column in columns], "focus" if focused else "head")]
    for index, row in enumerate(rows[: height - 1]):
        lines.append(line(row, "select" if focused and index == selected else ""))
    while len(lines) < height:
        lines.append([(" " * width, "")])
    return lines[:height]


def duration(ns: float) -> str:
    """A duration in at most 7 characters: 12 ns, 3.4 us, 120 ms, 5.0 s."""
    for unit, scale in (("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)):
        value = ns / scale
        if value < 999.5 or unit == "s":
            return f"{value:.0f} {unit}" if scale == 1 or value >= 99.95 else f"{value:.1f} {unit}"
    raise AssertionError


def count(value: float) -> str:
    """A number in at most 6 characters: 999, 12.3k, 4.56M."""
    if value < 9999.5:
        return f"{value:.0f}"
    for unit, scale in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if value < 999.5 * scale or unit == "T":
            value /= scale
            return f"{value:.0f}{unit}" if value >= 99.95 else f"{value:.1f}{unit}"
    raise AssertionError


def seconds(ns: float) -> str:
    """A moment of virtual time, in seconds."""
    return f"{ns / 1e9:.9f}" if ns < 1e9 else f"{ns / 1e9:.6f}"
