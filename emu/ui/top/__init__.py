# SPDX-License-Identifier: GPL-2.0-or-later
"""The dashboard of `mmscope top`: a model that counts events, a player that moves in the trace, views of the model."""
