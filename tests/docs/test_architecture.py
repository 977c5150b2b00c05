# SPDX-License-Identifier: GPL-2.0-or-later
"""ARCHITECTURE.md names every module, and none that is not there."""

from __future__ import annotations

import re

from tests.guests import ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text()
MODULES = [path for top in ("emu", "archs") for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py"]


def test_every_module_is_named() -> None:
    assert len(MODULES) > 100
    patterns = [name.replace("*", r"\w+") for name in re.findall(r"\b\w+\*\.py", TEXT)]
    missing = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if not re.search(rf"\b{path.stem}\b", TEXT) and not any(re.fullmatch(name, path.name) for name in patterns)
    ]
    assert not missing


def test_every_name_is_a_file() -> None:
    places = ("emu", "archs", "tests", "bench", "guestprogs", "traces", "docs")
    files = {path.name for place in places for path in (ROOT / place).rglob("*.*")}
    named = re.findall(r"(?<![\w/.*])(\w+\.py)\b", TEXT)
    assert [name for name in named if name not in files] == []
