"""Preparing names and passwords, so that equal ones are equal octets.

SASLprep is the profile of stringprep that RFC 5802 section 5.1 names; the ``trace``
profile is that of RFC 4505 section 3. Both are of Unicode 3.2: a later version would
give one password other keys on another Python.
"""

from __future__ import annotations

import stringprep
from typing import TYPE_CHECKING, Final
from unicodedata import ucd_3_2_0

from smtpx.errors import SASLError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_CHARACTERS", "prepare_trace", "sasl_prepare"]

#: How long a name or a password may be. The checks look each character up in twenty
#: tables, some 20 microseconds; a line of AUTH could hold 9,000. LDAP directories stop
#: at 128 to 256.
MAX_CHARACTERS: Final = 1024

# The tables of characters that a profile prohibits, by their names in stringprep.
_SASLPREP: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
_TRACE: Final[tuple[Callable[[str], bool], ...]] = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def sasl_prepare(text: str, what: str, *, allow_unassigned: bool) -> str:
    """Prepare a name or a password with SASLprep (RFC 5802 section 2.2).

    Args:
        text: as its user wrote it.
        what: names it in the error, which never shows it.
        allow_unassigned: let pass what Unicode 3.2 does not know: for what is looked
            up, such as a name, and not for what is kept, such as a password.

    Returns:
        The text to use in its place.

    Raises:
        SASLError: it is empty, too long, or holds what the profile prohibits.

    >>> sasl_prepare("I\u00adX", "user name", allow_unassigned=True)
    'IX'
    >>> sasl_prepare("\u2168", "user name", allow_unassigned=True)
    'IX'
    """
    _require_length(text, what)
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    # Again: a ligature may have become eighteen characters, and hyphens none.
    _require_length(prepared, what)
    _require_allowed(prepared, what, _SASLPREP)
    if not allow_unassigned and any(map(stringprep.in_table_a1, prepared)):
        raise SASLError(f"the {what} holds a character newer than SASLprep")
    return prepared


def prepare_trace(text: str) -> str:
    """Check what an anonymous client says of itself (RFC 4505 section 3).

    Args:
        text: from the client; 1 to 255 characters.

    Returns:
        The same.

    Raises:
        SASLError: it is too long, or holds a control or another such character.

    >>> prepare_trace("sirhc")
    'sirhc'
    """
    # RFC 4505 section 2. For an address it has no limit; RFC 5321 section 4.5.3.1.3
    # has about the same.
    if not 0 < len(text) <= 255:
        raise SASLError("the trace text is empty or longer than 255 characters")
    _require_allowed(text, "trace text", _TRACE)
    return text


def _require_length(text: str, what: str) -> None:
    if not 0 < len(text) <= MAX_CHARACTERS:
        raise SASLError(f"the {what} is empty or over {MAX_CHARACTERS} characters")


def _require_allowed(
    text: str, what: str, prohibited: tuple[Callable[[str], bool], ...]
) -> None:
    if any(is_in(character) for character in text for is_in in prohibited):
        raise SASLError(f"the {what} holds a control or another prohibited character")
    # Text that runs from right to left holds none that runs the other way, and begins
    # and ends with its own kind (RFC 4505 section 3 asks for this too).
    if any(map(stringprep.in_table_d1, text)) and (
        any(map(stringprep.in_table_d2, text))
        or not stringprep.in_table_d1(text[0])
        or not stringprep.in_table_d1(text[-1])
    ):
        raise SASLError(f"the {what} mixes directions of writing")
