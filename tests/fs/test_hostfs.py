# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's files: what the guest sees does not depend on which numbers the host gives its inodes."""

from __future__ import annotations

from emu.fs.hostfs import HostFs
from emu.mm.folios import Folios
from emu.mm.readahead import Absent
from tests.support import make_box


def test_a_number_that_the_host_uses_again_is_a_new_file() -> None:
    fs = HostFs(make_box().memory, lambda: 0)
    first, second = fs.number(1, 500), fs.number(1, 7)
    assert (fs.number(1, 500), second) == (first, first + 1)
    fs.touch((1, 500), 0)
    fs.cached[1, 500] = Absent(), Folios(0)
    fs.forget((1, 500))
    assert fs.number(1, 500) == second + 1
    assert not fs.times and not fs.cached
