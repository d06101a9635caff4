from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smtpx.testing.mail_server import MailServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    """Where the programs send to. The plugin's own is there only when installed."""
    with MailServer() as server:
        yield server
