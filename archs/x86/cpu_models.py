# SPDX-License-Identifier: GPL-2.0-or-later
"""Models of x86-64 CPUs: whose CPUID a program reads, and how large the state is that a signal saves.

Both decide which pages a program touches: C libraries choose their functions by CPUID, and a signal frame lies below
the saved state. A trace thus equals that of a kernel only on the model that the kernel ran on. What instructions the
engine can do is the same with all models, so feature bits are the engine's: a model has no AVX although the CPU has it.

A new model: run traces/cpu_model.py on a machine that has it, add what it prints to MODELS.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

Leaf = tuple[int, int, int, int]  # EAX, EBX, ECX, EDX

FEATURES_1: tuple[int, int] = (0xCED82203, 0x078BFBFD)
"""Leaf 1, ECX and EDX: what the engine can do; AVX, FMA and F16C are left out."""
FEATURES_80000001: tuple[int, int] = (0x00000021, 0x28100800)
"""Leaf 0x80000001, ECX and EDX: likewise."""
SUBLEAVES = frozenset((4, 7, 0xB, 0xD, 0x8000001D))
"""Leaves that look at ECX."""


@dataclass(frozen=True)
class CpuModel:
    """One model. `cpuid` has the leaves where the engine's own answer is not wanted, by (leaf, subleaf)."""

    name: str  # as --cpu has it
    vendor: str  # vendor_id, family and model of /proc/cpuinfo: by these a recording machine is recognised
    family: int
    model: int
    stepping: int
    model_name: str
    xstate_features: int  # XCR0 as a signal frame names it: what the kernel's XSAVE saves for a user
    xstate_size: int  # bytes of that area (CPUID leaf 0xd of a kernel's user features)
    pkru_at: int  # where in it PKRU is, 0 on a CPU without protection keys
    minsigstksz: int  # AT_MINSIGSTKSZ
    hwcap: int  # AT_HWCAP: CPUID.1:EDX
    cpuid: dict[tuple[int, int], Leaf]

    def leaf(self, number: int, subleaf: int) -> Leaf | None:
        """What CPUID answers, or None where the engine is to answer. Leaves above the highest one are nought."""
        known = self.cpuid.get((number, subleaf if number in SUBLEAVES else 0))
        if known is None and number in SUBLEAVES and (number, 0) in self.cpuid:
            return (0, 0, subleaf & 0xFF, 0)
        return known


def _signature(family: int, model: int, stepping: int) -> int:
    """CPUID.1:EAX."""
    base = min(family, 15)
    return (family - base) << 20 | model >> 4 << 16 | base << 8 | (model & 15) << 4 | stepping


def _brand(text: str) -> dict[tuple[int, int], Leaf]:
    """The processor brand string: leaves 0x80000002 to 0x80000004."""
    words = struct.unpack("<12I", text.encode("ascii").ljust(48, b"\0"))
    return {(0x80000002 + i, 0): (words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]) for i in range(3)}


def _vendor(name: str, highest: int) -> Leaf:
    """Leaves 0 and 0x80000000: the vendor's name and the highest leaf."""
    first, second, third = struct.unpack("<III", name.encode("ascii"))
    return highest, first, third, second


EMERALD_RAPIDS = CpuModel(
    name="emerald-rapids",
    vendor="GenuineIntel",
    family=6,
    model=207,
    stepping=2,
    model_name="Intel Xeon Processor",
    xstate_features=0xE7,
    xstate_size=2688,  # x87, SSE, AVX, the hole that MPX left, AVX-512; the recording guest had no PKRU
    pkru_at=0,
    minsigstksz=3632,
    hwcap=FEATURES_1[1],
    cpuid={
        (1, 0): (_signature(6, 207, 2), 0x00000800, *FEATURES_1),
        (2, 0): (0x00FEFF01, 0x000000F0, 0, 0),
        (4, 0): (0x00000121, 0x02C0003F, 0x0000003F, 0),
        (4, 1): (0x00000122, 0x01C0003F, 0x0000003F, 0),
        (4, 2): (0x00000143, 0x03C0003F, 0x000007FF, 0),
        (4, 3): (0x00000163, 0x04C0003F, 0x00033FFF, 0),
    },
)

MILAN = CpuModel(
    name="milan",
    vendor="AuthenticAMD",
    family=25,
    model=1,
    stepping=1,
    model_name="AMD EPYC",
    xstate_features=0x207,
    xstate_size=2440,  # x87, SSE, AVX, PKRU
    pkru_at=2432,
    minsigstksz=3376,
    hwcap=FEATURES_1[1],
    cpuid={
        (0, 0): _vendor("AuthenticAMD", 16),
        (1, 0): (_signature(25, 1, 1), 0x00000800, *FEATURES_1),
        (2, 0): (0, 0, 0, 0),
        (4, 0): (0, 0, 0, 0),
        (0x80000000, 0): _vendor("AuthenticAMD", 0x80000022),
        (0x80000001, 0): (_signature(25, 1, 1), 0x40000000, *FEATURES_80000001),
        **_brand("AMD EPYC"),
        (0x80000005, 0): (0xFF40FF40, 0xFF40FF40, 0x20080140, 0x20080140),
        (0x80000006, 0): (0x48002200, 0x68004200, 0x02006140, 0x08009140),
        (0x80000007, 0): (0, 0, 0, 0x100),
        (0x80000008, 0): (0x00303030, 0x00000000, 0, 0),
        (0x8000001D, 0): (0x00000121, 0x01C0003F, 0x0000003F, 0),
        (0x8000001D, 1): (0x00000122, 0x01C0003F, 0x0000003F, 0),
        (0x8000001D, 2): (0x00000143, 0x01C0003F, 0x000003FF, 2),
        (0x8000001D, 3): (0x00004163, 0x03C0003F, 0x00007FFF, 1),
        (0x8000001E, 0): (0, 0, 0, 0),
    },
)

MODELS = {model.name: model for model in (EMERALD_RAPIDS, MILAN)}
DEFAULT = EMERALD_RAPIDS
