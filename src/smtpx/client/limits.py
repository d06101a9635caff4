"""The limits that a server tells by LIMITS (RFC 9422): no client here exceeds one.

It says before anything is sent that a message cannot go, or not over this connection,
so no server has to refuse in the middle what it announced that it would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smtpx.core.client import ClientMachine
    from smtpx.wire.address import Mailbox

__all__ = ["require_domains", "require_mail", "require_recipients"]


def require_recipients(limits: Mapping[str, int], count: int) -> None:
    """Refuse more recipients of one message than the server takes.

    Args:
        limits: of the server.
        count: of the RCPT commands in the transaction.

    Raises:
        NotSupported: RCPTMAX is exceeded.
    """
    most = limits.get("RCPTMAX")
    if most is not None and count > most:
        raise _exceeded("RCPTMAX", f"{most} recipients of a message", "RCPT")


def require_mail(limits: Mapping[str, int], machine: ClientMachine) -> None:
    """Refuse another transaction where the server takes no more in this session.

    Args:
        limits: of the server.
        machine: knows how many there were.

    Raises:
        NotSupported: MAILMAX is reached.
    """
    most = limits.get("MAILMAX")
    if most is not None and machine.mails >= most:
        raise _exceeded("MAILMAX", f"{most} transactions in a session", "MAIL")


def require_domains(
    limits: Mapping[str, int], machine: ClientMachine, recipients: Iterable[Mailbox]
) -> None:
    """Refuse recipients at more domains than the server takes in one session.

    Args:
        limits: of the server.
        machine: knows the domains there were.
        recipients: that come next.

    Raises:
        NotSupported: RCPTDOMAINMAX is exceeded.
    """
    most = limits.get("RCPTDOMAINMAX")
    if most is not None:
        domains = {mailbox.domain.lower() for mailbox in recipients}
        if len(domains | machine.domains) > most:
            text = f"recipients at {most} domains in a session"
            raise _exceeded("RCPTDOMAINMAX", text, "RCPT")


def _exceeded(name: str, what: str, command: str) -> NotSupported:
    return NotSupported(
        f"the server takes {what} at most (LIMITS {name})",
        command=command,
        phase=command.lower(),
    )
