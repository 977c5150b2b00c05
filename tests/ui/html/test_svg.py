# SPDX-License-Identifier: GPL-2.0-or-later
"""The static picture: well-formed, drawn, bounded in size, and guest text in it stays text."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from emu.trace.reader import Trace
from emu.tracepoint import Kind
from emu.ui.html import write_svg
from tests.ui.html.browser import browser
from tests.ui.html.synthetic import churn, event, write
from tests.ui.html.test_page import HOSTILE, hostile_rows

NAMES = {"s": "http://www.w3.org/2000/svg"}
ELEMENTS = {"svg", "title", "style", "rect", "path", "text"}


def drawn(tmp_path: Path, rows: list, **header: object) -> ElementTree.Element:  # type: ignore[type-arg]
    path = tmp_path / "picture.svg"
    size = write_svg(Trace(str(write(tmp_path / "trace", rows, **header))), str(path))
    assert size == path.stat().st_size
    return ElementTree.parse(path).getroot()


def texts(root: ElementTree.Element) -> list[str]:
    return [
        (element.text or "").replace("\u202f", "").replace("\u00a0", " ")
        for element in root.iterfind(".//s:text", NAMES)
    ]


def test_it_tells_what_the_trace_holds(tmp_path: Path) -> None:
    rows = churn(20_000)
    root = drawn(tmp_path, rows)
    words = texts(root)
    faults = sum(row[4] == Kind.PAGE_FAULT_USER for row in rows)
    assert words[0].startswith(f"{faults} page faults in")
    for word in ("CPU 0", "CPU 3", "task 100", "task 107", "[stack]"):
        assert word in words, word
    for word in ("anon ", "cow ", "write_locked ", "no_anon_vma "):
        assert any(text.startswith(word) for text in words), word
    assert len(root.findall(".//s:path", NAMES)) > 60


def test_arrows_lead_from_holder_to_waiter(tmp_path: Path) -> None:
    rows = [
        event(Kind.PAGE_FAULT_USER, 0, 100),
        event(Kind.CONTENTION_BEGIN, 10, 101, address=1, holder=100, text="mmap_lock"),
        event(Kind.CONTENTION_END, 60, 101, address=1, text="mmap_lock"),
        event(Kind.EXIT, 100, 100),
    ]
    root = drawn(tmp_path, rows)
    arrows = [path for path in root.iterfind(".//s:path", NAMES) if path.get("stroke")]
    assert len(arrows) == 1
    place = {text: float(element.get("y", "")) for element, text in zip(root.iterfind(".//s:text", NAMES), texts(root))}
    start = float((arrows[0].get("d") or "").split("C")[0].split()[1])
    end = float((arrows[0].get("d") or "").split()[-1])
    assert abs(start - place["task 100"]) < 8 and abs(end - place["task 101"]) < 14


def test_its_size_does_not_grow_with_the_trace(tmp_path: Path) -> None:
    drawn(tmp_path, churn(120_000))
    assert (tmp_path / "picture.svg").stat().st_size < 1 << 20


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path: Path, name: str) -> None:
    header = {"program": "/" + name, "argv": [name], "arch": name, "locking": name, "cpus": name}
    root = drawn(tmp_path, hostile_rows(name), **header)
    assert {element.tag.split("}")[1] for element in root.iter()} <= ELEMENTS
    for element in root.iter():
        assert not [key for key in element.attrib if key.startswith("on") or "href" in key]
        for text in (element.text or "", element.tail or ""):
            assert all(c.isprintable() or c in "\n\u202f\u00a0" for c in text)


def test_a_browser_draws_it(tmp_path: Path) -> None:
    drawn(tmp_path, churn(20_000))
    (tmp_path / "page.html").write_text('<html data-ready="1"><body style="margin:0"><img id="i" src="picture.svg">')
    with browser(tmp_path / "profile") as chromium:
        for scheme, light in (("light", True), ("dark", False)):
            chromium.scheme(scheme)
            chromium.open(tmp_path / "page.html")
            image = chromium.picture("#i")
            assert (sum(image.getpixel((2, 2))) > 600) == light
            counted = image.getcolors(1 << 24) or []
            assert sum(n for n, (r, g, b) in counted if (r, g, b) == (0x2F, 0x6B, 0xDB)) > 1000  # new zeroed pages
            assert sum(n for n, (r, g, b) in counted if (r, g, b) == (0xE0, 0x40, 0x1F)) > 1000  # waits
