r"""Commands: one frozen class each, and how a client writes them.

What a server understands of them says `smtpx.wire.grammar`.

Encoding serialises parsed parts and never copies text into a line unseen: each line
passes `smtpx.wire.octets.require_safe` last, so no argument can end it and start a
command of its own.

>>> Mail(Mailbox.parse("bob@example.com"), MailOptions(size=1000)).encode()
b'MAIL FROM:<bob@example.com> SIZE=1000\r\n'
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias

from smtpx.errors import BadSyntax, UnsafeOctets
from smtpx.wire.address import Mailbox
from smtpx.wire.domains import parse_domain, parse_hello_name
from smtpx.wire.forwarded import XClient, XForward
from smtpx.wire.octets import (
    encode_base64,
    escape_octets,
    require_safe,
)
from smtpx.wire.params import (
    ASCII_ONLY,
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    EncodeContext,
    MailOptions,
    ParameterTable,
    RcptOptions,
    encode_parameters,
)
from smtpx.wire.values import value

__all__ = [
    "MAX_CHUNK_OCTETS",
    "MECHANISM_NAME",
    "VERB",
    "Auth",
    "Bdat",
    "Command",
    "Data",
    "Ehlo",
    "Etrn",
    "Expn",
    "Helo",
    "Help",
    "Lhlo",
    "Mail",
    "Noop",
    "Quit",
    "Raw",
    "Rcpt",
    "Rset",
    "StartTLS",
    "Vrfy",
    "require_node",
]

MAX_CHUNK_OCTETS: Final = 2**63 - 1
"""Of one BDAT: what file sizes and most peers can count to.

RFC 3030 section 2 sets no bound, but a number without one is no size.
"""

MECHANISM_NAME: Final = re.compile(rb"[A-Za-z0-9_-]{1,20}")
"""RFC 4422 section 3.1: 1 to 20 characters. Lenient: in any case."""

VERB: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*", re.ASCII)
"""RFC 5321 section 4.1.1 leaves the form of a verb open; this is an esmtp-keyword."""

_QUEUE = re.compile(rb"#[!-~]+")


def _encode_text(text: str, what: str) -> bytes:
    """Encode text as UTF-8, which a lone surrogate has no place in."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsafeOctets(what, ascii(text)) from None


def _encode_line(verb: str, argument: bytes = b"") -> bytes:
    """Write a command line: the one place where the client's lines are made."""
    line = verb.encode("ascii")
    if argument:
        line = b"%b %b" % (line, argument)
    return require_safe(line, f"{verb} command") + b"\r\n"


@dataclass(frozen=True, slots=True)
class Helo:
    """HELO: who the client is, without extensions (RFC 5321 section 4.1.1.1).

    Attributes:
        name: domain or address literal.
    """

    verb: ClassVar[str] = "HELO"
    name: str

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return _encode_hello(self.verb, self.name)


@dataclass(frozen=True, slots=True)
class Ehlo:
    """EHLO: who the client is, and which extensions are there?

    RFC 5321 section 4.1.1.1.

    Attributes:
        name: domain or address literal.
    """

    verb: ClassVar[str] = "EHLO"
    name: str

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return _encode_hello(self.verb, self.name)


@dataclass(frozen=True, slots=True)
class Lhlo:
    """LHLO: what EHLO is, in LMTP (RFC 2033 section 4.1).

    Attributes:
        name: domain or address literal.
    """

    verb: ClassVar[str] = "LHLO"
    name: str

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return _encode_hello(self.verb, self.name)


def _encode_hello(verb: str, name: str) -> bytes:
    octets = require_safe(_encode_text(name, f"{verb} name"), f"{verb} name")
    # What a server would take; a space in it would begin another argument.
    parse_hello_name(octets, lenient=True)
    return _encode_line(verb, octets)


