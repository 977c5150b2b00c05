# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of programs on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cli.program import find_program


def test_a_name_without_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, first, second = (tmp_path / name for name in ("here", "first", "second"))
    for directory in (here, first, second):
        directory.mkdir()
    for place, mode in ((first / "tool", 0o644), (second / "tool", 0o755), (second / "other", 0o755)):
        place.write_text("")
        place.chmod(mode)
    (first / "other").mkdir()
    (here / "mine").write_text("")
    (second / "mine").write_text("")
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f"{first}:{second}")
    assert find_program("tool") == str(second / "tool")
    assert find_program("other") == str(second / "other")
    assert find_program("mine") == "mine"
    assert find_program("nowhere") == "nowhere"
    assert find_program("./tool") == "./tool"
