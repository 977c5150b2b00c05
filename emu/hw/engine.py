# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine: one Unicorn for one address space, with its MMU, block counter and trap latch.

Two implementations of the callbacks: in C (_native.c) and here in Python. They count, walk and stop alike, so that a
trace does not tell
which of them was used. Nothing above this package sees a Unicorn access type or error number.

Figures (2 cores, Python 3.11, C callbacks): stop and start at a system call 2.5 us; a fault served inside the
callback 1.5 us beside the
handler's own time, outside of it 8 us.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from emu.hw.mmu import FETCH, READ, WRITE, PageTableFormat, walk
from emu.hw.native import call, library, run
from emu.hw.ram import Ram
from emu.hw.registers import CONTEXT_HEADER, NativeRegisterFile, RegisterFile, address_of
from emu.hw.x86_insn import TRAP_GP, instruction_bytes, is_canonical, modifies_memory, reaches_beyond_page
from emu.hw.x86_watch import FLUSH, REMOVE, Watch

# Unicorn comes after the extension (see emu/hw/native.py).
from unicorn import (  # isort: skip
    UC_ARCH_ARM64,
    UC_ARCH_PPC,
    UC_ARCH_X86,
    UC_ERR_EXCEPTION,
    UC_HOOK_BLOCK,
    UC_HOOK_INSN,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_INTR,
    UC_HOOK_TLB_FILL,
    UC_MEM_FETCH,
    UC_MEM_WRITE,
    UC_MODE_64,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_WRITE,
    UC_TLB_VIRTUAL,
    Uc,
    UcError,
)
from unicorn.unicorn_py3.unicorn import uclib  # isort: skip
from unicorn.x86_const import UC_X86_INS_SYSCALL, UC_X86_REG_GDTR, UC_X86_REG_RSP  # isort: skip

TRAP_SYSCALL = -1
TRAP_ILLEGAL = -2
_SEVERAL = 2  # in Ram.coders and Ram.writers: more than one
_SPREAD = 0x9E3779B97F4A7C15
TRAP_CHECKS = -3  # x86: EFLAGS.AC has been set
_NO_TRAP = -1000


class Stop(IntEnum):
    """Why `Engine.run` came back."""

    BUDGET = 0
    FAULT = 1
    TRAP = 2
    HALTED = 3  # the engine gave up: `Engine.error` says why


# A member is looked for by a method of its metaclass, which takes 0.1 us.
STOP_BUDGET, STOP_FAULT, STOP_TRAP = Stop.BUDGET, Stop.FAULT, Stop.TRAP

_BUDGET, _FAULT, _TRAP, _HALTED, _SPLIT_FETCH = range(5)  # what mmscope_run returns
_Told = tuple[int, int, int | None, int, int]


@dataclass(frozen=True)
class EngineModel:
    """What kind of CPU to emulate."""

    name: str
    uc_arch: int
    uc_mode: int
    cpu_model: int | None
    format: PageTableFormat
    pc_reg: int
    insn_bytes: int  # 4, or 0 where instructions differ in length
    load_linked: bytes = b""  # a load-linked of the word that `address_reg` points to
    address_reg: int = 0
    pc_size: int = 8  # bytes of a register
    trapped: tuple[bytes, ...] = ()  # PowerPC: four bytes of the names of registers whose reading is to trap


class _EngineState(ctypes.Structure):
    """struct engine of _native.c."""

    _fields_ = (
        ("ram", ctypes.c_void_p),
        ("code_map", ctypes.c_void_p),
        ("root", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("block_start", ctypes.c_uint64),
        ("block_size", ctypes.c_uint64),
        ("retired", ctypes.c_uint64),
        ("ip", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("syndrome", ctypes.c_uint64),
        ("fills", ctypes.c_uint64),
        ("trap", ctypes.c_int64),
        ("format", ctypes.c_int32),
        ("pc_reg", ctypes.c_int32),
        ("access", ctypes.c_int32),
        ("over", ctypes.c_int32),
        ("interposed", ctypes.c_int32),
        ("split_fetch", ctypes.c_int32),
        ("reg_read", ctypes.c_void_p),
        ("emu_stop", ctypes.c_void_p),
        ("on_fault", ctypes.c_void_p),
        ("emu_start", ctypes.c_void_p),
        ("pc", ctypes.c_uint64),
        ("error", ctypes.c_int32),
        ("identity", ctypes.c_int32),
        ("pkru", ctypes.c_uint32),
        ("again", ctypes.c_int32),
        ("stepping", ctypes.c_int32),
        ("misaligned", ctypes.c_int32),
        ("checks", ctypes.c_int32),
        ("uc_flush", ctypes.c_int32),
        ("uc_remove", ctypes.c_int32),
        ("fs_base", ctypes.c_int32),
        ("gs_base", ctypes.c_int32),
        ("held_limit", ctypes.c_uint64),
        ("prepared", ctypes.c_uint64),
        ("first", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
        ("epoch", ctypes.c_uint64),
        ("stop_count", ctypes.c_uint64),
        ("stop_wanted", ctypes.c_int32),
        ("hooked", ctypes.c_int32),
        ("fresh", ctypes.c_int32),
        ("counted", ctypes.c_int32),
        ("stops", ctypes.c_void_p),
        ("range", ctypes.c_void_p),
        ("no_exits", ctypes.c_void_p),
        ("sites", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("general", ctypes.c_void_p),
        ("uc_ctl", ctypes.c_void_p),
        ("on_stop", ctypes.c_void_p),
        ("number", ctypes.c_uint64),
        ("coders", ctypes.c_void_p),
        ("writers", ctypes.c_void_p),
        ("forget", ctypes.c_void_p),
        ("marks", ctypes.c_uint8 * 4096),
    )


_ON_FAULT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_FORGET = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_int)
_FILL = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64), ctypes.c_void_p
)
_BLOCK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
_INTERRUPT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
_SYSCALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_ILLEGAL = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)

