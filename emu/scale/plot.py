# SPDX-License-Identifier: GPL-2.0-or-later
"""A plot of a rate over numbers of CPUs, a line for each locking scheme: for terminals, as SVG, as PNG.

In the terminal each number of CPUs that was run gets the same room; SVG and PNG place them by their logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

Series = Mapping[str, Sequence[tuple[int, float]]]  # name -> (cpus, value), by cpus
MARKS = "ox+*#@%&"
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#17becf")


def short(value: float) -> str:
    """1234567 -> 1.23M"""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def terminal(series: Series, width: int = 72, height: int = 16) -> list[str]:
    """Lines of text. Where two lines meet, the later one is drawn over the earlier one."""
    cpus = sorted({n for points in series.values() for n, _ in points})
    top = max((value for points in series.values() for _, value in points), default=0.0)
    if not cpus or top <= 0:
        return []
    room = max(20, width - 10)
    columns = {n: round(i * (room - 1) / max(1, len(cpus) - 1)) for i, n in enumerate(cpus)}
    grid = [[" "] * room for _ in range(height)]

    def row(value: float) -> int:
        return height - 1 - round(value / top * (height - 1))

    for points in series.values():
        for (a, low), (b, high) in pairwise(points):
            left, right = columns[a], columns[b]
            for x in range(left + 1, right):
                value = low + (high - low) * (x - left) / (right - left)
                if grid[row(value)][x] == " ":
                    grid[row(value)][x] = "·"
    for mark, points in zip(MARKS, series.values()):
        for n, value in points:
            grid[row(value)][columns[n]] = mark
    lines = []
    for number, cells in enumerate(grid):
        label = short(top * (height - 1 - number) / (height - 1)) if number % 5 == 0 or number == height - 1 else ""
        lines.append(f"{label:>8} │{''.join(cells).rstrip()}")
    axis, next_free = [" "] * (room + 8), 0
    for n in cpus:
        text = str(n)
        if columns[n] >= next_free:
            axis[columns[n] : columns[n] + len(text)] = text
            next_free = columns[n] + len(text) + 1
    lines.append(" " * 8 + " └" + "─" * room)
    lines.append(" " * 10 + "".join(axis).rstrip() + "  CPUs")
    lines.append(" " * 10 + "   ".join(f"{mark} {name}" for mark, name in zip(MARKS, series)))
    return lines


def svg(series: Series, title: str, unit: str) -> str:
    """An SVG document."""
    width, height, left, top, right, bottom = 760, 440, 84, 44, 150, 52
    cpus = sorted({n for points in series.values() for n, _ in points})
    most = max((value for points in series.values() for _, value in points), default=0.0) or 1.0
    step = 10 ** math.floor(math.log10(most))
    step = next(step * f for f in (0.1, 0.2, 0.5, 1, 2, 5) if most / (step * f) <= 6)
    span = math.log2(cpus[-1] / cpus[0]) if len(cpus) > 1 else 1.0

    def x(n: float) -> float:
        return left + math.log2(n / cpus[0]) / span * (width - left - right)

    def y(value: float) -> float:
        return height - bottom - value / (most * 1.05) * (height - top - bottom)

    def text(at_x: float, at_y: float, words: str, anchor: str = "middle", extra: str = "") -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12" fill="#333">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        text((left + width - right) / 2, 24, title, extra=' font-size="15"'),
        text(18, (top + height - bottom) / 2, unit, extra=f' transform="rotate(-90 18 {(top + height - bottom) / 2})"'),
        text((left + width - right) / 2, height - 12, "CPUs"),
    ]
    value = 0.0
    while value <= most * 1.05:
        parts.append(f'<path d="M{left} {y(value):.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(text(left - 8, y(value) + 4, short(value), "end"))
        value += step
    free = 0.0
    for n in cpus:
        parts.append(f'<path d="M{x(n):.1f} {height - bottom}v5" stroke="#333"/>')
        if x(n) >= free:
            parts.append(text(x(n), height - bottom + 18, str(n)))
            free = x(n) + 10 + 7 * len(str(n))
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join(f"{x(n):.1f} {y(v):.1f}" for n, v in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(n):.1f}" cy="{y(v):.1f}" r="3" fill="{colour}"/>' for n, v in points]
        at = top + 16 + 20 * number
        parts.append(f'<path d="M{width - right + 14} {at - 4}h20" stroke="{colour}" stroke-width="2"/>')
        parts.append(text(width - right + 40, at, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


def png(path: Path, series: Series, title: str, unit: str) -> None:
    """Write a PNG. ImportError where matplotlib is not installed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for (name, points), colour in zip(series.items(), COLOURS * 4):
        axes.plot([n for n, _ in points], [v for _, v in points], marker="o", label=name, color=colour)
    axes.set_xscale("log", base=2)
    cpus = sorted({n for points in series.values() for n, _ in points})
    axes.set_xticks(cpus, [str(n) for n in cpus])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("CPUs")
    axes.set_ylabel(unit)
    axes.set_title(title)
    axes.grid(True, alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png")
