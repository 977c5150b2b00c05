# SPDX-License-Identifier: GPL-2.0-or-later
"""From addresses to source lines, by the DWARF line programs of a program.

DWARF 2 to 5, compressed sections of both kinds (.zdebug_*, SHF_COMPRESSED), split DWARF (the line programs stay in the
program, with its skeleton units) and debugging information in a file of its own (.gnu_debuglink, build id). The line
program of a unit is run when an address of it is asked for.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct.core import ConstructError
from elftools.elf.elffile import ELFFile

DEBUG_DIRECTORY = "/usr/lib/debug"
ERRORS = (
    ELFError, DWARFError, ConstructError, ValueError, KeyError, AttributeError, TypeError, IndexError, UnicodeError,
    AssertionError, NotImplementedError, OverflowError, EOFError, RecursionError, zlib.error, OSError,
)  # fmt: skip
"""What pyelftools raises over a damaged file."""


def debug_file(elf: Any, path: str) -> str | None:
    """The file that holds a program's debugging information: the program's own path, a file beside it or below
    /usr/lib/debug that .gnu_debuglink names and whose checksum is right, or the one of its build id. None: there is
    none."""
    if elf.has_dwarf_info(strict=True):
        return path
    candidates: list[tuple[str, int | None]] = []
    link = elf.get_dwarf_link() if elf.has_dwarf_link() else None
    directory = os.path.dirname(os.path.realpath(path))
    if link is not None:
        name = os.fsdecode(link.filename)
        if "/" not in name:
            for place in (directory, f"{directory}/.debug", f"{DEBUG_DIRECTORY}{directory}"):
                candidates.append((f"{place}/{name}", link.checksum))
    note = elf.get_section_by_name(".note.gnu.build-id")
    for each in note.iter_notes() if note is not None else ():
        identity = each["n_desc"] if isinstance(each["n_desc"], str) else bytes(each["n_desc"]).hex()
        candidates.append((f"{DEBUG_DIRECTORY}/.build-id/{identity[:2]}/{identity[2:]}.debug", None))
    for candidate, checksum in candidates:
        try:
            if os.path.samefile(candidate, path):
                continue
            with open(candidate, "rb") as file:
                if checksum is None or zlib.crc32(file.read()) == checksum:
                    return candidate
        except OSError:
            continue
    return None


class DebugFile(ELFFile):  # type: ignore[misc]
    """An ELF file whose .zdebug_* sections show as .debug_*, each for itself: a linker compresses only those that
    become smaller."""

    def get_section_by_name(self, name: str) -> Any:
        if name.startswith(".zdebug_"):
            return None
        found = super().get_section_by_name(name)
        if found is None and name.startswith(".debug_"):
            found = super().get_section_by_name(f".z{name[1:]}")
        return found

    def has_section(self, section_name: str) -> bool:
        return self.get_section_by_name(section_name) is not None

    def _read_dwarf_section(self, section: Any, relocate_dwarf_sections: bool) -> Any:
        found = super()._read_dwarf_section(section, relocate_dwarf_sections)
        return self._decompress_dwarf_section(found) if section.name.startswith(".zdebug_") else found


class SourceLines:
    """The line table of one program. Addresses are those of the file, without a load bias."""

    def __init__(self, path: str) -> None:
        """Find the debugging information. `found`: there is some."""
        self.found = False
        self._file: Any = None
        self._units: list[Any] = []  # (unit, its top DIE), not yet run
        self._dwarf: Any = None
        self._starts: list[int] = []  # sequences, by their first address
        self._sequences: list[tuple[int, int, list[int], list[tuple[str, int]]]] = []
        try:
            with open(path, "rb") as file:
                place = debug_file(DebugFile(file), path)
            if place is None:
                return
            self._file = open(place, "rb")  # noqa: SIM115
            self._dwarf = DebugFile(self._file).get_dwarf_info(follow_links=False)
            self._units = list(self._dwarf.iter_CUs())
            self.found = bool(self._units)
        except ERRORS:
            self._units = []

    def lookup(self, address: int) -> tuple[str, int] | None:
        """(path of the source file, line) of the instruction at an address; line 0 where the compiler names none."""
        found = self._known(address)
        if found is not None or not self._units:
            return found
        waiting, self._units = self._units, []
        for unit in waiting:
            if found is None and self._may_hold(unit, address):
                self._run(unit)
                found = self._known(address)
            else:
                self._units.append(unit)
        return found

    def _known(self, address: int) -> tuple[str, int] | None:
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start, end, addresses, lines = self._sequences[index]
        if not start <= address < end:
            return None
        return lines[bisect_right(addresses, address) - 1]

    def _may_hold(self, unit: Any, address: int) -> bool:
        """Do the unit's ranges allow the address. What cannot be understood may hold anything."""
        try:
            top = unit.get_top_DIE().attributes
            if "DW_AT_ranges" in top:
                ranges = self._dwarf.range_lists()
                offset = top["DW_AT_ranges"].value
                base = top["DW_AT_low_pc"].value if "DW_AT_low_pc" in top else 0
                found = ranges.get_range_list_at_offset(offset, unit)
                for entry in found:
                    if type(entry).__name__ == "BaseAddressEntry":
                        base = entry.base_address
                        continue
                    shift = 0 if getattr(entry, "is_absolute", False) else base
                    if shift + entry.begin_offset <= address < shift + entry.end_offset:
                        return True
                return False
            if "DW_AT_high_pc" in top and "DW_AT_low_pc" in top:
                low, high = top["DW_AT_low_pc"].value, top["DW_AT_high_pc"]
                end = high.value if high.form == "DW_FORM_addr" else low + high.value
                return bool(low <= address < end)
            return True
        except ERRORS:
            return True

    def _run(self, unit: Any) -> None:
        """Run the line program of a unit and take in its sequences."""
        try:
            program = self._dwarf.line_program_for_CU(unit)
            if program is None:
                return
            files = _file_names(unit, program)
            addresses: list[int] = []
            lines: list[tuple[str, int]] = []
            for entry in program.get_entries():
                state = entry.state
                if state is None:
                    continue
                if state.end_sequence:
                    if addresses and addresses[0]:  # 0: the linker dropped the function
                        self._add(addresses[0], state.address, addresses, lines)
                    addresses, lines = [], []
                    continue
                addresses.append(state.address)
                lines.append((files.get(state.file, "?"), state.line))
        except ERRORS:
            return

    def _add(self, start: int, end: int, addresses: list[int], lines: list[tuple[str, int]]) -> None:
        if addresses != sorted(addresses):
            order = sorted(range(len(addresses)), key=addresses.__getitem__)
            addresses, lines = [addresses[i] for i in order], [lines[i] for i in order]
        index = bisect_right(self._starts, start)
        self._starts.insert(index, start)
        self._sequences.insert(index, (start, end, addresses, lines))


def _file_names(unit: Any, program: Any) -> dict[int, str]:
    """The source files of a line program by their number."""
    header = program.header
    version5 = header.version >= 5
    top = unit.get_top_DIE().attributes
    base = os.fsdecode(top["DW_AT_comp_dir"].value) if "DW_AT_comp_dir" in top else ""
    directories = [os.fsdecode(name) for name in header.include_directory]
    if not version5:
        directories.insert(0, base)
    found = {}
    for number, entry in enumerate(header.file_entry, 0 if version5 else 1):
        directory = directories[entry.dir_index] if entry.dir_index < len(directories) else ""
        found[number] = os.path.normpath(os.path.join(base, directory, os.fsdecode(entry.name)))
    return found
