# SPDX-License-Identifier: GPL-2.0-or-later
"""What kernel work costs in virtual time: one table, each entry with its unit and its source.

Everything is in nanoseconds (`_ns`) or a plain number (`_number`). The figures are those of one CPU that nobody
disturbs: what it costs when several CPUs use the same cache line comes from `transfer_*`, never from another entry.

The table is that of a two-socket Ice Lake server (Xeon Platinum 8336C, 2 x 32 cores x 2 threads), because a published
run of mmtests' pft exists for it with and without per-VMA locks (AGRAWAL). One first-touch fault takes 1112.6 ns there
on one thread. How that is divided, and what other work costs in proportion, was measured on a real kernel with
bench/kernel_costs.py (MEASURED: Linux 6.18 in a virtual machine on a Zen 3 server, where the same fault takes 2405 ns;
every figure taken from there is multiplied by 1112.6 / 2405 = 0.463). `python bench/kernel_costs.py` measures again and
prints the table beside what it finds.

A fault is the sum of its parts. For the first touch of an anonymous page:

    exception 200 + vma_lookup 50 + fault_core 164 + anon_fault 86 + page_alloc 185 + clear_page 213
    + memcg_charge 112 + rmap_lru 103 = 1113 ns
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

AGRAWAL = (
    "P. Agrawal on linux-mm, February 2023: mmtests pft, 6.2-rc4, 2 x Xeon Platinum 8336C: 898,782 faults/s on 1 thread"
)
RASMUSSEN = "A. Rasmussen, 2021: mmtests pft, v5.12, 2 x Skylake, 56 cores: 573,600 faults/s on 1 thread"
REFCOUNT = (
    "cover letter of 'reimplement per-vma lock as a refcount', February 2025: mmtests pft, 507,566 faults/s on 1 thread"
)
MEASURED = "bench/kernel_costs.py, Linux 6.18, Zen 3, times 0.463: "
RANGES = "bench/kernel_costs.py on the same machine while it was busy (fault_anon 3829 ns), times 0.291: "
AGAIN = "bench/kernel_costs.py on the same machine another time (fault_anon 2273 ns), times 0.490: "
READERS = "bench/kernel_costs.py, two CPUs at one line, Zen 3, two journeys are 82.1 ns (reader_adds): "
SHARE = "bench/kernel_costs.py --profile (samples of a first-touch fault by kernel function), times 1112.6 ns: "
CORE_TO_CORE = "github.com/nviennot/core-to-core-latency, README, median of compare-and-exchange: "
LU = (
    "A. Lu on linux-mm, September 2018: page_fault1 of will-it-scale, processes, v4.19-rc2 without lru_lock, "
    "2 x Skylake, 56 cores: 9,219,349 faults/s, 77 % of the time in waiting for zone->lock"
)
ARK = "Intel ARK: Xeon Platinum 8300, 8180 and E5-2695 v4; what /sys shows, without influence on time"
HYPERTHREADING = "D. Marr et al., Intel Technology Journal 6(1), 2002: a second thread gains up to 30 % on server work"
MM_STRUCT = "include/linux/mm_types.h with x86-64's defconfig, struct mm_struct of Linux "
UOPS = "uops.info: LOCK INC of memory takes 18 to 20 cycles where the line is in L1 (Alder Lake, Rocket Lake)"


def _ns(value: int, source: str) -> Any:
    return field(default=value, metadata={"unit": "ns", "source": source})


def _kib(value: int, source: str) -> Any:
    return field(default=value, metadata={"unit": "KiB", "source": source})


def _number(value: int, source: str) -> Any:
    return field(default=value, metadata={"unit": "", "source": source})


@dataclass(frozen=True, slots=True)
class Cost:
    """The costs of one machine. Attributes are ints, for hot code; `entries()` has units and sources."""

    name: str = field(default="icelake", metadata={"unit": "", "source": "name of the machine"})

    # The machine
    sockets: int = _number(2, AGRAWAL)
    cores: int = _number(32, AGRAWAL + " (cores of a socket)")
    smt: int = _number(2, AGRAWAL + " (threads of a core)")
    atomic: int = _ns(7, UOPS)
    transfer_smt: int = _ns(8, CORE_TO_CORE + "Xeon 8375C (Ice Lake), two threads of a core, 8.1 ns")
    transfer_socket: int = _ns(51, CORE_TO_CORE + "Xeon 8375C (Ice Lake), same socket, 51 ns")
    transfer_remote: int = _ns(108, CORE_TO_CORE + "dual Xeon 8375C (Ice Lake), other socket, 108 ns")
    transfer_hold: int = _number(
        75,
        "calibrated (bench/scaling.py --calibrate) on the mmap_lock column of AGRAWAL: per cent of a transfer that "
        "keep others away",
    )
    ipi: int = _ns(
        1720, RANGES + "tlb_shootdown_one_cpu 6092 ns, less ipi_per_cpu (a virtual machine: dearer than bare metal)"
    )
    ipi_per_cpu: int = _ns(
        51, "kernel/smp.c, smp_call_function_many_cond: waits for a cache line of each CPU in turn: transfer_socket"
    )
    ipi_receive: int = _ns(400, "assumed: two exceptions' worth, entry, handler and return (see exception)")

    # A page fault, part by part
    exception: int = _ns(200, SHARE + "exc_page_fault and entry code 18 %")
    vma_lookup: int = _ns(50, SHARE + "lock_vma_under_rcu with mas_walk and vma_end_read 4.5 %: look-up, lock, unlock")
    fault_core: int = _ns(
        164, MEASURED + "fault_zero_page 896 ns, less exception, look-up and lock: walk, locks, entry"
    )
    anon_fault: int = _ns(86, "what is left of 1112.6 ns: do_anonymous_page itself and the cold fields of a folio")
    page_alloc: int = _ns(185, SHARE + "vma_alloc_folio 16.6 %, zeroing not counted")
    clear_page: int = _ns(213, SHARE + "clear_page_erms 19.1 %")
    memcg_charge: int = _ns(112, SHARE + "mem_cgroup_charge 10.1 %")
    rmap_lru: int = _ns(103, SHARE + "folio_add_new_anon_rmap 4.1 %, __folio_batch_add_and_move 5.2 %")
    clear_flush: int = _ns(317, MEASURED + "fault_write_over_zero_page 3090 ns, less fault_anon")
    copy_page: int = _ns(502, MEASURED + "fault_cow 3713 ns, less the parts that a new page has too")
    reuse_page: int = _ns(190, MEASURED + "fault_reuse 1305 ns, less a fault's common parts")
    filemap_get: int = _ns(89, MEASURED + "fault_file_cow 3222 ns, less the parts of a copy")
    map_around_page: int = _ns(172, MEASURED + "fault_file_read_around16 6840 ns: each of the 16 pages")
    page_mkwrite: int = _ns(707, MEASURED + "fault_file_shared 2617 ns, less the parts of a file fault")
    shmem_add: int = _ns(631, MEASURED + "fault_shmem_new 3502 ns, less the parts of a new page")
    page_table: int = _ns(
        450, "an allocation, a cleared page, page_table_lock twice (see page_alloc, clear_page, atomic)"
    )

    # Two threads of a core, and the memory of a socket
    smt_slowdown: int = _number(154, HYPERTHREADING + ": each of two takes 2 / 1.3 of its time alone (per cent)")
    memory_page: int = _ns(20, "Intel ARK, Xeon 8300: 8 channels of DDR4-3200, 204.8 GB/s a socket: time for 4 KiB")

    # Caches, for /sys
    l1d: int = _kib(48, ARK)
    l1i: int = _kib(32, ARK)
    l2: int = _kib(1280, ARK)
    l3: int = _kib(54 * 1024, ARK)

    # The layout of mm_struct and vm_area_struct in the kernel that was measured
    pgd_beside_lock: int = _number(1, MM_STRUCT + "6.2: pgd, at 72, is in the cache line of mmap_lock.count, at 112")
    owner_apart: int = _number(0, MM_STRUCT + "6.2: so is mmap_lock.owner, at 120")
    seq_beside_lock: int = _number(
        0, MM_STRUCT + "6.2: mmap_seq would follow mmap_lock, at 152, in the line after count's"
    )
    lookup_beside_lock: int = _number(
        1,
        MM_STRUCT + "6.2: mm_mt.ma_root, at 8, where each look-up begins, is in the other half of 128 bytes, if the "
        "structure begins at a multiple of 128 (assumed; else mm_lock_seq is, which each VMA lock reads)",
    )
    prefetch_always: int = _number(
        0, "arch/x86/mm/fault.c: exc_page_fault has prefetchw(&current->mm->mmap_lock) until 6.15. 1: with `6.18` too"
    )
    prefetch_lead: int = _ns(66, "assumed: a third of `exception` is between that prefetch and the first lock")
    exchange_load: int = _number(
        0,
        "Intel's guide to the uncore of the Xeon 7500: a load takes a modified line away from its owner (SnpData, "
        "M->I), so that an exchange behind it costs nothing more: per cent of a journey. Zen 3 has 59 "
        "(bench/kernel_costs.py, reader_exchanges 106.5 ns, less reader_adds)",
    )
    owner_store: int = _number(
        22, READERS + "reader_stores_owner 115.5 ns, less reader_exchanges: a store behind it, per cent of a journey"
    )

    # What the allocator and the LRU do in batches, under locks that all CPUs of a node share
    zone_page: int = _ns(
        76, LU + ": 217 ns a page on each node, 55 % of that on the way in (43 % against 35 % of the time), times 0.638"
    )
    zone_free: int = _ns(62, LU + ": the other 45 %, on the way back (part of zap_page)")
    lru_page: int = _ns(48, SHARE + "folio_batch_move_lru 4.3 %: a page under lru_lock (part of rmap_lru)")
    list_lines: int = _number(
        2, "mm/swap.c and mm/page_alloc.c: the head of the list, and the page that was first in it, whose links change"
    )
    pcp_batch: int = _number(63, "mm/page_alloc.c, zone_batchsize: pages that a CPU takes under zone->lock at once")
    lru_batch: int = _number(15, "include/linux/pagevec.h, PAGEVEC_SIZE: folios that a CPU adds under lru_lock at once")
    memcg_batch: int = _number(64, "include/linux/memcontrol.h, MEMCG_CHARGE_BATCH: pages charged at once")

    # System calls and the address space
    syscall: int = _ns(94, MEASURED + "syscall_null 204 ns")
    mmap: int = _ns(1134, MEASURED + "mmap 2655 ns, less syscall_null: a new VMA")
    munmap: int = _ns(1060, MEASURED + "munmap_untouched 2495 ns, less syscall_null")
    zap_page: int = _ns(142, MEASURED + "munmap_touched_page 306 ns")
    mprotect: int = _ns(514, MEASURED + "mprotect_page 1314 ns, less syscall_null")
    vma_split: int = _ns(
        473, MEASURED + "mprotect_split_merge 2847 ns, less mprotect_page: two splits or a merge a call"
    )
    vma_merge: int = _ns(473, MEASURED + "mprotect_split_merge, as vma_split")
    munmap_vma: int = _ns(306, RANGES + "munmap_vma 1052 ns: each VMA after the first")
    protect_page: int = _ns(62, RANGES + "mprotect_touched_page 213 ns: each present page")
    mremap_move: int = _ns(816, RANGES + "mremap_move 6722 ns, less syscall_null and munmap: a mapping moves")
    move_page: int = _ns(4, RANGES + "mremap_move_touched_page 13 ns: each present page, whole tables at once")
    mlock_vma: int = _ns(235, RANGES + "mlock_vma 809 ns: mlock or munlock of a VMA")
    mlock_page: int = _ns(75, RANGES + "munlock_touched_page 257 ns: each present page")
    mincore_page: int = _ns(4, RANGES + "mincore_page 15 ns: each page asked for")
    brk: int = _ns(953, MEASURED + "brk 2264 ns, less syscall_null")
    madvise: int = _ns(128, MEASURED + "madvise_empty 707 ns, less syscall_null and madvise_vma")
    madvise_vma: int = _ns(105, RANGES + "madvise_vma 361 ns, madvise_flags_vma 392 ns: each VMA")
    madvise_cold_page: int = _ns(39, RANGES + "madvise_cold_page 135 ns: each present page")
    madvise_free_page: int = _ns(87, RANGES + "madvise_free_page 299 ns: each page that may go")
    guard_page: int = _ns(9, RANGES + "madvise_guard_page 30 ns: each page of MADV_GUARD_INSTALL")

    # Tasks
    context_switch: int = _ns(783, MEASURED + "pipe_switch 3382 ns, less pipe_write_read and wakeup")
    wakeup: int = _ns(400, MEASURED + "pipe_switch, the part of try_to_wake_up")
    idle_exit: int = _ns(1000, "drivers/idle/intel_idle.c, icx_cstates: C1 exit latency 1 us")
    schedule: int = _ns(226, MEASURED + "sched_yield_alone 693 ns, less syscall_null")
    tick: int = _ns(
        1000,
        "assumed: an interrupt (see ipi_receive), the clock, the scheduler and timers. The 7 us of a virtual machine "
        "(irq_vectors:local_timer_entry to _exit, Linux 6.18, Zen 3) are exits from it for the most part",
    )
    futex_hash: int = _ns(19, MEASURED + "futex_wake_nobody 244 ns, less syscall_null")
    futex_wait: int = _ns(58, MEASURED + "futex_wait_eagain 330 ns, less syscall_null")
    send_signal: int = _ns(540, MEASURED + "signal_send_take 1680 ns, less sigtimedwait_none and syscall_null")
    signal_deliver: int = _ns(370, MEASURED + "signal_to_self 2970 ns, less syscall_null and send_signal: one half")
    sigreturn: int = _ns(370, MEASURED + "signal_to_self 2970 ns, less syscall_null and send_signal: the other half")
    clone_thread: int = _ns(6000, MEASURED + "pthread_create_join 18167 ns, less mmap, mprotect and two futex calls")
    fork: int = _ns(30_000, MEASURED + "fork_small 89849 ns, less its VMAs and pages and the wait")
    fork_vma: int = _ns(291, MEASURED + "fork_with_vmas 1348545 ns, less fork_small, for each of 2000 VMAs")
    fork_page: int = _ns(46, MEASURED + "fork_with_pages 292287 ns, less fork_small, for each of 2048 pages")
    copy_user_page: int = _ns(
        317,
        AGAIN + "read_cached_page 648 ns: each whole page of a copy from or to the guest (the rest is in the call)",
    )
    pipe: int = _ns(143, MEASURED + "pipe_write_read 824 ns, less two null calls, for each of the two")

    def transfer(self, a: int, b: int) -> int:
        """ns until a cache line that CPU `a` wrote last belongs to CPU `b`. CPUs are numbered as Linux numbers those of
        such a server: first threads of the first socket's cores, then of the next one's, then all second threads."""
        if a == b:
            return 0
        if b == self.sibling(a):
            return self.transfer_smt
        return self.transfer_socket if self.socket(a) == self.socket(b) else self.transfer_remote

    def socket(self, cpu: int) -> int:
        """The socket of a CPU, which is also its NUMA node."""
        return cpu % (self.sockets * self.cores) // self.cores

    def sibling(self, cpu: int) -> int:
        """The other thread of its core; -1 where a core has one thread only."""
        all_cores = self.sockets * self.cores
        if self.smt < 2:
            return -1
        return cpu + all_cores if cpu % (2 * all_cores) < all_cores else cpu - all_cores

    def entries(self) -> Iterator[tuple[str, int, str, str]]:
        """(name, value, unit, source) of every figure."""
        for entry in fields(self):
            if entry.name != "name":
                yield entry.name, getattr(self, entry.name), entry.metadata["unit"], entry.metadata["source"]


def anon_fault_ns(costs: Cost) -> int:
    """What the first touch of an anonymous page takes on one CPU, with nothing to wait for."""
    c = costs
    return (
        c.exception + c.vma_lookup + c.fault_core + c.anon_fault + c.page_alloc + c.clear_page
        + c.memcg_charge + c.rmap_lru
    )  # fmt: skip


def _machine(name: str, fault_ns: float, **different: int) -> Cost:
    """A machine of which one figure of pft on one thread was published: all work in proportion to it."""
    base = Cost()
    factor = fault_ns / anon_fault_ns(base)
    scaled = {
        entry.name: round(getattr(base, entry.name) * factor)
        for entry in fields(base)
        if entry.metadata["unit"] == "ns" and not entry.name.startswith(("transfer", "ipi", "atomic", "idle", "memory"))
    }
    return replace(base, name=name, **(scaled | different))


ICELAKE = Cost()
# Sources of what differs: RASMUSSEN and CORE_TO_CORE (Xeon 8275CL, Cascade Lake: 47 ns in a socket, 134 ns across,
# 7.6 ns between threads of a core: the same mesh and links as Skylake); PAGEVEC_SIZE and MEMCG_CHARGE_BATCH of 5.12.
# transfer_hold: calibrated (bench/scaling.py --calibrate skylake) on the mmap_lock column of RASMUSSEN.
SKYLAKE = _machine(
    "skylake", 1e9 / 573_600, cores=28, atomic=8, transfer_smt=8, transfer_socket=47, transfer_remote=134,
    transfer_hold=130, lru_batch=15, memcg_batch=32, memory_page=32,
    pgd_beside_lock=0, seq_beside_lock=1, lookup_beside_lock=0, l1d=32, l2=1024, l3=38_912 + 512,
)  # fmt: skip
# REFCOUNT does not name its machine; 56 threads and 'a rather old Broadwell' in the same letter suggest 2 x 14 cores.
# CORE_TO_CORE (Xeon E5-2695 v4): 44 ns in a socket, 118 ns across, 7.6 ns between threads of a core.
# transfer_hold: as SKYLAKE. lookup_beside_lock: in 6.15 mm_lock_seq, at 248, is in the other half of mmap_lock's 128
# bytes; in 5.12, with mmap_lock at 128, nothing is there that a fault reads.
BROADWELL = _machine(
    "broadwell", 1e9 / 507_566, cores=14, atomic=8, transfer_smt=8, transfer_socket=44, transfer_remote=118,
    transfer_hold=130, memory_page=53, lru_batch=31, pgd_beside_lock=0, owner_apart=1, prefetch_always=1,
    l1d=32, l2=256, l3=35 * 1024,
)  # fmt: skip
MACHINES = {machine.name: machine for machine in (ICELAKE, SKYLAKE, BROADWELL)}
