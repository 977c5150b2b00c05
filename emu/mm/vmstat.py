# SPDX-License-Identifier: GPL-2.0-or-later
"""Event counters with the names of /proc/vmstat (mm/vmstat.c)."""

from __future__ import annotations

EVENTS = (
    "pgfault",
    "pgmajfault",
    "pglazyfree",
    "unevictable_pgs_mlocked",
    "unevictable_pgs_munlocked",
    "oom_kill",
    "vma_lock_success",
    "vma_lock_abort",
    "vma_lock_retry",
    "vma_lock_miss",
)


def new_vmstat() -> dict[str, int]:
    """All counters, at zero."""
    return dict.fromkeys(EVENTS, 0)
