# SPDX-License-Identifier: GPL-2.0-or-later
"""Which program's code an address belongs to: by process, by the exec that came last, and by mapped files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from emu.mm.mm_types import VM_EXEC
from emu.trace.address_space import Vma
from emu.trace.escape import printable
from emu.trace.reader import Trace
from emu.trace.scan import Scan
from emu.trace.symbols import Symbols
from emu.trace.vma_names import VmaNames
from emu.tracepoint import Kind, Row

Array = npt.NDArray[Any]

NOTES = 3  # files without symbols that are told by name


class Images:
    """The programs of a trace, numbered from 0 in the order of their execs."""

    def __init__(self, trace: Trace, program: str | None = None) -> None:
        """`program`: a file to take for the first program instead of the one that the trace names."""
        self._trace = trace
        self._meta = trace.metadata
        self._program = program
        self._execs: list[tuple[str | None, int]] = []  # path (None: the trace's program) and load bias
        self._marks: list[tuple[int, int, int, int]] = []  # pid, seq, image, time
        self._symbols: dict[int, Symbols] = {}
        self._files: dict[str | None, Symbols] = {}
        self._mapped: dict[int, list[Vma]] = {}  # by image
        self._read()

    @property
    def several(self) -> bool:
        """Did more than one program run."""
        return len(self._execs) > 1

    @property
    def dynamic(self) -> bool:
        """Does any of them load libraries."""
        return any(self.symbols(image).dynamic for image in range(len(self._execs)))

    @property
    def vma_columns(self) -> tuple[str, ...]:
        """The columns that VmaNames needs for map_files; none where no program loads libraries."""
        if not self.dynamic:
            return ()
        return (*VmaNames.COLUMNS, "args") if self.several else VmaNames.COLUMNS

    def _read(self) -> None:
        """Find the execs and forks: most batches have none."""
        current: dict[int, int] = {}
        own = self._meta.get("program")
        for seq, time, pid, kind, address, code, size, text in _execs_and_forks(self._trace, _WITHOUT_ARGS):
            if kind == "exec":
                self._execs.append((None if not self._execs or text == own else text or "", address))
                current[pid] = len(self._execs) - 1
                self._marks.append((pid, seq, current[pid], time))
            elif size in (0, code):  # no thread; the number may have been another process's before
                current[code] = current.get(pid, 0)
                self._marks.append((code, seq, current[code], time))
        if not self._execs:
            self._execs.append((None, 0))

    @cached_property
    def _of_mm(self) -> dict[int, int]:
        """The image that each address space was made for, by its serial number."""
        found: dict[int, int] = {}
        if self.several:
            images = {seq: image for _, seq, image, _ in self._marks}
            for seq, _, args in _execs_and_forks(self._trace, ("kind", "args")):
                if args and seq in images:
                    found.setdefault(args[0], images[seq])
        return found

    def marks(self) -> pa.Table:
        """pid, seq, image: from that event on the process runs that image."""
        columns = list(zip(*self._marks)) or [(), (), (), ()]
        return pa.table({name: pa.array(c, pa.int64()) for name, c in zip(("pid", "seq", "image"), columns)})

    def execs(self) -> dict[int, list[int]]:
        """By pid the images that it executes, in order."""
        found: dict[int, list[int]] = {}
        known: set[int] = set()
        for pid, _, image, _ in self._marks:
            if image not in known:  # a fork has an image that is known
                found.setdefault(pid, []).append(image)
            known.add(image)
        return found

    def image_at(self, pid: int, seq: int) -> int:
        """The image that a process runs at an event."""
        found = 0
        for marked, since, image, _ in self._marks:
            if marked == pid and since <= seq:
                found = image
        return found

    def images_at(self, pids: Array, times: Array) -> Array:
        """The image that each process runs at a time."""
        found = np.zeros(len(pids), np.int32)
        if not self.several or not len(pids):
            return found
        known, inverse = np.unique(pids, return_inverse=True)
        by_pid: dict[int, list[tuple[int, int]]] = {}
        for pid, _, image, time in self._marks:
            by_pid.setdefault(pid, []).append((time, image))
        for index, pid in enumerate(known.tolist()):
            marks = sorted(by_pid.get(pid, ()), key=lambda mark: mark[0])
            if marks:
                rows = np.flatnonzero(inverse == index)
                at = np.searchsorted([time for time, _ in marks], times[rows], side="right") - 1
                found[rows] = np.array([image for _, image in marks])[np.maximum(at, 0)]
        return found

    def symbols(self, image: int) -> Symbols:
        """The symbols of a program."""
        if image not in self._symbols:
            path, bias = self._execs[image]
            self._symbols[image] = self._file(path).at(bias)
        return self._symbols[image]

    def _file(self, path: str | None) -> Symbols:
        """Those of a file, read once; None: the trace's program."""
        if path not in self._files:
            if path is None:
                self._files[path] = Symbols.of_trace(self._meta, self._program)
            else:
                self._files[path] = Symbols.of_file(path, self._meta.get("arch"))
        return self._files[path]

    def map_files(self, vmas: Iterable[Vma]) -> None:
        """Let addresses in these VMAs be looked up in the files that they map: libraries."""
        for vma in vmas:
            if vma.flags & VM_EXEC and vma.name.startswith("/"):
                image = self._of_mm.get(vma.mm, 0)
                if vma.name != (self._execs[image][0] or self._meta.get("program")):
                    self._mapped.setdefault(image, []).append(vma)

    def map_libraries(self, trace: Trace) -> None:
        """The same for all VMAs of a trace, where its programs load libraries."""
        if self.vma_columns:
            names = VmaNames()
            scan = Scan(trace, self.vma_columns)
            for piece in scan.pieces():
                names.add(piece)
            self.map_files(names.get(scan.strings).values())

    def at(self, image: int, ip: int) -> Symbols:
        """The symbols of what lies at an address: the program's own, or a mapped file's."""
        own = self.symbols(image)
        if own.lookup(ip) is not None or own.code(ip, 1):
            return own
        for vma in reversed(self._mapped.get(image, ())):
            if vma.start <= ip < vma.end:
                found = self._file(vma.name)
                return found.at(
                    vma.start - (found.address_of_offset(vma.offset) if vma.offset else found.address_of_code())
                )
        return own

    def notes(self) -> list[str]:
        """One line for each file whose symbols are missing or may be wrong, a few at most."""
        found = [each.note for each in self._files.values() if each.note]
        return found[:NOTES] + ([f"{len(found) - NOTES} more files have no symbols"] if len(found) > NOTES else [])


