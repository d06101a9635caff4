r"""What a server understands: verbs, their arguments, and parameters.

A `Grammar` says which verbs and which parameters there are in a session; the registry
of `smtpx.wire.extensions` makes one. `parse_command` looks the verb up in it, and the
row that it finds parses the argument. A verb of one's own is one more row, whose
command is `smtpx.wire.commands.Raw`.

>>> command = parse_command(b"MAIL FROM:<bob@example.com> SIZE=1000")
>>> command.reverse_path, command.options.size
(Mailbox(local_part='bob', domain='example.com'), 1000)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from smtpx.errors import BadSyntax
from smtpx.wire.address import take_forward_path, take_reverse_path, take_usual_path
from smtpx.wire.commands import (
    MAX_CHUNK_OCTETS,
    MECHANISM_NAME,
    VERB,
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Etrn,
    Expn,
    Helo,
    Help,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Raw,
    Rcpt,
    Rset,
    StartTLS,
    Vrfy,
    require_node,
)
from smtpx.wire.domains import parse_hello_name
from smtpx.wire.forwarded import XClient, XForward, parse_xclient, parse_xforward
from smtpx.wire.octets import decode_base64, escape_octets, has_line_control
from smtpx.wire.params import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    MailOptions,
    ParameterTable,
    RcptOptions,
    parse_parameters,
)

__all__ = [
    "BUILT_IN_VERBS",
    "DEFAULT_GRAMMAR",
    "ETRN_SYNTAX",
    "XCLIENT_SYNTAX",
    "XFORWARD_SYNTAX",
    "Grammar",
    "VerbSyntax",
    "allow_all",
    "parse_command",
    "parse_raw",
]

# Twenty digits hold every number up to 2**63 - 1, with zeros before it.
_CHUNK = re.compile(rb"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)


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
    if VERB.fullmatch(verb) is None:
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
    if MECHANISM_NAME.fullmatch(mechanism) is None:
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
    return Etrn(require_node(argument).decode("utf-8"))


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
