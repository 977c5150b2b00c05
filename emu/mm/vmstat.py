# SPDX-License-Identifier: GPL-2.0-or-later
"""Event counters with the names of /proc/vmstat (mm/vmstat.c)."""

from __future__ import annotations

EVENTS = (
    "pgfault",
    "pgmajfault",
    "pglazyfree",
    "pglazyfreed",
    "unevictable_pgs_mlocked",
    "unevictable_pgs_munlocked",
    "oom_kill",
)
VMA_LOCK_EVENTS = ("vma_lock_success", "vma_lock_abort", "vma_lock_retry", "vma_lock_miss")
"""Those of CONFIG_PER_VMA_LOCK_STATS."""


def new_vmstat(scheme_events: tuple[str, ...]) -> dict[str, int]:
    """All counters, at zero; `scheme_events` are those of the locking scheme in force."""
    return dict.fromkeys(EVENTS + scheme_events, 0)
