# SPDX-License-Identifier: GPL-2.0-or-later
"""What x86-64 guest code finds in the CPU: CPUID, virtual time, the exceptions that are signals."""

from __future__ import annotations

import struct

import pytest

from archs.base import SIGFPE, SIGILL, SIGSEGV, SIGTRAP, SigAction, SigFrameContext, SigInfo, TrapKind
from archs.x86.cpu_models import MODELS, CpuModel
from emu.kernel.elf import ExecError
from emu.kernel.machine import Machine
from emu.kernel.task import Task
from emu.mm.mmap import vm_mmap_pgoff
from tests.guests import guest

SYSCALL = b"\x0f\x05"
CODE = 0x5000_0000


def run(code: bytes, cpu_model: str | None = None) -> tuple[Task, TrapKind]:
    """Run code until it traps; page faults are served."""
    program = str(guest("hello"))
    task = Machine(memory=16 << 20, cpu=cpu_model).spawn(program, [program], [])
    assert vm_mmap_pgoff(task.mm, None, CODE, 0x2000, 7, 0x32, 0) == CODE
    assert task.access.copy_to_user(CODE, code)
    cpu = task.cpu
    cpu.pc = CODE
    task.machine.sched.enter_guest(cpu.engine.counts)
    kind = cpu.run(1 << 20)
    while kind == TrapKind.FAULT and task.entry.user_fault(cpu.engine.fault_address, cpu.engine.fault_syndrome, cpu.pc):
        kind = cpu.run(1 << 20)
    return task, kind


def cpuid(leaf: int, subleaf: int, model: str | None = None) -> tuple[int, ...]:
    """EAX, EBX, ECX, EDX as the guest stores them."""
    store = b"".join(b"\x89" + bytes([modrm, at]) for modrm, at in ((0x46, 0), (0x5E, 4), (0x4E, 8), (0x56, 12)))
    code = b"\xb8" + struct.pack("<I", leaf) + b"\xb9" + struct.pack("<I", subleaf) + b"\x0f\xa2"
    code += b"\xbe" + struct.pack("<I", CODE + 0x1000) + store + SYSCALL
    task, kind = run(code, model)
    assert kind == TrapKind.SYSCALL
    stored = task.access.copy_from_user(CODE + 0x1000, 16)
    assert stored is not None
    return struct.unpack("<4I", stored)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_cpuid_of_a_model(model: CpuModel) -> None:
    for (leaf, subleaf), expected in model.cpuid.items():
        assert cpuid(leaf, subleaf, model.name) == expected
    assert cpuid(1, 77, model.name) == model.cpuid[1, 0]  # no subleaves there
    name = model.vendor.encode()
    assert cpuid(0, 0, model.name)[1:] == struct.unpack("<3I", name[:4] + name[8:] + name[4:8])
    assert not cpuid(7, 0, model.name)[2] & 1 << 3, "protection keys"
    signature = cpuid(1, 0, model.name)[0]
    assert (signature >> 8 & 15) + (signature >> 20 & 255) == model.family
    assert (signature >> 4 & 15 | signature >> 12 & 0xF0, signature & 15) == (model.model, model.stepping)


def test_the_size_of_a_signal_frame_is_the_models() -> None:
    """sp moves by the red zone, the state and the frame below it; AT_MINSIGSTKSZ leaves room for all of that."""
    below = {}
    for model in MODELS.values():
        program = str(guest("hello"))
        task = Machine(memory=16 << 20, cpu=model.name).spawn(program, [program], [])
        cpu = task.cpu
        cpu.sp = sp = cpu.sp & -64
        action = SigAction(CODE, 4 | 0x04000000, CODE)
        assert task.arch.setup_rt_frame(cpu, task.access, SigFrameContext(SigInfo(SIGILL), action, 0, (0, 0, 2), False))
        below[model.name] = sp - cpu.sp
        assert model.xstate_size + 440 < sp - 128 - cpu.sp <= model.minsigstksz == task.arch.elf.minsigstksz
    assert below["emerald-rapids"] - below["milan"] == 256


def test_a_model_that_is_not_known() -> None:
    for target, known in (("x86_64", "emerald-rapids, milan"), ("aarch64", "none")):
        program = str(guest("hello", target))
        with pytest.raises(ExecError, match=f"no CPU model '486' of {target} is known .there are: {known}"):
            Machine(memory=16 << 20, cpu="486").spawn(program, [program], [])


def test_the_time_stamp_counter_is_virtual() -> None:
    code = b"\x0f\x31" + b"\x89\xc7" + b"\x90" * 4000 + b"\x0f\x31" + SYSCALL
    values = []
    for _ in range(2):
        task, kind = run(code)
        assert kind == TrapKind.SYSCALL
        number, first, *_ = task.cpu.syscall_args()
        values.append((first, number))
    assert values[0] == values[1], "it depends on the host"
    assert 900 <= values[0][1] - values[0][0] <= 1100  # four bytes of code are a nanosecond


@pytest.mark.parametrize(
    ("code", "signo", "si_code"),
    [
        (b"\x31\xc9\xf7\xf9", SIGFPE, 1),  # div by zero: FPE_INTDIV
        (b"\x0f\x0b", SIGILL, 2),  # ud2: ILL_ILLOPN
        (b"\xcc", SIGTRAP, 128),  # int3: SI_KERNEL
        (b"\xf4", SIGSEGV, 128),  # hlt: general protection
        (b"\x48\xb8" + struct.pack("<Q", 1 << 60) + b"\x8b\x00", SIGSEGV, 128),  # not canonical
    ],
)
def test_exceptions_are_signals(code: bytes, signo: int, si_code: int) -> None:
    task, kind = run(code)
    assert kind == TrapKind.SIGNAL
    assert (task.cpu.trap_signal.signo, task.cpu.trap_signal.code) == (signo, si_code)
