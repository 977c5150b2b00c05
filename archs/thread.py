# SPDX-License-Identifier: GPL-2.0-or-later
"""What a thread keeps of its CPU: the state that every architecture's struct thread_struct holds, and how one thread
follows another."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from emu.hw.engine import Engine
from emu.hw.registers import Registers


class thread_struct:
    """Of one thread. `registers`, which are at `address`, and `pc` are up to date while the CPU runs another one; an
    architecture adds what its exceptions leave."""

    __slots__ = ("address", "pc", "registers")

    def __init__(self, registers: Registers) -> None:
        self.registers = registers
        self.address = registers.address
        self.pc = 0

    def assign(self, other: Self) -> None:
        """Take over all but the registers."""
        self.pc = other.pc


Thread = TypeVar("Thread", bound=thread_struct)


class ThreadCpu(Generic[Thread]):
    """A CPU whose registers are those of `thread`, as far as that is one of the running task's."""

    def __init__(self, engine: Engine, kind: type[Thread]) -> None:
        self.engine = engine
        self._kind = kind
        self._exchange = engine.registers.exchange
        self.thread = self.new_thread()

    def new_thread(self) -> Thread:
        """One that has run nothing. Its registers are nobody's yet."""
        return self._kind(self.engine.registers.new())

    def switch_to(self, thread: Thread) -> None:
        """Keep the registers of the thread that runs, and run another one (__switch_to)."""
        engine = self.engine
        before = self.thread
        self._exchange(before.address, thread.address)
        before.pc = engine.pc
        engine.pc = thread.pc
        self.thread = thread

    def save(self) -> Thread:
        """A thread that is as the running one (copy_thread)."""
        copy = self.new_thread()
        copy.assign(self.thread)
        self.keep(copy)
        return copy

    def keep(self, thread: Thread) -> None:
        """Put the registers into a thread; the running one goes on."""
        self.engine.registers.save(thread.registers)
        thread.pc = self.engine.pc

    def restore(self, thread: Thread) -> None:
        """Run a thread, whatever ran before."""
        self.engine.registers.load(thread.registers)
        self.engine.pc = thread.pc
        self.thread = thread
