# SPDX-License-Identifier: GPL-2.0-or-later
"""Any sequence of calls against a model of what memory holds: contents and protections of every page, the tree's order,
the counters, and at the end every frame back where it came from."""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENOMEM
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from emu.mm.madvise import do_madvise
from emu.mm.mlock import sys_mlock2, sys_munlock
from emu.mm.mm_types import VM_LOCKED
from emu.mm.mmap import exit_mmap, ksys_munmap
from emu.mm.mprotect import do_mprotect_pkey
from emu.mm.mremap import sys_mremap
from tests.support import check_frames, make_box

PAGE = 4096
BASE = 0x10_0000_0000
WINDOW = 48
PRIVATE_ANONYMOUS, FIXED, NOREPLACE = 0x22, 0x10, 0x100000
MAYMOVE, MREMAP_FIXED, DONTUNMAP = 1, 2, 4
DONTNEED, FREE, POPULATE_WRITE = 4, 8, 23
R, W = 1, 2
page_numbers = st.integers(0, WINDOW - 1)
lengths = st.integers(1, 12)
protections = st.sampled_from((0, R, R | W, R | W, R | 4))


class AddressSpace(RuleBasedStateMachine):
    """`pages`: address -> [protection, first byte]. Memory moved away from the window is followed."""

    locking = "6.18"

    @initialize()
    def start(self) -> None:
        self.box = make_box(self.locking, 8 << 20)
        self.mm = self.box.mm
        self.frames = self.box.memory.allocator.allocated
        self.pages: dict[int, list[int]] = {}

    def span(self, number: int, count: int) -> range:
        start = BASE + number * PAGE
        return range(start, start + count * PAGE, PAGE)

    @rule(number=page_numbers, count=lengths, prot=protections, replace=st.booleans())
    def mmap(self, number: int, count: int, prot: int, replace: bool) -> None:
        span = self.span(number, count)
        result = self.box.map(span.start, count * PAGE, prot, PRIVATE_ANONYMOUS | (FIXED if replace else NOREPLACE))
        if not replace and any(page in self.pages for page in span):
            assert result == -EEXIST
            return
        assert result == span.start
        for page in span:
            self.pages[page] = [prot, 0]

    @rule(count=lengths)
    def mmap_anywhere(self, count: int) -> None:
        result = self.box.map(0, count * PAGE)
        assert result > 0
        for page in range(result, result + count * PAGE, PAGE):
            assert page not in self.pages
            self.pages[page] = [R | W, 0]

    @rule(number=page_numbers, count=lengths)
    def munmap(self, number: int, count: int) -> None:
        span = self.span(number, count)
        assert ksys_munmap(self.mm, span.start, count * PAGE) == 0
        for page in span:
            self.pages.pop(page, None)

    @rule(number=page_numbers, count=lengths, prot=protections)
    def mprotect(self, number: int, count: int, prot: int) -> None:
        span = self.span(number, count)
        result = do_mprotect_pkey(self.mm, span.start, count * PAGE, prot)
        for page in span:  # up to the first hole
            if page not in self.pages:
                assert result == -ENOMEM
                return
            self.pages[page][0] = prot
        assert result == 0

    @rule(number=page_numbers, count=lengths, advice=st.sampled_from((DONTNEED, FREE, POPULATE_WRITE)))
    def madvise(self, number: int, count: int, advice: int) -> None:
        span = self.span(number, count)
        result = do_madvise(self.mm, span.start, count * PAGE, advice)
        present = [page for page in span if page in self.pages]
        locked = [page for page in present if self.mm.mm_mt.load(page).vm_flags & VM_LOCKED]  # type: ignore[union-attr]
        if len(present) < len(span):
            assert result < 0
        elif advice != POPULATE_WRITE:
            assert result == (-EINVAL if locked else 0)
        if advice == DONTNEED:
            if locked:
                assert result == -EINVAL
            for page in present:
                if page in locked:  # refused there, and what comes after it was not served
                    break
                self.pages[page][1] = 0

    @rule(number=page_numbers, old=lengths, new=lengths, to=page_numbers, flags=st.sampled_from((0, 1, 1, 3, 3, 5, 7)))
    def mremap(self, number: int, old: int, new: int, to: int, flags: int) -> None:
        source, size = self.span(number, old), new
        target = self.span(to, new)
        result = sys_mremap(self.mm, source.start, old * PAGE, new * PAGE, flags, target.start)
        if result < 0:
            if flags & MREMAP_FIXED:  # the target may have been unmapped, and so may what the call was to shrink
                for page in [*target, *source[min(old, new) :]]:
                    if page in self.pages and self.mm.mm_mt.load(page) is None:
                        del self.pages[page]
            return
        moved = {page: self.pages[page] for page in source if page in self.pages}
        if flags & MREMAP_FIXED:
            assert result == target.start
            for page, origin in zip(target, range(source.start, source.start + size * PAGE, PAGE)):
                if old != new or origin in moved:  # several mappings are moved one by one, with the holes between them
                    self.pages.pop(page, None)
        for page in moved:
            if flags & DONTUNMAP:
                self.pages[page] = [moved[page][0], 0]
            else:
                self.pages.pop(page, None)
        prot = moved[source.start][0]
        for i in range(size):
            kept = moved.get(source.start + i * PAGE) if i < old else None
            if kept is not None:
                self.pages[result + i * PAGE] = kept
            elif i >= old:
                assert result + i * PAGE not in self.pages
                self.pages[result + i * PAGE] = [prot, 0]

    @rule(number=page_numbers, count=lengths, lock=st.booleans())
    def mlock(self, number: int, count: int, lock: bool) -> None:
        span = self.span(number, count)
        args = (self.mm, span.start, count * PAGE)
        result = sys_mlock2(*args, 0) if lock else sys_munlock(*args)
        if any(page not in self.pages for page in span):
            assert result == -ENOMEM

    @rule(data=st.data(), value=st.integers(1, 255))
    def write(self, data: st.DataObject, value: int) -> None:
        page = data.draw(st.sampled_from(sorted(self.pages))) if self.pages else BASE
        faults = self.box.touch(page)
        if page not in self.pages or not self.pages[page][0] & W:
            assert faults == -1
            return
        assert 0 <= faults <= 2
        found = self.box.page_at(page)
        assert found is not None
        assert found.pfn != self.box.memory.zero_pfn
        self.box.memory.ram.write(found.pfn << 12, bytes([value]))
        self.pages[page][1] = value

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        page = data.draw(st.sampled_from(sorted(self.pages))) if self.pages else BASE
        faults = self.box.touch(page, write=False)
        assert (faults >= 0) == bool(page in self.pages and self.pages[page][0])

    @invariant()
    def memory_is_what_the_model_says(self) -> None:
        vmas = list(self.mm.mm_mt)
        assert all(a.vm_end <= b.vm_start for a, b in pairwise(vmas))
        assert all(a.vm_start < a.vm_end for a in vmas)
        seen = {page: vma for vma in vmas for page in range(vma.vm_start, vma.vm_end, PAGE)}
        assert sorted(seen) == sorted(self.pages)
        for page, (prot, value) in self.pages.items():
            assert seen[page].vm_flags & 7 == prot, hex(page)
            found = self.box.page_at(page)
            content = self.box.memory.ram.read(found.pfn << 12, 1)[0] if found is not None else 0
            assert content == value, hex(page)
        assert self.mm.map_count == len(vmas)
        assert self.mm.total_vm == len(self.pages)
        assert self.mm.locked_vm == sum(1 for vma in seen.values() if vma.vm_flags & VM_LOCKED)

    @invariant()
    def nothing_is_held_and_every_frame_is_counted(self) -> None:
        assert not self.mm.mmap_lock.is_locked()
        check_frames(self.box.memory, [self.mm])
        assert self.mm.rss[1] == sum(
            1 for page in self.pages if (found := self.box.page_at(page)) and found.pfn != self.box.memory.zero_pfn
        )

    def teardown(self) -> None:
        if not hasattr(self, "mm"):
            return
        exit_mmap(self.mm)
        self.box.memory.rcu.quiescent()
        assert self.box.memory.allocator.allocated == self.frames - 1  # and the root table
        assert self.box.memory.committed == 0
        check_frames(self.box.memory, [])


class UnderMmapLock(AddressSpace):
    locking = "mmap_lock"


class UnderRfc(AddressSpace):
    locking = "rfc"


TestAddressSpace = pytest.mark.fuzz(AddressSpace.TestCase)
TestUnderMmapLock = pytest.mark.fuzz(UnderMmapLock.TestCase)
TestUnderRfc = pytest.mark.fuzz(UnderRfc.TestCase)
for case in (TestAddressSpace, TestUnderMmapLock, TestUnderRfc):
    case.settings = settings(stateful_step_count=40)
del case  # or it would be collected once more
