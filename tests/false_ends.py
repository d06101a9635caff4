"""What is no end of a message, and was taken for one (CVE-2023-51764 and others).

Written here once for all tests, and a second time in `smtpx.probe.messages`, so that
neither list loses a line unnoticed: tests/probe/test_flaws.py compares them.
"""

from __future__ import annotations

FALSE_ENDS = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\n..\r\n",
    b"\r\n. \r\n",
)
