# SPDX-License-Identifier: GPL-2.0-or-later
"""The objects of the memory manager: address space, VMA, page, and their flags (include/linux/mm_types.h, mm.h)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from emu.locking.rcuwait import rcuwait
from emu.locking.rwsem import rw_semaphore
from emu.locking.seqlock import seqcount_t
from emu.tracepoint import Tracepoints

if TYPE_CHECKING:
    from emu.mm.filemap import address_space
    from emu.mm.memory_manager import MemoryManager
    from emu.mm.pgtable import PageTable
    from emu.mm.readahead import file_ra_state
    from emu.mm.rmap import anon_vma
    from emu.mm.schemes.scheme import LockingScheme
    from emu.mm.vma_tree import VmaTree
    from emu.sched.cacheline import CacheLine

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = ~(PAGE_SIZE - 1)

VM_NONE = 0
VM_READ = 0x1
VM_WRITE = 0x2
VM_EXEC = 0x4
VM_SHARED = 0x8
VM_MAYREAD = 0x10
VM_MAYWRITE = 0x20
VM_MAYEXEC = 0x40
VM_MAYSHARE = 0x80
VM_GROWSDOWN = 0x100
VM_UFFD_MISSING = 0x200
VM_PFNMAP = 0x400
VM_MAYBE_GUARD = 0x800  # there may be guard markers among its page-table entries
VM_UFFD_WP = 0x1000
VM_LOCKED = 0x2000
VM_IO = 0x4000
VM_SEQ_READ = 0x8000
VM_RAND_READ = 0x10000
VM_DONTCOPY = 0x20000
VM_DONTEXPAND = 0x40000
VM_LOCKONFAULT = 0x80000
VM_ACCOUNT = 0x100000
VM_NORESERVE = 0x200000
VM_HUGETLB = 0x400000
VM_SYNC = 0x800000
VM_WIPEONFORK = 0x2000000
VM_DONTDUMP = 0x4000000
VM_SOFTDIRTY = 0x8000000
VM_MIXEDMAP = 0x10000000
VM_HUGEPAGE = 0x20000000
VM_NOHUGEPAGE = 0x40000000
VM_MERGEABLE = 0x80000000
PKEY_SHIFT = 32  # where the protection key of a VMA stands: VM_PKEY_SHIFT
VM_PKEY_BIT0, VM_PKEY_BIT1, VM_PKEY_BIT2, VM_PKEY_BIT3 = (1 << PKEY_SHIFT + bit for bit in range(4))
ARCH_VM_PKEY_FLAGS = 15 << PKEY_SHIFT
VM_DROPPABLE = 1 << 40
VM_SEALED = 1 << 42
VM_ACCESS_FLAGS = VM_READ | VM_WRITE | VM_EXEC
VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP
VM_LOCKED_MASK = VM_LOCKED | VM_LOCKONFAULT
VM_STICKY = VM_SOFTDIRTY | VM_MAYBE_GUARD  # does not hinder a merge, and what is merged has it
VM_FLAG_LETTERS = (
    ("VM_READ", "rd"), ("VM_WRITE", "wr"), ("VM_EXEC", "ex"), ("VM_SHARED", "sh"), ("VM_MAYREAD", "mr"),
    ("VM_MAYWRITE", "mw"), ("VM_MAYEXEC", "me"), ("VM_MAYSHARE", "ms"), ("VM_GROWSDOWN", "gd"), ("VM_PFNMAP", "pf"),
    ("VM_MAYBE_GUARD", "gu"),
    ("VM_LOCKED", "lo"), ("VM_IO", "io"), ("VM_SEQ_READ", "sr"), ("VM_RAND_READ", "rr"), ("VM_DONTCOPY", "dc"),
    ("VM_DONTEXPAND", "de"), ("VM_LOCKONFAULT", "lf"), ("VM_ACCOUNT", "ac"), ("VM_NORESERVE", "nr"),
    ("VM_WIPEONFORK", "wf"), ("VM_DONTDUMP", "dd"), ("VM_HUGEPAGE", "hg"), ("VM_NOHUGEPAGE", "nh"),
    ("VM_MERGEABLE", "mg"), ("VM_DROPPABLE", "dp"), ("VM_SEALED", "sl"),
)  # fmt: skip
"""The flags that VmFlags of /proc/PID/smaps shows, in its order, and its letters for them."""
VM_DATA_DEFAULT_FLAGS = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
VM_STACK_FLAGS = VM_GROWSDOWN | VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT

VM_FAULT_OOM = 0x1
VM_FAULT_SIGBUS = 0x2
VM_FAULT_MAJOR = 0x4
VM_FAULT_SIGSEGV = 0x40
VM_FAULT_NOPAGE = 0x100
VM_FAULT_LOCKED = 0x200
VM_FAULT_RETRY = 0x400
VM_FAULT_FALLBACK = 0x800
VM_FAULT_DONE_COW = 0x1000
VM_FAULT_COMPLETED = 0x4000
VM_FAULT_UNLOCKED = 0x10000  # with VM_FAULT_RETRY: the VMA lock is released already; handle_mm_fault's own
VM_FAULT_ERROR = VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV | VM_FAULT_FALLBACK

FAULT_FLAG_WRITE = 1 << 0
FAULT_FLAG_MKWRITE = 1 << 1
FAULT_FLAG_ALLOW_RETRY = 1 << 2
FAULT_FLAG_RETRY_NOWAIT = 1 << 3
FAULT_FLAG_KILLABLE = 1 << 4
FAULT_FLAG_TRIED = 1 << 5
FAULT_FLAG_USER = 1 << 6
FAULT_FLAG_REMOTE = 1 << 7
FAULT_FLAG_INSTRUCTION = 1 << 8
FAULT_FLAG_INTERRUPTIBLE = 1 << 9
FAULT_FLAG_UNSHARE = 1 << 10
FAULT_FLAG_ORIG_PTE_VALID = 1 << 11
FAULT_FLAG_VMA_LOCK = 1 << 12
FAULT_FLAG_SPECULATIVE = 1 << 13  # spf
FAULT_FLAG_DEFAULT = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_INTERRUPTIBLE

MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES = range(4)


class page:
    """One frame of guest RAM (struct page). `_mapcount` counts page-table entries, `_refcount` all users."""

    __slots__ = (
        "_mapcount",
        "_refcount",
        "dirty",
        "exclusive",
        "index",
        "lazyfree",
        "mapping",
        "mlocked",
        "order",
        "pfn",
        "uptodate",
        "zeroed",
    )

    def __init__(self, pfn: int) -> None:
        self.pfn = pfn
        self._refcount = 0  # 0: free
        self._mapcount = 0
        self.mapping: anon_vma | address_space | None = None
        self.index = 0  # page offset within the mapping (anonymous: linear_page_index of the VMA)
        self.exclusive = False  # PageAnonExclusive: one process only, may be reused on a write fault
        self.dirty = False
        self.uptodate = False
        self.mlocked = False
        self.lazyfree = False  # anonymous, and may be dropped while it is clean (not PG_swapbacked): after MADV_FREE
        self.order = 0  # of the allocation, kept on its first page
        self.zeroed = True  # the frame was never used before its present use: it began with zeros


class file(Protocol):
    """An open file, as far as mm needs it (struct file)."""

    f_mode: int  # FMODE_READ 1, FMODE_WRITE 2
    f_flags: int
    f_ra: file_ra_state  # how it is read ahead
    aligns_huge: bool  # its file system places large mappings at huge-page boundaries (thp_get_unmapped_area)

    @property
    def f_mapping(self) -> address_space: ...

    @property
    def name(self) -> str: ...

    def mmap(self, vma: vm_area_struct) -> int:
        """Set vma.vm_ops for a mapping of this file; 0 or a negative errno (f_op->mmap)."""
        ...

    def punch_hole(self, offset: int, length: int) -> int:
        """Drop the content of a range of bytes (fallocate with FALLOC_FL_PUNCH_HOLE): 0 or -errno."""
        ...

    def get(self) -> None: ...

    def put(self) -> None: ...


class vm_operations_struct:
    """What a mapping does (struct vm_operations_struct). A missing operation is None."""

    __slots__ = ("close", "fault", "map_pages", "may_split", "mremap", "name", "open", "page_mkwrite")

    def __init__(
        self,
        *,
        open: Callable[[vm_area_struct], None] | None = None,
        close: Callable[[vm_area_struct], None] | None = None,
        may_split: Callable[[vm_area_struct, int], int] | None = None,
        mremap: Callable[[vm_area_struct], int] | None = None,
        fault: Callable[[Any], int] | None = None,
        map_pages: Callable[[Any, int, int], int] | None = None,
        page_mkwrite: Callable[[Any], int] | None = None,
        name: Callable[[vm_area_struct], str] | None = None,
    ) -> None:
        self.open = open
        self.close = close
        self.may_split = may_split
        self.mremap = mremap
        self.fault = fault
        self.map_pages = map_pages
        self.page_mkwrite = page_mkwrite
        self.name = name


class vm_area_struct:
    """A range of an address space with one set of properties (struct vm_area_struct).

    Rules for writing a field are those of Documentation/mm/process_addrs.rst: vm_start, vm_end, vm_pgoff need mmap_lock
    for write and the VMA write-locked; so do vm_flags and vm_page_prot; anon_vma needs mmap_lock for read at least.
    """

    __slots__ = (
        "anon_name", "anon_vma", "anon_vma_chain", "detached", "id", "vm_end", "vm_file", "vm_flags", "vm_lock",
        "vm_lock_seq", "vm_mm", "vm_ops", "vm_page_prot", "vm_pgoff", "vm_private_data", "vm_refcnt", "vm_start",
    )  # fmt: skip

    def __init__(self, mm: mm_struct, start: int, end: int, flags: int = 0, pgoff: int = 0) -> None:
        # These belong to the locking scheme in force (emu/mm/schemes).
        self.vm_lock: Any = None  # rw_semaphore or Lock, as the scheme has it
        self.vm_lock_seq = -1
        self.vm_refcnt: Any = None  # refcount_t where the scheme has it
        self.init(mm, start, end, flags, pgoff)

    def init(self, mm: mm_struct, start: int, end: int, flags: int, pgoff: int) -> None:
        """Make a new VMA of this object (vma_init). A recycled one keeps its lock, at which a reader may still look."""
        self.vm_mm = mm
        self.vm_start = start
        self.vm_end = end  # the first byte after it
        self.vm_pgoff = pgoff  # in pages: within vm_file, or vm_start >> PAGE_SHIFT at creation when anonymous
        self.vm_flags = flags
        self.vm_page_prot = vm_get_page_prot(mm, flags)
        self.vm_file: file | None = None
        self.vm_ops: vm_operations_struct | None = None  # None: anonymous (vma_is_anonymous)
        self.vm_private_data: Any = None
        self.anon_vma: anon_vma | None = None
        self.anon_vma_chain: list[anon_vma] = []
        self.anon_name: str | None = None
        self.id = mm.memory.next_vma_id()  # serial number, for the trace
        self.detached = True
        mm.scheme.vma_lock_init(self)

    def __repr__(self) -> str:
        r = "".join(c if self.vm_flags & b else "-" for c, b in (("r", 1), ("w", 2), ("x", 4)))
        s = "s" if self.vm_flags & VM_MAYSHARE else "p"
        return f"<vma {self.id} {self.vm_start:x}-{self.vm_end:x} {r}{s} pgoff {self.vm_pgoff:x}>"


class mm_struct:
    """An address space (struct mm_struct)."""

    def __init__(self, memory: MemoryManager, pgtable: PageTable, scheme: LockingScheme, tree: VmaTree) -> None:
        self.memory = memory  # what all address spaces share: frames, page cache, counters, limits of the system
        self.pgtable = pgtable
        self.scheme = scheme
        self.mm_mt = tree
        self.tp: Tracepoints = memory.tp
        self.id = memory.next_mm_id()
        self.mm_users = 1
        self.mm_count = 1  # references to this object itself (mmgrab, mmdrop); all users together have one
        self.mmap_lock = rw_semaphore(
            memory.sched, "mmap_lock", self.id, owner_apart=bool(memory.sched.cost.owner_apart)
        )
        # Which cache line mm->pgd is in, where that is one which others write to.
        self.pgd_line = self.mmap_lock.line if memory.sched.cost.pgd_beside_lock else None
        # What each look-up of a VMA reads in the other half of mmap_lock's 128 bytes, where the entry code takes both.
        self.lookup_line: CacheLine | None = None
        self.mmap_lock_since: dict[int, int] = {}  # tid -> when it took mmap_lock, for the trace
        self.mm_lock_seq = 0
        beside = self.mmap_lock.line if memory.sched.cost.seq_beside_lock else None
        self.mmap_seq = seqcount_t(memory.sched, beside)  # spf
        self.vma_writer_wait = rcuwait(memory.sched)  # 6.18: the writer that waits for readers of a VMA
        self.vma_free_list: list[vm_area_struct] = []  # rfc: VMAs that wait for others to share a grace period with
        self.map_count = 0
        self.task_size = pgtable.format.task_size
        self.mmap_base = 0  # top of the mmap area; set by exec (mmap_base() of the architecture)
        self.mmap_legacy_base = 0
        self.top_down = True
        self.total_vm = 0  # pages, and so are the next five
        self.locked_vm = 0
        self.pinned_vm = 0
        self.data_vm = 0
        self.exec_vm = 0
        self.stack_vm = 0
        self.hiwater_vm = 0
        self.hiwater_rss = 0
        self.rss = [0, 0, 0, 0]  # MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES
        self.def_flags = 0  # VM_LOCKED[|VM_LOCKONFAULT] after mlockall(MCL_FUTURE)
        self.start_code = self.end_code = self.start_data = self.end_data = 0
        self.start_brk = self.brk = self.start_stack = 0
        self.arg_start = self.arg_end = self.env_start = self.env_end = 0
        self.cpu: Any = None  # the CPU with the engine that runs its code, while it has one
        self.vdso = 0  # where exec mapped the vDSO, 0 = nowhere (context.vdso)
        self.read_implies_exec = False  # what may be read may be executed (personality READ_IMPLIES_EXEC)
        self.exe_file: file | None = None  # the program, as /proc/PID/exe shows it
        self.flush_tlb: Callable[[], None] = lambda: None  # forget all translations of this address space
        self.rlimit: Callable[[int], int] = lambda resource: (1 << 64) - 1  # soft limit of the owner, RLIMIT_*
        self.capable_ipc_lock = False
        self.privileged = False  # CAP_SYS_ADMIN of the owner
        self.pkey_allocation_map = 1  # protection keys that are given out, a bit each
        self.execute_only_pkey = -1  # the key of memory that may only be executed
        self.mdwe = 0  # MDWE_*: memory-deny-write-execute (MMF_HAS_MDWE)
        self.membarrier_state = 0  # MEMBARRIER_CMD_REGISTER_* that were given
        self.stack_grown = False  # the last lock_mm_and_find_vma grew a stack
        self.served = 0  # what the last fault turned out to be: emu.tracepoint.Served
        self.fatal_signal_pending: Callable[[], bool] = lambda: False


MDWE_REFUSE_EXEC_GAIN, MDWE_NO_INHERIT = 1, 2


def map_deny_write_exec(mm: mm_struct, old: int, new: int) -> bool:
    """Must a mapping with flags `old` not get flags `new` (a new one: twice the same): nothing becomes executable that
    is not, or that can be written."""
    if not mm.mdwe or not new & VM_EXEC:
        return False
    return bool(new & VM_WRITE) or not old & VM_EXEC


def inherited_mdwe(mm: mm_struct) -> int:
    """What of `mm.mdwe` the address space of a child or of the next program has (mmf_init_legacy_flags)."""
    return 0 if mm.mdwe & MDWE_NO_INHERIT else mm.mdwe


def flags_pkey(vm_flags: int) -> int:
    """The protection key in a VMA's flags."""
    return vm_flags >> PKEY_SHIFT & 15


def vm_get_page_prot(mm: mm_struct, vm_flags: int) -> int:
    """The bits of a page-table entry that a VMA's flags ask for."""
    format = mm.pgtable.format
    prot = format.protection_map[vm_flags & 15]
    if vm_flags & ARCH_VM_PKEY_FLAGS:
        prot |= flags_pkey(vm_flags) << format.pkey_shift
    return prot


def mmgrab(mm: mm_struct) -> None:
    """Keep the mm_struct, if not what it maps, from going away."""
    mm.mm_count += 1


def mmdrop(mm: mm_struct) -> None:
    """Drop such a reference."""
    mm.mm_count -= 1


def vma_is_anonymous(vma: vm_area_struct) -> bool:
    """True for a private anonymous mapping: it has no vm_ops."""
    return vma.vm_ops is None


def vma_pages(vma: vm_area_struct) -> int:
    """Length in pages."""
    return (vma.vm_end - vma.vm_start) >> PAGE_SHIFT


def linear_page_index(vma: vm_area_struct, address: int) -> int:
    """Page offset of `address` within the VMA's object."""
    return ((address - vma.vm_start) >> PAGE_SHIFT) + vma.vm_pgoff
