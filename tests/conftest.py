# SPDX-License-Identifier: GPL-2.0-or-later
"""Hypothesis runs briefly by default, and long with --hypothesis-profile=long. Signals that a shell's background job
or nohup ignores are not ignored here, for tests send them to what they start."""

import signal

from hypothesis import HealthCheck, settings

for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL), (signal.SIGHUP, signal.SIG_DFL)
):  # fmt: skip
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("short", max_examples=60, deadline=None, derandomize=True, suppress_health_check=_QUIET)
settings.register_profile("long", max_examples=5000, deadline=None, suppress_health_check=_QUIET)
settings.load_profile("short")
