# SPDX-License-Identifier: GPL-2.0-or-later
"""A flame graph: call stacks added up, drawn as one SVG that needs nothing else.

The width of a frame is its share of the whole, the callers are below. A click on a frame zooms in, one on the frames
below zooms out again; Ctrl-F or the word on the upper right asks for a pattern, whose frames are marked and added up.
Without scripts it is a still picture whose frames tell their numbers in tooltips.

Names reach the file as escaped text of elements only; the script holds none of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from emu.trace.escape import printable
from emu.trace.stacks import UNITS, Stacks

WIDTH = 1200
_PAD, _TOP, _BOTTOM, _ROW = 10, 44, 34, 17
_NARROWEST = 0.1  # px; what is narrower is not drawn, but counted
_CHAR = 7.3  # px of one character


@dataclass
class _Node:
    name: str
    weight: int = 0
    children: dict[str, _Node] = field(default_factory=dict)


@dataclass(frozen=True)
class _Box:
    name: str
    x: float
    width: float
    depth: int
    weight: int


def _tree(stacks: Stacks) -> _Node:
    root = _Node("all")
    for frames, weight in sorted(stacks.counts.items()):
        node = root
        node.weight += weight
        for name in frames:
            node = node.children.setdefault(name, _Node(name))
            node.weight += weight
    return root


def _boxes(root: _Node, hidden: list[int]) -> Iterator[_Box]:
    """The frames, callers before callees; `hidden` counts those that are too narrow."""
    scale = (WIDTH - 2 * _PAD) / root.weight
    todo = [(root, float(_PAD), 0)]
    while todo:
        node, x, depth = todo.pop()
        width = node.weight * scale
        if width < _NARROWEST:
            hidden[0] += 1
            continue
        yield _Box(node.name, x, width, depth, node.weight)
        for child in sorted(node.children.values(), key=lambda child: child.name):
            todo.append((child, x, depth + 1))
            x += child.weight * scale


def _colour(name: str) -> str:
    """Always the same one for a name: warm for the program, blue for the kernel."""
    seed = zlib.crc32(name.encode("utf-8", "backslashreplace"))
    a, b = seed & 0xFF, seed >> 8 & 0xFF
    if name.endswith("_[k]"):
        return f"rgb({110 + a % 40},{160 + b % 45},{215 + (a + b) % 35})"
    return f"rgb({215 + a % 40},{80 + b * 130 // 255},{30 + (a ^ b) % 40})"


def _fitted(name: str, width: float) -> str:
    """As much of a name as fits, "" when that is not worth it."""
    room = int((width - 6) / _CHAR)
    return name if len(name) <= room else name[: room - 2] + ".." if room >= 4 else ""


_STYLE = """
text { font: 12px monospace; fill: #111; pointer-events: none; }
.title { font-size: 16px; } .button { pointer-events: all; cursor: pointer; opacity: .6; } .button:hover { opacity: 1; }
.f { cursor: pointer; }
.f:hover rect { stroke: #000; stroke-width: 1; } .below { opacity: .5; } .gone { display: none; }
"""

_SCRIPT = """
"use strict";
(function () {
  var root = document.documentElement, frames = [], first = null, matched = null, pattern = null;
  var detail = document.getElementById("detail"), found = document.getElementById("found");
  var reset = document.getElementById("reset"), pad = %(pad)d, room = %(room)d, char = %(char)s;
  document.querySelectorAll("g.f").forEach(function (g) {
    var f = {
      g: g, rect: g.querySelector("rect"), text: g.querySelector("text"), name: g.getAttribute("data-name"),
      info: g.querySelector("title").textContent, depth: +g.getAttribute("data-depth"),
    };
    f.x0 = f.x = +f.rect.getAttribute("x");
    f.w0 = f.w = +f.rect.getAttribute("width");
    f.colour = f.rect.getAttribute("fill");
    if (f.depth === 0) first = f;
    frames.push(f);
    g.addEventListener("mouseover", function () { detail.textContent = f.info; });
    g.addEventListener("mouseout", function () { detail.textContent = ""; });
    g.addEventListener("click", function () { zoom(f); });
  });
  function fit(f) {
    var n = Math.floor((f.w - 6) / char);
    f.text.textContent = f.name.length <= n ? f.name : n >= 4 ? f.name.slice(0, n - 2) + ".." : "";
    f.text.setAttribute("x", f.x + 3);
  }
  function zoom(to) {
    var scale = room / to.w0;
    frames.forEach(function (f) {
      var around = f.depth < to.depth && f.x0 <= to.x0 + 1e-3 && f.x0 + f.w0 >= to.x0 + to.w0 - 1e-3;
      var inside = f.depth >= to.depth && f.x0 >= to.x0 - 1e-3 && f.x0 + f.w0 <= to.x0 + to.w0 + 1e-3;
      f.g.classList.toggle("gone", !around && !inside);
      f.g.classList.toggle("below", around);
      f.x = around ? pad : pad + (f.x0 - to.x0) * scale;
      f.w = around ? room : f.w0 * scale;
      f.rect.setAttribute("x", f.x);
      f.rect.setAttribute("width", f.w);
      fit(f);
    });
    reset.classList.toggle("gone", to === first);
    root.setAttribute("data-zoom", to.name);
  }
  function search(text) {
    try { pattern = text ? new RegExp(text) : null; } catch (error) { found.textContent = "not a pattern"; return; }
    var spans = [];
    frames.forEach(function (f) {
      var hit = pattern !== null && pattern.test(f.name);
      f.rect.setAttribute("fill", hit ? "rgb(230,0,230)" : f.colour);
      if (hit) spans.push([f.x0, f.x0 + f.w0]);
    });
    spans.sort(function (a, b) { return a[0] - b[0] || b[1] - a[1]; });
    var covered = 0, end = -1;
    spans.forEach(function (s) {
      if (s[1] > end + 1e-6) { covered += s[1] - Math.max(s[0], end); end = s[1]; }
    });
    matched = first === null ? 0 : 100 * covered / first.w0;
    found.textContent = pattern === null ? "" : "matched: " + matched.toFixed(1) + " %%";
  }
  function ask() {
    var text = window.prompt("Search for frames (a regular expression, empty to end):", pattern ? pattern.source : "");
    if (text !== null) search(text);
  }
  document.getElementById("search").addEventListener("click", ask);
  reset.addEventListener("click", function () { zoom(first); });
  window.addEventListener("keydown", function (event) {
    if ((event.ctrlKey && event.key === "f") || event.key === "F3") { event.preventDefault(); ask(); }
    if (event.key === "Escape") { search(""); if (first) zoom(first); }
  });
})();
"""


def render_flame(stacks: Stacks, title: str) -> str:
    """The SVG document. `title` may hold anything."""
    root = _tree(stacks)
    hidden = [0]
    boxes = list(_boxes(root, hidden)) if root.weight else []
    rows = max((box.depth for box in boxes), default=1) + 1
    height = _TOP + rows * _ROW + _BOTTOM
    unit = UNITS[stacks.weight]
    parts = [
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n',
        f'<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}">\n',
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n",
        f'<rect width="{WIDTH}" height="{height}" fill="#fdf8e8"/>\n',
        f'<text class="title" x="{WIDTH / 2:g}" y="20" text-anchor="middle">{_text(title)}</text>\n',
        f'<text id="reset" class="button gone" x="{_PAD}" y="20">zoom out</text>\n',
        f'<text id="search" class="button" x="{WIDTH - _PAD}" y="20" text-anchor="end">search</text>\n',
        f'<text id="found" x="{WIDTH - _PAD}" y="{height - 12}" text-anchor="end"></text>\n',
        f'<text id="detail" x="{_PAD}" y="{height - 12}"></text>\n',
    ]
    if not boxes:
        parts.append(f'<text x="{WIDTH / 2:g}" y="{_TOP + 20}" text-anchor="middle">no event weighs: 0 {unit}</text>\n')
    for box in boxes:
        y = _TOP + (rows - 1 - box.depth) * _ROW
        share = 100 * box.weight / root.weight
        parts.append(
            f'<g class="f" data-name={_attribute(box.name)} data-depth="{box.depth}">'
            f"<title>{_text(box.name)} ({box.weight:,} {unit}, {share:.2f} %)</title>"
            f'<rect x="{box.x:.3f}" y="{y}" width="{box.width:.3f}" height="{_ROW - 1}" rx="1" '
            f'fill="{_colour(box.name)}"/>'
            f'<text x="{box.x + 3:.3f}" y="{y + 12}">{_text(_fitted(box.name, box.width))}</text></g>\n'
        )
    if hidden[0]:
        parts.append(f'<text x="{_PAD}" y="38">{hidden[0]} frames narrower than {_NARROWEST} px are not drawn</text>\n')
    script = _SCRIPT % {"pad": _PAD, "room": WIDTH - 2 * _PAD, "char": _CHAR}
    parts.append(f"<script><![CDATA[{script}]]></script>\n</svg>\n")
    return "".join(parts)


def _text(text: str) -> str:
    return escape(text if text.isprintable() else printable(text))


def _attribute(text: str) -> str:
    return '"' + _text(text).replace('"', "&quot;") + '"'
