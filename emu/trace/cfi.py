# SPDX-License-Identifier: GPL-2.0-or-later
"""Call frame information (.eh_frame, .debug_frame): from the registers of a frame to those of its caller.

DWARF 5, 6.4, and the .eh_frame of the LSB. A rule that cannot be followed ends the stack; nothing here raises.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.callframe import FDE
from elftools.dwarf.dwarf_expr import DWARFExprParser

Reader = Callable[[int, int], int | None]
"""(address, bytes) -> unsigned value, or None where nothing is mapped."""

_BINARY: dict[str, Callable[[int, int], int]] = {
    "DW_OP_and": lambda a, b: a & b,
    "DW_OP_or": lambda a, b: a | b,
    "DW_OP_xor": lambda a, b: a ^ b,
    "DW_OP_plus": lambda a, b: a + b,
    "DW_OP_minus": lambda a, b: a - b,
    "DW_OP_mul": lambda a, b: a * b,
    "DW_OP_shl": lambda a, b: a << b if b < 64 else 0,
    "DW_OP_shr": lambda a, b: a >> b,
}
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "DW_OP_eq": lambda a, b: a == b,
    "DW_OP_ne": lambda a, b: a != b,
    "DW_OP_ge": lambda a, b: a >= b,
    "DW_OP_gt": lambda a, b: a > b,
    "DW_OP_le": lambda a, b: a <= b,
    "DW_OP_lt": lambda a, b: a < b,
}
_STEPS = 1000  # operations of one expression


class Uncomputable(Exception):
    """A rule needs a register or a word of memory that is not known, or an operation that is none of these."""


def evaluate(operations: list[Any], registers: Mapping[int, int], read: Reader, word: int, first: int | None) -> int:
    """The value of a DWARF expression (list of pyelftools' DWARFExprOp). `first`: what lies on its stack at the
    beginning. Uncomputable."""
    mask = (1 << 8 * word) - 1
    stack = [] if first is None else [first]
    starts = {operation.offset: index for index, operation in enumerate(operations)}
    index = steps = 0

    def signed(value: int) -> int:
        return value - (mask + 1) if value > mask >> 1 else value

    def load(address: int, size: int) -> int:
        value = read(address & mask, size)
        if value is None:
            raise Uncomputable
        return value

    try:
        while index < len(operations):
            steps += 1
            operation = operations[index]
            name, args = operation.op_name, operation.args
            index += 1
            if steps > _STEPS:
                raise Uncomputable
            if name.startswith("DW_OP_lit"):
                stack.append(int(name[9:]))
            elif name.startswith("DW_OP_breg"):
                register, offset = args if name == "DW_OP_bregx" else (int(name[10:]), args[0])
                stack.append(registers[register] + offset & mask)
            elif name.startswith("DW_OP_const") or name == "DW_OP_addr":
                stack.append(args[0] & mask)
            elif name == "DW_OP_plus_uconst":
                stack.append(stack.pop() + args[0] & mask)
            elif name in _BINARY:
                right, left = stack.pop(), stack.pop()
                stack.append(_BINARY[name](left, right) & mask)
            elif name in _COMPARE:
                right, left = signed(stack.pop()), signed(stack.pop())
                stack.append(int(_COMPARE[name](left, right)))
            elif name == "DW_OP_shra":
                right, left = stack.pop(), signed(stack.pop())
                stack.append(left >> min(right, 64) & mask)
            elif name == "DW_OP_neg":
                stack.append(-stack.pop() & mask)
            elif name == "DW_OP_not":
                stack.append(~stack.pop() & mask)
            elif name == "DW_OP_abs":
                stack.append(abs(signed(stack.pop())))
            elif name == "DW_OP_deref":
                stack.append(load(stack.pop(), word))
            elif name == "DW_OP_deref_size":
                stack.append(load(stack.pop(), args[0]))
            elif name == "DW_OP_dup":
                stack.append(stack[-1])
            elif name == "DW_OP_drop":
                stack.pop()
            elif name == "DW_OP_over":
                stack.append(stack[-2])
            elif name == "DW_OP_pick":
                stack.append(stack[-1 - args[0]])
            elif name == "DW_OP_swap":
                stack[-1], stack[-2] = stack[-2], stack[-1]
            elif name == "DW_OP_rot":
                stack[-3:] = [stack[-1], stack[-3], stack[-2]]
            elif name in ("DW_OP_skip", "DW_OP_bra"):
                if name == "DW_OP_skip" or stack.pop():
                    index = starts[operation.offset + 3 + args[0]]
            elif name != "DW_OP_nop":
                raise Uncomputable
        return stack[-1]
    except (IndexError, KeyError):
        raise Uncomputable from None


class CallFrames:
    """The call frame information of one ELF file, loaded at `bias`."""

    def __init__(self, elf: Any, bias: int) -> None:
        self.bias = bias
        self._fdes: list[tuple[int, int, FDE]] = []
        self._tables: dict[int, tuple[list[int], list[dict[Any, Any]], int, str]] = {}
        self._rules: dict[int, tuple[Any, list[tuple[int, Any]], int, int]] = {}  # by pc
        self._expressions: dict[bytes, list[Any]] = {}
        self._parser: DWARFExprParser | None = None
        found: dict[int, tuple[int, FDE]] = {}
        for what in ("EH_CFI_entries", "CFI_entries"):
            try:
                info = elf.get_dwarf_info(relocate_dwarf_sections=False)
                if not (info.has_EH_CFI() if what == "EH_CFI_entries" else info.has_CFI()):
                    continue
                entries = getattr(info, what)()
            except (DWARFError, ELFError, ValueError, KeyError, AttributeError, TypeError, AssertionError):
                continue
            self._parser = DWARFExprParser(info.structs)
            for entry in entries:
                if isinstance(entry, FDE) and entry.header.address_range:
                    found.setdefault(entry.header.initial_location, (entry.header.address_range, entry))
        self._fdes = [(start, size, entry) for start, (size, entry) in sorted(found.items())]
        self._starts = [start for start, _, _ in self._fdes]

    def _table(self, at: int) -> tuple[list[int], list[dict[Any, Any]], int, str] | None:
        """The decoded rules of the function at a file address: (starts of rows, rows, column of the return address,
        augmentation)."""
        index = bisect_right(self._starts, at) - 1
        if index < 0:
            return None
        start, size, entry = self._fdes[index]
        if at >= start + size:
            return None
        known = self._tables.get(start)
        if known is None:
            try:
                rows = entry.get_decoded().table
                cie = entry.cie.header
                augmentation = cie.augmentation
                if isinstance(augmentation, bytes):
                    augmentation = augmentation.decode("latin-1")
                known = [row["pc"] for row in rows], rows, cie.return_address_register, augmentation
            except (DWARFError, ELFError, ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError):
                known = [], [], 0, ""
            self._tables[start] = known
        return known

    def caller(self, pc: int, registers: dict[int, int], read: Reader, word: int, sp: int) -> dict[int, int] | None:
        """The registers of the caller of the function in which `pc` lies, by DWARF numbers; its address under -1, and
        under -2 whether it was interrupted (a signal frame: 1) rather than called. `sp`: the stack pointer's number.

        None: there is no information for `pc`, or no caller, or it cannot be found.
        """
        known = self._rules.get(pc)
        if known is None:
            known = self._rules[pc] = self._find_rules(pc - self.bias)
        rule, saved, ra, interrupted = known
        if rule is None:
            return None
        mask = (1 << 8 * word) - 1
        try:
            if rule.expr is not None:
                cfa = evaluate(self._parse(rule.expr), registers, read, word, None)
            else:
                cfa = registers[rule.reg] + rule.offset & mask
            caller = dict(registers)
            caller[sp] = cfa
            for register, how in saved:
                if how.type == "OFFSET":
                    value = read(cfa + how.arg & mask, word)
                    if value is None:
                        caller.pop(register, None)
                    else:
                        caller[register] = value
                else:
                    self._apply(register, how, cfa, registers, caller, read, word)
            if ra not in caller:
                return None
        except (Uncomputable, KeyError):
            return None
        caller[-1] = caller[ra]
        caller[-2] = interrupted
        return caller

    def _find_rules(self, at: int) -> tuple[Any, list[tuple[int, Any]], int, int]:
        """The rules at a file address: of the CFA (None: there is none), of registers, the column of the return
        address, whether this is a signal frame."""
        starts, rows, ra, augmentation = self._table(at) or ([], [], 0, "")
        index = bisect_right(starts, at) - 1
        if index < 0:
            return None, [], 0, 0
        saved = [(register, how) for register, how in rows[index].items() if isinstance(register, int)]
        return rows[index].get("cfa"), saved, ra, int("S" in augmentation)

    def _apply(
        self, register: int, how: Any, cfa: int, old: dict[int, int], new: dict[int, int], read: Reader, word: int
    ) -> None:
        mask = (1 << 8 * word) - 1
        kind = how.type
        if kind == "UNDEFINED":
            new.pop(register, None)
        elif kind == "SAME_VALUE":
            pass
        elif kind == "EXPRESSION":
            value = read(evaluate(self._parse(how.arg), old, read, word, cfa), word)
            if value is None:
                new.pop(register, None)
            else:
                new[register] = value
        elif kind == "VAL_OFFSET":
            new[register] = cfa + how.arg & mask
        elif kind == "VAL_EXPRESSION":
            new[register] = evaluate(self._parse(how.arg), old, read, word, cfa)
        elif kind == "REGISTER":
            new[register] = old[how.arg]
        else:
            raise Uncomputable

    def _parse(self, expression: Any) -> list[Any]:
        key = bytes(expression)
        known = self._expressions.get(key)
        if known is None:
            assert self._parser is not None
            try:
                known = self._parser.parse_expr(list(key))
            except (DWARFError, ELFError, ValueError, KeyError, IndexError, TypeError):
                raise Uncomputable from None
            self._expressions[key] = known
        return known
