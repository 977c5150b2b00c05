# SPDX-License-Identifier: GPL-2.0-or-later
"""The C extension is used only where it was built from these sources."""

from __future__ import annotations

import ctypes

import pytest

from emu.hw import native
from emu.hw.engine import _EngineState


def test_the_size_is_the_layouts() -> None:
    assert ctypes.sizeof(_EngineState) == native.ENGINE_SIZE


def test_an_extension_of_other_sources_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MMSCOPE_PURE", raising=False)
    assert native._load() is not None
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(native, "ENGINE_SIZE", native.ENGINE_SIZE + 8)
    assert native._load() is None
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and "does not fit the sources" in told
