# SPDX-License-Identifier: GPL-2.0-or-later
"""Flushing the TLBs of all CPUs that run in an address space (arch/x86/mm/tlb.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.tracepoint import Kind

if TYPE_CHECKING:
    from emu.mm.mm_types import mm_struct

TLB_SINGLE_PAGE_FLUSH_CEILING = 33  # pages; more are flushed with all the rest


def flush_tlb_mm(mm: mm_struct, pages: int) -> None:
    """Forget the translations of `pages` pages that were changed (flush_tlb_mm_range). The work on the own CPU is part
    of what changed the entries; the others are interrupted, and waited for (on_each_cpu_cond_mask)."""
    sched = mm.memory.sched
    if len(sched.rqs) > 1:
        me = sched.rq
        others = 0
        for rq in sched.rqs:
            if rq.curr is not None and rq is not me and rq.curr.mm is mm:
                others += 1
                rq.interrupted += sched.cost.ipi_receive
        if others:
            sched.charge(sched.cost.ipi + others * sched.cost.ipi_per_cpu)
    tp = mm.tp
    if tp.on:
        tp.emit(Kind.TLB_FLUSH, size=pages if pages <= TLB_SINGLE_PAGE_FLUSH_CEILING else 0)
    mm.flush_tlb()
