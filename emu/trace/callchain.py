# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's call stack at an event, as `perf record --call-graph fp|dwarf` has it.

`Callchain` is called where an event begins, before a fault is served. It reads guest memory through the page tables in
software: nothing faults, no accessed bit is set, so that the trace is the same with and without it but for the column
`stack`.

A stack holds the current instruction, then the return addresses, innermost first. Where a signal interrupted a
function, the address of its next instruction plus one stands in place of a return address, and so does that of the code
to which the handler returns: for every entry but the first, the byte before the address belongs to the caller.

fp follows the chain of saved frame pointers (x86-64: RBP, ARM64: x29) or PowerPC's back chain. Code that keeps none
(parts of C libraries) hides its caller, or ends the stack. A function that has no frame yet, or never has one, is seen
by its entry point (x86-64), by a link register that points out of it (ARM64), or by its prologue (PowerPC). dwarf
follows .eh_frame and .debug_frame of the program and its libraries, and frame pointers where there is none.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from elftools.elf.elffile import ELFFile

from archs.arm64.signal import FRAME_SIZE as ARM64_FRAME_SIZE
from emu.kernel.task import Task
from emu.trace.cfi import CallFrames
from emu.trace.source_lines import ERRORS
from emu.trace.symbols import Symbols

MAX_STACK = 127  # PERF_MAX_STACK_DEPTH
_AT_ENTRY = 9
_PAGE = 4095
_PROLOGUE = 64  # instructions in which a function is expected to make its frame

Mode = Literal["fp", "dwarf"]


@dataclass(frozen=True)
class SignalFrame:
    """Where the kernel saved the registers that a signal interrupted: offsets from the stack pointer with which the
    handler comes back to `code`."""

    code: bytes
    pc: int
    first: int  # the first of the registers
    stride: int
    lr: int = 0  # PowerPC: the link register


@dataclass(frozen=True)
class Layout:
    """Where an architecture keeps what: indices into `cpu.general`, DWARF numbers, and the signal frames."""

    fp: int  # index of the frame pointer (PowerPC: the stack pointer, head of the back chain)
    sp: int
    lr: int  # -1 where return addresses are pushed
    dwarf: tuple[int, ...]  # index of each DWARF register 0, 1, ...
    dwarf_sp: int
    dwarf_lr: int  # -1 = none
    signals: tuple[SignalFrame, ...]


def _powerpc(order: str, wide: bool) -> Layout:
    def code(*words: int) -> bytes:
        return struct.pack(f"{order}{len(words)}I", *words)

    rt, old = 0x3800_00AC, 0x3800_0077  # li r0, rt_sigreturn; li r0, sigreturn
    signals: tuple[SignalFrame, ...]
    if wide:  # behind the bctrl of the trampoline; gp_regs of the sigcontext, of which 32 is nip and 36 link
        signals = (SignalFrame(code(0x3821_0080, rt, 0x4400_0002), 616, 360, 8, 648),)
    else:
        signals = (
            SignalFrame(code(rt, 0x4400_0002), 528, 400, 4, 544),
            SignalFrame(code(old, 0x4400_0002), 224, 96, 4, 240),
        )
    return Layout(1, 1, 34, tuple(range(32)), 1, 65, signals)


_X86_SIGRETURN = ("48c7c00f0000000f05", "b80f0000000f05")  # mov $15,%rax or %eax; syscall
LAYOUTS = {
    # struct rt_sigframe behind pretcode: ucontext with r8 r9 ... rip at 40
    "x86_64": Layout(
        10, 15, -1, (13, 12, 14, 11, 9, 8, 10, 15, 0, 1, 2, 3, 4, 5, 6, 7, 16), 7, -1,
        tuple(SignalFrame(bytes.fromhex(code), 168, 40, 8) for code in _X86_SIGRETURN),
    ),
    # struct rt_sigframe: siginfo, then ucontext with fault_address x0 ... x30 sp pc; mov x8,#139; svc #0
    "aarch64": Layout(
        29, 31, 30, tuple(range(32)), 31, 30, (SignalFrame(bytes.fromhex("681180d2010000d4"), 568, 312, 8, 552),)
    ),
    "powerpc": _powerpc(">", False),
    "powerpc64": _powerpc(">", True),
    "powerpc64le": _powerpc("<", True),
}  # fmt: skip


