# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the RFC's patches share: a machine whose scheme lacks some patches, and a reader that watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from emu.mm.mm_types import vm_area_struct
from emu.tracepoint import Kind
from tests.locking.threads import Threads
from tests.support import Box, make_box

PAGE = 4096
BASE = 0x10_0000_0000
SIZE = 8 * PAGE
FIXED = 0x32
R, W = 1, 2
US = 1000


@dataclass
class Lab:
    """Two CPUs, and an address space with one VMA of 8 pages at BASE whose first page was touched."""

    cpu: Threads
    box: Box
    seen: list[dict[str, Any]] = field(default_factory=list)

    @property
    def scheme(self) -> Any:
        return self.box.mm.scheme

    @property
    def vma(self) -> vm_area_struct:
        found = self.box.mm.mm_mt.load(BASE)
        assert found is not None
        return found

    def look(self, vma: vm_area_struct, address: int) -> dict[str, Any]:
        """All that a reader relies on."""
        return {
            "bounds": (vma.vm_start, vma.vm_end, vma.vm_pgoff),
            "flags": vma.vm_flags,
            "prot": vma.vm_page_prot,
            "anon_vma": vma.anon_vma,
            "detached": vma.detached,
            "entry": self.box.mm.pgtable.peek(address),
        }

    def watch(self, address: int = BASE, during: Callable[[], None] = lambda: None) -> None:
        """A reader: inside the VMA at `address` from 5 us to 60 us, noting what it sees at both moments."""

        def body() -> None:
            self.cpu.at(5 * US)
            vma = self.scheme.lock_vma_under_rcu(self.box.mm, address)
            assert vma is not None, "the reader did not get in"
            self.seen.append(self.look(vma, address))
            self.cpu.sched.block(deadline=60 * US)
            during()
            self.seen.append(self.look(vma, address))
            self.scheme.vma_end_read(vma)

        self.cpu.start(body)

    def at(self, us: int, function: Callable[[], object]) -> None:
        """A thread that calls `function` at a moment."""

        def body() -> None:
            self.cpu.at(us * US)
            function()

        self.cpu.start(body)

    def changed(self) -> set[str]:
        """Run; what changed under the reader."""
        self.cpu.run()
        before, after = self.seen
        return {name for name in before if before[name] != after[name]}

    def rows(self, kind: Kind) -> list[dict[str, Any]]:
        """Events of a kind since the last call."""
        return [row for row in self.cpu.rows() if row["kind"] == kind]


def lab(*disabled: str, bugs: tuple[str, ...] = (), cpus: int = 2, check: bool = False, trace: bool = False) -> Lab:
    """A machine without these patches. It has no marks but those of the RFC itself."""
    cpu = Threads(cpus, check=check)
    box = make_box("rfc", 16 << 20, cpu.sched)
    scheme: Any = box.mm.scheme
    type(scheme).__init__(scheme, box.memory, disabled=disabled, bugs=bugs)
    box.map(BASE, SIZE, R | W, FIXED)
    box.touch(BASE)
    box.mm.mm_users = 3
    cpu.tp.on = trace
    return Lab(cpu, box)
