# SPDX-License-Identifier: GPL-2.0-or-later
"""Which program's code an address belongs to: by process, by the exec that came last, and by mapped files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from emu.mm.mm_types import VM_EXEC
from emu.trace.address_space import CLONE_VM, Vma
from emu.trace.escape import printable
from emu.trace.reader import Trace
from emu.trace.scan import Scan
from emu.trace.symbols import Symbols
from emu.trace.vma_names import VmaNames
from emu.tracepoint import Kind

Array = npt.NDArray[Any]

NOTES = 3  # files without symbols that are told by name


class Images:
    """The programs of a trace, numbered from 0 in the order of their execs."""

    def __init__(self, trace: Trace, program: str | None = None) -> None:
        """`program`: a file to take for the first program instead of the one that the trace names."""
        self._meta = trace.metadata
        self._program = program
        self._execs: list[tuple[str | None, int]] = []  # path and load bias
        self._marks: list[tuple[int, int, int, int]] = []  # pid, seq, image, time
        self._symbols: dict[int, Symbols] = {}
        self._files: dict[str, Symbols] = {}
        self._mapped: list[Vma] = []
        self._read(trace)

    @property
    def several(self) -> bool:
        """Did more than one program run."""
        return len(self._execs) > 1

    def _read(self, trace: Trace) -> None:
        """Find the execs and forks: most batches have none."""
        current: dict[int, int] = {}
        first = True
        for seq, time, pid, kind, address, code, size, flags, text in _execs_and_forks(trace):
            if kind == Kind.EXEC:
                self._execs.append((None if first else text, address))
                first = False
                current[pid] = len(self._execs) - 1
                self._marks.append((pid, seq, current[pid], time))
            elif not flags & CLONE_VM or (size or code) not in current:
                child = size or code
                if child != pid:
                    current[child] = current.get(pid, 0)
                    self._marks.append((child, seq, current[child], time))
        if not self._execs:
            self._execs.append((None, 0))

    def marks(self) -> pa.Table:
        """pid, seq, image: from that event on the process runs that image."""
        columns = list(zip(*self._marks)) or [(), (), (), ()]
        return pa.table({name: pa.array(c, pa.int64()) for name, c in zip(("pid", "seq", "image"), columns)})

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
            if path is None:
                self._symbols[image] = Symbols.of_trace(self._meta, bias, self._program)
            else:
                self._symbols[image] = Symbols.of_file(path, bias, self._meta.get("arch"))
        return self._symbols[image]

    def map_files(self, vmas: Iterable[Vma]) -> None:
        """Let addresses in these VMAs be looked up in the files that they map: libraries."""
        programs = {self._meta.get("program"), *(path for path, _ in self._execs)}
        self._mapped.extend(v for v in vmas if v.flags & VM_EXEC and v.name.startswith("/") and v.name not in programs)

    def map_libraries(self, trace: Trace) -> None:
        """The same for all VMAs of a trace, where its program loads libraries."""
        if self.symbols(0).dynamic:
            names = VmaNames()
            scan = Scan(trace, VmaNames.COLUMNS)
            for piece in scan.pieces():
                names.add(piece)
            self.map_files(names.get(scan.strings).values())

    def at(self, image: int, ip: int) -> Symbols:
        """The symbols of what lies at an address: the program's own, or a mapped file's."""
        own = self.symbols(image)
        if own.lookup(ip) is not None or own.code(ip, 1):
            return own
        for vma in reversed(self._mapped):
            if vma.start <= ip < vma.end:
                if vma.name not in self._files:
                    self._files[vma.name] = Symbols.of_file(vma.name, 0, self._meta.get("arch"))
                found = self._files[vma.name]
                found.bias = vma.start - (
                    found.address_of_offset(vma.offset) if vma.offset else found.address_of_code()
                )
                return found
        return own

    def notes(self) -> list[str]:
        """One line for each file whose symbols are missing or may be wrong, a few at most."""
        found = [each.note for each in (*self._symbols.values(), *self._files.values()) if each.note]
        return found[:NOTES] + ([f"{len(found) - NOTES} more files have no symbols"] if len(found) > NOTES else [])


class TraceSymbols:
    """What addresses are in the first program of a trace and in the libraries that it maps."""

    def __init__(self, path: str, program: str | None = None) -> None:
        """`path`: the trace; `program`: see Images."""
        trace = Trace(path)
        self._images = Images(trace, program)
        self._images.map_libraries(trace)

    @property
    def note(self) -> str | None:
        """Why symbols are missing or may be wrong, as far as was asked for them; None: nothing is known to be."""
        return "; ".join(self._images.notes()) or None

    def lookup(self, ip: int) -> tuple[str, int] | None:
        """(function, offset in it) of an address."""
        return self._images.at(0, ip).lookup(ip)

    def file(self, ip: int) -> str:
        """The path of the program or library that an address is in."""
        return self._images.at(0, ip).path

    def describe(self, ip: int) -> str:
        """function+0x12, or an empty string."""
        return self._images.at(0, ip).describe(ip)


def _execs_and_forks(trace: Trace) -> Iterable[tuple[Any, ...]]:
    seq = 0
    names = {"exec": int(Kind.EXEC), "sched_process_fork": int(Kind.SCHED_PROCESS_FORK)}
    for batch in trace.batches(("time", "pid", "kind", "address", "code", "size", "flags", "text")):
        column = batch.column("kind")
        wanted = [index for index, name in enumerate(column.dictionary.to_pylist()) if name in names]
        where = pc.indices_nonzero(pc.is_in(column.indices, value_set=pa.array(wanted, column.indices.type)))
        if len(where):
            rows = [each.to_pylist() for each in batch.take(where).columns]
            for at, time, pid, name, address, code, size, flags, text in zip(where.to_pylist(), *rows):
                yield seq + at, time, pid, names[name], address, code, size, flags, text or ""
        seq += batch.num_rows


def place(symbols: Symbols, ip: int) -> str:
    """file.c:12, or an empty string where no line is known."""
    found = symbols.line(ip)
    return "" if found is None else f"{printable(found[0].rsplit('/', 1)[-1])}:{found[1]}"
