# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace in the formats of other tools: perfetto, ftrace text, Parquet, CSV, folded stacks."""
