# SPDX-License-Identifier: GPL-2.0-or-later
"""The MMU: one walk of the page tables in guest RAM, as each architecture's hardware does it.

These functions are the twins of those in _native.c, line by line.
"""

from __future__ import annotations

from enum import IntEnum

from emu.hw.ram import Ram

READ, WRITE, FETCH = 0, 1, 2
PERM_READ, PERM_WRITE, PERM_EXEC = 1, 2, 4


class Access(IntEnum):
    """What an access wants."""

    READ = 0
    WRITE = 1
    FETCH = 2


class PageTableFormat(IntEnum):
    """The page-table formats that the MMU knows."""

    X86_64 = 0
    ARM64 = 1
    PPC64_RADIX = 2
    PPC32 = 3


Walk = tuple[int, int, int]
"""(physical address of the page, permissions that a TLB may keep, 0), or (-1, 0, syndrome)."""


def walk_x86(ram: Ram, root: int, va: int, access: int, user: bool, pkru: int = 0) -> Walk:
    """Four-level paging with protection keys (Intel SDM volume 3, 4.5 and 4.6.2). The syndrome is the error code of
    #PF."""
    entries = ram.u64
    code = (4 if user else 0) | (2 if access == WRITE else 0) | (0x10 if access == FETCH else 0)
    table = root
    slots = []
    rw = us = 1
    nx = 0
    e = 0
    for shift in (39, 30, 21, 12):
        slot = (table >> 3) + (va >> shift & 511)
        e = entries[slot]
        if not e & 1:
            return -1, 0, code
        if shift > 12 and e & 0x80:
            return -1, 0, code | 9
        slots.append(slot)
        rw &= e >> 1 & 1
        us &= e >> 2 & 1
        nx |= e >> 63
        table = e & 0x000F_FFFF_FFFF_F000
    denied = pkru >> 2 * (e >> 59 & 15) & 3 if us else 0  # 1: any access to data, 2: writes
    key = denied & 1 if access == READ else denied if access == WRITE else 0
    if key or (user and not us) or (access == WRITE and not rw) or (access == FETCH and nx):
        return -1, 0, code | 1 | (0x20 if key else 0)
    for slot in slots[:3]:
        if not entries[slot] & 0x20:
            entries[slot] |= 0x20
    marked = e | 0x20 | (0x40 if access == WRITE else 0)
    if marked != e:
        entries[slots[3]] = marked
    perms = (
        (0 if denied & 1 else PERM_READ)
        | (PERM_WRITE if rw and not denied and marked & 0x40 else 0)
        | (0 if nx else PERM_EXEC)
    )
    return e & 0x000F_FFFF_FFFF_F000, perms, 0


def walk_arm64(ram: Ram, root: int, va: int, access: int, user: bool) -> Walk:
    """Stage 1 with a 4 KiB granule, 48-bit addresses, TTBR0, no hardware update of AF or dirty state (Arm ARM, D8).

    The syndrome is ESR_ELx.
    """
    entries = ram.u64
    ec = (0x20 if user else 0x21) if access == FETCH else (0x24 if user else 0x25)
    esr = ec << 26 | 1 << 25 | (1 << 6 if access == WRITE else 0)
    if access != FETCH:
        va &= 0x00FF_FFFF_FFFF_FFFF  # the top byte is ignored for data
    if va >> 48:
        return -1, 0, esr | 4
    table = root
    e = 0
    for level, shift in enumerate((39, 30, 21, 12)):
        e = entries[(table >> 3) + (va >> shift & 511)]
        if e & 3 != 3:
            return -1, 0, esr | 4 | level
        table = e & 0x0000_FFFF_FFFF_F000
    rdonly, el0 = e >> 7 & 1, e >> 6 & 1
    xn = e >> 54 & 1 if user else e >> 53 & 1
    if not e >> 10 & 1:
        return -1, 0, esr | 8 | 3
    if (user and not el0 and (access != FETCH or xn)) or (access == WRITE and rdonly) or (access == FETCH and xn):
        return -1, 0, esr | 12 | 3
    perms = (
        (PERM_READ if el0 or not user else 0)
        | (0 if rdonly or (user and not el0) else PERM_WRITE)
        | (0 if xn else PERM_EXEC)
    )
    return e & 0x0000_FFFF_FFFF_F000, perms, 0


def _swap64(value: int) -> int:
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def _swap32(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "little"), "big")


