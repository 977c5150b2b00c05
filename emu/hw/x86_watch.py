# SPDX-License-Identifier: GPL-2.0-or-later
"""x86: instructions that the engine is asked about before they run.

The engine does not raise what a misaligned operand of SSE raises, does not know EFLAGS.AC, and cannot be told to stop
at more than a few addresses: each of its hooks costs at every instruction. So a block is looked through when it has
been translated. An operand whose address follows from the registers as they are when the block begins is checked
there, in the call that counts blocks. For the others the engine has one hook for instructions, whose range is empty
but while a block is translated: such a block is translated once more with the range open from the first such
instruction to the last; the calls that this puts into the code stay when the range is closed again. The same is done
with a block in which an operand will not be aligned.

The callbacks are here in Python and, identical, in _native.c.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emu.hw.mmu import READ, walk_x86
from emu.hw.native import library
from emu.hw.x86_insn import (
    NO_REGISTER,
    RIP,
    Instruction,
    adds,
    decode,
    instruction_bytes,
    may_write,
    wants_alignment,
)

# Unicorn comes after the extension (see emu/hw/native.py).
from unicorn import (  # isort: skip
    UC_CTL_IO_WRITE,
    UC_CTL_TB_REMOVE_CACHE,
    UC_CTL_TLB_FLUSH,
    UC_HOOK_CODE,
    UC_HOOK_EDGE_GENERATED,
    Uc,
)
from unicorn.unicorn_py3.unicorn import uclib  # isort: skip
from unicorn import x86_const  # isort: skip

if TYPE_CHECKING:
    from emu.hw.engine import Engine

NOWHERE = (1 << 64) - 1
FLUSH = UC_CTL_IO_WRITE << 30 | UC_CTL_TLB_FLUSH
REMOVE = UC_CTL_IO_WRITE << 30 | 2 << 26 | UC_CTL_TB_REMOVE_CACHE
_RSP = 4
_NAMES = "RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15"
_GENERAL = tuple(getattr(x86_const, f"UC_X86_REG_{name}") for name in _NAMES.split())
_SITES, _SITE_SIZE = 1024, 88  # struct site of _native.c
_ENTRIES, _ENTRY_SIZE = 1024, 128  # struct entry
_MOST_STOPS = 64
_STRUCTURE = 1 << 17  # bytes: no structure of the engine's is larger
_MOST_CHECKS = 4  # of a block
_PLAIN, _ALIGNED, _POPS_FLAGS, _STOP = range(4)


class _Block(ctypes.Structure):
    """uc_tb: a block that has been translated."""

    _fields_ = (("pc", ctypes.c_uint64), ("count", ctypes.c_uint16), ("size", ctypes.c_uint16))


_TRANSLATED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_Block), ctypes.POINTER(_Block), ctypes.c_void_p)
_ASKED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
_ON_STOP = ctypes.CFUNCTYPE(None, ctypes.c_uint64)


def _writable() -> list[tuple[int, int]]:
    """The parts of this process's memory that can be written: begin and end. Mappings that touch are one, for what
    lies across two of them is found too."""
    ranges: list[tuple[int, int]] = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            where, permissions = line.split()[:2]
            if permissions not in ("rw-p", "rwxp"):
                continue
            low, high = (int(end, 16) for end in where.split("-"))
            if ranges and ranges[-1][1] == low:
                low = ranges.pop()[0]
            ranges.append((low, high))
    return ranges


def _search(words: Iterable[int], pattern: bytes) -> Iterator[tuple[int, int]]:
    """Which of the words point to something with the pattern in it, and where that is, each time that it is there."""
    writable = _writable()
    for i, word in enumerate(words):
        for low, high in writable:
            if low <= word < high:
                structure = ctypes.string_at(word, min(_STRUCTURE, high - word))
                at = structure.find(pattern)
                while at >= 0:
                    yield i, at
                    at = structure.find(pattern, at + 8)


_places: set[tuple[int, int]] = set()
_trials = itertools.count()


def _set_registers(uc: Uc) -> list[int]:
    """Give the general registers values that they never had, in any engine."""
    first = 0x1234_0000_0000_0000 + (next(_trials) << 32)
    values = [first + 0x0101_0101 * i for i in range(16)]
    for register, value in zip(_GENERAL, values, strict=True):
        uc.reg_write(register, value)
    return values


def _find_registers(uc: Uc) -> int:
    """Where an engine keeps its general registers: behind something that the engine's own structure points to.

    They get known values, which are found, and then other ones, which must stand there too: copies of the former are
    about, in memory of Python's. By chance there is more than one way to them: `_places` has those that held for all
    engines so far, each the offset of a pointer, in words, and how far behind that the registers are.
    """
    words = (ctypes.c_uint64 * 512).from_address(uc._uch.value)
    if len(_places) != 1:
        pattern = struct.pack("<16Q", *_set_registers(uc))  # kept: what follows is not to get its place
        found = set(_search(words[:], pattern))
        values = _set_registers(uc)
        found = {
            (pointer, behind)
            for pointer, behind in found
            if (ctypes.c_uint64 * 16).from_address(words[pointer] + behind)[:] == values
        }
        remaining = _places & found if _places else found
        if not remaining:
            raise RuntimeError("this version of Unicorn keeps the registers of x86-64 in an unknown place")
        _places.clear()
        _places.update(remaining)
    pointer, behind = min(_places)
    return words[pointer] + behind


@dataclass(slots=True)
class _Entry:
    """struct entry of _native.c."""

    checks: list[tuple[int, int, int, int]] = field(default_factory=list)
    first: int = NOWHERE
    last: int = NOWHERE
    first_checked: int = NOWHERE
    last_checked: int = NOWHERE
    hooked: bool = False
    stops: bool = False


class Watch:
    """Of one engine of x86-64."""

    def __init__(self, engine: Engine, state: Any) -> None:
        self._engine = engine
        self._uch = engine.uc._uch
        self._state = state
        self._wanted: dict[int, tuple[int, Callable[[int], bool]]] = {}
        self._known: dict[int, tuple[int, Instruction | None]] = {}  # struct site
        self._marks: set[int] = set()  # where blocks begin that have checks, or had
        self._entries: dict[int, _Entry] = {}
        self._stops = (ctypes.c_uint64 * _MOST_STOPS)()
        sizes = _SITES * _SITE_SIZE, _ENTRIES * _ENTRY_SIZE
        self._tables = [ctypes.create_string_buffer(b"\xff" * size) for size in sizes]
        self._on_stop = _ON_STOP(self._stop)
        state.stops = ctypes.addressof(self._stops)
        state.general = _find_registers(engine.uc)
        self._general = (ctypes.c_uint64 * 16).from_address(state.general)
        state.fs_base, state.gs_base = x86_const.UC_X86_REG_FS_BASE, x86_const.UC_X86_REG_GS_BASE
        state.sites, state.entries = map(ctypes.addressof, self._tables)
        state.uc_ctl = ctypes.cast(uclib.uc_ctl, ctypes.c_void_p).value
        state.uc_flush, state.uc_remove = FLUSH, REMOVE
        state.on_stop = ctypes.cast(self._on_stop, ctypes.c_void_p).value
        state.prepared = NOWHERE
        state.fresh = 1
        self._hooks: tuple[Any, Any]
        if engine.native:
            assert library is not None
            self._hooks = library.mmscope_translated, library.mmscope_asked
        else:
            self._hooks = _TRANSLATED(self._translated), _ASKED(self._asked)
        engine.hook(UC_HOOK_EDGE_GENERATED, self._hooks[0])
        trial = 0x7EAD_BEEF_0123_4560
        place = engine.hook(UC_HOOK_CODE, self._hooks[1], first=trial, last=trial + 1)
        hook = (ctypes.c_uint64 * 16).from_address(place)
        found = [i for i in range(15) if hook[i] == trial and hook[i + 1] == trial + 1]
        if len(found) != 1:
            raise RuntimeError("this version of Unicorn keeps the range of a hook in an unknown place")
        state.range = ctypes.addressof(hook) + 8 * found[0]
        self._range = (ctypes.c_uint64 * 2).from_address(state.range)
        self.open_range(NOWHERE, NOWHERE)

    def open_range(self, first: int, last: int) -> None:
        """Ask about the instructions from `first` to `last` that are translated from now on; all where the former is
        greater."""
        self._range[0], self._range[1] = first, last

    def stop_before(self, address: int, trap: int, wanted: Callable[[int], bool]) -> None:
        """From now on a run ends with `trap` before the instruction at `address`, where `wanted(address)` says so then.
        What is translated already does not ask. Raises OverflowError where there are too many addresses."""
        if len(self._wanted) == _MOST_STOPS:
            raise OverflowError("too many addresses to stop at")
        self._stops[len(self._wanted)] = address
        self._wanted[address] = trap, wanted
        self._state.stop_count = len(self._wanted)

    def forget(self) -> None:
        """Where code was, there may be other code."""
        self._state.epoch += 1
        self._known.clear()
        self._entries.clear()

    def step(self, on: bool) -> None:
        """Ask about every instruction that is translated from now on; off: as usual."""
        self._state.stepping = on
        self.open_range(*((1, 0) if on else (NOWHERE, NOWHERE)))

    def _stop(self, ip: int) -> None:
        trap, wanted = self._wanted[ip]
        if wanted(ip):
            self._state.trap = trap
            uclib.uc_emu_stop(self._uch)

    # The twins of the functions in _native.c.

    def _decode_at(self, pc: int) -> Instruction | None:
        return decode(instruction_bytes(self._engine.ram, self._state.root, pc))

    def _kind_of(self, pc: int, insn: Instruction) -> int:
        if pc in self._wanted:
            return _STOP
        if insn.map == 0 and insn.op == 0x9D:  # POPF
            return _POPS_FLAGS
        if not wants_alignment(insn):
            return _PLAIN
        if insn.base == RIP and not insn.segment:
            return _ALIGNED if pc + insn.size + insn.displacement & 15 else _PLAIN
        return _ALIGNED

    def _operand_address(self, pc: int, insn: Instruction) -> int:
        """The lower bits of it: whether addresses are of 32 bits does not matter."""
        address = insn.displacement
        if insn.base == RIP:
            address += pc + insn.size
        elif insn.base != NO_REGISTER:
            address += self._general[insn.base]
        if insn.index != NO_REGISTER:
            address += self._general[insn.index] << insn.shift
        if insn.segment:
            base = ctypes.c_uint64()
            register = self._state.fs_base if insn.segment == 0x64 else self._state.gs_base
            uclib.uc_reg_read(self._uch, register, ctypes.byref(base))
            address += base.value
        return address

    def _look_through(self, start: int, size: int) -> _Entry:
        entry = _Entry()
        moved = [0] * 16  # what has been added to a register since the block began
        lost: set[int] = set()  # registers that have another value altogether
        pc, end = start, start + size
        while pc < end:
            insn = self._decode_at(pc)
            if insn is None:
                break
            kind = self._kind_of(pc, insn)
            self._known.pop(pc, None)
            if (
                kind == _ALIGNED
                and not insn.segment
                and insn.base != RIP
                and insn.base not in lost
                and insn.index not in lost
            ):
                at = insn.displacement
                if insn.base != NO_REGISTER:
                    at += moved[insn.base]
                if insn.index != NO_REGISTER:
                    at += moved[insn.index] << insn.shift
                check = insn.base, insn.index, insn.shift, at & 15
                if check not in entry.checks and len(entry.checks) < _MOST_CHECKS:
                    entry.checks.append(check)
                if check in entry.checks:
                    kind = _PLAIN
                    entry.first_checked = min(entry.first_checked, pc)
                    entry.last_checked = pc
            if kind != _PLAIN:
                entry.first = min(entry.first, pc)
                entry.last = pc
            entry.stops |= kind == _STOP
            added = adds(insn)
            if added is not None:
                moved[added[0]] += added[1]
            else:
                lost.update(reg for reg in range(16) if may_write(insn, reg))
            pc += insn.size
        return entry

    def _translate_again(self, entry: _Entry, first: int, last: int, hooked: bool) -> None:
        state = self._state
        state.again = 1
        state.hooked = hooked
        state.stop_wanted = entry.stops
        state.first, state.last = first, last
        state.held_limit = state.limit
        state.limit = 0

    def _translated(self, _uc: int, block: Any, _before: Any, _data: int) -> None:
        """The engine tells of a translation only when a block has run to its end before."""
        state = self._state
        if state.fresh:
            state.fresh = 0
            state.limit = state.held_limit
        self.note_block(block.contents.pc, block.contents.size)

    def note_block(self, start: int, size: int) -> None:
        """A block has been translated, and runs next."""
        state = self._state
        if not state.stepping:
            self.open_range(NOWHERE, NOWHERE)
            self._engine.set_exits(at_blocks_only=True)
        found = self._look_through(start, size)
        if state.stepping:
            return
        self._entries.pop(start, None)
        if found.checks:
            self._marks.add(start)
            self._entries[start] = found
        if start == state.prepared:
            state.prepared = NOWHERE
            found.hooked = bool(found.checks and state.hooked)
        elif found.first != NOWHERE:
            self._translate_again(found, found.first, found.last, False)

    def look_ahead(self, start: int, size: int) -> bool:
        """A block begins: will all operands in it be aligned."""
        if start not in self._marks:
            return True
        entry = self._entries.get(start)
        if entry is None:
            entry = self._entries[start] = self._look_through(start, size)
        if entry.hooked or self._state.stepping:
            return True
        for base, index, shift, displacement in entry.checks:
            address = displacement
            if base != NO_REGISTER:
                address += self._general[base]
            if index != NO_REGISTER:
                address += self._general[index] << shift
            if address & 15:
                self._translate_again(entry, min(entry.first, entry.first_checked), entry.last_checked, True)
                return False
        return True

    def _asked(self, _uc: int, pc: int, _size: int, _data: int) -> None:
        state = self._state
        if pc not in self._known:
            found = self._decode_at(pc)
            self._known[pc] = (_PLAIN if found is None else self._kind_of(pc, found)), found
        kind, insn = self._known[pc]
        if insn is None:
            return
        if kind == _ALIGNED:
            if self._operand_address(pc, insn) & 15:
                state.misaligned = 1  # Engine._fill raises it: a run can be ended at an access only
                uclib.uc_ctl(self._uch, FLUSH)
        elif kind == _POPS_FLAGS:
            sp = self._general[_RSP] + 2
            paddr, _, _ = walk_x86(self._engine.ram, state.root, sp, READ, True, state.pkru)
            if paddr >= 0 and self._engine.ram.read(paddr + (sp & 4095), 1)[0] & 4:
                state.checks = 1  # EFLAGS.AC, from the next block on
                state.limit = 0
        elif kind == _STOP:
            self._stop(pc)
