# SPDX-License-Identifier: GPL-2.0-or-later
"""Plots of sweeps: every point is there, at its place."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from emu.scale import plot

SERIES = {"mmap_lock": [(1, 1e6), (2, 1.5e6), (8, 2e6)], "6.18": [(1, 1e6), (2, 2e6), (8, 8e6)]}


def test_terminal_has_a_mark_for_each_point_and_axes_that_fit() -> None:
    lines = plot.terminal(SERIES, width=70, height=16)
    body, axis, legend = lines[:16], lines[-2], lines[-1]
    columns = [axis.index(n) for n in ("1 ", "2 ", "8")]
    assert len(lines) == 16 + 3
    assert max(map(len, lines)) <= 80
    assert body[0][columns[2]] == "x", "the largest value stands at the top, over the largest number of CPUs"
    assert [row for row, line in enumerate(body) if line[columns[2] : columns[2] + 1] == "o"] == [round(15 * 0.75)]
    assert body[0].startswith("      8M")
    assert body[-1].startswith("       0")
    assert re.fullmatch(r" +o mmap_lock   x 6.18", legend)


def test_terminal_with_nothing_to_show() -> None:
    assert plot.terminal({}) == []
    assert plot.terminal({"6.18": [(4, 0.0)]}) == []
    assert plot.terminal({"6.18": [(4, 5.0)]})


def test_svg_is_well_formed_and_monotonic() -> None:
    text = plot.svg(SERIES | {"<odd> & name": [(1, 0.0)]}, "title <b>", "operations/s")
    root = ElementTree.fromstring(text)
    circles = root.findall("{*}circle")
    assert len(circles) == 7
    heights = [float(c.attrib["cy"]) for c in circles[3:6]]
    assert heights == sorted(heights, reverse=True)
    distances = [float(c.attrib["cx"]) for c in circles[:3]]
    assert distances[2] - distances[1] == pytest.approx(2 * (distances[1] - distances[0]), abs=0.3), "logarithmic"
    assert "<odd> & name" in [t.text for t in root.findall("{*}text")]


def test_png_is_written(tmp_path: Path) -> None:
    plot.png(tmp_path / "plot.png", SERIES, "title", "faults/s")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (999, "999"), (1234567, "1.23M"), (2e9, "2G"), (1500, "1.5k")])
def test_short_numbers(value: float, text: str) -> None:
    assert plot.short(value) == text