def walk_radix(ram: Ram, root: int, va: int, access: int, user: bool) -> Walk:
    """Radix translation, entries big-endian, 13/9/9/9 bits (Power ISA 3.0B book III, 5.7.10). Hardware sets R and C.

    The syndrome is interrupt << 32 | DSISR (data) or SRR1 bits (instructions).
    """
    entries = ram.u64
    base = (0x400 if access == FETCH else 0x300) << 32
    store = 0x02000000 if access == WRITE else 0
    if va >> 62 == 3:  # the kernel's quadrant: mapped by tables of its own, or not at all
        return -1, 0, base | 0x40000000 | store
    if va >> 52:
        return -1, 0, (0x480 if access == FETCH else 0x380) << 32
    table = root
    slot = 0
    e = 0
    for shift, bits in ((39, 13), (30, 9), (21, 9), (12, 9)):
        slot = (table >> 3) + (va >> shift & (1 << bits) - 1)
        e = _swap64(entries[slot])
        if not e >> 63:
            return -1, 0, base | 0x40000000 | store
        if e >> 62 & 1:
            break
        table = e & 0x0FFF_FFFF_FFFF_FF00
    if not e >> 62 & 1:
        return -1, 0, base | 0x40000000 | store
    r, w, x, privileged = e >> 2 & 1, e >> 1 & 1, e & 1, e >> 3 & 1
    if access == FETCH and not x:
        return -1, 0, base | 0x10000000
    if (user and privileged) or (access == READ and not r) or (access == WRITE and not w):
        return -1, 0, base | 0x08000000 | store
    marked = e | 0x100 | (0x80 if access == WRITE else 0)
    if marked != e:
        entries[slot] = _swap64(marked)
    perms = (PERM_READ if r else 0) | (PERM_WRITE if w and marked & 0x80 else 0) | (PERM_EXEC if x else 0)
    return e & 0x01FF_FFFF_FFFF_F000, perms, 0


def walk_ppc32(ram: Ram, root: int, va: int, access: int, user: bool) -> Walk:
    """The 603's TLB miss handlers on Linux's two-level table (arch/powerpc/kernel/head_book3s_32.S). They set no bits.

    The syndrome is that of `walk_radix`; a miss and a refusal look alike.
    """
    entries = ram.u32
    store = 0x02000000 if access == WRITE else 0
    refused = (0x400 if access == FETCH else 0x300) << 32 | 0x20000000 | store
    directory = _swap32(entries[(root >> 2) + (va >> 22 & 1023)])
    if not directory & 0xFFFFF000:
        return -1, 0, refused
    e = _swap32(entries[((directory & 0xFFFFF000) >> 2) + (va >> 12 & 1023)])
    need = 0x101 | (0x200 if access == FETCH else 0x480 if access == WRITE else 0x004)
    if e & need != need:
        return -1, 0, refused
    perms = (PERM_READ if e & 4 else 0) | (PERM_WRITE if e & 0x480 == 0x480 else 0) | (PERM_EXEC if e & 0x200 else 0)
    return e & 0xFFFFF000, perms, 0


_WALKS = (walk_x86, walk_arm64, walk_radix, walk_ppc32)


_RADIX_LEAF = 0xC000_0000_0000_0100  # valid, a leaf, R set
SETTLED = {
    PageTableFormat.X86_64: ((0xF << 59 | 0x21, 0x21), (0xF << 59 | 0x63, 0x63)),  # of key 0
    PageTableFormat.ARM64: ((0x403, 0x403), (0x483, 0x403)),
    PageTableFormat.PPC64_RADIX: ((_RADIX_LEAF | 4,) * 2, (_RADIX_LEAF | 0x82,) * 2),
    PageTableFormat.PPC32: ((0x105, 0x105), (0x581, 0x581)),
}
"""(mask, value) for a read and a write by the kernel: where the lowest-level entry has this value under the mask,
`walk` finds the page, and changes no entry of that level, if no protection key forbids it."""


def walk(format: int, ram: Ram, root: int, va: int, access: int, user: bool = True, pkru: int = 0) -> Walk:
    """Translate one access. Sets accessed and dirty bits where the hardware does. `pkru`: x86-64's register of what
    protection keys forbid.

    `permissions` never hold write while the hardware would still have to mark the page dirty, so that the first write
    comes back here.
    """
    if pkru and format == PageTableFormat.X86_64:
        return walk_x86(ram, root, va, access, user, pkru)
    return _WALKS[format](ram, root, va, access, user)
