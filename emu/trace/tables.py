# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of the reports: plain columns, and text of guests made harmless."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emu.trace.escape import printable

NARROW = 60  # columns of a terminal on which only what matters most is shown


def new_table(title: str, *columns: str) -> Table:
    """A table without lines. A head that begins with `>` stands over a column of numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold", header_style="dim")
    for column in columns:
        numeric = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if numeric else "left", overflow="fold")
    return table


def add_row(table: Table, *cells: object) -> None:
    """A row; whatever a guest chose shows as text and nothing else."""
    table.add_row(*(Text(printable(str(cell))) for cell in cells))


def share(part: int, whole: int) -> str:
    """12.3 %."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def is_narrow(console: Console) -> bool:
    """Is there too little room for tables with many columns."""
    return not console.soft_wrap and console.width < NARROW
