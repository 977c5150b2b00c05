# SPDX-License-Identifier: GPL-2.0-or-later
"""Flame graphs: numbers, names that are only text, and what a browser does with them."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
import zlib
from collections import Counter
from pathlib import Path

import pytest

from emu.trace.stacks import Stacks
from emu.ui.flame import render_flame
from tests.guests import guest, mmscope

HOSTILE = "\x1b[31m]]></script><script>document.title='owned'</script><b onclick=\"x()\">&lt;'"
SVG = "{http://www.w3.org/2000/svg}"


def make(counts: dict[tuple[str, ...], int]) -> Stacks:
    return Stacks("faults", Counter(counts), used=sum(counts.values()))


def frames(svg: str) -> list[tuple[str, float, float, int, str]]:
    """(name, x, width, depth, tooltip) of every frame."""
    found = []
    for group in ET.fromstring(svg.encode()).iter(f"{SVG}g"):
        rect, title = group.find(f"{SVG}rect"), group.find(f"{SVG}title")
        assert rect is not None and title is not None
        found.append(
            (group.get("data-name", ""), float(rect.get("x", 0)), float(rect.get("width", 0)),
             int(group.get("data-depth", -1)), title.text or "")
        )  # fmt: skip
    return found


def test_widths_are_shares() -> None:
    svg = render_flame(make({("p", "main", "a"): 30, ("p", "main", "b"): 10, ("p", "main"): 20}), "title")
    found = {name: (x, width, depth) for name, x, width, depth, _ in frames(svg)}
    whole = found["all"][1]
    assert found["main"][1] == pytest.approx(whole) and found["a"][1] == pytest.approx(whole / 2, abs=0.01)
    assert found["b"][1] == pytest.approx(whole / 6, abs=0.01)
    assert found["b"][0] == pytest.approx(found["a"][0] + found["a"][1], abs=0.01)
    assert (found["all"][2], found["p"][2], found["main"][2], found["a"][2]) == (0, 1, 2, 3)
    assert "a (30 faults, 50.00 %)" in {tip for *_, tip in frames(svg)}


def test_names_are_only_text() -> None:
    svg = render_flame(make({(HOSTILE, HOSTILE + "2"): 5}), HOSTILE)
    assert svg.count("<script") == 1 and "\x1b" not in svg
    root = ET.fromstring(svg.encode())
    assert {child.tag.removeprefix(SVG) for child in root.iter()} == {"svg", "title", "style", "rect", "text", "g",
                                                                      "script"}  # fmt: skip
    assert not [name for child in root.iter() for name in child.attrib if name.startswith("on")]
    assert any(name.endswith("&lt;'2") and "<b onclick=" in name for name, *_ in frames(svg))


def test_narrow_frames_are_counted() -> None:
    svg = render_flame(make({("p", "wide"): 10**6, ("p", "narrow", "deep"): 1}), "t")
    assert "1 frames narrower than 0.1 px" in svg and "narrow<" not in svg


def test_nothing_weighs() -> None:
    assert "no event weighs" in render_flame(make({}), "t")


def test_the_command(tmp_path: Path) -> None:
    trace, out = tmp_path / "t", tmp_path / "f.svg"
    assert mmscope("record", "--call-graph", "fp", "-o", trace, guest("callers")).status == 0
    ran = mmscope("report", "--flame", out, trace)
    assert ran.status == 0 and "left out" in ran.err
    found = {(name, depth): tip for name, _, _, depth, tip in frames(out.read_text())}
    assert any(name == "leaf" and "10 faults" in tip for (name, _), tip in found.items())
    assert mmscope("report", "--flame", "/dev/full", trace).err.count("\n") == 1


_PROBE = """
<script>
function frame(name) {
  return Array.from(document.querySelectorAll("g.f")).find(function (g) {
    return g.getAttribute("data-name") === name;
  });
}
function width(name) { return +frame(name).querySelector("rect").getAttribute("width"); }
var steps = [];
frame("a").dispatchEvent(new MouseEvent("mouseover"));
steps.push(document.getElementById("detail").textContent);
frame("a").dispatchEvent(new MouseEvent("click"));
steps.push(width("a").toFixed(0), frame("b").classList.contains("gone"), frame("main").classList.contains("below"));
document.getElementById("reset").dispatchEvent(new MouseEvent("click"));
steps.push(width("a").toFixed(0), frame("b").classList.contains("gone"));
window.prompt = function () { return "^b$"; };
document.getElementById("search").dispatchEvent(new MouseEvent("click"));
steps.push(document.getElementById("found").textContent, frame("b").querySelector("rect").getAttribute("fill"));
window.prompt = function () { return "^(main|a)$"; };
document.getElementById("search").dispatchEvent(new MouseEvent("click"));
steps.push(document.getElementById("found").textContent);
window.prompt = function () { return "("; };
document.getElementById("search").dispatchEvent(new MouseEvent("click"));
steps.push(document.getElementById("found").textContent, document.title);
document.body.innerHTML = "<pre id=steps></pre>";
document.getElementById("steps").textContent = JSON.stringify(steps);
</script>
"""


def test_zoom_and_search_in_a_browser(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser")
    svg = render_flame(make({("p", "main", "a"): 30, ("p", "main", "b"): 30, (HOSTILE,): 60}), HOSTILE)
    # In the page as it stands in its file: an SVG element within HTML knows CDATA sections too.
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><title>mine</title><body>{svg.split('?>', 1)[1]}{_PROBE}")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    match = re.search(r'<pre id="steps">(.*?)</pre>', done.stdout, re.S)
    assert match is not None, done.stdout[-2000:]
    assert match[1] == (
        '["a (30 faults, 25.00 %)","1180",true,true,"295",false,"matched: 25.0 %","rgb(230,0,230)",'
        '"matched: 50.0 %","not a pattern","mine"]'
    )


def pixels(png: bytes) -> Counter[bytes]:
    """How many pixels of each colour (red, green, blue) a PNG of 8 bits without interlace has."""
    width, height, depth, kind = struct.unpack_from(">IIBB", png, 16)
    assert depth == 8 and kind in (2, 6)
    step = 3 if kind == 2 else 4
    data, at = b"", 8
    while at < len(png):
        size, chunk = struct.unpack_from(">I4s", png, at)
        data += png[at + 8 : at + 8 + size] if chunk == b"IDAT" else b""
        at += 12 + size
    raw = zlib.decompress(data)
    length = width * step
    above = bytes(length)
    found: Counter[bytes] = Counter()
    for y in range(height):
        line = bytearray(raw[y * (length + 1) + 1 : (y + 1) * (length + 1)])
        method = raw[y * (length + 1)]
        for i in range(length):
            left, corner = (line[i - step], above[i - step]) if i >= step else (0, 0)
            if method == 4:
                guess = left + above[i] - corner
                nearest = min((abs(guess - v), n, v) for n, v in enumerate((left, above[i], corner)))[2]
                line[i] = line[i] + nearest & 255
            elif method:
                line[i] = line[i] + (left, above[i], left + above[i] >> 1)[method - 1] & 255
        found.update(bytes(line[i : i + 3]) for i in range(0, length, step))
        above = bytes(line)
    return found


def test_it_is_drawn(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser")
    svg, picture = tmp_path / "f.svg", tmp_path / "f.png"
    text = render_flame(make({("p", "main", "a"): 30, ("p", "main", "b"): 10}), "t")
    svg.write_text(text)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,200",
               f"--screenshot={picture}", svg.as_uri()]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    seen = pixels(picture.read_bytes())
    for name, width in (("a", 885), ("b", 295)):
        match = re.search(rf'data-name="{name}".*?fill="rgb\((\d+),(\d+),(\d+)\)"', text)
        assert match is not None
        drawn = seen[bytes(map(int, match.groups()))]
        assert width * 16 * 0.8 < drawn <= width * 16, (name, drawn)
