# SPDX-License-Identifier: GPL-2.0-or-later
"""Signal frames of every architecture: what was saved comes back, and a bad stack is told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from archs.base import SEGV_MAPERR, SIGSEGV, SigAction, SigFrameContext, SigInfo
from emu.kernel.machine import Machine
from emu.kernel.task import Task
from tests.guests import TARGETS, guest

SA_SIGINFO, SA_RESTORER = 4, 0x04000000
HANDLER = 0x1000_0000
MASK = 0x8000_0000_0001_0402
NO_STACK = (0, 0, 2)


@pytest.fixture(params=TARGETS)
def task(request: pytest.FixtureRequest) -> Iterator[Task]:
    """A task at the entry of its program, with values of its own in its registers."""
    program = str(guest("hello", request.param))
    yield Machine(memory=32 << 20).spawn(program, [program], [])


def frame(task: Task, altstack: tuple[int, int, int] = NO_STACK, on_altstack: bool = False) -> SigFrameContext:
    info = SigInfo(SIGSEGV, SEGV_MAPERR, addr=0xDEAD_BEE8)
    action = SigAction(HANDLER, SA_SIGINFO | SA_RESTORER, task.cpu.pc)
    return SigFrameContext(info, action, MASK, altstack, on_altstack)


def registers(task: Task) -> list[int]:
    return [int(value) for value in task.cpu.general.read()]  # type: ignore[attr-defined]


def scramble(task: Task, seed: int) -> None:
    """Other values everywhere but in the stack pointer, the program counter and what holds flags."""
    cpu = task.cpu
    chance = random.Random(seed)
    sp, pc = cpu.sp, cpu.pc
    words = [chance.getrandbits(8 * task.word - 1) for _ in registers(task)]
    keep = {"x86_64": 1, "aarch64": 1}.get(task.arch.name, 2)  # eflags; pstate; xer and cr
    before = registers(task)
    words[-keep:] = before[-keep:]
    cpu.general.write(words)  # type: ignore[attr-defined]
    cpu.sp, cpu.pc = sp, pc


def test_there_and_back(task: Task) -> None:
    arch, cpu = task.arch, task.cpu
    scramble(task, 1)
    before = registers(task)
    assert arch.setup_rt_frame(cpu, task.access, frame(task))
    assert cpu.sp < before_sp(task, before)
    inside = registers(task)
    assert inside != before
    if arch.name.startswith("powerpc64") or arch.name == "powerpc":
        enter_as_the_trampoline_leaves(task)
    elif arch.name == "x86_64":
        cpu.sp += 8  # the handler's return took the restorer's address
    sp = cpu.sp
    scramble(task, 2)
    cpu.sp = sp
    result = arch.rt_sigreturn(cpu, task.access)
    assert result is not None
    assert result[0] == MASK
    assert result[1][:2] == NO_STACK[:2]
    assert registers(task) == before


def before_sp(task: Task, registers_before: list[int]) -> int:
    return max(value for value in registers_before if value <= task.arch.elf.stack_top)


def enter_as_the_trampoline_leaves(task: Task) -> None:
    """The 64-bit trampoline pops its caller's frame before sigreturn; the 32-bit one does not."""
    if task.word == 8:
        task.cpu.sp += 128


def test_on_the_alternate_stack(task: Task) -> None:
    stack = task.cpu.sp - 0x8000 & ~0xFFF
    # Room that the stack can grow into.
    alternate = (stack, 0x4000, 0)
    assert task.arch.setup_rt_frame(task.cpu, task.access, frame(task, alternate, True))
    assert stack < task.cpu.sp < stack + 0x4000


@pytest.mark.parametrize("sp", [0x1000, 0x10])
def test_a_stack_that_cannot_be_written(task: Task, sp: int) -> None:
    task.cpu.sp = sp
    assert not task.arch.setup_rt_frame(task.cpu, task.access, frame(task))
    assert task.arch.rt_sigreturn(task.cpu, task.access) is None


def test_a_wild_frame_never_raises(task: Task) -> None:
    """Random bytes where the frame should be: refused or taken, and user mode either way."""
    cpu, arch = task.cpu, task.arch
    sp = cpu.sp - 0x4000 & ~0xFF
    chance = random.Random(3)
    for _ in range(50):
        assert task.access.copy_to_user(sp, chance.randbytes(0x2000))
        cpu.sp = sp
        arch.rt_sigreturn(cpu, task.access)
        assert registers(task)


def test_programs_that_mend_and_go_on(tmp_path: Path) -> None:
    """Every target's `segv` catches SIGSEGV, reads the context, mends the mapping and returns."""
    from tests.guests import mmscope

    outputs = {target: mmscope("run", guest("segv", target)).out for target in TARGETS}
    assert len(set(outputs.values())) == 1
