# SPDX-License-Identifier: GPL-2.0-or-later
"""The page-table walk in C and in Python: the same answer and the same bits set, for any tables; and what each format's
protections allow."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archs.arm64.mm.pgtable import Arm64PageTableFormat
from archs.powerpc.mm.pgtable import Ppc32Format, RadixFormat
from archs.x86.mm.pgtable import PAGE_USER, X86PageTableFormat
from emu.hw.mmu import FETCH, READ, SETTLED, WRITE, PageTableFormat, walk
from emu.hw.native import library
from emu.hw.ram import Ram
from emu.mm.memory_manager import MemoryManager
from emu.mm.pkeys import INIT_PKRU
from emu.tracepoint import Tracepoints

PAGES = 64
FORMATS = (X86PageTableFormat(16), Arm64PageTableFormat(), RadixFormat(), Ppc32Format())
SHIFTS = {
    PageTableFormat.X86_64: (39, 30, 21, 12),
    PageTableFormat.ARM64: (39, 30, 21, 12),
    PageTableFormat.PPC64_RADIX: (39, 30, 21, 12),
    PageTableFormat.PPC32: (22, 12),
}


def native_walk(
    format: int, ram: Ram, root: int, va: int, access: int, user: bool, pkru: int = 0
) -> tuple[int, int, int]:
    assert library is not None
    paddr, perms, syndrome = ctypes.c_uint64(), ctypes.c_int(), ctypes.c_uint64()
    found = library.mmscope_walk(
        format, ctypes.c_void_p(ram.address), ctypes.c_uint64(root), ctypes.c_uint64(va), access, int(user),
        ctypes.c_uint32(pkru), ctypes.byref(paddr), ctypes.byref(perms), ctypes.byref(syndrome),
    )  # fmt: skip
    return (paddr.value, perms.value, 0) if found else (-1, 0, syndrome.value)


def entry_of(format: int, page: int, noise: int) -> bytes:
    """An entry that points to a page of the small RAM, whatever its other bits."""
    if format == PageTableFormat.PPC32:
        return (page << 12 | noise & 0xFFF).to_bytes(4, "big")
    if format == PageTableFormat.PPC64_RADIX:
        return (noise & 0xF000_0000_0000_00FF | noise & 0xF00 | page << 12).to_bytes(8, "big")
    return (noise & 0xFFF0_0000_0000_0FFF | page << 12).to_bytes(8, "little")


@pytest.mark.fuzz
@pytest.mark.parametrize("format", list(PageTableFormat))
@given(data=st.data())
def test_c_and_python_agree(format: PageTableFormat, data: st.DataObject) -> None:
    if library is None:
        pytest.fail("the C extension is not built")
    # Mostly good entries: all bits of `likely` set, then some flipped.
    likely = {
        PageTableFormat.X86_64: 0x67,
        PageTableFormat.ARM64: 0x443,
        PageTableFormat.PPC64_RADIX: 0x8000_0000_0000_0107,
        PageTableFormat.PPC32: 0x785,
    }[format]
    flips = st.one_of(st.just(0), st.integers(0, 63).map(lambda bit: 1 << bit), st.integers(0, (1 << 64) - 1))
    va = data.draw(st.one_of(st.integers(0, (1 << 47) - 1), st.integers(0, (1 << 64) - 1)))
    if format == PageTableFormat.PPC32:
        va &= 0xFFFF_FFFF
    ram = Ram(PAGES << 12)
    table = 0x10000 if format == PageTableFormat.PPC64_RADIX else 0x1000  # radix roots are 64 KiB
    pages = iter((40, 41, 42, 43))
    root = table
    for level, shift in enumerate(SHIFTS[format]):
        size = 4 if format == PageTableFormat.PPC32 else 8
        bits = {PageTableFormat.PPC32: 10, PageTableFormat.PPC64_RADIX: 13 if level == 0 else 9}.get(format, 9)
        leaf = level == len(SHIFTS[format]) - 1
        noise = likely ^ data.draw(flips)
        if format == PageTableFormat.PPC64_RADIX:
            noise ^= (1 << 62) if leaf else 0
        page = next(pages)
        ram.write(table + (va >> shift & (1 << bits) - 1) * size, entry_of(format, page, noise))
        table = page << 12
    twin = Ram(PAGES << 12)
    twin.write(0, ram.read(0, PAGES << 12))
    access = data.draw(st.sampled_from((READ, WRITE, FETCH)))
    user = data.draw(st.booleans())
    pkru = data.draw(st.one_of(st.just(0), st.integers(0, (1 << 32) - 1)))
    assert walk(format, ram, root, va, access, user, pkru) == native_walk(format, twin, root, va, access, user, pkru)
    assert ram.read(0, PAGES << 12) == twin.read(0, PAGES << 12), "they set other bits"


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: type(format).__name__)
@given(noise=st.one_of(st.integers(0, 63).map(lambda bit: 1 << bit), st.integers(0, (1 << 64) - 1)))
def test_what_is_settled_needs_no_walk(format: object, noise: int) -> None:
    memory = MemoryManager(Ram(1 << 20), Tracepoints(), "6.18")
    table = memory.new_mm(format).pgtable  # type: ignore[arg-type]
    bits = table.format
    slot = table.alloc(0x1234_5000)
    for access, (mask, value) in zip((READ, WRITE), SETTLED[PageTableFormat(bits.hw)]):
        settled = (
            value
            | (PAGE_USER if bits.pkeys > 1 else 0)
            | (noise & ~mask & ~bits.pfn_mask & (1 << 8 * bits.entry_size) - 1)
        )
        table.set(slot, settled | 0x3000)
        assert walk(bits.hw, memory.ram, table.root, 0x1234_5678, access, False, INIT_PKRU)[::2] == (0x3000, 0)
        assert table.get(slot) == settled | 0x3000
        for bit in (1 << n for n in range(64) if mask >> n & 1):  # each of these bits tells
            table.set(slot, settled ^ bit | 0x3000)
            found = walk(bits.hw, memory.ram, table.root, 0x1234_5678, access, False, INIT_PKRU)
            assert found[0] < 0 or table.get(slot) != settled ^ bit | 0x3000


VM_READ, VM_WRITE, VM_EXEC, VM_SHARED = 1, 2, 4, 8


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: type(format).__name__)
@pytest.mark.parametrize("vm_flags", range(16))
def test_what_a_protection_allows(format: object, vm_flags: int) -> None:
    memory = MemoryManager(Ram(4 << 20), Tracepoints(), "6.18")
    mm = memory.new_mm(format)  # type: ignore[arg-type]
    frame = memory.alloc_page()
    assert frame is not None
    address = 0x1234_5000
    table, bits = mm.pgtable, mm.pgtable.format
    pte = frame.pfn << 12 | bits.protection_map[vm_flags]
    if vm_flags & (VM_READ | VM_WRITE | VM_EXEC):
        assert bits.pte_present(pte)
        pte = bits.pte_mkyoung(pte)
    table.set(table.alloc(address), pte)

    def allowed(access: int) -> bool:
        return walk(bits.hw, memory.ram, table.root, address, access)[0] >= 0

    readable = bool(vm_flags & (VM_READ | VM_WRITE))
    if bits.hw != PageTableFormat.PPC64_RADIX:
        readable = readable or bool(vm_flags & VM_EXEC)  # only radix has execute-only pages
    if bits.hw != PageTableFormat.PPC32 or not vm_flags & VM_EXEC:
        assert allowed(READ) == readable
    assert allowed(FETCH) == bool(vm_flags & VM_EXEC)
    # Private pages are written after their copy has been made; and then a page is dirty.
    shared_writable = vm_flags & VM_WRITE and vm_flags & VM_SHARED
    if not vm_flags & VM_SHARED or not vm_flags & VM_WRITE:
        assert not allowed(WRITE)
    if readable and vm_flags & VM_WRITE:
        table.set(table.slot(address), bits.pte_mkdirty(bits.pte_mkwrite(pte)))
        assert allowed(WRITE)
        assert bits.pte_dirty(table.get(table.slot(address)))
        table.set(table.slot(address), bits.pte_wrprotect(table.get(table.slot(address))))
        assert not allowed(WRITE)
        assert allowed(READ)
    assert shared_writable or not bits.pte_write(pte)


@pytest.mark.parametrize(
    ("va", "vector"),
    [(1 << 52, 0x380), (1 << 62, 0x380), (2 << 62, 0x380), (3 << 62, 0x300), ((1 << 64) - 8, 0x300)],
)
def test_radix_quadrants(va: int, vector: int) -> None:
    """Between the quadrants is a segment interrupt; the kernel's own is only not mapped, as Linux programs see it."""
    ram = Ram(PAGES << 12)
    assert walk(PageTableFormat.PPC64_RADIX, ram, 0x10000, va, READ)[2] >> 32 == vector
    assert walk(PageTableFormat.PPC64_RADIX, ram, 0x10000, va, FETCH)[2] >> 32 == vector + 0x100


