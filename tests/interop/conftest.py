from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.certificates import ServerFiles, write_certificates
from tests.interop.chasquid import Chasquid, running_chasquid
from tests.interop.dovecot import Dovecot, running_dovecot
from tests.interop.exim import Exim, running_exim
from tests.interop.opensmtpd import OpenSMTPD, running_opensmtpd
from tests.interop.postfix import Postfix, running_postfix
from tests.interop.programs import open_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def certificates() -> Iterator[ServerFiles]:
    with open_directory() as directory:
        yield write_certificates(directory)


@pytest.fixture(scope="session")
def dovecot(certificates: ServerFiles) -> Iterator[Dovecot]:
    with open_directory() as directory, running_dovecot(directory, certificates) as it:
        yield it


@pytest.fixture(scope="session")
def postfix(certificates: ServerFiles, dovecot: Dovecot) -> Iterator[Postfix]:
    with (
        open_directory() as directory,
        running_postfix(directory, certificates, dovecot.sasl_socket) as it,
    ):
        yield it


@pytest.fixture(scope="session")
def exim(certificates: ServerFiles) -> Iterator[Exim]:
    with open_directory() as directory, running_exim(directory, certificates) as it:
        yield it


@pytest.fixture(scope="session")
def opensmtpd(certificates: ServerFiles) -> Iterator[OpenSMTPD]:
    with (
        open_directory() as directory,
        running_opensmtpd(directory, certificates) as it,
    ):
        yield it


@pytest.fixture(scope="session")
def chasquid(certificates: ServerFiles) -> Iterator[Chasquid]:
    with open_directory() as directory, running_chasquid(directory, certificates) as it:
        yield it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Probe last: what a probe leaves in a mailbox, servers deliver when they like."""
    items.sort(key=lambda item: item.path.name == "test_probe.py")
