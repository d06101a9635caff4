r"""Commands: one frozen class each, parsed by the server and encoded by the client.

A `Grammar` says which verbs and which parameters there are in a session; the registry
of `smtpx.wire.extensions` makes one. `parse_command` looks the verb up in it, and the
row that it finds parses the argument. A verb of one's own is one more row, whose
command is `Raw`.

Encoding serialises parsed parts and never copies text into a line unseen: each line
passes `smtpx.wire.octets.require_safe` last, so no argument can end it and start a
command of its own.

>>> command = parse_command(b"MAIL FROM:<bob@example.com> SIZE=1000")
>>> command.reverse_path, command.options.size
(Mailbox(local_part='bob', domain='example.com'), 1000)
>>> command.encode()
b'MAIL FROM:<bob@example.com> SIZE=1000\r\n'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias

from smtpx.errors import BadSyntax, UnsafeOctets
from smtpx.wire.address import (
    Mailbox,
    parse_domain,
    parse_hello_name,
    take_forward_path,
    take_reverse_path,
    take_usual_path,
)
from smtpx.wire.forwarded import XClient, XForward, parse_xclient, parse_xforward
from smtpx.wire.octets import (
    decode_base64,
    encode_base64,
    escape_octets,
    has_line_control,
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
    parse_parameters,
)
from smtpx.wire.values import value

__all__ = [
    "BUILT_IN_VERBS",
    "DEFAULT_GRAMMAR",
    "ETRN_SYNTAX",
    "MAX_CHUNK_OCTETS",
    "XCLIENT_SYNTAX",
    "XFORWARD_SYNTAX",
    "Auth",
    "Bdat",
    "Command",
    "Data",
    "Ehlo",
    "Etrn",
    "Expn",
    "Grammar",
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
    "VerbSyntax",
    "Vrfy",
    "allow_all",
    "parse_command",
    "parse_raw",
]

MAX_CHUNK_OCTETS: Final = 2**63 - 1
"""Of one BDAT: what file sizes and most peers can count to.

