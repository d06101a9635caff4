r"""Tag lists, as DKIM, ARC and DMARC write them (RFC 6376 section 3.2).

>>> parse_tags(b"v=1; a = rsa-sha256;\r\n\td=example.com;")
{'v': '1', 'a': 'rsa-sha256', 'd': 'example.com'}
>>> blank_signature(b" v=1; b = AbC\r\n\t dE; bh=x")
b' v=1; b =; bh=x'
"""

from __future__ import annotations

import re
from typing import Final

from smtpx.errors import BadSyntax

__all__ = ["MAX_TAGS", "blank_signature", "parse_tags"]

MAX_TAGS: Final = 100
"""Of one list; DKIM defines 14."""

_TAG_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_WHITE_SPACE: Final = b" \t\r\n"


def parse_tags(octets: bytes) -> dict[str, str]:
    """Parse a tag list; white space around names and values is passed over.

    Args:
        octets: the list, folded or not.

    Returns:
        Names, which are case-sensitive, and values, in order.

    Raises:
        BadSyntax: it breaks the grammar; or a name comes twice, which voids the whole
            list.
    """
    tags: dict[str, str] = {}
    specs = octets.split(b";")
    if not specs[-1].strip(_WHITE_SPACE):
        specs.pop()
    if len(specs) > MAX_TAGS:
        raise BadSyntax(f"over {MAX_TAGS} tags")
    for spec in specs:
        name, mark, value = spec.partition(b"=")
        name = name.strip(_WHITE_SPACE)
        if not mark or _TAG_NAME.fullmatch(name) is None:
            raise BadSyntax("not a list of tags")
        key = name.decode("ascii")
        if key in tags:
            raise BadSyntax(f"tag {key}= comes twice")
        tags[key] = value.strip(_WHITE_SPACE).decode("utf-8", "replace")
    return tags


def blank_signature(octets: bytes) -> bytes:
    """Empty the value of tag ``b``, all else as it is (RFC 6376 section 3.7).

    Args:
        octets: the tag list of a signature.
    """
    specs = octets.split(b";")
    for at, spec in enumerate(specs):
        name, mark, _ = spec.partition(b"=")
        if name.strip(_WHITE_SPACE) == b"b":
            specs[at] = name + mark
    return b";".join(specs)
