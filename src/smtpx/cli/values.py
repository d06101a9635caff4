"""What the values of options mean: networks, rates, addresses, who speaks for whom."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

import click

from smtpx.errors import BadSyntax
from smtpx.net.dns import DNSResolver
from smtpx.server.networks import Networks
from smtpx.server.rate_guard import Counted, CountedBy, RateRule
from smtpx.server.rates import Rate
from smtpx.server.sockets import parse_address
from smtpx.wire.forwarded import XClient, parse_xclient
from smtpx.wire.preamble import ProxyHeader

__all__ = [
    "metrics_address",
    "name_server",
    "network",
    "proxy_header",
    "rate_rule",
    "trusted_network",
    "xclient",
]

# Who needs no name: whoever looks at metrics from this machine.
_LOOPBACK: Final = "127.0.0.1"

_DNS_PORT: Final = 53


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


def name_server(text: str) -> DNSResolver:
    """Parse whom to ask for names: an IP address, maybe with a port.

    Args:
        text: of an option.

    Raises:
        click.BadParameter: it is none.

    >>> name_server("192.0.2.53"), name_server("[2001:db8::53]:5353")
    (DNSResolver(['192.0.2.53']), DNSResolver(['2001:db8::53']))
    """
    host, port = text, _DNS_PORT
    try:
        if not _is_address(text):
            named, port = parse_address(text)
            host = named or ""
    except ValueError:
        host = ""
    if not _is_address(host) or not port:
        raise click.BadParameter(
            f"{text!r} is no name server: write 192.0.2.53 or [2001:db8::53]:5353"
        )
    return DNSResolver([host], port=port)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_HEADERS: Final = {
    "unknown": ProxyHeader(None, None),
    "local": ProxyHeader(None, None, is_local=True),
}


def proxy_header(text: str) -> ProxyHeader:
    """Parse what a proxy tells: ``192.0.2.7:40112 198.51.100.1:25``.

    Args:
        text: of an option: the client and where it connected to; ``unknown``, or
            ``local``, a proxy that speaks for itself.

    Returns:
        A header of version 2.

    Raises:
        click.BadParameter: it is none.

    >>> proxy_header("[2001:db8::7]:40112 [2001:db8::1]:25").source
    ('2001:db8::7', 40112)
    """
    known = _HEADERS.get(text)
    if known is not None:
        return known
    try:
        source, destination = (parse_address(word) for word in text.split())
        header = ProxyHeader(
            (source[0] or "", source[1]), (destination[0] or "", destination[1])
        )
        header.encode()
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: write '192.0.2.7:40112 198.51.100.1:25', both of one family, "
            "unknown or local"
        ) from None
    return header


def xclient(text: str) -> XClient:
    """Parse what a gateway tells of a client: ``ADDR=192.0.2.7 LOGIN=ann``.

    Args:
        text: of an option.

    Raises:
        click.BadParameter: it is none.

    >>> xclient("ADDR=192.0.2.7 PORT=40112").port
    40112
    """
    try:
        attributes = parse_xclient(text.encode("utf-8", "surrogateescape"))
        attributes.encode()
    except BadSyntax as error:
        raise click.BadParameter(
            f"{error.text}: write 'ADDR=192.0.2.7 NAME=client.example'"
        ) from None
    return attributes
