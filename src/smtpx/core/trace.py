"""The wire log: every line of a session in both directions, without its secrets.

Redaction is by construction: what a SASL exchange carries never reaches a ``WireLog``,
since the machines hand such lines over as already redacted text, and message content is
counted, not shown. Of a line that is no command, nothing is shown that can be a
password: clients mistype AUTH, or send its base64 without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smtpx.wire.grammar import BUILT_IN_VERBS
from smtpx.wire.octets import escape_octets

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REDACTED", "WireLog", "redact_command", "redact_stray"]

#: Stands for a secret.
REDACTED: Final = "***"

# What is shown of an AUTH command: the name of a mechanism (RFC 4422 section 3.1), all
# in one case. A client that forgot it, and put its base64 there, mixes them.
_MECHANISM: Final = re.compile(rb"[A-Z0-9_-]{1,20}|[a-z0-9_-]{1,20}")

# What can be shown of a line that is no command: a word all in one case, of a length
# that base64 (RFC 4648 section 4) of more than three octets cannot have.
_VERB: Final = re.compile(rb"(?:[A-Z]{1,20}|[a-z]{1,20})")

# Verbs whose arguments are shown, however malformed: none of them carries a secret.
_OPEN_VERBS: Final = BUILT_IN_VERBS.keys() - {b"AUTH"} | {
    *(b"ETRN", b"XCLIENT", b"XFORWARD"),
    *(b"SEND", b"SOML", b"SAML", b"TURN"),
}


class WireLog:
    r"""Writes what passes on the wire to a function that takes a line of text.

    Args:
        write: gets lines such as ``C: MAIL FROM:<a@example.com>`` and ``S: 250 2.1.0
            OK``.

    >>> log = WireLog(print)
    >>> log.client_line(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==")
    C: AUTH PLAIN ***
    >>> log.server_octets(b"250-mx.test\r\n250 SIZE 1000\r\n")
    S: 250-mx.test
    S: 250 SIZE 1000
    """

    __slots__ = ("_write",)

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def client_line(self, line: bytes) -> None:
        """Log a command line, without CRLF; what AUTH carries is hidden."""
        self._write(f"C: {redact_command(line)}")

    def client_stray(self, line: bytes) -> None:
        """Log a line that is no command; what may be a secret in it is hidden."""
        self._write(f"C: {redact_stray(line)}")

    def client_secret(self) -> None:
        """Log that a SASL response passed, and nothing of it."""
        self._write(f"C: {REDACTED}")

    def content(self, count: int) -> None:
        """Log that ``count`` octets of a message passed."""
        self._write(f"C: ({count} octets of content)")

    def server_octets(self, octets: bytes) -> None:
        """Log reply lines; the text of a 334 (a SASL challenge) is hidden."""
        for line in octets.removesuffix(b"\r\n").split(b"\r\n"):
            shown = f"334 {REDACTED}" if line[:4] == b"334 " else escape_octets(line)
            self._write(f"S: {shown}")

    def note(self, text: str) -> None:
        """Log something that happened to the connection itself, such as TLS."""
        self._write(f"== {text} ==")


def redact_command(line: bytes, limit: int = 200) -> str:
    """Make a command line fit for a log: escaped, shortened, and without a secret.

    Args:
        line: octets without CRLF, as the client sent them.
        limit: octets that are shown at the most.

    Returns:
        Printable text. Of an AUTH command only the mechanism is shown (RFC 4954).

    >>> redact_command(b"auth plain AGFsaWNlAHNlY3JldA==")
    'auth plain ***'
    >>> redact_command(b"RCPT TO:<b@example.com>")
    'RCPT TO:<b@example.com>'
    """
    words = line.split(None, 2)
    if len(words) < 2 or words[0].upper() != b"AUTH":
        return escape_octets(line, limit)
    if _MECHANISM.fullmatch(words[1]) is None:
        return f"{escape_octets(words[0])} {REDACTED}"
    shown = escape_octets(words[0] + b" " + words[1])
    return f"{shown} {REDACTED}" if len(words) > 2 else shown


def redact_stray(line: bytes, limit: int = 200) -> str:
    """Make a line that is no command fit for a log: nothing in it can be a password.

    Args:
        line: octets without CRLF, as the client sent them.
        limit: octets that are shown at the most.

    Returns:
        Printable text: all of the line if a verb of SMTP that carries no secret begins
        it; else its first word, if that is no base64.

    >>> redact_stray(b"AUTHPLAIN AGFsaWNlAHNlY3JldA=="), redact_stray(b"c2VjcmV0")
    ('AUTHPLAIN ***', '***')
    >>> redact_stray(b"MAIL FROM <a@example.com>")
    'MAIL FROM <a@example.com>'
    """
    word = line.split(None, 1)[0] if line.strip() else b""
    if not word or word.upper() == b"AUTH" or word.upper() in _OPEN_VERBS:
        return redact_command(line, limit)
    is_base64 = len(word) > 4 and len(word) % 4 == 0
    if is_base64 or _VERB.fullmatch(word) is None:
        return REDACTED
    shown = escape_octets(word)
    return shown if line.strip() == word else f"{shown} {REDACTED}"
