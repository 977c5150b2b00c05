# SPDX-License-Identifier: GPL-2.0-or-later
"""Address spaces as they were at any time, rebuilt from the events of VMAs.

Each event of a VMA says what it is from then on, or that it goes, so that of each VMA the newest event is enough
(`Newest`). Should one be missing, the newest word wins: what it covers, no other VMA of that address space covers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from emu.mm import mm_types as m
from emu.trace.reader import rows_of
from emu.tracepoint import Kind, Row

PAGE_SIZE = m.PAGE_SIZE
NAME_COLUMN = 73
CLONE_VM = 0x100
VSYSCALL = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]"

VMA_STATE = frozenset(
    map(int, (Kind.VMA_CREATE, Kind.VMA_SPLIT, Kind.VMA_RESIZE, Kind.VMA_MODIFY))
)  # the event says what the VMA is from now on
VMA_GONE = frozenset(map(int, (Kind.VMA_MERGE, Kind.VMA_REMOVE)))
SPACE_KINDS = VMA_STATE | VMA_GONE | frozenset(map(int, (Kind.EXEC, Kind.SCHED_PROCESS_FORK)))
"""The kinds of events that AddressSpaces.apply looks at."""


_CALLS = frozenset(map(int, (Kind.SYS_ENTER, Kind.SYS_EXIT)))
_WANTED = SPACE_KINDS | _CALLS
_CODES = {kind.name.lower(): int(kind) for kind in Kind}
_TOGETHER = 1 << 18  # rows that may come together before the older ones are dropped


@dataclass(frozen=True, slots=True)
class Vma:
    """A VMA at one moment. `end` is the first byte after it; `offset` is in bytes, within the file."""

    id: int
    start: int
    end: int
    flags: int
    name: str = ""
    offset: int = 0
    device: int = 0
    inode: int = 0
    mm: int = 0  # serial number of the address space; 0 = not told

    @property
    def permissions(self) -> str:
        """rwxp or rwxs, as in /proc/PID/maps."""
        flags = self.flags
        letters = "".join(c if flags & bit else "-" for c, bit in zip("rwx", (m.VM_READ, m.VM_WRITE, m.VM_EXEC)))
        return letters + ("s" if flags & m.VM_MAYSHARE else "p")

    def maps_line(self) -> str:
        """The line of /proc/PID/maps without its end (show_map_vma). The name is the guest's: not yet printable."""
        major, minor = self.device >> 8 & 0xFFF, self.device & 0xFF | self.device >> 12 & 0xFFF00
        text = f"{self.start:08x}-{self.end:08x} {self.permissions} {self.offset:08x} "
        text += f"{major:02x}:{minor:02x} {self.inode} "
        return text.ljust(NAME_COLUMN) + self.name if self.name else text