class _Object:
    """What is known of a program or library."""

    def __init__(self, path: str, mode: Mode, place: Callable[[Any, Symbols], int], own_only: bool = False) -> None:
        """`place(elf, symbols)`: its load bias; ValueError. `own_only`: see Symbols.load, which takes seconds for the
        debugging information of a C library."""
        elf, bias = None, 0
        self.symbols = Symbols(path=path)
        try:
            with open(path, "rb") as file:
                elf = ELFFile(io.BytesIO(file.read()))
            self.symbols.load(elf, own_only)
            bias = self.symbols.bias = place(elf, self.symbols)
        except (OSError, *ERRORS):
            elf = None
        self.frames = CallFrames(elf, bias) if elf is not None and mode == "dwarf" else None

    def start(self, address: int) -> int:
        """Where the function that holds an address begins; -1: none is known."""
        found = self.symbols.lookup(address)
        return address - found[1] if found is not None else -1


def _entry(task: Any) -> int:
    """AT_ENTRY of the auxiliary vector."""
    word = task.word
    order: Literal["little", "big"] = "big" if task.arch.elf.big_endian else "little"
    for at in range(0, len(task.auxv), 2 * word):
        if int.from_bytes(task.auxv[at : at + word], order) == _AT_ENTRY:
            return int.from_bytes(task.auxv[at + word : at + 2 * word], order)
    raise ValueError("no AT_ENTRY")


