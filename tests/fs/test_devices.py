# SPDX-License-Identifier: GPL-2.0-or-later
"""Character devices."""

from __future__ import annotations

from tests.guests import guest, mmscope

EXPECTED = b"""\
/dev/null pread 0 0 seek 0 0 pwrite 0
/dev/zero pread 8 3 seek 0 0 pwrite 0
/dev/full pread 8 3 seek 0 0 pwrite 28
/dev/urandom pread 8 3 seek 0 0 pwrite 9
"""


def test_at_a_position() -> None:
    """As on Linux, where this guest printed the same."""
    ran = mmscope("run", guest("devices"))
    assert (ran.status, ran.out) == (0, EXPECTED), ran.err
