"""How the tools end: an exit code, and one line that says what to do next."""

from __future__ import annotations

import enum
import errno
import re
import socket
import ssl
from typing import Final

from smtpx.errors import (
    AuthenticationFailed,
    BadReply,
    BadSyntax,
    ConnectError,
    ConnectionLost,
    DataRefused,
    Delivery,
    GreetingRefused,
    MessageTooLarge,
    NotSupported,
    OutOfStep,
    PhaseTimeout,
    RecipientsRefused,
    SenderRefused,
    SendError,
    TLSFailed,
    TLSUnavailable,
    UnsafeOctets,
)

__all__ = ["ExitCode", "Failure", "explain"]


class ExitCode(enum.IntEnum):
    """The codes of sysexits.h, which mail programs have used since 4.3BSD."""

    OK = 0
    USAGE = 64
    """The command line is wrong."""
    DATA = 65
    """The message or an address is."""
    NO_INPUT = 66
    """A file cannot be read."""
    NO_USER = 67
    """A recipient was refused for good."""
    NO_HOST = 68
    """There is no such host."""
    UNAVAILABLE = 69
    """The server refused for good, or something is not installed."""
    SOFTWARE = 70
    """A fault of smtpx."""
    OS_ERROR = 71
    """The operating system refused."""
    CANNOT_CREATE = 73
    """A file or folder cannot be made."""
    TEMPORARY = 75
    """It may work later."""
    PROTOCOL = 76
    """The server broke the protocol, or offers no TLS that can be trusted."""
    NO_PERMISSION = 77
    """The user or the password is wrong."""
    INTERRUPTED = 130
    """Ctrl-C: 128 and the number of SIGINT, as shells have it."""


class Failure(Exception):
    """What ends a tool: a text of one line, and the code to exit with.

    Args:
        code: to exit with.
        text: what happened, and what to do next.
    """

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code


# The first class that fits; a temporary error goes before all with `_BY_REPLY`.
_CODES: Final[tuple[tuple[type[Exception], ExitCode], ...]] = (
    (TLSFailed, ExitCode.PROTOCOL),
    (TLSUnavailable, ExitCode.PROTOCOL),
    (OutOfStep, ExitCode.PROTOCOL),
    (BadReply, ExitCode.PROTOCOL),
    (AuthenticationFailed, ExitCode.NO_PERMISSION),
    (RecipientsRefused, ExitCode.NO_USER),
    (MessageTooLarge, ExitCode.DATA),
    (UnsafeOctets, ExitCode.DATA),
    (BadSyntax, ExitCode.DATA),
    (ConnectError, ExitCode.TEMPORARY),
    (ConnectionLost, ExitCode.TEMPORARY),
    (SendError, ExitCode.UNAVAILABLE),
    (ImportError, ExitCode.UNAVAILABLE),
    (FileNotFoundError, ExitCode.NO_INPUT),
    (PermissionError, ExitCode.NO_INPUT),
    (IsADirectoryError, ExitCode.NO_INPUT),
    (OSError, ExitCode.OS_ERROR),
    (ValueError, ExitCode.DATA),
)

# What to do next, by class; the first that fits.
_HINTS: Final[tuple[tuple[type[Exception], str], ...]] = (
    # Of an argument whose octets Python could not read, and passed on as surrogates.
    (UnicodeEncodeError, "your locale is not UTF-8: set LC_ALL=C.UTF-8"),
    (TLSUnavailable, "use --tls never only if nobody can listen on the way"),
    (
        AuthenticationFailed,
        "check --user and the password; -v shows which mechanisms were tried",
    ),
    (MessageTooLarge, "send less, or another way"),
    (GreetingRefused, "the server may not want you: check its policy, or try later"),
    (PhaseTimeout, "try later, or give more time with --timeout"),
    (OutOfStep, "-v shows what was said"),
    (NotSupported, "send it without that, or to a server that offers it"),
    (SenderRefused, "check --from; some servers want --user first"),
    (RecipientsRefused, "check the addresses; some servers want --user first"),
    (DataRefused, "the text says why; -v shows the whole dialogue"),
)


def explain(error: Exception) -> Failure:
    """Say what an exception means for the user of a tool.

    Args:
        error: any that the library raises for what a user did or a peer said.

    Returns:
        A failure to end with.
    """
    if isinstance(error, Failure):
        return error
    cause = _cause(error)
    code, hint = _by_cause(error, cause)
    if code is None:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
        code = ExitCode.SOFTWARE if code is None else code
    if isinstance(error, SendError) and error.reply is not None and error.is_temporary:
        code, hint = ExitCode.TEMPORARY, hint or "try again later"
    if isinstance(error, SendError) and error.delivery is Delivery.UNKNOWN:
        hint = "it may have been delivered: find out before you send it again"
    if not hint:
        hint = next((hint for kind, hint in _HINTS if isinstance(error, kind)), "")
    text = _text(error)
    # The clients' own errors may give the same advice.
    return Failure(code, text if not hint or hint in text else f"{text}; {hint}")


def _cause(error: Exception) -> BaseException:
    """Find what lies below: an error of a socket or of TLS."""
    found: BaseException = error
    while isinstance(found, SendError) and found.__cause__ is not None:
        found = found.__cause__
    return found


def _by_cause(error: Exception, cause: BaseException) -> tuple[ExitCode | None, str]:
    if isinstance(cause, socket.gaierror):
        return ExitCode.NO_HOST, "check the name of the server"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ExitCode.PROTOCOL, (
            "name its authority with --ca-file, its name with --server-name, or, for "
            "a test only, use --insecure"
        )
    if isinstance(cause, ConnectionRefusedError) and isinstance(error, ConnectError):
        return None, "nothing listens there: check host and port"
    return None, ""


# What Python puts around the words of the system and of OpenSSL.
_NOISE: Final = re.compile(r"\[Errno -?\d+\] |\[SSL: \w+\] | \(_ssl\.c:\d+\)")


def _text(error: Exception) -> str:
    """Return the text of an error on one line."""
    if isinstance(error, OSError) and not isinstance(error, SendError):
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "Address already in use"
        text = f"{error.filename}: {reason}" if error.filename else reason
    else:
        text = str(error) or type(error).__name__
    return " ".join(_NOISE.sub("", text).split())