class Callchain:
    """The call stack of the task that runs.

    `current()` gives that task, or something else where no task runs.
    """

    def __init__(self, current: Callable[[], Any], mode: Mode) -> None:
        self._current = current
        self._mode: Mode = mode
        self._mm: Any = None
        self._programs: dict[str, _Object] = {}
        self._libraries: dict[tuple[str, int], _Object] = {}  # by path and address of the mapping
        self._mapped: dict[int, _Object | None] = {}  # by page of code, until the tree of VMAs changes
        self._changes = 0
        self._depths: dict[int, int] = {}  # x86-64, by ip: how far below the return address the stack pointer is
        self._prologues: dict[int, tuple[int, int]] = {}
        self._signal_frames: dict[int, SignalFrame | None] = {}  # by return address

    def _switch(self, task: Any) -> None:
        """Another address space, or another program."""
        self._mm = task.mm
        self._exe = task.exe
        self._table = task.mm.pgtable
        self._format = self._table.format
        self._u8 = self._table.ram.u8
        self._u64 = self._table.ram.u64
        self._little = not task.arch.elf.big_endian
        self._word = task.word
        self._order: Literal["little", "big"] = "big" if task.arch.elf.big_endian else "little"
        self._task_size: int = task.mm.task_size
        name = task.arch.name
        self._layout = LAYOUTS[name]
        self._vdso: bytes = task.arch.vdso
        self._vdso_address: int = task.mm.vdso
        self._powerpc = name.startswith("powerpc")
        self._signal_frames = {}
        self._prologues = {}
        self._depths = {}
        if task.exe not in self._programs:
            self._programs[task.exe] = _Object(task.exe, self._mode, lambda elf, _: _entry(task) - elf["e_entry"])
        self._program = self._programs[task.exe]
        self._mapped = {}
        self._libraries = {}

    def __call__(self, ip: int) -> tuple[int, ...]:
        """The addresses, innermost first; empty when no program runs yet. `ip`: the instruction that faults in user
        mode; 0: the task is in a system call, and its user registers tell."""
        task = self._current()
        if not isinstance(task, Task):
            return ()
        cpu = task.cpu  # with this task's registers in it
        ip = ip or cpu.pc
        if not ip:
            return ()
        values: Sequence[int] = cpu.general.read()  # type: ignore[attr-defined]
        if task.mm is not self._mm or task.exe != self._exe:
            self._switch(task)
        self._frames: dict[int, int] = {}  # page -> physical address, for this one stack
        chain = [ip]
        if self._mode == "dwarf":
            self._by_dwarf(chain, values)
        else:
            self._by_frame_pointer(chain, values[self._layout.fp], values[self._layout.sp], self._lr(values))
        return tuple(chain[:MAX_STACK])

    def _lr(self, values: Sequence[int]) -> int:
        return values[self._layout.lr] if self._layout.lr >= 0 else 0

    def _read(self, address: int, size: int) -> int | None:
        """An unsigned value from guest memory, by a look into the page tables that leaves them as they are."""
        frame = self._frames.get(address >> 12, -1)
        if frame >= 0 and size == 8 and not address & 7 and self._little:  # most of all reads
            return int(self._u64[frame + (address & _PAGE) >> 3])
        if (address & _PAGE) + size > _PAGE + 1:
            low = self._bytes(address, _PAGE + 1 - (address & _PAGE))
            high = self._bytes(address + len(low or b""), size - len(low or b"")) if low else None
            return None if low is None or high is None else int.from_bytes(low + high, self._order)
        data = self._bytes(address, size)
        return None if data is None else int.from_bytes(data, self._order)

    def _bytes(self, address: int, size: int) -> bytes | None:
        """Bytes of one page."""
        page = address >> 12
        frame = self._frames.get(page)
        if frame is None:
            frame = -1
            if 0 <= address < self._task_size:
                entry = self._table.peek(address)
                if entry and self._format.pte_present(entry):
                    frame = entry & self._format.pfn_mask
            self._frames[page] = frame
        if frame < 0:
            return None
        at = frame + (address & _PAGE)
        return bytes(self._u8[at : at + size])

    def _is_code(self, address: int) -> bool:
        """Can this be a return address at all."""
        return _PAGE < address < self._task_size

    def _signal_frame(self, address: int) -> SignalFrame | None:
        """Is this where a signal handler returns to."""
        if address not in self._signal_frames:
            self._signal_frames[address] = next(
                (frame for frame in self._layout.signals if self._code(address, len(frame.code)) == frame.code),
                None,
            )
        return self._signal_frames[address]

    def _code(self, address: int, size: int) -> bytes | None:
        """Code of one page; that of the vDSO is known before its page is mapped."""
        at = address - self._vdso_address
        if self._vdso_address and 0 <= at < len(self._vdso):
            return self._vdso[at : at + size]
        return self._bytes(address, size) if (address & _PAGE) + size <= _PAGE + 1 else None

    def _by_frame_pointer(self, chain: list[int], fp: int, sp: int, lr: int) -> None:
        """Add what the chain of frames tells from chain[-1] on, the instruction that runs with these registers."""
        if self._powerpc:
            self._by_back_chain(chain, sp, lr)
            return
        word = self._word
        x86 = self._layout.lr < 0
        self._add_frameless(chain, chain[-1], fp, sp, lr)
        lowest = sp
        while len(chain) < MAX_STACK and fp >= lowest and not fp & (word - 1):
            after = self._read(fp, word)
            address = self._read(fp + word, word)
            if after is None or address is None or not self._is_code(address):
                return
            frame = self._signal_frame(address)
            if frame is not None:
                # What the kernel saved lies behind the handler's frame, on ARM64 before the record of it.
                base = fp + 2 * word if x86 else after - ARM64_FRAME_SIZE
                interrupted = self._read(base + frame.pc, word)
                saved, stack = (
                    self._read(base + frame.first + frame.stride * index, word)
                    for index in (self._layout.fp, self._layout.sp)
                )
                chain.append(address + 1)
                if interrupted is None or saved is None or stack is None or not self._is_code(interrupted):
                    return
                chain.append(interrupted + 1)
                fp, lowest = saved, 0  # the handler may have run on another stack
                self._add_frameless(chain, interrupted, fp, stack, self._read(base + frame.lr, word) or 0)
                continue
            chain.append(address)
            if after <= fp:
                return
            fp = lowest = after

    def _add_frameless(self, chain: list[int], ip: int, fp: int, sp: int, lr: int) -> None:
        """Add the caller of a function that runs without a frame of its own."""
        word = self._word
        if self._layout.lr >= 0:
            saved = self._read(fp + word, word)
            if lr != saved and self._leaves_function(ip, lr):
                chain.append(lr)
            return
        depth = self._depths.get(ip)
        if depth is None:  # at the entry, or behind the push of the frame pointer
            depth = self._depths[ip] = 0 if self._starts_at(ip) else word if self._starts_at(ip - 1) else -1
        if depth >= 0:
            address = self._read(sp + depth, word)
            if address is not None and self._is_code(address):
                chain.append(address)

    def _object(self, address: int) -> _Object:
        """The library that an address is in, the program where it is in none."""
        tree = self._mm.mm_mt
        if tree.changes != self._changes:
            self._mapped, self._changes = {}, tree.changes
        page = address >> 12
        if page not in self._mapped:
            vma = tree.load(address)
            self._mapped[page] = self._library(vma) if vma is not None and vma.vm_file is not None else None
        return self._mapped[page] or self._program

    def _library(self, vma: Any) -> _Object | None:
        path, start = vma.vm_file.name, vma.vm_start
        if path == self._exe:
            return None
        if (path, start) not in self._libraries:
            offset = vma.vm_pgoff << 12
            self._libraries[path, start] = _Object(
                path, self._mode, lambda _, own: start - own.address_of_offset(offset), own_only=True
            )
        return self._libraries[path, start]

    def _starts_at(self, address: int) -> bool:
        return self._object(address).start(address) == address

    def _leaves_function(self, ip: int, lr: int) -> bool:
        """Does the link register lead out of the function that runs: then that has not saved it, or not called yet."""
        if not self._is_code(lr):
            return False
        caller = self._object(lr - 1).start(lr - 1)
        return caller >= 0 and caller != self._object(ip).start(ip)

    def _by_back_chain(self, chain: list[int], sp: int, lr: int) -> None:
        """perf_callchain_user of PowerPC: each frame's first word is its caller's frame, in which the return address
        lies at 16 (64 bits) or 4."""
        word = self._word
        saved_at = 16 if word == 8 else 4
        ip = chain[-1]
        frame = self._signal_frame(ip) or self._signal_frame(ip + 4)  # the trampoline itself runs
        sp = self._add_interrupted(chain, frame, sp) if frame else self._add_link(chain, ip, sp, lr)
        while len(chain) < MAX_STACK:
            after = self._read(sp, word)
            if after is None or after <= sp or after & (word - 1):
                return
            address = self._read(after + saved_at, word)
            if address is None or not self._is_code(address):
                return
            frame = self._signal_frame(address)
            if frame is not None:
                chain.append(address + 1)
                sp = self._add_interrupted(chain, frame, after)
            else:
                chain.append(address)
                sp = after

    def _add_interrupted(self, chain: list[int], frame: SignalFrame, sp: int) -> int:
        """Add what a signal interrupted on PowerPC; the frame to go on from, 0 = none."""
        interrupted = self._read(sp + frame.pc, self._word)
        stack = self._read(sp + frame.first + frame.stride, self._word)
        link = self._read(sp + frame.lr, self._word)
        if interrupted is None or stack is None or link is None or not self._is_code(interrupted):
            return 0
        chain.append(interrupted + 1)
        return self._add_link(chain, interrupted, stack, link)

    def _add_link(self, chain: list[int], ip: int, sp: int, lr: int) -> int:
        """Add the caller of the function that runs where it has not saved the link register; the frame to go on from.

        The prologue tells: `mflr` saves it, `stwu r1` or `stdu r1` makes a frame. A frame without a saved link register
        has nothing where others keep it.
        """
        start = self._object(ip).start(ip)
        if start < 0:
            return sp
        saves, frames = self._prologue(start)
        if ip > saves and ip > frames:
            return sp
        if self._leaves_function(ip, lr):
            chain.append(lr)
        if ip > frames:
            return self._read(sp, self._word) or 0
        return sp

    def _prologue(self, start: int) -> tuple[int, int]:
        """Where the link register is saved and the frame is made; far away where that does not happen."""
        known = self._prologues.get(start)
        if known is None:
            saves = frames = 1 << 64
            for at in range(start, start + 4 * _PROLOGUE, 4):
                code = self._read(at, 4)
                if code is None:
                    break
                if code == 0x7C08_02A6:
                    saves = min(saves, at)
                elif code >> 16 == 0x9421 or code & 0xFFFF_0003 == 0xF821_0001 or code in (0x7C21_016E, 0x7C21_016A):
                    frames = min(frames, at)
                elif code in (0x4E80_0020, 0x4E80_0420):  # blr, bctr: the end of a short function
                    break
            known = self._prologues[start] = saves, frames
        return known

    def _by_dwarf(self, chain: list[int], values: Sequence[int]) -> None:
        """Add what call frame information tells; frame pointers where there is none."""
        layout, word = self._layout, self._word
        registers = {number: values[index] for number, index in enumerate(layout.dwarf)}
        if layout.dwarf_lr >= 0:
            registers[layout.dwarf_lr] = values[layout.lr]
        pc = chain[0]
        exact = True
        lowest = 0
        while len(chain) < MAX_STACK:
            frame = self._signal_frame(pc)
            if frame is not None:
                base = registers[layout.dwarf_sp]
                interrupted = self._read(base + frame.pc, word)
                if interrupted is None or not self._is_code(interrupted):
                    return
                saved = {n: self._read(base + frame.first + frame.stride * i, word) for n, i in enumerate(layout.dwarf)}
                if layout.dwarf_lr >= 0:
                    saved[layout.dwarf_lr] = self._read(base + frame.lr, word)
                registers = {number: value for number, value in saved.items() if value is not None}
                if len(chain) > 1:
                    chain[-1] = pc + 1
                chain.append(interrupted + 1)
                pc, exact, lowest = interrupted, True, 0
                continue
            # A return address may lie behind the last instruction of the function that called.
            within = pc if exact else pc - 1
            frames = self._object(within).frames
            caller = None
            if frames is not None:
                caller = frames.caller(within, registers, self._read, word, layout.dwarf_sp)
            if caller is None:
                rest = [pc]
                fp = registers.get(layout.dwarf.index(layout.fp), 0)
                lr = registers.get(layout.dwarf_lr, 0) if exact else 0
                self._by_frame_pointer(rest, fp, registers[layout.dwarf_sp], lr)
                chain.extend(rest[1:])
                return
            sp, pc = caller[layout.dwarf_sp], caller[-1]
            if not self._is_code(pc) or (sp <= lowest and not (exact and sp == lowest)):
                return
            exact = bool(caller[-2])
            chain.append(pc)
            registers, lowest = caller, sp