@value
class Mail:
    """MAIL: a transaction begins (RFC 5321 section 4.1.1.2).

    Attributes:
        reverse_path: whom to tell of failures; None is ``<>``, nobody.
        options: the parameters.
    """

    verb: ClassVar[str] = "MAIL"
    reverse_path: Mailbox | None
    options: MailOptions = DEFAULT_MAIL_OPTIONS

    def encode(self, parameters: ParameterTable = MAIL_PARAMETERS) -> bytes:
        """Write the line with its CRLF.

        Args:
            parameters: those that may be sent; the default is all of the library's.

        Raises:
            BadParameter: an option cannot be encoded, or is not in the table.
        """
        path = b"" if self.reverse_path is None else self.reverse_path.encode()
        context = EncodeContext(smtputf8=True) if self.options.smtputf8 else ASCII_ONLY
        options = encode_parameters(self.options, parameters, context)
        return _encode_line(self.verb, b"FROM:<%b>%b" % (path, options))


@value
class Rcpt:
    """RCPT: one recipient (RFC 5321 section 4.1.1.3).

    Attributes:
        forward_path: whom to deliver to.
        options: the parameters.
    """

    verb: ClassVar[str] = "RCPT"
    forward_path: Mailbox
    options: RcptOptions = DEFAULT_RCPT_OPTIONS

    def encode(
        self,
        parameters: ParameterTable = RCPT_PARAMETERS,
        context: EncodeContext = ASCII_ONLY,
    ) -> bytes:
        """Write the line with its CRLF.

        Args:
            parameters: those that may be sent; the default is all of the library's.
            context: how they may be encoded. The default is right for any server.

        Raises:
            BadParameter: an option cannot be encoded, or is not in the table.
        """
        path = self.forward_path.encode()
        if self.options is DEFAULT_RCPT_OPTIONS:
            return _encode_line("RCPT", b"TO:<%b>" % path)
        options = encode_parameters(self.options, parameters, context)
        return _encode_line("RCPT", b"TO:<%b>%b" % (path, options))


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: the message comes next (RFC 5321 section 4.1.1.4)."""

    verb: ClassVar[str] = "DATA"

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return b"DATA\r\n"


@value
class Bdat:
    r"""BDAT: a part of the message comes right behind (RFC 3030 section 2).

    Attributes:
        size: of the chunk, in octets.
        is_last: whether the message ends with it.

    >>> Bdat(86, is_last=True).encode()
    b'BDAT 86 LAST\r\n'
    """

    verb: ClassVar[str] = "BDAT"
    size: int
    is_last: bool = False

    def encode(self) -> bytes:
        """Write the line with its CRLF; the chunk follows it.

        Raises:
            BadSyntax: the size is none.
        """
        if not 0 <= self.size <= MAX_CHUNK_OCTETS:
            raise BadSyntax(f"a chunk cannot have {self.size} octets", enhanced="5.5.4")
        return b"BDAT %d%b\r\n" % (self.size, b" LAST" if self.is_last else b"")


@dataclass(frozen=True, slots=True)
class Rset:
    """RSET: forget the transaction (RFC 5321 section 4.1.1.5)."""

    verb: ClassVar[str] = "RSET"

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return b"RSET\r\n"


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP: are you there? (RFC 5321 section 4.1.1.9).

    Attributes:
        text: without meaning.
    """

    verb: ClassVar[str] = "NOOP"
    text: str = ""

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return _encode_line(self.verb, _encode_text(self.text, "NOOP text"))


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT: close the connection (RFC 5321 section 4.1.1.10)."""

    verb: ClassVar[str] = "QUIT"

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return b"QUIT\r\n"


@dataclass(frozen=True, slots=True)
class Vrfy:
    """VRFY: is this a mailbox? (RFC 5321 section 4.1.1.6).

    Attributes:
        text: a user or a mailbox, never empty.
    """

    verb: ClassVar[str] = "VRFY"
    text: str

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return _encode_required(self.verb, self.text)


@dataclass(frozen=True, slots=True)
class Expn:
    """EXPN: who is on this list? (RFC 5321 section 4.1.1.7).

    Attributes:
        text: a mailing list, never empty.
    """

    verb: ClassVar[str] = "EXPN"
    text: str

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return _encode_required(self.verb, self.text)


def _encode_required(verb: str, text: str) -> bytes:
    if not text:
        raise BadSyntax(f"{verb} needs an argument", enhanced="5.5.4")
    return _encode_line(verb, _encode_text(text, f"{verb} text"))


@dataclass(frozen=True, slots=True)
class Etrn:
    r"""ETRN: send me what you hold for a host (RFC 1985 section 5).

    Attributes:
        node: a domain; with ``@`` before it, all hosts below it too; or ``#`` and the
            name of a queue.

    >>> Etrn("@example.com").encode()
    b'ETRN @example.com\r\n'
    """

    verb: ClassVar[str] = "ETRN"
    node: str

    def encode(self) -> bytes:
        """Write the line with its CRLF.

        Raises:
            BadSyntax: there can be no such node.
        """
        octets = require_safe(_encode_text(self.node, "ETRN node"), "ETRN node")
        return _encode_line(self.verb, require_node(octets))


def require_node(node: bytes) -> bytes:
    """Refuse what is no node name of ETRN (RFC 1985 sections 5 and 5.3).

    Args:
        node: what may be one.

    Returns:
        The same.

    Raises:
        BadSyntax: 501 5.5.4.
    """
    if node.startswith(b"#"):
        # Its structure depends on the server that receives it.
        if _QUEUE.fullmatch(node) is None:
            raise BadSyntax(f"bad queue: {escape_octets(node)}", enhanced="5.5.4")
    else:
        try:
            parse_domain(node.removeprefix(b"@"))
        except BadSyntax as error:
            raise BadSyntax(error.text, enhanced="5.5.4") from None
        if b"." not in node:
            text = f"not a fully qualified name: {escape_octets(node)}"
            raise BadSyntax(text, enhanced="5.5.4")
    return node


@dataclass(frozen=True, slots=True)
class Help:
    """HELP: what can you do? (RFC 5321 section 4.1.1.8).

    Attributes:
        text: a topic; may be empty.
    """

    verb: ClassVar[str] = "HELP"
    text: str = ""

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return _encode_line(self.verb, _encode_text(self.text, "HELP text"))


@dataclass(frozen=True, slots=True)
class StartTLS:
    """STARTTLS: go on under TLS (RFC 3207 section 4)."""

    verb: ClassVar[str] = "STARTTLS"

    def encode(self) -> bytes:
        """Write the line with its CRLF."""
        return b"STARTTLS\r\n"


@dataclass(frozen=True, slots=True)
class Auth:
    r"""AUTH: the client shows who it is (RFC 4954 section 4).

    Attributes:
        mechanism: in upper case.
        initial_response: out of base64, never in a repr; None if there is none, which
            is not the same as an empty one.

    >>> Auth("EXTERNAL", b"").encode()
    b'AUTH EXTERNAL =\r\n'
    """

    verb: ClassVar[str] = "AUTH"
    mechanism: str
    initial_response: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        """Write the line with its CRLF.

        Raises:
            BadSyntax: no mechanism can have that name.
        """
        argument = _encode_text(self.mechanism, "mechanism name")
        if MECHANISM_NAME.fullmatch(argument) is None:
            raise BadSyntax(
                f"no mechanism name: {escape_octets(argument)}", enhanced="5.5.4"
            )
        if self.initial_response is not None:
            argument += b" " + (encode_base64(self.initial_response) or b"=")
        return _encode_line(self.verb, argument)


@dataclass(frozen=True, slots=True)
class Raw:
    r"""Any other command: one that a user registered, or that a client makes up.

    Attributes:
        verb: in upper case when parsed.
        argument: all that follows it; may be empty.

    >>> Raw("XPING", "once").encode()
    b'XPING once\r\n'
    """

    verb: str
    argument: str = ""

    def encode(self) -> bytes:
        """Write the line with its CRLF.

        Raises:
            BadSyntax: a verb is letters, digits and hyphens.
        """
        if VERB.fullmatch(self.verb) is None:
            raise BadSyntax(f"no verb: {self.verb!a}", code=500)
        return _encode_line(self.verb, _encode_text(self.argument, "argument"))


Command: TypeAlias = (
    Helo
    | Ehlo
    | Lhlo
    | Mail
    | Rcpt
    | Data
    | Bdat
    | Rset
    | Noop
    | Quit
    | Vrfy
    | Expn
    | Etrn
    | Help
    | StartTLS
    | Auth
    | XClient
    | XForward
    | Raw
)
