"""The library's own extensions: each a row of `EXTENSIONS`, and what the row needs.

`smtpx.wire.registry` says what a row is, and what is made of them. To teach the library
another extension, write its row here, the codecs of its parameters in
`smtpx.wire.codecs`, and a field for each in `smtpx.wire.options`; nothing else knows
any of them by name.

>>> DEFAULT_REGISTRY.ehlo_lines(Offer(max_recipients=100, is_tls=True))[-2:]
('LIMITS RCPTMAX=100', 'HELP')
>>> from smtpx.wire.grammar import parse_command
>>> grammar = DEFAULT_REGISTRY.grammar(Offer(enabled=frozenset({"DELIVERBY"})))
>>> parse_command(b"MAIL FROM:<> BY=120;R", grammar).options.deliver_by
DeliverBy(seconds=120, mode=<ByMode.RETURN: 'R'>, is_traced=False)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from smtpx.errors import BadParameter
from smtpx.wire.codecs import decode_date_time, encode_date_time
from smtpx.wire.forwarded import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES
from smtpx.wire.grammar import (
    BUILT_IN_VERBS,
    ETRN_SYNTAX,
    XCLIENT_SYNTAX,
    XFORWARD_SYNTAX,
)
from smtpx.wire.options import MailOptions, RcptOptions
from smtpx.wire.params import PARAMETERS, BodyType, ByMode, Parameter
from smtpx.wire.registry import Extension, ExtensionSettings, Offer, Registry

__all__ = [
    "DEFAULT_REGISTRY",
    "EXTENSIONS",
    "Extension",
    "ExtensionSettings",
    "Offer",
    "Registry",
]


def _when_enabled(keyword: str, *parameters: str) -> Callable[[Offer], str | None]:
    """Advertise an extension that has to be switched on."""
    text = " ".join(parameters)

    def advertise(offer: Offer) -> str | None:
        return text if keyword in offer.enabled else None

    return advertise


def _advertise_starttls(offer: Offer) -> str | None:
    # RFC 3207 section 4.2: not once TLS is there.
    return "" if offer.starttls_available and not offer.is_tls else None


def _advertise_auth(offer: Offer) -> str | None:
    # After a success too: no further AUTH is possible (RFC 4954 section 4), but AUTH=
    # of MAIL is part of the extension.
    return " ".join(offer.mechanisms) or None


def _advertise_size(offer: Offer) -> str | None:
    # RFC 1870 section 3: 0 says that there is no fixed limit.
    return str(offer.max_message_octets or 0)


def _advertise_requiretls(offer: Offer) -> str | None:
    # RFC 8689 section 2: only where the session itself is under TLS.
    return "" if "REQUIRETLS" in offer.enabled and offer.is_tls else None


_MAX_LIMIT: Final = 999_999
"""Six digits (RFC 9422 section 4)."""


def _advertise_limits(offer: Offer) -> str | None:
    limits = {
        "RCPTMAX": offer.max_recipients,
        "MAILMAX": offer.max_transactions,
        "RCPTDOMAINMAX": offer.max_recipient_domains,
    }
    return (
        " ".join(
            f"{name}={limit}"
            for name, limit in limits.items()
            # What has more digits is no limit that a client could come near.
            if limit is not None and limit <= _MAX_LIMIT
        )
        or None
    )


def _advertise_deliver_by(offer: Offer) -> str | None:
    if "DELIVERBY" not in offer.enabled:
        return None
    least = offer.settings.deliver_by_min_seconds
    return "" if least is None else str(least)


def _check_deliver_by(
    options: MailOptions | RcptOptions,
    parameters: Sequence[str],
    _now: datetime | None,
) -> None:
    """Hold the least time for messages to be returned (RFC 2852 section 3)."""
    by = options.deliver_by
    least = _number(parameters, 0)
    if by is None or by.mode is not ByMode.RETURN or least is None:
        return
    if by.seconds < least:
        # RFC 2852 section 4: 555 if it will not be otherwise later.
        raise BadParameter(f"BY with mode R needs {least} seconds at least", code=555)


def _number(parameters: Sequence[str], index: int) -> int | None:
    """Read a number of at most nine digits; what is none says nothing."""
    text = parameters[index] if index < len(parameters) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None
    return int(text)


def _advertise_mt_priority(offer: Offer) -> str | None:
    if "MT-PRIORITY" not in offer.enabled:
        return None
    return offer.settings.mt_priority_profile


def _advertise_future_release(offer: Offer) -> str | None:
    # RFC 4865 section 4.2: always with both limits, and the second needs the time.
    if "FUTURERELEASE" not in offer.enabled or offer.now is None:
        return None
    seconds = offer.settings.future_release_max_seconds
    until = offer.now + timedelta(seconds=seconds)
    text = encode_date_time(until, "FUTURERELEASE", "seconds").decode("ascii")
    return f"{seconds} {text}"


def _check_future_release(
    options: MailOptions, parameters: Sequence[str], now: datetime | None
) -> None:
    """Hold the limits of a release (RFC 4865 sections 4.1 and 4.2)."""
    hold_for, hold_until = options.hold_for_seconds, options.hold_until
    longest = _number(parameters, 0)
    if hold_for is not None and longest is not None and hold_for > longest:
        raise BadParameter(f"HOLDFOR is at most {longest} seconds here")
    if hold_until is not None:
        latest = _date_time(parameters, 1)
        if latest is not None and hold_until > latest:
            raise BadParameter(f"HOLDUNTIL is at most {parameters[1]} here")
        if now is not None and hold_until <= now:
            raise BadParameter("HOLDUNTIL is in the past")
        if now is not None:
            hold_for = int((hold_until - now).total_seconds())
    by = options.deliver_by
    if by is not None and hold_for is not None and hold_for > by.seconds:
        # RFC 4865 section 5.2
        raise BadParameter("the message would be released after BY has passed")


def _date_time(parameters: Sequence[str], index: int) -> datetime | None:
    """Read a date-time; what is none says nothing."""
    try:
        return decode_date_time("".join(parameters[index : index + 1]).encode(), "")
    except BadParameter:
        return None


def _advertise_no_soliciting(offer: Offer) -> str | None:
    if "NO-SOLICITING" not in offer.enabled:
        return None
    return ",".join(offer.settings.no_soliciting)


def _check_soliciting(
    options: MailOptions, parameters: Sequence[str], _now: datetime | None
) -> None:
    """Refuse classes that the server does not want (RFC 3865 section 2.3)."""
    unwanted = {word for text in parameters for word in text.lower().split(",")}
    matches = [word for word in options.solicit if word.lower() in unwanted]
    if matches:
        # RFC 3865 section 2.4 asks for the parameter in the reply.
        text = ",".join(matches)
        raise BadParameter(f"SOLICIT={text}", code=550, enhanced="5.7.1")


def _parameters(*keywords: str) -> tuple[Parameter, ...]:
    return tuple(row for row in PARAMETERS if row.keyword in keywords)


(_BODY,) = _parameters("BODY")


def _require_text(body: object) -> object:
    """Refuse BINARYMIME where it is not offered."""
    if body is BodyType.BINARYMIME:
        raise BadParameter("BODY=BINARYMIME is not offered", code=555)
    return body


# The parameter as it is without BINARYMIME (RFC 6152 section 3).
_TEXT_BODY = dataclasses.replace(
    _BODY,
    decode=lambda value: _require_text(_BODY.decode(value)),
    encode=lambda body, context: _BODY.encode(_require_text(body), context),
)


EXTENSIONS: Final[tuple[Extension, ...]] = (
    Extension("PIPELINING", "RFC 2920"),
    Extension("8BITMIME", "RFC 6152", parameters=(_TEXT_BODY,)),
    Extension("ENHANCEDSTATUSCODES", "RFC 2034"),
    Extension("CHUNKING", "RFC 3030", verbs=(BUILT_IN_VERBS[b"BDAT"],)),
    Extension(
        "STARTTLS",
        "RFC 3207",
        verbs=(BUILT_IN_VERBS[b"STARTTLS"],),
        advertise=_advertise_starttls,
    ),
    Extension(
        "AUTH",
        "RFC 4954",
        parameters=_parameters("AUTH"),
        verbs=(BUILT_IN_VERBS[b"AUTH"],),
        advertise=_advertise_auth,
    ),
    Extension(
        "SMTPUTF8",
        "RFC 6531",
        parameters=_parameters("SMTPUTF8"),
        advertise=_when_enabled("SMTPUTF8"),
    ),
    Extension(
        "REQUIRETLS",
        "RFC 8689",
        parameters=_parameters("REQUIRETLS"),
        advertise=_advertise_requiretls,
    ),
    # Behind 8BITMIME, so that its row for BODY, which takes all values, counts.
    Extension(
        "BINARYMIME",
        "RFC 3030",
        parameters=(_BODY,),
        advertise=_when_enabled("BINARYMIME"),
    ),
    Extension(
        "DSN",
        "RFC 3461",
        parameters=_parameters("RET", "ENVID", "NOTIFY", "ORCPT"),
        advertise=_when_enabled("DSN"),
    ),
    Extension(
        "SIZE", "RFC 1870", parameters=_parameters("SIZE"), advertise=_advertise_size
    ),
    Extension("LIMITS", "RFC 9422", advertise=_advertise_limits),
    Extension(
        "RRVS",
        "RFC 7293",
        parameters=_parameters("RRVS"),
        advertise=_when_enabled("RRVS"),
    ),
    Extension(
        "DELIVERBY",
        "RFC 2852",
        parameters=_parameters("BY"),
        advertise=_advertise_deliver_by,
        check_mail=_check_deliver_by,
        check_rcpt=_check_deliver_by,
    ),
    Extension(
        "MT-PRIORITY",
        "RFC 6710",
        parameters=_parameters("MT-PRIORITY"),
        advertise=_advertise_mt_priority,
    ),
    Extension(
        "FUTURERELEASE",
        "RFC 4865",
        parameters=_parameters("HOLDFOR", "HOLDUNTIL"),
        advertise=_advertise_future_release,
        check_mail=_check_future_release,
    ),
    Extension("HELP", "RFC 5321", verbs=(BUILT_IN_VERBS[b"HELP"],)),
    Extension(
        "VRFY",
        "RFC 5321",
        verbs=(BUILT_IN_VERBS[b"VRFY"],),
        advertise=_when_enabled("VRFY"),
    ),
    Extension(
        "EXPN",
        "RFC 5321",
        verbs=(BUILT_IN_VERBS[b"EXPN"],),
        advertise=_when_enabled("EXPN"),
    ),
    Extension(
        "ETRN",
        "RFC 1985",
        verbs=(ETRN_SYNTAX,),
        advertise=_when_enabled("ETRN"),
    ),
    Extension(
        "NO-SOLICITING",
        "RFC 3865",
        parameters=_parameters("SOLICIT"),
        advertise=_advertise_no_soliciting,
        check_mail=_check_soliciting,
    ),
    Extension(
        "XOORG",
        "Exchange",
        parameters=_parameters("XOORG"),
        advertise=_when_enabled("XOORG"),
    ),
    # For the sessions of gateways that are trusted, which have these enabled.
    Extension(
        "XCLIENT",
        "Postfix",
        verbs=(XCLIENT_SYNTAX,),
        advertise=_when_enabled("XCLIENT", *XCLIENT_ATTRIBUTES),
    ),
    Extension(
        "XFORWARD",
        "Postfix",
        verbs=(XFORWARD_SYNTAX,),
        advertise=_when_enabled("XFORWARD", *XFORWARD_ATTRIBUTES),
    ),
)
"""The library's own, in the order in which EHLO lists them."""

DEFAULT_REGISTRY: Final = Registry(EXTENSIONS)
