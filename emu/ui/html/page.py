# SPDX-License-Identifier: GPL-2.0-or-later
"""The page: one HTML file with its style, its script and the trace inside, which asks nothing of any network.

A content security policy names the digests of that style and that script, so that the browser runs nothing else. Guest
text reaches the page through `printable` and JSON only, and its script makes text nodes of it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from emu import __version__
from emu.trace.escape import printable
from emu.trace.export.output import Output
from emu.trace.reader import Trace
from emu.ui.html import palette
from emu.ui.html.cells import encode
from emu.ui.html.collect import Array
from emu.ui.html.pack import Pack, script_json
from emu.ui.html.picture import Picture, make_picture
from emu.ui.html.units import count, memory, span

_SCRIPTS = ("10-data.js", "20-words.js", "30-view.js", "40-heat.js", "50-lanes.js", "60-time.js", "70-tables.js",
            "80-hands.js", "90-main.js")  # fmt: skip
_AXIS = 10**9  # places on the address axis are stored as integers below this


def write_html(trace: Trace, path: str, program: str | None = None) -> int:
    """Write the page of a trace to `path`: its size in bytes. `program`: see Images. ExportError when it
    cannot be written."""
    return write_text(path, lambda: page(make_picture(trace, program=program)))


def write_text(path: str, make: Callable[[], str]) -> int:
    """Write a whole file in UTF-8: its size. Whether that can be done is seen before the text is made; where it cannot,
    a file of that name stays as it was."""
    with Output(path) as output:
        output.open()
        content = make().encode()
        output.write(content)
    return len(content)


def page(picture: Picture) -> str:
    """The HTML of a picture."""
    templates = files("emu.ui.html") / "templates"
    style = (templates / "page.css").read_text("utf-8")
    parts = [(templates / name).read_text("utf-8") for name in _SCRIPTS]
    script = '"use strict";\n(async () => {\n' + "\n".join(parts) + "})();\n"
    pack = Pack()
    data = _data(picture, pack)
    data["directory"] = pack.directory
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    fields = {
        "policy": policy,
        "version": html.escape(__version__),
        "title": html.escape(_title(picture)),
        "headline": html.escape(picture.lead[0]),
        "style": style,
        "script": script,
        "data": script_json(data),
        "blob": pack.base64(),
    }
    template = (templates / "page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], template)  # one pass: no field is looked into


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _title(picture: Picture) -> str:
    program = printable(str(picture.events.metadata.get("program", "?")))
    return program.rsplit("/", 1)[-1] or program


def command(picture: Picture) -> str:
    """The command line that ran."""
    argv = picture.events.metadata.get("argv")
    words = argv if isinstance(argv, list) and argv else [picture.events.metadata.get("program", "?")]
    return printable(" ".join(str(word) for word in words))[:500]


def facts(picture: Picture) -> list[tuple[str, str]]:
    """What ran, on what: (name, value)."""
    meta = picture.events.metadata
    program = str(meta.get("program", "?"))
    told = program.endswith(command(picture).split(" ")[0].lstrip("./"))  # the command line tells it already
    memory_size = meta.get("memory")
    return [
        *([] if told else [("program", printable(program)[:300])]),
        ("architecture", printable(str(meta.get("arch", "?")))[:40]),
        ("locking", printable(str(meta.get("locking", "?")))[:40]),
        ("CPUs", printable(str(meta.get("cpus", len(picture.cpus) or 1)))[:40]),
        ("guest RAM", memory(memory_size >> 12) if isinstance(memory_size, int) else "?"),
        ("tasks", count(len(picture.tids))),
        ("events", count(picture.events.total)),
        ("virtual time", span(picture.events.last - picture.events.first)),
        ("seed", printable(str(meta.get("seed", "?")))[:40]),
    ]


def _data(picture: Picture, pack: Pack) -> dict[str, Any]:
    events, cells = picture.events, picture.cells
    first, last = events.first, events.last
    for name in ("time", "row", "combo", "count", "wait", "duration"):
        pack.add(f"cell.{name}", np.maximum(getattr(cells, name), 0), ascending=name == "time")
    for name, column in cells.combos.items():
        pack.add(f"combo.{name}", np.maximum(column, 0))
    for index, process in enumerate(picture.processes):
        axis = process.axis
        pack.add(f"axis{index}.start", axis.start, ascending=True)
        pack.add(f"axis{index}.pages", axis.pages)
        pack.add(f"axis{index}.low", np.round(axis.low * _AXIS), ascending=True)
        pack.add(f"axis{index}.high", np.round(axis.high * _AXIS), ascending=True)
    texts = _Texts(picture.texts)
    _bands(picture, pack, texts)
    tids = np.array(picture.tids, np.int64)

    def tasks(column: Array) -> Array:
        """Numbers of tasks from 1; 0 is none."""
        at = np.searchsorted(tids, column)
        return np.where(tids[np.minimum(at, len(tids) - 1)] == column, at + 1, 0) if len(tids) else np.zeros_like(at)

    waits = picture.waits
    for name in ("duration", "cpu", "vma", "write", "address"):
        pack.add(f"wait.{name}", waits[name])
    pack.add("wait.since", waits["since"], ascending=True)
    pack.add("wait.task", tasks(waits["tid"]) - 1)
    pack.add("wait.holder", tasks(waits["holder"]))
    for key, name in (("lock", "lock"), ("call", "call"), ("hcall", "holder_call")):
        pack.add(f"wait.{key}", texts.numbers(waits[name]))
    pack.add("wait.failed", waits["result"] < 0)
    pack.add("wait.open", waits["open"])
    holds, runs = picture.holds, picture.runs
    pack.add("hold.since", holds["since"], ascending=True)
    pack.add("hold.task", tasks(holds["tid"]) - 1)
    pack.add("hold.call", texts.numbers(holds["call"]))
    for name in ("duration", "write"):
        pack.add(f"hold.{name}", holds[name])
    pack.add("run.since", runs["since"], ascending=True)
    pack.add("run.task", tasks(runs["tid"]) - 1)
    for name in ("duration", "cpu"):
        pack.add(f"run.{name}", runs[name])
    return {
        "span": last - first,
        "command": command(picture),
        "lead": picture.lead[1:],
        "facts": facts(picture),
        "notes": picture.notes,
        "words": palette.words(),
        "colours": {"tasks": palette.TASKS, "light": palette.LIGHT_RAMP, "dark": palette.DARK_RAMP},
        "time_step": cells.time_step,
        "row_step": cells.row_step,
        "dropped": cells.dropped,
        "tids": picture.tids,
        "cpus": picture.cpus,
        "lanes": np.searchsorted(tids, picture.lanes).tolist(),
        "processes": [{"pid": process.pid, "faults": process.faults} for process in picture.processes],
        "symbols": picture.symbols,
        "texts": texts.used,
        "tables": [
            {"name": table.name, "title": table.title, "columns": table.columns, "rows": table.rows,
             "select": table.select, "more": table.more, "about": table.about}
            for table in picture.tables
        ],
    }  # fmt: skip


class _Texts:
    """The texts that the page needs, numbered anew; 0 stays the empty one."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._number = {0: 0}
        self.used = [""]

    def numbers(self, column: Array) -> Array:
        codes, values = encode(column)
        found = []
        for text in values.tolist():
            number = self._number.get(text)
            if number is None:
                number = self._number[text] = len(self.used)
                self.used.append(self._texts[text])
            found.append(number)
        return np.array(found, np.int64)[codes]


def _bands(picture: Picture, pack: Pack, texts: _Texts) -> None:
    first = picture.events.first
    rows = [
        (index, band.vma, band.start, band.end, max(0, band.since - first), max(0, band.until - first),
         band.flags & 0xFF, band.name)
        for index, process in enumerate(picture.processes)
        for band in process.bands
    ]  # fmt: skip
    table = np.array(rows, np.int64).reshape(-1, 8)
    for number, name in enumerate(("process", "vma", "start", "end", "since", "until", "flags")):
        pack.add(f"band.{name}", table[:, number])
    pack.add("band.name", texts.numbers(table[:, 7]))
