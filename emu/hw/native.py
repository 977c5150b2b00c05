# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads the C extension, before Unicorn: its functions must stand in front of the engine's own of the same name."""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
import sys
from pathlib import Path

ENGINE_SIZE = 4440  # bytes of struct engine: an extension that has another one was built from other sources


def _load() -> ctypes.CDLL | None:
    if os.environ.get("MMSCOPE_PURE", "") not in ("", "0"):
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if path.exists():
            try:
                size = ctypes.c_uint64.in_dll(
                    ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL), "mmscope_engine_size"
                ).value
                if size == ENGINE_SIZE:
                    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except (OSError, ValueError):  # it cannot be loaded, or has not even that
                pass
            sys.stderr.write(
                f"mmscope: {path.name} does not fit the sources: going on without it, slower; build it again\n"
            )
            return None
    return None


library = _load()
"""The extension, or None: not built, built from other sources, or MMSCOPE_PURE=1."""
