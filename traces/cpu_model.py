# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints what archs/x86/cpu_models.py must know of the CPU that this runs on (x86-64, Linux).

Asks CPUID itself, by a few bytes of code in executable memory, and a signal frame of this kernel. Feature bits are not
printed: those of a model are what the engine can do.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from pathlib import Path

AT_MINSIGSTKSZ = 51
# push rbx; mov rax, rdi; mov rcx, rsi; mov r8, rdx; cpuid; store the four at r8; pop rbx; ret
CODE = bytes.fromhex("53 4889f8 4889f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
LEAVES = ((2, 1), (4, 5), (0x80000005, 1), (0x80000006, 1), (0x80000007, 1), (0x8000001D, 5))


class Cpuid:
    """The instruction."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_void_p)(address)

    def __call__(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX."""
        out = (ctypes.c_uint * 4)()
        self._call(leaf, subleaf, ctypes.addressof(out))
        return out[0], out[1], out[2], out[3]


def frame_state(cpuid: Cpuid, flags: list[str]) -> tuple[int, int]:
    """(features, bytes) of what XSAVE writes for a user: leaf 0xd, the features that XCR0 enables."""
    low, size, _, high = cpuid(0xD)
    enabled = high << 32 | low
    for name, bit in (("avx", 2), ("avx512f", 5), ("avx512f", 6), ("avx512f", 7), ("ospke", 9), ("amx_tile", 18)):
        if name not in flags:
            enabled &= ~(1 << bit)
    enabled &= 0x2E7  # MPX is never enabled; AMX is asked for by a program
    end = 576
    for bit in range(2, 10):
        if enabled >> bit & 1:
            length, offset, _, _ = cpuid(0xD, bit)
            end = max(end, offset + length)
    return enabled, min(end, size) if size else end


def main() -> int:
    if platform.machine() != "x86_64":
        sys.exit("cpu_model.py: needs an x86-64 machine")
    cpuid = Cpuid()
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    libc = ctypes.CDLL(None)
    libc.getauxval.restype = ctypes.c_ulong
    features, size = frame_state(cpuid, facts["flags"].split())
    for key, name in (("vendor_id", "vendor"), ("model name", "model_name")):
        print(f"{name}={facts[key]!r},")
    print(f"family={facts['cpu family']}, model={facts['model']}, stepping={facts['stepping']},")
    print(f"xstate_features={features:#x}, xstate_size={size}, minsigstksz={libc.getauxval(AT_MINSIGSTKSZ)},")
    print(f"# highest leaves {cpuid(0)[0]:#x} {cpuid(0x80000000)[0]:#x}")
    for leaf, subleaves in LEAVES:
        if leaf > cpuid(leaf & 0x80000000)[0]:
            continue
        for subleaf in range(subleaves):
            values = ", ".join(f"0x{value:08X}" for value in cpuid(leaf, subleaf))
            print(f"({leaf:#x}, {subleaf}): ({values}),")
    return 0


if __name__ == "__main__":
    sys.exit(main())