_emu_start = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t
)(ctypes.cast(uclib.uc_emu_start, ctypes.c_void_p).value or 0)
_FILLS = ("x86_64", "aarch64", "ppc64", "ppc")


_RUN = 0 if library is None else address_of(library.mmscope_run)
_REG_READ_BATCH, _REG_WRITE_BATCH = address_of(uclib.uc_reg_read_batch), address_of(uclib.uc_reg_write_batch)
if library is not None:
    for _name in _FILLS:
        ctypes.c_void_p.in_dll(library, f"mmscope_fill_{_name}").value = address_of(
            getattr(uclib, f"unicorn_fill_tlb_{_name}")
        )


@functools.cache
def _invalid_address_offset() -> int:
    """Where in the engine's own structure the exact address of a failed access is: found by failing at a known one."""
    candidates = set(range(0, 4096, 8))
    for trial in (0x12_3456_789A_BCD7, 0x34_5678_9ABC_DEF3):
        uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        uc.mem_map(0, 0x2000)
        uc.mem_write(0x1000, b"\x48\xa1" + trial.to_bytes(8, "little"))  # mov rax, [trial]

        def fill(_uc: Any, page: int, _kind: int, entry: Any, _data: Any) -> bool:
            entry.paddr, entry.perms = page, UC_PROT_ALL
            return page == 0x1000

        uc.hook_add(UC_HOOK_TLB_FILL, fill)
        with contextlib.suppress(UcError):
            uc.emu_start(0x1000, 0)
        words = (ctypes.c_uint64 * 512).from_address(uc._uch.value)
        candidates &= {8 * i for i, word in enumerate(words) if word == trial}
    if len(candidates) != 1:
        raise RuntimeError("this version of Unicorn keeps the address of a failed access in an unknown place")
    return candidates.pop()


_BETWEEN = 24  # bytes of Unicorn's own structure between the page sizes of the host and the flags behind them
_FLAGS = (0, 0, 0, 1)  # an engine that has run nothing: hook_insert, first_tb, no_exit_request, init_done


def no_exit_request(uc: Uc) -> ctypes.c_uint8 | None:
    """A flag of Unicorn's own: while it is set, new translations do not ask after each load and store whether the
    engine is to stop, but at the start of a block only. That call costs more than the access: a walk through memory
    takes half the time without it. It is found by what stands before it, the host's page size twice; None where it is
    not."""
    words = (ctypes.c_uint64 * 512).from_address(uc._uch.value)
    for at in range(len(words) - 1):
        if words[at] == mmap.PAGESIZE and words[at + 1] == mmap.PAGESIZE:
            start = uc._uch.value + 8 * (at + 2) + _BETWEEN
            if tuple(ctypes.string_at(start, len(_FLAGS))) == _FLAGS:
                return ctypes.c_uint8.from_address(start + 2)
    return None


def _trial_engine(model: EngineModel) -> Uc:
    """An engine with four pages of memory, where virtual is physical: to find out how this version of Unicorn works."""
    uc = _new_engine(model)
    uc.mem_map(0, 0x4000)

    def fill(_uc: Any, page: int, _kind: int, entry: Any, _data: Any) -> bool:
        entry.paddr, entry.perms = page, UC_PROT_ALL
        return True

    uc.hook_add(UC_HOOK_TLB_FILL, fill)
    return uc


