# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference counts that saturate instead of wrapping (include/linux/refcount.h)."""

from __future__ import annotations

INT_MAX = 0x7FFFFFFF
REFCOUNT_MAX = INT_MAX
REFCOUNT_SATURATED = -0x40000000


class refcount_t:
    """The count is in `refs`. A count that went wrong (used after it was 0, overflown, dropped below 0) stays at
    REFCOUNT_SATURATED for good, so that the object leaks instead of being freed under somebody; `warn` says what
    happened."""

    __slots__ = ("refs", "warning")

    def __init__(self, refs: int) -> None:
        self.refs = refs
        self.warning = ""  # of the first misuse (refcount_warn_saturate)

    def _saturate(self, why: str) -> None:
        self.refs = REFCOUNT_SATURATED
        self.warning = self.warning or why

    def set_release(self, refs: int) -> None:
        """refcount_set_release."""
        self.refs = refs

    def inc(self) -> None:
        """One reference more, by somebody who has one (refcount_inc)."""
        old = self.refs
        self.refs = old + 1
        if old == 0:
            self._saturate("addition on 0; use-after-free")
        elif old < 0 or old >= REFCOUNT_MAX:
            self._saturate("saturated; leaking memory")

    def inc_not_zero_limited_acquire(self, limit: int) -> int:
        """One reference more unless the count is 0, or would pass `limit`: the count before
        (__refcount_inc_not_zero_limited_acquire). A result of 0 or of `limit` and more says that none was taken."""
        old = self.refs
        if 0 < old < limit:
            self.refs = old + 1
        elif old < 0:
            self._saturate("saturated; leaking memory")
        return old

    def add_not_zero(self, i: int) -> bool:
        """Add `i` unless the count is 0 (refcount_add_not_zero)."""
        if self.refs == 0:
            return False
        self.refs += i
        if self.refs < 0 or self.refs > REFCOUNT_MAX:
            self._saturate("saturated; leaking memory")
        return True

    def sub_and_test(self, i: int) -> bool:
        """Take `i` away; was that the last (refcount_sub_and_test)."""
        old = self.refs
        if old == i:
            self.refs = 0
            return True
        if old < 0 or old - i < 0:
            self._saturate("underflow; use-after-free")
            return False
        self.refs = old - i
        return False

    def dec_and_test(self) -> bool:
        """refcount_dec_and_test."""
        return self.sub_and_test(1)
