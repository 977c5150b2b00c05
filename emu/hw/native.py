# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads the C extension, before Unicorn: its functions must stand in front of the engine's own of the same name."""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
from pathlib import Path


def _load() -> ctypes.CDLL | None:
    if os.environ.get("MMSCOPE_PURE", "") not in ("", "0"):
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_native{suffix}")
        if path.exists():
            try:
                return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                return None
    return None


library = _load()
"""The extension, or None: not built, or MMSCOPE_PURE=1."""
