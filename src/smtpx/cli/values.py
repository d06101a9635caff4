"""What the values of options mean: networks, rates, addresses."""

from __future__ import annotations

from typing import Final

import click

from smtpx.server.networks import Networks
from smtpx.server.rate_guard import Counted, CountedBy, RateRule
from smtpx.server.rates import Rate
from smtpx.server.sockets import parse_address

__all__ = ["metrics_address", "network", "rate_rule", "trusted_network"]

# Who needs no name: whoever looks at metrics from this machine.
_LOOPBACK: Final = "127.0.0.1"


def network(text: str) -> str:
    """Parse a network of clients.

    Args:
        text: of an option.

    Raises:
        click.BadParameter: it is none.

    >>> network("192.0.2.0/24")
    '192.0.2.0/24'
    """
    try:
        Networks([text])
    except ValueError as error:
        raise click.BadParameter(
            f"{error}: write 192.0.2.0/24, 2001:db8::/32 or an address"
        ) from None
    return text


def trusted_network(text: str) -> str:
    """Parse a network of clients that are believed, or ``unix:``.

    Args:
        text: of an option.

    Raises:
        click.BadParameter: it is none.

    >>> trusted_network("unix:")
    'unix:'
    """
    return text if text == "unix:" else network(text)


# As on the command line, where words have no space between them.
_COUNTED: Final = {
    "connections": Counted.CONNECTIONS,
    "messages": Counted.MESSAGES,
    "recipients": Counted.RECIPIENTS,
    "failed-logins": Counted.AUTH_FAILURES,
}


def rate_rule(text: str) -> RateRule:
    """Parse a rule such as ``connections=20/minute`` or ``recipients=500/hour/user``.

    Args:
        text: of an option: what is counted, a rate as for `Rate.parse`, and maybe by
            what: ``address``, ``network`` or ``user``.

    Raises:
        click.BadParameter: it is none.

    >>> rate_rule("messages=5/30s/network").by
    <CountedBy.NETWORK: 'network'>
    """
    name, _, value = text.partition("=")
    counted = _COUNTED.get(name)
    if counted is None:
        raise click.BadParameter(
            f"{text!r} counts none of {', '.join(_COUNTED)}: write "
            "connections=20/minute"
        )
    by = CountedBy.ADDRESS
    rate, _, subject = value.rpartition("/")
    if "/" in rate:
        try:
            by = CountedBy(subject)
        except ValueError:
            known = ", ".join(one.value for one in CountedBy)
            raise click.BadParameter(
                f"{text!r} counts by {subject!r}: write one of {known}"
            ) from None
        value = rate
    try:
        return RateRule(counted, Rate.parse(value), by)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def metrics_address(text: str) -> tuple[str, int]:
    """Parse where to show metrics: ``9100``, at loopback then, or ``host:9100``.

    Args:
        text: of an option.

    Raises:
        click.BadParameter: it is none.

    >>> metrics_address("9100"), metrics_address("[::]:9100")
    (('127.0.0.1', 9100), ('::', 9100))
    """
    try:
        host, port = parse_address(text if ":" in text else f":{text}")
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no address: write 9100, for this machine alone, or "
            "0.0.0.0:9100"
        ) from None
    return host or _LOOPBACK, port
