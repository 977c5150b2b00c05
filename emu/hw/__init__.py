# SPDX-License-Identifier: GPL-2.0-or-later
"""The hardware: guest RAM, the MMU's page walk, the engine that runs guest code."""
