# SPDX-License-Identifier: GPL-2.0-or-later
"""What the ELF loader is told about ARM64, and the system-call table."""

from __future__ import annotations

from archs.arm64.elf import HWCAP, TARGET
from archs.arm64.syscalls import SYSCALLS
from tests.archs.arm64.space import CODE, Space


def test_address_space() -> None:
    assert TARGET.task_size == TARGET.stack_top == 1 << 48
    assert TARGET.et_dyn_base & ~0xFFF == 0xAAAA_AAAA_A000
    assert (TARGET.machine, TARGET.elf_class, TARGET.big_endian, TARGET.word) == (183, 64, False, 8)


# One instruction of each extension that a bit of AT_HWCAP stands for: (bit, word).
INSTRUCTIONS = {
    "fp": (0, 0x1E622820),  # fadd d0, d1, d2
    "asimd": (1, 0x4EA28420),  # add v0.4s, v1.4s, v2.4s
    "aes": (3, 0x4E284820),  # aese v0.16b, v1.16b
    "pmull": (4, 0x0EE2E020),  # pmull v0.1q, v1.1d, v2.1d
    "sha1": (5, 0x5E020020),  # sha1c q0, s1, v2.4s
    "sha2": (6, 0x5E024020),  # sha256h q0, q1, v2.4s
    "crc32": (7, 0x9AC24C20),  # crc32x w0, w1, x2
    "atomics": (8, 0xF8200022),  # ldadd x0, x2, [x1]
    "fphp": (9, 0x1EE22820),  # fadd h0, h1, h2
    "asimdrdm": (12, 0x6E828420),  # sqrdmlah v0.4s, v1.4s, v2.4s
    "dcpop": (16, 0xD50B7C21),  # dc cvap, x1
    "sha3": (17, 0xCE020C20),  # eor3 v0.16b, v1.16b, v2.16b, v3.16b
    "sve": (22, 0x0420E3E0),  # cntb x0
    "paca": (30, 0xDAC10020),  # pacia x0, x1
}


def test_announced_is_what_the_engine_has() -> None:
    for name, (bit, word) in INSTRUCTIONS.items():
        space = Space()
        space.map(0x50_0000, 0x1000, 3)
        space.load(word, 0xD4000001)
        space.set_x(1, 0x50_0000)
        works = space.run().name == "SYSCALL" and space.cpu.pc == CODE + 8
        assert works == bool(HWCAP >> bit & 1), name


def test_system_calls() -> None:
    some = {17: "getcwd", 29: "ioctl", 64: "write", 79: "newfstatat", 93: "exit", 139: "rt_sigreturn", 214: "brk",
            215: "munmap", 221: "execve", 222: "mmap", 233: "madvise", 279: "memfd_create", 291: "statx",
            435: "clone3", 462: "mseal", 469: "file_setattr"}  # fmt: skip
    assert {number: SYSCALLS[number] for number in some} == some
    assert len(SYSCALLS) == 325 and max(SYSCALLS) == 469
    assert len(set(SYSCALLS.values())) == len(SYSCALLS)
