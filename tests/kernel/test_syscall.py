# SPDX-License-Identifier: GPL-2.0-or-later
"""The system-call tables as a whole, and calls with arguments that make no sense."""

from __future__ import annotations

import importlib
import inspect

import pytest

from emu.kernel.syscall import MODULES
from tests.guests import TARGETS, guest, mmscope


@pytest.mark.parametrize("module", MODULES)
def test_every_call_takes_six_arguments(module: str) -> None:
    for name, function in importlib.import_module(module).SYSCALLS.items():
        try:
            inspect.signature(function).bind(*range(7))
        except TypeError as problem:
            pytest.fail(f"{name}: {problem}")


@pytest.mark.parametrize("target", TARGETS)
def test_any_call_with_any_arguments(target: str) -> None:
    """Whatever a guest asks for, it gets an answer, and the machine goes on."""
    ran = mmscope("run", "--cpus", "2", "--memory", "256M", guest("any_calls", target), "5", "1", timeout=300)
    assert (ran.status, ran.out) == (0, b"ended 1, killed 1, late 1\n"), ran.err[-2000:]