@pytest.mark.parametrize("user", [True, False])
def test_protection_keys(user: bool) -> None:
    """Two bits of PKRU a key, for the program's accesses and the kernel's own; fetches are free (SDM 4.6.2). What is
    allowed now may not be more in a TLB."""
    memory = MemoryManager(Ram(4 << 20), Tracepoints(), "6.18")
    table = memory.new_mm(X86PageTableFormat(16)).pgtable
    table.set(table.alloc(0x5000), 0x3000 | 5 << 59 | 0x67)
    code = 0x21 | (4 if user else 0)
    for rights, read, write in ((0, True, True), (1, False, False), (2, True, False), (3, False, False)):
        pkru = rights << 10 | (0xFFFFFFFF & ~(3 << 10))

        def ask(access: int, pkru: int = pkru) -> tuple[int, int, int]:
            return walk(0, memory.ram, table.root, 0x5678, access, user, pkru)

        assert ask(READ)[2] == (0 if read else code)
        assert ask(WRITE)[2] == (0 if write else code | 2)
        assert ask(FETCH) == (0x3000, (1 if read else 0) | (2 if write else 0) | 4, 0)
    table.set(table.slot(0x5000), 0x3000 | 5 << 59 | 0x65)
    assert walk(0, memory.ram, table.root, 0x5678, WRITE, user, 2 << 10)[2] == code | 2, "read-only besides"
    assert walk(0, memory.ram, table.root, 0x5678, WRITE, user, 0)[2] == code & ~0x20 | 2
    if user:
        table.set(table.slot(0x5000), 0x3000 | 5 << 59 | 0x63)
        assert walk(0, memory.ram, table.root, 0x5678, READ, user, 1 << 10)[2] == 5, "a page of the kernel has no key"
