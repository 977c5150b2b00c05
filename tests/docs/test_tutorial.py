# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of the tutorial print what it says: which thread, which call, which lock; its pictures are there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.guests import ROOT, guest


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", ROOT / "docs" / "tutorial.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorial"] = module
    spec.loader.exec_module(module)
    return module


def test_the_commands_print_the_facts(tmp_path: Path) -> None:
    guest("workers")
    tutorial = load()
    text = tutorial.TUTORIAL.read_text()
    written, missing = tutorial.run_all(text, tmp_path)
    assert not missing, "\n".join(missing)
    assert text.count("<!-- expect: ") >= 12 and written.count("\n$ mmscope ") == text.count("\n$ mmscope ")
    times = re.findall(r"^(\d+) us, the slowest", written.split("## 6")[1], re.M)
    took = dict(zip(("beside", "apart", "keep"), map(int, times)))
    assert took["apart"] < 0.85 * took["beside"] and took["keep"] < 0.85 * took["beside"], "the remedies are remedies"


def test_what_is_expected_and_missing_is_told(tmp_path: Path) -> None:
    tutorial = load()
    text = "```console\n$ echo at 7 ns '#3'\n$ echo --fault 1 --at 2ns\n```\n<!-- expect: #3 -->\n<!-- expect: #4 -->\n"
    written, missing = tutorial.run_all(text, tmp_path)
    assert len(missing) == 1 and missing[0].startswith("'#4' is not in")
    assert "\n--fault 3 --at 7ns\n" in written
    (tmp_path / "other").mkdir()
    with pytest.raises(RuntimeError, match="status 3"):
        tutorial.run_all("```console\n$ exit 3\n```\n", tmp_path / "other")


def test_pictures_are_there() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "tutorial.md"):
        for name in re.findall(r"\]\(((?:docs/)?[\w/.-]+)\)", page.read_text()):
            assert (page.parent / name).stat().st_size > 0, f"{page.name}: {name}"


def test_pictures_tell_no_place_of_the_machine_that_made_them() -> None:
    pictures = sorted((ROOT / "docs" / "img").glob("*.svg"))
    assert pictures
    for picture in pictures:
        assert not re.search(r"/[\w/]+/guestprogs", picture.read_text()), picture.name