class TraceSymbols:
    """What addresses are in the programs of a trace and in the libraries that they map, for a reader that goes through
    the events in order and tells of those that change which program a process runs."""

    def __init__(self, path: str, program: str | None = None) -> None:
        """`path`: the trace; `program`: see Images."""
        trace = Trace(path)
        self._images = Images(trace, program)
        self._images.map_libraries(trace)
        self._current: dict[int, int] = {}  # by pid
        self._to_come = self._images.execs()

    @property
    def note(self) -> str | None:
        """Why symbols are missing or may be wrong, as far as was asked for them; None: nothing is known to be."""
        return "; ".join(self._images.notes()) or None

    def follow(self, row: Row) -> None:
        """Take in the next event; only execs and forks change anything."""
        pid = row[2]
        if row[4] == Kind.EXEC:
            to_come = self._to_come.get(pid)
            if to_come:
                self._current[pid] = to_come.pop(0)
        elif row[4] == Kind.SCHED_PROCESS_FORK:
            if row[8] in (0, row[7]):
                self._current[row[7]] = self._current.get(pid, 0)

    def image(self, pid: int) -> int:
        """The number of the program that a process runs now."""
        return self._current.get(pid, 0)

    def lookup(self, image: int, ip: int) -> tuple[str, int] | None:
        """(function, offset in it) of an address."""
        return self._images.at(image, ip).lookup(ip)

    def file(self, image: int, ip: int) -> str:
        """The path of the program or library that an address is in."""
        return self._images.at(image, ip).path

    def describe(self, image: int, ip: int) -> str:
        """function+0x12, or an empty string."""
        return self._images.at(image, ip).describe(ip)


_OF_PROCESSES = ("exec", "sched_process_fork")
_WITHOUT_ARGS = ("time", "pid", "kind", "address", "code", "size", "text")


def _execs_and_forks(trace: Trace, columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    """Number of the event, then these columns, which are in the order of FIELDS; `kind` is a name."""
    seq = 0
    for batch in trace.batches(columns):
        column = batch.column("kind")
        wanted = [index for index, name in enumerate(column.dictionary.to_pylist()) if name in _OF_PROCESSES]
        where = pc.indices_nonzero(pc.is_in(column.indices, value_set=pa.array(wanted, column.indices.type)))
        if len(where):
            for at, *row in zip(where.to_pylist(), *(batch.column(name).take(where).to_pylist() for name in columns)):
                yield seq + at, *row
        seq += batch.num_rows


def place(symbols: Symbols, ip: int) -> str:
    """file.c:12, or an empty string where no line is known."""
    found = symbols.line(ip)
    return "" if found is None else f"{printable(found[0].rsplit('/', 1)[-1])}:{found[1]}"