class AddressSpace:
    """The VMAs of one mm, in order of their addresses."""

    def __init__(self, mm: int = 0) -> None:
        self.mm = mm  # serial number
        self._starts: list[int] = []
        self._vmas: list[Vma] = []
        self._start_of: dict[int, int] = {}  # id -> start

    def __iter__(self) -> Iterator[Vma]:
        return iter(self._vmas)

    def __len__(self) -> int:
        return len(self._vmas)

    def find(self, address: int) -> Vma | None:
        """The VMA that contains an address."""
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._vmas[index].end:
            return None
        return self._vmas[index]

    def next(self, address: int) -> Vma | None:
        """The VMA that contains an address, or the next one above (find_vma)."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self._vmas[index].end:
            return self._vmas[index]
        return self._vmas[index + 1] if index + 1 < len(self._vmas) else None

    def get(self, vma: int) -> Vma | None:
        """The VMA with a serial number."""
        start = self._start_of.get(vma)
        return None if start is None else self._vmas[bisect_left(self._starts, start)]

    def put(self, vma: Vma) -> None:
        """`vma` is so from now on; others lose what it covers."""
        self.remove(vma.id)
        if vma.end <= vma.start:
            return
        first = bisect_right(self._starts, vma.start) - 1
        if first < 0 or self._vmas[first].end <= vma.start:
            first += 1
        last = bisect_left(self._starts, vma.end, first)
        parts: list[Vma] = []
        for old in self._vmas[first:last]:
            del self._start_of[old.id]
            if old.start < vma.start:
                parts.append(replace(old, end=vma.start))
            elif old.end > vma.end:
                offset = old.offset + (vma.end - old.start) if old.inode or old.device or old.offset else 0
                parts.append(replace(old, start=vma.end, offset=offset))
        if parts and parts[0].start > vma.start:
            parts.insert(0, vma)
        else:
            parts.insert(1, vma)
        self._vmas[first:last] = parts
        self._starts[first:last] = [part.start for part in parts]
        for part in parts:
            self._start_of[part.id] = part.start

    def remove(self, vma: int) -> None:
        """Forget the VMA with a serial number, if it is there."""
        start = self._start_of.pop(vma, None)
        if start is not None:
            index = bisect_left(self._starts, start)
            del self._starts[index], self._vmas[index]


class Newest:
    """Of a trace the events that AddressSpaces needs: of each VMA the newest one, all execs and forks, and of each task
    the newest begin or end of a system call. With `keep_ended` the end of a process (exit_mmap) is left out: its
    address space stays as it last was."""

    def __init__(self, keep_ended: bool = False) -> None:
        self._keep_ended = keep_ended
        self._parts: list[pa.Table] = []
        self._rows = 0
        self._seq = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next batch of the trace, with all columns."""
        column = batch.column("kind")
        names = column.dictionary.to_pylist()
        codes = [index for index, name in enumerate(names) if _CODES.get(name) in _WANTED]
        found = batch.append_column("seq", pa.array(range(self._seq, self._seq + batch.num_rows), pa.int64()))
        self._seq += batch.num_rows
        found = found.filter(pc.is_in(column.indices, value_set=pa.array(codes, column.indices.type)))
        if self._keep_ended:
            removed = pc.equal(found.column("kind"), "vma_remove")
            found = found.filter(pc.invert(pc.and_(removed, pc.not_equal(found.column("code"), 0))))
        if found.num_rows:
            self._parts.append(pa.Table.from_batches([found]))
            self._rows += found.num_rows
            if self._rows > _TOGETHER:
                self._parts = [self._newest()]
                self._rows = self._parts[0].num_rows // 2

    def _newest(self) -> pa.Table:
        """One row for each VMA, exec, fork and task that makes calls, in the order of the trace."""
        whole = pa.concat_tables(self._parts).unify_dictionaries().combine_chunks()
        kind = whole.column("kind").cast(pa.string())

        def of(kinds: frozenset[int]) -> pa.Array:
            return pc.is_in(kind, value_set=pa.array([Kind(each).name.lower() for each in sorted(kinds)]))

        is_vma, is_call = of(VMA_STATE | VMA_GONE), of(_CALLS)
        key = pc.if_else(
            is_vma, whole.column("vma").cast(pa.int64()),
            pc.if_else(is_call, pc.subtract(-1, whole.column("tid").cast(pa.int64())),
                       pc.add(whole.column("seq"), 1 << 40)),
        )  # fmt: skip
        newest = pa.table({"key": key, "seq": whole.column("seq")}).group_by("key").aggregate([("seq", "max")])
        return whole.filter(pc.is_in(whole.column("seq"), value_set=newest.column("seq_max")))

    def rows(self) -> Iterator[Row]:
        """The events, in the order of the trace."""
        if self._parts:
            for batch in self._newest().drop_columns(["seq"]).to_batches():
                yield from rows_of(batch)


class AddressSpaces:
    """All address spaces of a trace, and which process has which: `apply` the rows in the order of the file."""

    def __init__(self) -> None:
        self.spaces: dict[int, AddressSpace] = {}
        self.mm_of: dict[int, int] = {}  # pid -> serial number of its mm
        self.pids: list[int] = []  # in the order in which they appeared
        self._provisional: set[int] = set()  # pids whose mm was guessed from their first VMA

    def apply(self, row: Row) -> None:
        """Take in one event; kinds outside of SPACE_KINDS change nothing."""
        kind = row[4]
        if kind not in SPACE_KINDS:
            return
        pid, address, vma, args = row[2], row[5], row[10], row[18]
        if kind == Kind.EXEC:
            self._seen(pid)
            if args:
                self.mm_of[pid] = args[0]
                self._provisional.discard(pid)
            return
        if kind == Kind.SCHED_PROCESS_FORK:
            self._forked(pid, row[8] or row[7], row[9], args)
            return
        mm = args[0] if args else pid
        space = self.spaces.get(mm)
        if space is None:
            space = self.spaces[mm] = AddressSpace(mm)
        if pid not in self.mm_of:
            self._seen(pid)
            self.mm_of[pid] = mm
            self._provisional.add(pid)
        if kind in VMA_STATE:
            offset, device, inode = args[1:4] if args and len(args) >= 4 else (0, 0, 0)
            space.put(Vma(vma, address, address + row[8], row[9], row[17] or "", offset, device, inode, mm))
        else:
            space.put(Vma(vma, address, address + row[8], row[9]))
            space.remove(vma)

    def _seen(self, pid: int) -> None:
        if pid not in self.mm_of:
            self.pids.append(pid)

    def _forked(self, parent: int, child: int, flags: int, args: tuple[int, ...] | None) -> None:
        if child in self.mm_of and child not in self._provisional:
            return  # a thread of a process that is known
        if args:
            mm = args[0]
        elif flags & CLONE_VM:
            mm = self.mm_of.get(parent, 0)
        else:
            mm = 0  # not told: the child's first VMA will
        if mm:
            self._seen(child)
            self.mm_of[child] = mm
            self._provisional.discard(child)

    def of_pid(self, pid: int) -> AddressSpace | None:
        """The address space of a process, None where nothing is known of it."""
        mm = self.mm_of.get(pid)
        return None if mm is None else self.spaces.get(mm, AddressSpace(mm))

    def find(self, pid: int, address: int) -> Vma | None:
        """The VMA that contains an address of a process."""
        space = self.of_pid(pid)
        return None if space is None else space.find(address)
