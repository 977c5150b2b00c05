# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads the C extensions: the hardware's, before Unicorn, for its functions must stand in front of the engine's own of
the same name, and the one that calls functions of the engine."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.machinery
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Bytes of structures in it, by name: an extension that has other ones was built from other sources.
SIZES = {"mmscope_engine_size": 4472, "mmscope_bank_size": 112}


def wants_pure() -> bool:
    """Does MMSCOPE_PURE say to do without extensions."""
    return os.environ.get("MMSCOPE_PURE", "") not in ("", "0")


def does_not_fit(name: str) -> None:
    """Tell that an extension was built from other sources."""
    sys.stderr.write(f"mmscope: {name} does not fit the sources: going on without it, slower; build it again\n")


def _load() -> ctypes.CDLL | None:
    if wants_pure():
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if path.exists():
            try:
                found = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
                if all(ctypes.c_uint64.in_dll(found, name).value == size for name, size in SIZES.items()):
                    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except (OSError, ValueError):  # it cannot be loaded, or has not even that
                pass
            does_not_fit(path.name)
            return None
    return None


library = _load()
"""The extension, or None: not built, built from other sources, or MMSCOPE_PURE=1."""


@functools.cache
def _function(address: int, words: int) -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int, *(ctypes.c_uint64 for _ in range(words)))(address)


def _call(function: int, *words: int) -> int:
    """The function at an address, which takes two to four words and gives an int (call in _call.c)."""
    return int(_function(function, len(words))(*words))


def _find_calls() -> Any:
    if wants_pure():
        return None
    try:
        module = importlib.import_module("emu.hw._call")
    except ImportError:  # it was not built
        return None
    if getattr(module, "ENGINE_SIZE", 0) == SIZES["mmscope_engine_size"]:
        return module
    does_not_fit("emu.hw._call")
    return None


_calls = _find_calls()
call: Callable[..., int] = _call if _calls is None else _calls.call
"""`_call`, by the extension where that is there."""
run: Callable[..., tuple[int, int, int | None, int, int]] | None = None if _calls is None else _calls.run
"""mmscope_run, and what Engine._told says of how it went (run in _call.c); None where the extension is not there."""
