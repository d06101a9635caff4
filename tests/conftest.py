"""Settings of the whole test suite."""

from __future__ import annotations

import logging
import os
import signal

from hypothesis import settings

from tests.slow_callbacks import is_worth_reading

# No deadline: a busy machine is not a failure. In CI the examples are the same in every
# run, so that a change fails by what it changed; elsewhere each run tries new ones.
settings.register_profile(
    "smtpx", deadline=None, print_blob=True, derandomize="CI" in os.environ
)
settings.load_profile("smtpx")

logging.getLogger("asyncio").addFilter(is_worth_reading)

# A shell has what it runs in the background ignore SIGINT, and so would every program
# that a test starts, and stops with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
