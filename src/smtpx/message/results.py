r"""The Authentication-Results field (RFC 8601): written, read, and taken off if forged.

>>> field = AuthenticationResults(
...     "mx.example.com",
...     (MethodResult("spf", "pass", properties=(("smtp.mailfrom", "a@b.example"),)),),
... ).to_field()
>>> print(field.octets.decode().strip())
Authentication-Results: mx.example.com; spf=pass smtp.mailfrom=a@b.example
>>> AuthenticationResults.parse(field.text).results[0].result
'pass'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx.errors import BadAddress, BadSyntax
from smtpx.message.fields import HeaderField, fold_field
from smtpx.message.words import quote_text
from smtpx.wire.address import Mailbox
from smtpx.wire.octets import has_line_control

if TYPE_CHECKING:
    from smtpx.message.fields import Header

__all__ = ["AuthenticationResults", "MethodResult", "remove_forged_results"]

_NAME: Final = "Authentication-Results"
# token (RFC 2045 section 5.1).
_TOKEN: Final = re.compile(r"[!#-'*+.0-9A-Z^-~-]+", re.IGNORECASE)
# [[local-part] "@" domain-name] (RFC 8601 section 2.2), of what needs no quotes.
_ADDRESS: Final = re.compile(
    r"(?:[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*)?@[0-9A-Za-z.-]+",
    re.ASCII,
)
_MAX_RESULTS: Final = 100
"""Of one field; Gmail's have about ten."""


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What one method found (RFC 8601 section 2.2).

    Attributes:
        method: ``spf``, ``dkim``, ``dmarc``, ``arc``, ``iprev``, ``auth`` or another.
        result: ``pass``, ``fail`` or another word of the method.
        reason: why, for people.
        properties: what was looked at, as ``("header.from", "example.com")``.
        comment: for people.
    """

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    comment: str = ""

    def find(self, name: str) -> str | None:
        """Return the first property of a name, None if there is none.

        Args:
            name: such as ``header.d``.
        """
        return next((value for key, value in self.properties if key == name), None)

    def _words(self) -> list[str]:
        words = [f"{_keyword(self.method)}={_keyword(self.result)}"]
        if self.comment:
            words.append(_comment(self.comment))
        if self.reason:
            words.append(f"reason={_quoted(self.reason)}")
        for name, value in self.properties:
            # Lenient: Outlook's ``action=none`` has no type, and goes on as it came.
            key = ".".join(map(_keyword, name.split(".", 1)))
            words.append(f"{key}={_pvalue(value)}")
        return words


@dataclass(frozen=True, slots=True)
class AuthenticationResults:
    """All that one host found about one message.

    Attributes:
        authserv_id: which host, or which group of hosts that trust each other.
        results: what it found; empty: it looked at nothing.
    """

    authserv_id: str
    results: tuple[MethodResult, ...] = ()

    def to_field(self, name: str = _NAME) -> HeaderField:
        """Write the field; whatever a message put into it cannot break out.

        Args:
            name: of the field.
        """
        return HeaderField(name, fold_field(name, self.words()))

    def words(self) -> list[bytes]:
        """Write the value as words with one space between them."""
        words = [_value(self.authserv_id)]
        for result in self.results:
            words[-1] += ";"
            words.extend(result._words())
        if not self.results:
            words[-1] += ";"
            words.append("none")
        return [word.encode("utf-8", "replace") for word in words]

    @classmethod
    def parse(cls, text: str) -> AuthenticationResults:
        """Parse the value of the field.

        Args:
            text: on one line.

        Raises:
            BadSyntax: it breaks the grammar.

        >>> AuthenticationResults.parse(
        ...     'mx.example 1; dkim=fail (bad) reason="no" header.d=a.b').results
        (MethodResult(method='dkim', result='fail', reason='no',
                      properties=(('header.d', 'a.b'),), comment='bad'),)
        """
        reader = _Reader(text)
        authserv_id = reader.take_value()
        reader.skip()
        if reader.peek().isdigit():
            version = reader.take(_TOKEN, "version")
            if version != "1":
                raise BadSyntax(f"version {version[:20]!a} of Authentication-Results")
        results: list[MethodResult] = []
        while True:
            reader.skip()
            if not reader.peek():
                break
            reader.take_mark(";")
            reader.skip()
            if not reader.peek():  # Lenient: a semicolon at the end, as Exchange writes
                break
            if len(results) >= _MAX_RESULTS:
                raise BadSyntax(f"over {_MAX_RESULTS} authentication results")
            result = reader.take_result()
            if result is not None:
                results.append(result)
        return cls(authserv_id, tuple(results))


class _Reader:
    """Takes the value of a field apart from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._comment = ""

    def peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def skip(self) -> None:
        """Pass over white space and comments (CFWS)."""
        while True:
            one = self.peek()
            if one and one in " \t\r\n":
                self._position += 1
            elif one == "(":
                self._take_comment()
            else:
                return

    def _take_comment(self) -> None:
        start = self._position + 1
        depth = 0
        while self._position < len(self._text):
            one = self._text[self._position]
            self._position += 1 + (one == "\\")
            depth += {"(": 1, ")": -1}.get(one, 0)
            if not depth:
                found = self._text[start : self._position - 1]
                self._comment = self._comment or found.replace("\\", "")
                return
        raise BadSyntax("a comment that does not end")

    def take(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self._text, self._position)
        if match is None:
            raise BadSyntax(f"no {what} in Authentication-Results")
        self._position = match.end()
        return match[0]

    def take_mark(self, mark: str) -> None:
        self.skip()
        if self.peek() != mark:
            raise BadSyntax(f"no {mark!r} in Authentication-Results")
        self._position += 1
        self.skip()

    def take_value(self) -> str:
        self.skip()
        if self.peek() != '"':
            return self.take(_BARE_VALUE, "value")
        quoted = self.take(_QUOTED_STRING, "quoted string")
        return re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL)

    def take_result(self) -> MethodResult | None:
        self._comment = ""
        method = self.take(_KEYWORD, "method").lower()
        self.skip()
        if method == "none" and self.peek() in {"", ";"}:
            return None
        if self.peek() == "/":  # the version of the method
            self.take_mark("/")
            self.take(_KEYWORD, "version")
        self.take_mark("=")
        result = self.take(_KEYWORD, "result").lower()
        reason = ""
        properties: list[tuple[str, str]] = []
        self.skip()
        while self.peek() not in {"", ";"}:
            name = self.take(_KEYWORD, "property").lower()
            self.skip()
            if self.peek() == ".":
                self.take_mark(".")
                name = f"{name}.{self.take(_KEYWORD, 'property').lower()}"
            self.take_mark("=")
            value = self.take_value()
            if name == "reason":
                reason = value
            else:
                properties.append((name, value))
            self.skip()
        return MethodResult(method, result, reason, tuple(properties), self._comment)


