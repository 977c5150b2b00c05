# SPDX-License-Identifier: GPL-2.0-or-later
"""The C extension is used only where it was built from these sources."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from emu.hw import native
from emu.hw.engine import _EngineState
from emu.hw.registers import _Bank


def test_the_size_is_the_layouts() -> None:
    assert ctypes.sizeof(_EngineState) == native.SIZES["mmscope_engine_size"]
    assert ctypes.sizeof(_Bank) == native.SIZES["mmscope_bank_size"]


@pytest.mark.parametrize("other", [{name: size + 8} for name, size in native.SIZES.items()] + [{"mmscope_new_size": 8}])
def test_an_extension_of_other_sources_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], other: dict[str, int]
) -> None:
    """A structure has another size there, or is not known at all."""
    monkeypatch.delenv("MMSCOPE_PURE", raising=False)
    assert native._load() is not None
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(native, "SIZES", native.SIZES | other)
    assert native._load() is None
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and "does not fit the sources" in told


def test_functions_are_called_by_the_extension() -> None:
    assert type(native.call).__name__ == "builtin_function_or_method"


@pytest.mark.parametrize("call", [native.call, native._call])
def test_a_function_gets_all_its_words_and_gives_an_int(call: Callable[..., int]) -> None:
    seen: list[tuple[int, ...]] = []

    def note(*words: int) -> int:
        seen.append(words)
        return -5

    word, top = ctypes.c_uint64, (1 << 64) - 1
    two, four = ctypes.CFUNCTYPE(ctypes.c_int, word, word)(note), ctypes.CFUNCTYPE(ctypes.c_int, *[word] * 4)(note)
    assert call(ctypes.cast(two, ctypes.c_void_p).value, 1, top) == -5
    assert call(ctypes.cast(four, ctypes.c_void_p).value, top, 2, 3, 1 << 63) == -5
    assert seen == [(1, top), (top, 2, 3, 1 << 63)]
