# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers of threads that wait for their turn: what an engine saves and loads when threads of an address space
follow each other."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from emu.hw.native import call, library

# The library must be loaded after the native one.
from unicorn import Uc  # isort: skip
from unicorn.unicorn_py3.unicorn import uclib  # isort: skip

_LINE, _GROUP = 64, 64  # of _registers.c
CONTEXT_HEADER = 40  # bytes of struct uc_context before the registers


class _Bank(ctypes.Structure):
    """struct bank of _registers.c."""

    _fields_ = (
        ("uc", ctypes.c_void_p),
        ("save", ctypes.c_void_p),
        ("restore", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("reservation", ctypes.c_int64),
        ("reservation_size", ctypes.c_uint64),
        ("owned", ctypes.c_uint64),
        ("owned_at", ctypes.POINTER(ctypes.c_uint64)),
        ("owned_word", ctypes.POINTER(ctypes.c_uint64)),
        ("kept", ctypes.POINTER(ctypes.c_uint64)),
        ("blank", ctypes.POINTER(ctypes.c_uint64)),
    )


def address_of(function: Any) -> int:
    """Of a function that ctypes has found."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


_SAVE, _RESTORE = address_of(uclib.uc_context_save), address_of(uclib.uc_context_restore)
if library is not None:
    _SAVE_REGISTERS = address_of(library.mmscope_save_registers)
    _LOAD_REGISTERS = address_of(library.mmscope_load_registers)
    _EXCHANGE_REGISTERS = address_of(library.mmscope_exchange_registers)


class Registers:
    """Those of one thread. `address`: of what they are kept in."""

    __slots__ = ("address", "memory")

    def __init__(self, memory: Any, address: int) -> None:
        self.memory = memory
        self.address = address


class RegisterFile:
    """Saves and loads the registers of one engine. A load-linked that waits for its store-conditional is forgotten, as
    at every return from the kernel."""

    def __init__(self, uc: Uc, reservation: int | None, reservation_size: int, owned: Sequence[int]) -> None:
        """Offsets in a saved context: `reservation` of the address of a load-linked (None: the CPU has none), `owned`
        of pointers to memory of the engine itself."""
        self._uc = uc
        self._handle: int = uc._uch.value
        self._reservation, self._reservation_size = reservation, reservation_size
        self._owned: dict[int, bytes] = {}
        if owned:
            context = uc.context_save()
            self._owned = {at: ctypes.string_at(context._context.value + at, 8) for at in owned}
        # Save to one, and load the other, by their addresses.
        self.exchange: Callable[[int, int], object] = self._exchange

    def new(self) -> Registers:
        """Room for the registers of a thread."""
        context = self._uc.context_save()
        return Registers(context, context._context.value)

    def save(self, to: Registers) -> None:
        """All registers, floating point and vector ones too."""
        call(_SAVE, self._handle, to.address)
        if self._reservation is not None:
            ctypes.memset(to.address + self._reservation, 0xFF, self._reservation_size)

    def load(self, registers: Registers) -> None:
        """What this file saved, or that of another engine of the same model."""
        for at, word in self._owned.items():
            ctypes.memmove(registers.address + at, word, 8)
        call(_RESTORE, self._handle, registers.address)

    def _exchange(self, to: int, registers: int) -> None:
        self.save(Registers(None, to))
        self.load(Registers(None, registers))


class NativeRegisterFile(RegisterFile):
    """As RegisterFile, by _registers.c: of each thread, what differs from an engine that has run nothing."""

    def __init__(
        self, uc: Uc, reservation: int | None, reservation_size: int, owned: Sequence[int], base: bytes, live: int
    ) -> None:
        """`base`: a saved context, the same one for all engines of the model; `live`: where the engine may have its
        registers, 0 = that is not known."""
        super().__init__(uc, reservation, reservation_size, owned)
        self._context = uc.context_save()
        self._base = base[CONTEXT_HEADER:]
        start, size = self._context._context.value, len(self._base)
        data = start + CONTEXT_HEADER
        if live and ctypes.string_at(live, size) == ctypes.string_at(data, size):
            start, data = 0, live
        ctypes.memmove(data, self._base, size)
        groups = -(-(size // _LINE) // _GROUP)
        self._room = 8 * groups + _LINE + size
        words = [int.from_bytes(word, sys.byteorder) for word in self._owned.values()]
        blank = (ctypes.c_uint64 * groups)()
        for line in range(size // _LINE):
            if self._base[line * _LINE : (line + 1) * _LINE] == bytes(_LINE):
                blank[line // _GROUP] |= 1 << line % _GROUP
        self._bank = _Bank(
            uc=self._handle, save=_SAVE, restore=_RESTORE, context=start, data=data,
            base=ctypes.cast(ctypes.c_char_p(self._base), ctypes.c_void_p), size=size,
            reservation=-1 if reservation is None else reservation - CONTEXT_HEADER, reservation_size=reservation_size,
            owned=len(words), owned_at=(ctypes.c_uint64 * len(words))(*(at - CONTEXT_HEADER for at in self._owned)),
            owned_word=(ctypes.c_uint64 * len(words))(*words), kept=(ctypes.c_uint64 * groups)(),
            blank=blank,
        )  # fmt: skip
        self._bank_address = ctypes.addressof(self._bank)
        self.exchange = functools.partial(call, _EXCHANGE_REGISTERS, self._bank_address)

    def new(self) -> Registers:
        memory = (ctypes.c_uint64 * -(-self._room // 8))()
        return Registers(memory, ctypes.addressof(memory))

    def save(self, to: Registers) -> None:
        call(_SAVE_REGISTERS, self._bank_address, to.address)

    def load(self, registers: Registers) -> None:
        call(_LOAD_REGISTERS, self._bank_address, registers.address)