# Lenient: "/" and "=" and more in a value without quotes, as Gmail and Outlook write.
_BARE_VALUE: Final = re.compile(r"[^\s;()\"]+")
_QUOTED_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_KEYWORD: Final = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z_-]*[0-9A-Za-z])?")


def remove_forged_results(header: Header, authserv_id: str) -> Header:
    """Remove the Authentication-Results fields that claim to be ours.

    RFC 8601 section 5: what came from outside under our name is a forgery. A field
    that cannot be read goes too: some other program might read our name in it.

    Args:
        header: of a message from outside.
        authserv_id: ours.

    Returns:
        The header without them; all other fields keep every octet.
    """
    ours = _comparable(authserv_id)

    def is_forged(one: HeaderField) -> bool:
        if one.name.lower() != _NAME.lower():
            return False
        reader = _Reader(one.text)
        try:
            return _comparable(reader.take_value()) == ours
        except BadSyntax:
            return True

    return header.without(is_forged)


def _comparable(authserv_id: str) -> str:
    """Return what is the same for all ways to write one name."""
    text = authserv_id.strip().rstrip(".").lower()
    try:
        return Mailbox("x", text).domain_ascii.lower()
    except BadAddress:
        return text


def _keyword(text: str) -> str:
    """Require a word of ours: no message has a say in it."""
    if _KEYWORD.fullmatch(text) is None:
        raise ValueError(f"no keyword of Authentication-Results: {text[:64]!a}")
    return text


def _one_line(text: str) -> str:
    if not has_line_control(text):
        return text
    return "".join("?" if has_line_control(one) else one for one in text)


def _quoted(text: str) -> str:
    return quote_text(_one_line(text))


def _value(text: str) -> str:
    """Write a value: a token or a quoted string (RFC 2045 section 5.1)."""
    return text if _TOKEN.fullmatch(text) else _quoted(text)


def _pvalue(text: str) -> str:
    return text if _ADDRESS.fullmatch(text) else _value(text)


def _comment(text: str) -> str:
    """Write a comment that ends where it should."""
    for mark in "\\()":
        text = text.replace(mark, f"\\{mark}")
    return f"({_one_line(text)})"
