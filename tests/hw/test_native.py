# SPDX-License-Identifier: GPL-2.0-or-later
"""The C extension is used only where it was built from these sources."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from emu.hw import native
from emu.hw.engine import Engine, _EngineState
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
    assert type(native.call).__name__ == type(native.run).__name__ == "builtin_function_or_method"


def test_calls_of_other_sources_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MMSCOPE_PURE", raising=False)
    assert native._find_calls() is not None
    monkeypatch.setattr(native, "SIZES", {"mmscope_engine_size": 8})
    assert native._find_calls() is None
    assert "does not fit the sources" in capfd.readouterr().err


@pytest.mark.parametrize("interposed", [0, 1])
def test_a_run_tells_what_the_engine_says(interposed: int) -> None:
    """That the access, 64 bits, and the order of what is told are those of Engine._told."""
    state = _EngineState(
        pc=(1 << 64) - 2, address=1 << 63, syndrome=7, access=2, interposed=interposed, retired=5, trap=-4
    )
    seen: list[tuple[int, ...]] = []

    def note(*words: int) -> int:
        seen.append(words)
        return 3

    function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint64] * 4)(note)
    address = ctypes.addressof(state)
    assert native.run is not None
    told = native.run(ctypes.cast(function, ctypes.c_void_p).value, address, 11, 12, 13)
    assert told == Engine._told(SimpleNamespace(_state=state), 3)  # type: ignore[arg-type]
    assert told == (3, (1 << 64) - 2, 1 << 63 if interposed else None, 7, 2)
    assert seen == [(address, 11, 12, 13)]
    with pytest.raises(TypeError):
        native.run(1, 2)
    with pytest.raises(OverflowError):
        native.run(1 << 64, address, 11, 12, 13)


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
