# SPDX-License-Identifier: GPL-2.0-or-later
"""What people look at: pages, pictures, tables and dashboards."""