RFC 3030 section 2 sets no bound, but a number without one is no size.
"""

# RFC 4422 section 3.1: 1 to 20 characters. Lenient: in any case.
_MECHANISM = re.compile(rb"[A-Za-z0-9_-]{1,20}")
# Twenty digits hold every number up to 2**63 - 1, with zeros before it.
_CHUNK = re.compile(rb"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)
_QUEUE = re.compile(rb"#[!-~]+")
# RFC 5321 section 4.1.1 leaves the form of a verb open; this is an esmtp-keyword.
_VERB = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*", re.ASCII)


# -------------------------------------------------------------------------- the classes


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
        return _encode_line(self.verb, _require_node(octets))


def _require_node(node: bytes) -> bytes:
    """Refuse what is no node name (RFC 1985 sections 5 and 5.3)."""
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
        if _MECHANISM.fullmatch(argument) is None:
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
        if _VERB.fullmatch(self.verb) is None:
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


# -------------------------------------------------------------------------- the grammar


@dataclass(frozen=True, slots=True)
class VerbSyntax:
    """A row of the table of verbs.

    Attributes:
        verb: in upper case.
        parse: takes what follows the verb and its space, without spaces at the end,
            and the grammar; returns the command. Raises `smtpx.errors.BadSyntax`.
    """

    verb: str
    parse: Callable[[bytes, Grammar], Command]


def allow_all(_options: object) -> None:
    """Refuse nothing: the check of options where there is nothing to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What a server understands in a session.

    Attributes:
        verbs: rows by verb, in upper case.
        mail_parameters: those of MAIL.
        rcpt_parameters: those of RCPT.
        check_mail: refuses options of MAIL that are well-formed, but not to be had
            here. Raises `smtpx.errors.BadParameter`.
        check_rcpt: the same for RCPT.
        lenient_paths: take a path without angle brackets, and spaces before a path.
        unimplemented: verbs that are known but not available: 502 in place of 500
            (RFC 5321 section 4.2.4).
    """

    verbs: Mapping[bytes, VerbSyntax]
    mail_parameters: ParameterTable = field(default_factory=lambda: MAIL_PARAMETERS)
    rcpt_parameters: ParameterTable = field(default_factory=lambda: RCPT_PARAMETERS)
    check_mail: Callable[[MailOptions], None] = allow_all
    check_rcpt: Callable[[RcptOptions], None] = allow_all
    lenient_paths: bool = False
    unimplemented: frozenset[bytes] = frozenset()


def _bad_argument(text: str) -> BadSyntax:
    return BadSyntax(text, enhanced="5.5.4")


def _parse_text(argument: bytes) -> str:
    """Parse an argument that is text: UTF-8 without control characters."""
    try:
        text = argument.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad_argument(f"not UTF-8: {escape_octets(argument)}") from None
    if has_line_control(text):
        raise _bad_argument(f"control character: {escape_octets(argument)}")
    return text


def parse_raw(verb: str) -> VerbSyntax:
    """Return the row of a verb of one's own, whose command is `Raw`.

    Args:
        verb: letters, digits and hyphens.

    Returns:
        A row that takes any text as its argument.

    Raises:
        ValueError: no line can begin with such a verb.

    >>> grammar = Grammar(verbs={b"XPING": parse_raw("XPING")})
    >>> parse_command(b"xping a b", grammar)
    Raw(verb='XPING', argument='a b')
    """
    if _VERB.fullmatch(verb) is None:
        raise ValueError(f"{verb!a} is no verb; use letters, digits and hyphens")
    name = verb.upper()

    def parse(argument: bytes, _grammar: Grammar) -> Command:
        return Raw(name, _parse_text(argument))

    return VerbSyntax(name, parse)


def _hello(make: Callable[[str], Command], verb: str) -> VerbSyntax:
    """Row of a verb that takes the name of the client."""

    def parse(argument: bytes, _grammar: Grammar) -> Command:
        if not argument:
            raise _bad_argument(f"{verb} needs the name of the client")
        # Lenient: many clients call themselves what their host happens to be called,
        # and none is refused for that (RFC 5321 section 4.1.4).
        return make(parse_hello_name(argument, lenient=True))

    return VerbSyntax(verb, parse)


def _alone(command: Command) -> VerbSyntax:
    """Row of a verb without argument (RFC 5321 section 4.1.1.4 and others)."""

    def parse(argument: bytes, _grammar: Grammar) -> Command:
        if argument:
            raise _bad_argument(f"{command.verb} takes no argument")
        return command

    return VerbSyntax(command.verb, parse)


def _text(
    make: Callable[[str], Command], verb: str, *, is_required: bool
) -> VerbSyntax:
    """Row of a verb whose argument is text."""

    def parse(argument: bytes, _grammar: Grammar) -> Command:
        if is_required and not argument:
            raise _bad_argument(f"{verb} needs an argument")
        return make(_parse_text(argument))

    return VerbSyntax(verb, parse)


def _require_space(argument: bytes, end: int) -> None:
    """Refuse what touches the path, as in ``<a@b>SIZE=1``."""
    if argument[end] != 0x20:
        raise _bad_argument(f"unexpected: {escape_octets(argument[end:])}")


def _parse_mail(argument: bytes, grammar: Grammar) -> Mail:
    if not (argument.startswith(b"FROM:") or argument[:5].upper() == b"FROM:"):
        raise _bad_argument("MAIL needs FROM:<address>")
    path, end = take_usual_path(argument, 5) or take_reverse_path(
        argument, 5, lenient=grammar.lenient_paths
    )
    if end == len(argument):
        return Mail(path)
    _require_space(argument, end)
    values = parse_parameters(argument[end:], grammar.mail_parameters)
    options = MailOptions(**values)
    grammar.check_mail(options)
    return Mail(path, options)


def _parse_rcpt(argument: bytes, grammar: Grammar) -> Rcpt:
    if not (argument.startswith(b"TO:") or argument[:3].upper() == b"TO:"):
        raise _bad_argument("RCPT needs TO:<address>")
    path, end = take_usual_path(argument, 3) or take_forward_path(
        argument, 3, lenient=grammar.lenient_paths
    )
    if end == len(argument):
        return Rcpt(path)
    _require_space(argument, end)
    values = parse_parameters(argument[end:], grammar.rcpt_parameters)
    options = RcptOptions(**values)
    grammar.check_rcpt(options)
    return Rcpt(path, options)


def _parse_bdat(argument: bytes, _grammar: Grammar) -> Bdat:
    """Parse BDAT; whoever cannot read the size cannot find the next command."""
    match = _CHUNK.fullmatch(argument)
    size = int(match[1]) if match else -1
    if match is None or size > MAX_CHUNK_OCTETS:
        raise _bad_argument(f"bad chunk size: {escape_octets(argument)}")
    return Bdat(size, is_last=match[2] is not None)


def _parse_auth(argument: bytes, _grammar: Grammar) -> Auth:
    # No error shows the argument: it may hold a password.
    mechanism, space, response = argument.partition(b" ")
    if _MECHANISM.fullmatch(mechanism) is None:
        raise _bad_argument("AUTH needs the name of a mechanism")
    name = mechanism.decode("ascii").upper()
    if not space:
        return Auth(name)
    # RFC 4954 section 4: a lone "=" is an initial response without octets.
    return Auth(name, b"" if response == b"=" else decode_base64(response))


def _parse_etrn(argument: bytes, _grammar: Grammar) -> Etrn:
    if not argument:
        # RFC 1985 section 7 shows 500; section 5.1 has 501 for parameters.
        raise _bad_argument("ETRN needs the name of a node")
    return Etrn(_require_node(argument).decode("utf-8"))


ETRN_SYNTAX: Final = VerbSyntax("ETRN", _parse_etrn)
"""The row of ETRN, which a server has to be taught."""

XCLIENT_SYNTAX: Final = VerbSyntax(
    XClient.verb, lambda argument, _grammar: parse_xclient(argument)
)
"""The row of XCLIENT, which is for gateways only."""

XFORWARD_SYNTAX: Final = VerbSyntax(
    XForward.verb, lambda argument, _grammar: parse_xforward(argument)
)
"""The row of XFORWARD, likewise."""

BUILT_IN_VERBS: Final[Mapping[bytes, VerbSyntax]] = {
    row.verb.encode("ascii"): row
    for row in (
        VerbSyntax("MAIL", _parse_mail),
        VerbSyntax("RCPT", _parse_rcpt),
        _alone(Data()),
        VerbSyntax("BDAT", _parse_bdat),
        _alone(Rset()),
        _alone(Quit()),
        _hello(Ehlo, "EHLO"),
        _hello(Helo, "HELO"),
        _hello(Lhlo, "LHLO"),
        _alone(StartTLS()),
        VerbSyntax("AUTH", _parse_auth),
        _text(Noop, "NOOP", is_required=False),
        _text(Vrfy, "VRFY", is_required=True),
        _text(Expn, "EXPN", is_required=True),
        _text(Help, "HELP", is_required=False),
    )
}
"""The verbs of the library's own. They are in every grammar: whether one is allowed
depends on the state of the session, which a grammar knows nothing of."""

# RFC 5321 appendix F: understood once, and not to be implemented any more.
_OBSOLETE: Final = frozenset({b"SEND", b"SOML", b"SAML", b"TURN"})

DEFAULT_GRAMMAR: Final = Grammar(
    verbs={
        **BUILT_IN_VERBS,
        b"ETRN": ETRN_SYNTAX,
        b"XCLIENT": XCLIENT_SYNTAX,
        b"XFORWARD": XFORWARD_SYNTAX,
    }
)
"""All verbs and all parameters of the library, strict."""


def parse_command(line: bytes, grammar: Grammar = DEFAULT_GRAMMAR) -> Command:
    """Parse a command line (RFC 5321 section 4.1.1).

    Args:
        line: without its CRLF. Lenient: white space at its end is ignored, as RFC
            5321 section 4.1.1 asks for.
        grammar: what is understood.

    Returns:
        The command.

    Raises:
        BadSyntax: with the reply to give: 500 5.5.2 for an unknown verb, 502 5.5.1 for
            one that is not implemented, 501 or 555 for arguments.

    >>> parse_command(b"vrfy bob")
    Vrfy(text='bob')
    """
    # ``in`` would first look for an integer, which costs a microsecond.
    if line.endswith((b" ", b"\t")):
        line = line.rstrip(b" \t")
    verb, _, argument = line.partition(b" ")
    row = grammar.verbs.get(verb) or grammar.verbs.get(verb.upper())
    if row is None:
        raise _unknown_verb(verb.upper(), grammar)
    return row.parse(argument, grammar)


def _unknown_verb(verb: bytes, grammar: Grammar) -> BadSyntax:
    if verb in _OBSOLETE or verb in grammar.unimplemented:
        return BadSyntax("command not implemented", code=502, enhanced="5.5.1")
    return BadSyntax("unknown command", code=500)
