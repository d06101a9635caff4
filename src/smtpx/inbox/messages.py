"""What the inbox keeps of a message beside its content."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from smtpx.wire.options import EncodeContext
from smtpx.wire.params import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    encode_parameters,
)

if TYPE_CHECKING:
    from smtpx.net.tls import TLSInfo
    from smtpx.server.session import ConnectionInfo
    from smtpx.wire.envelope import Envelope, Recipient
    from smtpx.wire.params import MailOptions, ParameterTable, RcptOptions

__all__ = ["StoredMessage", "describe_message", "new_id"]

# An object of Python with its strings; what a message takes in memory beside its
# content and its dialogue.
_OVERHEAD_OCTETS: Final = 2_048

# What a client may say in UTF-8 has to be shown, whether or not it said SMTPUTF8.
_UTF8: Final = EncodeContext(smtputf8=True)


def new_id() -> str:
    """Make the name of a message: 64 random bits, so that nobody meets it twice."""
    return secrets.token_hex(8)


@dataclass(slots=True, eq=False)
class StoredMessage:
    """A message that the inbox holds.

    Attributes:
        id: its name.
        received_at: when, in seconds since 1970.
        octets: the size of its content.
        sender: the reverse path; empty for the null one.
        recipients: the accepted forward paths.
        mail_parameters: what MAIL said behind the path, as it goes over the wire.
        rcpt_parameters: likewise of each RCPT.
        peer: the client's address.
        peer_host: its IP address; None of a unix socket.
        hello_name: what it called itself.
        hostname: what the server called itself.
        protocol: as in ``ESMTPSA`` (RFC 3848).
        session: the id of the session.
        user: whom the client authenticated as; None if it did not.
        tls: version, cipher and so on; None in plaintext.
        charge: octets of memory that it takes, about.
        is_read: whether somebody looked at it.
        notes: what was found out about the message, kept by who found it out.
    """

    id: str
    received_at: float
    octets: int
    sender: str
    recipients: tuple[str, ...]
    mail_parameters: str = ""
    rcpt_parameters: tuple[str, ...] = ()
    peer: str = ""
    peer_host: str | None = None
    hello_name: str = ""
    hostname: str = ""
    protocol: str = ""
    session: str = ""
    user: str | None = None
    tls: dict[str, Any] | None = None
    charge: int = 0
    is_read: bool = False
    notes: dict[str, Any] = field(default_factory=dict, repr=False)


def describe_message(
    connection: ConnectionInfo,
    envelope: Envelope,
    recipients: list[Recipient],
    *,
    octets: int,
    received_at: float,
) -> StoredMessage:
    """Collect the facts about a message that has just come.

    Args:
        connection: over which it came.
        envelope: of the transaction.
        recipients: those who get it.
        octets: the size of its content.
        received_at: when, in seconds since 1970.
    """
    reverse_path = envelope.reverse_path
    sender = "" if reverse_path is None else str(reverse_path)
    names = tuple([str(one.mailbox) for one in recipients])
    parameters: tuple[str, ...] = ()
    if any(one.options is not DEFAULT_RCPT_OPTIONS for one in recipients):
        parameters = tuple(_written(one.options, RCPT_PARAMETERS) for one in recipients)
    mail_parameters = ""
    if envelope.options is not DEFAULT_MAIL_OPTIONS:
        mail_parameters = _written(envelope.options, MAIL_PARAMETERS)
    charge = octets + _OVERHEAD_OCTETS + sum(map(len, names)) + 64 * len(names)
    return StoredMessage(
        id=new_id(),
        received_at=received_at,
        octets=octets,
        sender=sender,
        recipients=names,
        mail_parameters=mail_parameters,
        rcpt_parameters=parameters,
        peer=connection.peer,
        peer_host=connection.peer_host,
        hello_name=connection.hello_name or "",
        hostname=connection.hostname,
        protocol=connection.protocol,
        session=connection.id,
        user=connection.user,
        tls=None if connection.tls is None else _tls_facts(connection.tls),
        charge=charge,
    )


def _written(options: MailOptions | RcptOptions, table: ParameterTable) -> str:
    return encode_parameters(options, table, _UTF8).decode("utf-8", "replace").strip()


def _tls_facts(tls: TLSInfo) -> dict[str, Any]:
    return {
        "version": tls.version,
        "cipher": tls.cipher,
        "bits": tls.cipher_bits,
        "server_name": tls.server_hostname,
        "has_client_certificate": tls.peer_certificate is not None,
    }