@functools.cache
def _reservation_offset(model: EngineModel) -> int | None:
    """Where in a saved context the address of a load-linked is: found by doing one. None: the model has none."""
    if not model.load_linked:
        return None
    size = model.pc_size
    kind = ctypes.c_uint64 if size == 8 else ctypes.c_uint32
    candidates: set[int] | None = None
    for trial in (0x1120, 0x1350):
        uc = _trial_engine(model)
        uc.mem_write(0x2000, model.load_linked)
        uc.reg_write(model.address_reg, trial)
        uc.emu_start(0x2000, 0, count=1)
        uc.reg_write(model.address_reg, 0)
        context = uc.context_save()
        words = (kind * (uclib.uc_context_size(uc._uch) // size)).from_address(context._context.value)
        found = {size * i for i, word in enumerate(words) if word == trial}
        candidates = found if candidates is None else candidates & found
    if candidates is None or len(candidates) != 1:
        raise RuntimeError(f"this version of Unicorn keeps the reservation of {model.name} in an unknown place")
    return candidates.pop()


@functools.cache
def _user_mode(model: EngineModel) -> bytes:
    """A saved context of an x86 engine in user mode: one begins with all privileges, and no register can take them."""
    uc = _trial_engine(model)
    data_segment, code_segment = 0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF
    uc.mem_write(0x128, struct.pack("<2Q", data_segment, code_segment))
    uc.mem_write(0x200, struct.pack("<5Q", 0x300, 0x33, 0x202, 0, 0x2B))  # what iretq takes from the stack
    uc.mem_write(0x300, b"\x48\xcf\x90")
    uc.reg_write(UC_X86_REG_GDTR, (0, 0x100, 0x3F, 0))
    uc.reg_write(UC_X86_REG_RSP, 0x200)
    uc.emu_start(0x300, 0, count=1)
    uc.reg_write(UC_X86_REG_GDTR, (0, 0, 0, 0))
    context = uc.context_save()
    return ctypes.string_at(context.context, context.size)


@functools.cache
def _exception_in_flight(model: EngineModel) -> int:
    """Where in a saved context an x86 engine keeps the exception that it believes to be delivering, so that the next
    one becomes a double fault: found by dividing by zero twice."""
    uc = _trial_engine(model)
    uc.mem_write(0x100, b"\x31\xc9\xf7\xf9")  # xor ecx, ecx; idiv ecx
    uc.hook_add(UC_HOOK_INTR, lambda uc, _number, _data: uc.emu_stop())
    candidates: set[int] | None = None
    for expected in (-1, 0, 8):
        context = uc.context_save()
        words = (ctypes.c_int32 * (context.size // 4)).from_address(context._context.value)
        found = {4 * i for i, word in enumerate(words) if word == expected}
        candidates = found if candidates is None else candidates & found
        uc.emu_start(0x100, 0)
    if candidates is None or len(candidates) != 1:
        raise RuntimeError("this version of Unicorn keeps the exception in flight in an unknown place")
    return candidates.pop()


@functools.cache
def _own_words(model: EngineModel) -> tuple[int, ...]:
    """Where in a saved context pointers to memory of the engine itself lie (the software-loaded TLB of a PowerPC 603):
    found by comparing engines that have run nothing. They must not come to another engine."""
    saved = []
    engines = [_new_engine(model) for _ in range(3)]  # all alive at once: no address comes twice
    for uc in engines:
        context = uc.context_save()
        saved.append(ctypes.string_at(context.context, context.size))
    first = saved[0]
    return tuple(
        at
        for at in range(CONTEXT_HEADER, len(first) - 7, 8)
        if any(other[at : at + 8] != first[at : at + 8] for other in saved[1:])
    )


@functools.cache
def _first_context(model: EngineModel) -> bytes:
    """A saved context of an engine that has run nothing, x86 in user mode."""
    if model.uc_arch == UC_ARCH_X86:
        return _user_mode(model)
    context = _new_engine(model).context_save()
    return ctypes.string_at(context.context, context.size)


def _library_ranges() -> list[tuple[int, int]]:
    """Where the engine's library lies in the host's memory, as far as it is read-only."""
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    name = os.path.basename(uclib._name)
    parts = [line[0].split("-") for line in lines if line[1] == "r--p" and os.path.basename(line[-1]) == name]
    return [(int(low, 16), int(high, 16) - 4) for low, high in parts]


_SPR_NAME, _SPR_USER_READ, _SPR_USER_WRITE = 48, 0, 8  # offsets in ppc_spr_t of Unicorn


@functools.cache
def _register_entries(model: EngineModel) -> tuple[int, ...]:
    """Where in a saved context the engine keeps what reading each of `model.trapped` does: found by their names."""
    context = bare_engine(model).context_save()
    words = (ctypes.c_uint64 * (context.size // 8)).from_address(context._context.value)
    library_text = _library_ranges()
    found = [
        8 * i - _SPR_NAME
        for i, word in enumerate(words)
        if any(low <= word < high for low, high in library_text) and ctypes.string_at(word, 4) in model.trapped
    ]
    if len(found) < len(model.trapped):
        raise RuntimeError(f"this version of Unicorn keeps the special registers of {model.name} in an unknown place")
    return tuple(found)


def _new_engine(model: EngineModel) -> Uc:
    """An engine in which user code that reads a register of `model.trapped` gets a program exception: what user code
    does that writes one."""
    uc = bare_engine(model)
    if model.trapped:
        context = uc.context_save()
        start = context._context.value
        for entry in _register_entries(model):
            ctypes.memmove(start + entry + _SPR_USER_READ, start + entry + _SPR_USER_WRITE, 8)
        uclib.uc_context_restore(uc._uch, context._context)
    return uc


def bare_engine(model: EngineModel) -> Uc:
    uc = Uc(model.uc_arch, model.uc_mode)
    if model.uc_arch == UC_ARCH_ARM64:
        uc.ctl_set_page_size(4096)
    if model.cpu_model is not None:
        uc.ctl_set_cpu_model(model.cpu_model)
    uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
    return uc


class Batch:
    """A prepared set of registers that is read or written in one call; 0.3 us for seven."""

    __slots__ = ("_kept", "read", "write")

    def __init__(self, uc: Uc, ids: Sequence[int]) -> None:
        n = len(ids)
        names = (ctypes.c_int * n)(*ids)
        values = (ctypes.c_uint64 * n)()
        base = ctypes.addressof(values)
        places = (ctypes.c_void_p * n)(*(base + 8 * i for i in range(n)))
        self._kept = names, places
        uch, regs, pointers = uc._uch.value, ctypes.addressof(names), ctypes.addressof(places)

        def read() -> list[int]:
            """The values, as unsigned integers."""
            call(_REG_READ_BATCH, uch, regs, pointers, n)
            return values[:]

        def write(new: Sequence[int]) -> None:
            """Set all registers; each value must fit into 64 bits unsigned."""
            values[:] = new  # type: ignore[call-overload]
            call(_REG_WRITE_BATCH, uch, regs, pointers, n)

        self.read: Callable[[], list[int]] = read
        self.write: Callable[[Sequence[int]], None] = write


class WideBatch:
    """As Batch, for registers of up to 16 bytes, which are read and written as bytes; 3 us for 28 of them."""

    __slots__ = ("read", "write")

    def __init__(self, uc: Uc, ids: Sequence[int]) -> None:
        n = len(ids)
        regs = (ctypes.c_int * n)(*ids)
        values = ctypes.create_string_buffer(16 * n)
        base = ctypes.addressof(values)
        pointers = (ctypes.c_void_p * n)(*(base + 16 * i for i in range(n)))
        uch, read_batch, write_batch = uc._uch, uclib.uc_reg_read_batch, uclib.uc_reg_write_batch

        def read() -> bytes:
            """16 bytes for each register, little-endian; of a smaller one the bytes behind are 0."""
            ctypes.memset(base, 0, 16 * n)
            read_batch(uch, regs, pointers, n)
            return values.raw

        def write(new: bytes) -> None:
            """Set all registers to what `read` gives."""
            values.raw = new
            write_batch(uch, regs, pointers, n)

        self.read: Callable[[], bytes] = read
        self.write: Callable[[bytes], None] = write


class Engine:
    """Runs the code of one address space.

    `on_fault(address, syndrome, ip)` is called inside the MMU callback where `serve_inside` is set and the exact
    address is known there (C callbacks only); True means that the page tables allow the access now. Otherwise `run`
    returns Stop.FAULT, with `fault_refused` if the answer was False: the fault has been dealt with, and the engine is
    to stop at it. None = not dealt with.
    """

    def __init__(self, model: EngineModel, ram: Ram, *, native: bool = True, serve_inside: bool = True) -> None:
        self.model = model
        self.ram = ram
        self.native = native and library is not None
        self.serve_inside = serve_inside and self.native
        self.uc = uc = _new_engine(model)
        uc.ctl_exits_enabled(True)
        flag = no_exit_request(uc)
        self._no_exits = ctypes.c_uint8() if flag is None else flag
        self.set_exits(at_blocks_only=True)
        uc.mem_map_ptr(0, ram.size, UC_PROT_ALL, ram.address)
        self._uch = uc._uch
        self._handle: int = uc._uch.value
        state = self._state = _EngineState()
        state.no_exits = ctypes.addressof(self._no_exits)
        self.counts = state  # its `retired` without a call
        self._state_address = ctypes.addressof(state)
        state.ram = ram.address
        state.code_map = ram.code_map_address
        state.number = self.number = ram.new_engine_number()
        state.coders, state.writers = ram.coders_address, ram.writers_address
        self._forget_c = _FORGET(self._forget)
        state.forget = address_of(self._forget_c)
        state.format = model.format
        state.pc_reg = model.pc_reg
        state.trap = _NO_TRAP
        state.reg_read = address_of(uclib.uc_reg_read)
        state.emu_stop = address_of(uclib.uc_emu_stop)
        state.emu_start = address_of(uclib.uc_emu_start)
        state.interposed = int(self.serve_inside)
        self.on_fault: Callable[[int, int, int], bool | None] = lambda *_: None
        self._on_fault_c = _ON_FAULT(self._guarded_on_fault) if self.serve_inside else None
        self.serve = False  # may `on_fault` be called inside the MMU callback
        self._pending: BaseException | None = None
        self.pkru = 0
        self.pc = 0
        self.error = 0
        self.trap_number = 0
        self.fault_address = 0
        self.fault_syndrome = 0
        self.fault_access = READ
        self.fault_refused = False  # Stop.FAULT: on_fault has dealt with it
        self._hooks: list[Any] = []
        self._add_hooks()
        self._watch = Watch(self, state) if model.uc_arch == UC_ARCH_X86 else None
        self._enter: Callable[[int, int], _Told] = self._enter_by_call
        if self.native and run is not None:
            self._enter = functools.partial(run, _RUN, self._state_address, self._handle)
        self._pc_value = ctypes.c_uint64()
        self._reservation = _reservation_offset(model)
        self._reservation_size = 8 if model.pc_size == 8 else 4
        where = self._reservation, self._reservation_size, _own_words(model)
        self.registers = (
            NativeRegisterFile(uc, *where, _first_context(model), state.general or 0)
            if self.native
            else RegisterFile(uc, *where)
        )
        if model.uc_arch == UC_ARCH_X86:
            context = uc.context_save()
            ctypes.memmove(context.context, _user_mode(model), context.size)
            uc.context_restore(context)
        ram.engines.append(self)

    def _add_hooks(self) -> None:
        fill: Any
        block: Any
        interrupt: Any
        syscall: Any
        illegal: Any
        if self.native:
            assert library is not None
            fill, block, interrupt = library.mmscope_fill, library.mmscope_block, library.mmscope_interrupt
            syscall, illegal = library.mmscope_syscall, library.mmscope_illegal
        else:
            fill, block, interrupt = _FILL(self._fill), _BLOCK(self._block), _INTERRUPT(self._interrupt)
            syscall, illegal = _SYSCALL(self._syscall), _ILLEGAL(self._illegal)
        self.hook(UC_HOOK_TLB_FILL, fill)
        self.hook(UC_HOOK_BLOCK, block)
        self.hook(UC_HOOK_INTR, interrupt)
        self.hook(UC_HOOK_INSN_INVALID, illegal)
        if self.model.uc_arch == UC_ARCH_X86:
            self.hook(UC_HOOK_INSN, syscall, UC_X86_INS_SYSCALL)

    def hook(self, kind: int, function: Any, *extra: int, first: int = 1, last: int = 0) -> int:
        """Have the engine call `function`, from `first` to `last`, everywhere where the former is greater; where the
        hook is in memory."""
        handle = ctypes.c_size_t()
        error = uclib.uc_hook_add(
            self._uch, ctypes.byref(handle), kind, ctypes.cast(function, ctypes.c_void_p), ctypes.byref(self._state),
            ctypes.c_uint64(first), ctypes.c_uint64(last), *(ctypes.c_int(e) for e in extra),
        )  # fmt: skip
        if error:
            raise UcError(error)
        self._hooks.append(function)
        return handle.value

    def hook_instruction(self, instruction: int, callback: Callable[[], int]) -> None:
        """Call `callback` where the guest executes `instruction` (UC_X86_INS_*, ...); it returns 1 when it has done
        it."""
        function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda _uc, _data: callback())
        self.hook(UC_HOOK_INSN, function, instruction)

    def set_exits(self, at_blocks_only: bool) -> None:
        """May code that is translated from now on be left at the start of a block only, or also before an instruction
        that has a hook. A fault or an exception always ends the run at its instruction."""
        self._no_exits.value = at_blocks_only

    def stop_before(self, address: int, trap: int, wanted: Callable[[int], bool]) -> None:
        """x86: from now on `run` ends with `trap` (0 or greater, no exception of the engine's) before the instruction
        at `address`, where `wanted(address)` says so then. Not to be called while the engine runs."""
        assert self._watch is not None
        self._watch.stop_before(address, trap, wanted)
        paddr, _, _ = walk(self.model.format, self.ram, self.root, address & ~0xFFF, FETCH, True)
        if paddr >= 0:
            self.invalidate_code(paddr >> 12)  # what is translated already does not ask

    # The callbacks in Python, twins of those in _native.c.

    def settle(self, ip: int) -> None:
        """Bring `retired` up to the instruction at `ip`, within the block that runs."""
        state = self._state
        end = state.block_start + state.block_size
        state.ip = ip
        state.retired = state.count - (end - ip) if state.block_start <= ip < end else state.count

    def _fill(self, _uc: int, page: int, kind: int, entry: Any, _data: int) -> bool:
        state = self._state
        access = WRITE if kind == UC_MEM_WRITE else FETCH if kind == UC_MEM_FETCH else READ
        if state.identity:
            entry[0], entry[1] = page, UC_PROT_ALL
            return True
        if state.misaligned:
            state.misaligned = 0
            self.settle(self._read_pc())
            state.trap = TRAP_GP
            uclib.uc_emu_stop(self._uch)
            return False
        state.fills += 1
        while True:
            paddr, perms, syndrome = walk(state.format, self.ram, state.root, page, access, True, state.pkru)
            if paddr >= 0:
                entry[0] = paddr
                entry[1] = self._note_use(page, access, paddr >> 12, perms)
                return True
            ip = self._read_pc()
            self.settle(ip)
            if state.format == PageTableFormat.X86_64:
                if not is_canonical(page):
                    state.trap = TRAP_GP
                    uclib.uc_emu_stop(self._uch)
                    return False
                if access == READ and modifies_memory(instruction_bytes(self.ram, state.root, ip)):
                    access = WRITE
                    continue
            break
        state.access = access
        state.syndrome = syndrome
        state.split_fetch = int(access == FETCH and (ip ^ page) >> 12 != 0)
        return False

    def _note_use(self, page: int, access: int, pfn: int, perms: int) -> Any:
        """The twin of note_use in _native.c, where the reasons are: the permissions of the entry."""
        ram = self.ram
        who = ((page >> 12 ^ self.number << 52) * _SPREAD & (1 << 64) - 1) >> 32 | 1
        writer = ram.writers[pfn]
        if access == FETCH:
            if writer and writer != who:
                self._forget(pfn, False)
            ram.writers[pfn] = 0
            ram.coders[pfn] = _SEVERAL if ram.code_map[pfn] and ram.coders[pfn] != who else who
            ram.code_map[pfn] = 1
            return perms & ~UC_PROT_WRITE
        if perms & UC_PROT_WRITE:
            if ram.code_map[pfn] and ram.coders[pfn] != who:
                self._forget(pfn, True)
            ram.writers[pfn] = _SEVERAL if writer and writer != who else who
        return perms & ~UC_PROT_EXEC

    def _forget(self, pfn: int, code: bool) -> None:
        """No engine has translations of the frame any more, or none has an entry in its TLB to write it."""
        if code:
            self.ram.code_written(pfn)
        else:
            for engine in self.ram.engines:
                engine.forget_entries()

    def forget_entries(self) -> None:
        """Forget all translations of addresses; code at them stays what it was."""
        uclib.uc_ctl(self._uch, FLUSH)

    def _block(self, _uc: int, start: int, size: int, _data: int) -> None:
        state = self._state
        if state.count >= state.limit:
            self._stop_at_block(start, size)
        elif self._watch is not None and not self._watch.look_ahead(start, size):
            uclib.uc_emu_stop(self._uch)
        else:
            self._enter_block(start, size)

    def _enter_block(self, start: int, size: int) -> None:
        state = self._state
        state.count += size
        state.block_start = start
        state.block_size = size

    def _stop_at_block(self, start: int, size: int) -> None:
        state = self._state
        if state.fresh and not state.again and state.count < state.held_limit:
            assert self._watch is not None
            state.limit = state.held_limit
            self._watch.note_block(start, size)
            if not state.again and self._watch.look_ahead(start, size):
                state.limit = 0
                self._enter_block(start, size)
                return
        elif not state.again:
            state.over = 1
            if state.checks:
                state.trap = TRAP_CHECKS
        uclib.uc_emu_stop(self._uch)

    def _interrupt(self, _uc: int, number: int, _data: int) -> None:
        self._state.trap = number
        uclib.uc_emu_stop(self._uch)

    def _syscall(self, _uc: int, _data: int) -> None:
        self._state.trap = TRAP_SYSCALL
        uclib.uc_emu_stop(self._uch)

    def _illegal(self, _uc: int, _data: int) -> bool:
        self._state.trap = TRAP_ILLEGAL
        uclib.uc_emu_stop(self._uch)
        return False

    def _guarded_on_fault(self, address: int, syndrome: int, ip: int) -> int:
        try:
            served = self.on_fault(address, syndrome, ip)
            if served:
                return 1
            self.fault_refused = served is not None
        except BaseException as error:
            self._pending = error
        return 0

    def set_serve(self, on: bool) -> None:
        """May `on_fault` be called inside the MMU callback: only where serving a fault can neither wait nor let others
        run first."""
        self.serve = on
        self._state.on_fault = address_of(self._on_fault_c) if on and self._on_fault_c is not None else None

    @property
    def root(self) -> int:
        """Physical address of the top-level page table."""
        return int(self._state.root)

    @root.setter
    def root(self, paddr: int) -> None:
        self._state.root = paddr
        self.flush_tlb()

    def set_pkru(self, value: int) -> None:
        """x86-64: what the protection keys forbid to data accesses, two bits a key (Intel SDM volume 3, 4.6.2)."""
        if value != self.pkru:
            self.pkru = self._state.pkru = value
            self.flush_tlb()

    @property
    def tlb_fills(self) -> int:
        """How often the MMU was asked."""
        return int(self._state.fills)

    def batch(self, ids: Sequence[int]) -> Batch:
        """Prepare a set of registers (Unicorn's numbers)."""
        return Batch(self.uc, ids)

    def wide_batch(self, ids: Sequence[int]) -> WideBatch:
        """Prepare a set of large registers."""
        return WideBatch(self.uc, ids)

    def run(self, pc: int, budget: int) -> Stop:
        """Run from `pc` to the end of the block in which `budget` bytes of code are used up, or to a fault or trap."""
        self.fault_refused = False
        how, at, address, syndrome, access = self._enter(pc, budget)
        if how == _SPLIT_FETCH or self._pending is not None:
            if self._pending is None:
                how = self._run_to_split_fetch()
            if self._pending is not None:
                pending, self._pending = self._pending, None
                raise pending
            if how == _SPLIT_FETCH:
                return self._step_to_split_fetch()
            how, at, address, syndrome, access = self._told(how)
        self.pc = at
        if how == _FAULT:
            self.fault_address = self._failed_address() if address is None else address
            self.fault_syndrome = syndrome
            self.fault_access = access
            return STOP_FAULT
        if how == _TRAP:
            self.trap_number = self._state.trap
            return STOP_TRAP
        if how == _HALTED:
            self.error = self._state.error
            return Stop.HALTED
        return STOP_BUDGET

    def _enter_by_call(self, pc: int, budget: int) -> _Told:
        """mmscope_run or its twin."""
        return self._told(
            call(_RUN, self._state_address, self._handle, pc, budget) if self.native else self._run(pc, budget)
        )

    def _told(self, how: int) -> _Told:
        """With what mmscope_run returned: where the run ended, and of a fault the address, None = not known here, the
        syndrome and the access."""
        state = self._state
        return how, state.pc, state.address if state.interposed else None, state.syndrome, state.access

    def _run(self, pc: int, budget: int) -> int:
        """The twin of mmscope_run."""
        state = self._state
        state.limit = state.count + budget
        state.over = state.split_fetch = state.misaligned = state.checks = 0
        state.trap = _NO_TRAP
        error = state.error = self._start(pc)
        trap = state.trap
        if trap == _NO_TRAP and error == UC_ERR_EXCEPTION:
            if state.split_fetch:
                return _SPLIT_FETCH
            self._uncount(state.ip)
            return _FAULT
        at = self._read_pc()
        if trap != _NO_TRAP:
            if trap >= 0:  # the rest of the block has not run
                self._uncount(at)
            else:
                self._settle_stop(at)
            return _TRAP
        self._settle_stop(at)
        return _BUDGET if error == 0 and state.over else _HALTED

    def _start(self, pc: int) -> int:
        """The twin of start."""
        state = self._state
        state.counted = 0
        while True:
            if state.fresh:
                state.held_limit, state.limit = state.limit, 0
            error = int(_emu_start(self._uch, pc, 0, 0, 0))
            if not state.again:
                return error
            state.again = 0
            state.limit = state.held_limit
            assert self._watch is not None
            self._watch.open_range(state.first, state.last)
            self.set_exits(at_blocks_only=not state.stop_wanted)
            pc = self._read_pc()
            state.prepared = pc
            uclib.uc_ctl(self._uch, REMOVE, ctypes.c_uint64(pc), ctypes.c_uint64(pc + 1))

    def _read_pc(self) -> int:
        self._pc_value.value = 0
        uclib.uc_reg_read(self._uch, self.model.pc_reg, ctypes.byref(self._pc_value))
        return self._pc_value.value

    def _failed_address(self) -> int:
        state = self._state
        if state.interposed:
            return int(state.address)
        return ctypes.c_uint64.from_address(self._uch.value + _invalid_address_offset()).value

    def _uncount(self, pc: int) -> None:
        """Stopped at `pc`, before that instruction: what of the block lies from there on has not run."""
        state = self._state
        end = state.block_start + state.block_size
        if state.block_start <= pc < end:
            state.count -= end - pc
            state.block_size = pc - state.block_start
        self._settle_stop(pc)

    def _settle_stop(self, pc: int) -> None:
        state = self._state
        state.pc = state.ip = pc
        state.retired = state.count

    def _run_to_split_fetch(self) -> int:
        """The translator ran into a page that is not there while instructions before it have not run: run these. What
        mmscope_run returns; _SPLIT_FETCH: it is as far as that. The hardware takes the fault when it comes to the
        instruction that reaches into the page, not earlier."""
        pc = int(self._state.ip)
        if self._state.format != PageTableFormat.X86_64:
            return _SPLIT_FETCH
        last = reaches_beyond_page(self.ram, self._state.root, pc)
        if last == pc:
            return _SPLIT_FETCH
        self.uc.ctl_set_exits([last])  # code that is translated now ends there
        how = self._run(pc, 1 << 62)
        self.uc.ctl_set_exits([])
        uclib.uc_ctl(self._uch, REMOVE, ctypes.c_uint64(pc), ctypes.c_uint64(pc + 1))
        return how if how in (_FAULT, _TRAP) else _SPLIT_FETCH

    def _step_to_split_fetch(self) -> Stop:
        """From the instruction on that may reach into the page go one by one, until that fetch fails. No fault is
        served meanwhile: where the block ends with its page, the fetch of the next one is a fault like others."""
        pc = int(self._state.ip)
        serve = self.serve
        self.set_serve(False)
        try:
            with self.stepping():
                while (stop := self.step(pc)) is None:
                    pc = self.pc
        finally:
            self.set_serve(serve)
        return stop

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Around calls of `step`."""
        if not self._state.counted:
            self.uc.ctl_flush_tb()  # code that is translated already does not stop after an instruction
            self._state.counted = 1
        self.set_exits(at_blocks_only=False)
        if self._watch is not None:
            self._watch.step(True)
        try:
            yield
        finally:
            if self._watch is not None:
                self._watch.step(False)
            self.set_exits(at_blocks_only=True)

    def step(self, pc: int) -> Stop | None:
        """Run the instruction at `pc`; None: it has run, `self.pc` is the next one."""
        state = self._state
        before = state.count
        state.limit = before + (1 << 62)
        state.split_fetch = state.misaligned = state.checks = 0
        state.trap = _NO_TRAP
        error = _emu_start(self._uch, pc, 0, 0, 1)
        if self._pending is not None:
            pending, self._pending = self._pending, None
            raise pending
        if state.trap != _NO_TRAP:
            self.pc = self._read_pc()
            self.trap_number = state.trap
            if state.trap >= 0:
                self._uncount(self.pc)
            else:
                self._settle_stop(self.pc)
            return Stop.TRAP
        moved = int(state.ip)
        if error == UC_ERR_EXCEPTION and state.access == FETCH and moved != pc:
            # The instruction has run, and the block that it leads to goes on in a page that is not there.
            self._stepped(before, pc, moved)
            return None
        if error == UC_ERR_EXCEPTION:
            self.pc = pc
            self.fault_address = self._failed_address()
            self.fault_syndrome = state.syndrome
            self.fault_access = state.access
            state.count = before
            state.block_size = 0
            self._settle_stop(pc)
            return Stop.FAULT
        if error:
            self.pc = pc
            self.error = error
            return Stop.HALTED
        self._stepped(before, pc, self._read_pc())
        return None

    def _stepped(self, before: int, pc: int, moved: int) -> None:
        """The instruction at `pc` has run, with `before` bytes retired, and led to `moved`."""
        state = self._state
        state.count = before + (moved - pc if pc < moved < pc + 16 else self.model.insn_bytes or 1)
        state.block_size = 0
        self._settle_stop(moved)
        self.pc = moved

    def retired(self) -> int:
        """Bytes of code retired before the current instruction; exact inside `on_fault` and between runs."""
        return int(self._state.retired)

    def end_within(self, budget: int) -> None:
        """Inside `on_fault`: the run may go on for at most `budget` bytes of code more."""
        state = self._state
        state.limit = max(0, min(state.limit, state.retired + budget))
        state.held_limit = max(0, min(state.held_limit, state.retired + budget))

    def stop(self) -> None:
        """Ask the engine to stop at the next block; safe to call from a signal handler of the host."""
        self._state.limit = self._state.held_limit = 0

    def flush_tlb(self) -> None:
        """Forget all translations of addresses."""
        uclib.uc_ctl(self._uch, FLUSH)
        if self._watch is not None:
            self._watch.forget()

    def invalidate_code(self, pfn: int) -> None:
        """Forget the translated code of one frame.

        Unicorn wants a virtual address for it, which it translates: for that moment, virtual is physical. The page
        tables are not asked, as those of an engine that no address space has may be other memory by now.
        """
        state = self._state
        uclib.uc_ctl(self._uch, FLUSH)
        state.identity = 1
        try:
            self.uc.ctl_remove_cache(pfn << 12, pfn + 1 << 12)
        finally:
            state.identity = 0
            uclib.uc_ctl(self._uch, FLUSH)

    def save_context(self) -> Any:
        """All that the CPU is made of. A load-linked that waits for its store-conditional is forgotten, as at every
        return from the kernel."""
        context = self.uc.context_save()
        if self._reservation is not None:
            ctypes.memset(context._context.value + self._reservation, 0xFF, self._reservation_size)
        return context

    def restore_context(self, context: Any) -> None:
        """Load what `save_context` of this engine saved."""
        uclib.uc_context_restore(self._uch, context._context)

    def clear_exception(self) -> None:
        """x86: the exception that `run` returned has been taken care of; the next one stands for itself."""
        context = self.uc.context_save()
        ctypes.memset(context._context.value + _exception_in_flight(self.model), 0xFF, 4)
        uclib.uc_context_restore(self._uch, context._context)

    def close(self) -> None:
        """Leave the RAM's list of engines; the engine must not be used afterwards."""
        if self in self.ram.engines:
            self.ram.engines.remove(self)


__all__ = ["TRAP_ILLEGAL", "TRAP_SYSCALL", "UC_ARCH_PPC", "Batch", "Engine", "EngineModel", "Stop"]
