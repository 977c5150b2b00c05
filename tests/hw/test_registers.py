# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers of threads that follow each other in an engine: all of the CPU is as it was."""

from __future__ import annotations

import ctypes
import gc
import importlib
import random
from typing import Any

import pytest

from emu.hw.engine import _own_words, _reservation_offset
from emu.hw.ram import Ram
from emu.hw.registers import CONTEXT_HEADER, NativeRegisterFile, RegisterFile
from emu.kernel.machine import ARCH_PACKAGES
from tests.guests import TARGETS


def arch_of(target: str) -> Any:
    packages = dict.fromkeys(ARCH_PACKAGES.values())
    return next(arch for package in packages for arch in importlib.import_module(package).ARCHES if arch.name == target)


def whole(engine: Any) -> bytes:
    """All that the engine saves, without what is its own or is forgotten when threads are switched."""
    context = engine.save_context()
    data = bytearray(ctypes.string_at(context.context, context.size))
    at = _reservation_offset(engine.model)
    if at is not None:
        data[at : at + 8] = bytes(8)
    for at in _own_words(engine.model):
        data[at : at + 8] = bytes(8)
    return bytes(data[CONTEXT_HEADER:])


def scribble(cpu: Any, noise: random.Random) -> None:
    """Change some registers, vectors among them."""
    cpu.general.write([noise.getrandbits(31) for _ in cpu.general.read()])
    cpu.set_tls(noise.getrandbits(31))
    if cpu.name == "aarch64":
        cpu.write_fp(noise.randbytes(512), 0, 0)
    elif cpu.name == "x86_64":
        if noise.random() < 0.5:
            cpu.floating.write(noise.randbytes(len(cpu.floating.read())))
    elif cpu.wide:
        cpu.write_vectors([noise.getrandbits(128) for _ in range(32)], [noise.getrandbits(64) for _ in range(32)])
    cpu.engine.pc = noise.getrandbits(31)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("target", TARGETS)
def test_threads_follow_each_other(target: str, native: bool) -> None:
    noise = random.Random(7)
    cpu = arch_of(target).make_cpu(Ram(1 << 22), native, False)
    engine = cpu.engine
    assert type(engine.registers) is (NativeRegisterFile if native else RegisterFile)
    if native:  # x86-64: not saved to somewhere else first
        assert (engine.registers._bank.context is None) == (target == "x86_64")
    first = cpu.save()
    threads = [cpu.new_thread() for _ in range(4)]
    for thread in threads:
        cpu.restore(first)
        cpu.thread = thread
        cpu.keep(thread)
    now = 3
    kept: dict[int, tuple[bytes, int]] = {}
    for _ in range(40):
        if noise.random() < 0.7:
            scribble(cpu, noise)
        kept[now] = whole(engine), engine.pc
        now = noise.choice([i for i in range(4) if i != now])
        cpu.switch_to(threads[now])
        assert cpu.thread is threads[now]
        if now in kept:
            assert (whole(engine), engine.pc) == kept[now]


@pytest.mark.parametrize("target", TARGETS)
def test_a_thread_goes_to_another_engine(target: str) -> None:
    """As it does after fork: nothing of what the engine there had is left."""
    noise = random.Random(8)
    ram = Ram(1 << 22)
    one, other = (arch_of(target).make_cpu(ram, True, False) for _ in range(2))
    for cpu in (one, other):
        scribble(cpu, noise)
    thread = one.save()
    other.keep(other.new_thread())
    other.restore(thread)
    assert (whole(other.engine), other.engine.pc) == (whole(one.engine), one.engine.pc)
    for cpu in (one, other):  # the host's C library aborts where something of an engine is freed twice
        cpu.engine.close()
    del cpu, one, other, thread
    gc.collect()


def test_a_thread_keeps_what_its_exceptions_left() -> None:
    cpu = arch_of("x86_64").make_cpu(Ram(1 << 22), True, False)
    cpu.thread.cr2, cpu.thread.error_code, cpu.thread.trap_nr = 5, 6, 14
    parent, child = cpu.thread, cpu.save()
    cpu.switch_to(child)
    assert (child.cr2, child.error_code, child.trap_nr) == (5, 6, 14)
    child.cr2 = 9
    cpu.switch_to(parent)
    assert cpu.thread.cr2 == 5
