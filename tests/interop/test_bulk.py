"""`send_many` to real servers: everything arrives, once, and no server complains."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.interop.fronts import Front
from tests.interop.names import HELLO_NAME, SENDER, USER
from tests.interop.programs import HOST, poll
from tests.interop.sink import running_sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.dovecot import Dovecot
    from tests.interop.exim import Exim
    from tests.interop.maildir import Maildir
    from tests.interop.opensmtpd import OpenSMTPD
    from tests.interop.postfix import Postfix

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("front", Front)]

COUNT = 1000
# To servers that take their time. Three connections' worth for OpenSMTPD.
FEW = 300
NOBODY = "nobody@example.com"
OTHER = "other@example.com"


def letters(
    count: int, *, recipients: tuple[str, ...] = (USER,)
) -> Iterator[smtpx.Outgoing]:
    for number in range(count):
        content = b"Subject: bulk\r\nX-Number: %d\r\n\r\n.dots\r\n" % number
        # Of many lengths, and its lines within the 998 octets that one may have.
        size = number * 7 % 3000
        content += (b"x" * 70 + b"\r\n") * (size // 72) + b"x" * (size % 72)
        yield smtpx.Outgoing(content, SENDER, recipients, key=number)


async def send_many(
    front: Front,
    url: str,
    envelopes: Iterator[smtpx.Outgoing],
    chunking: smtpx.Chunking = smtpx.Chunking.AUTO,
) -> list[smtpx.Outcome]:
    """Send over one connection with either front."""
    options = smtpx.ClientOptions(hello_name=HELLO_NAME, chunking=chunking)
    is_lmtp = url.startswith("lmtp")
    if front is Front.BLOCKING:
        kind = smtpx.LMTPClient if is_lmtp else smtpx.Client
        with kind(url, options=options) as client:
            return list(client.send_many(envelopes))
    async_kind = smtpx.AsyncLMTPClient if is_lmtp else smtpx.AsyncClient
    async with async_kind(url, options=options) as async_client:
        return [outcome async for outcome in async_client.send_many(envelopes)]


def take_numbers(mailbox: Maildir, count: int) -> list[int]:
    """Wait for so many messages, and take them out; return their numbers, sorted."""
    poll(lambda: mailbox.count() >= count or None, "the messages to be delivered")
    numbers = []
    for path in (mailbox.path / "new").iterdir():
        found = re.search(rb"X-Number: ([0-9]+)", path.read_bytes())
        assert found is not None
        numbers.append(int(found[1]))
        path.unlink()
    return sorted(numbers)


@pytest.mark.parametrize("chunking", [smtpx.Chunking.AUTO, smtpx.Chunking.NEVER])
async def test_postfix(
    front: Front, postfix: Postfix, chunking: smtpx.Chunking
) -> None:
    url = f"smtp+plain://{HOST}:{postfix.port}"
    before = len(postfix.log.read_text())
    outcomes = await send_many(front, url, letters(COUNT), chunking)
    assert {outcome.delivery for outcome in outcomes} == {smtpx.Delivery.DELIVERED}
    assert len({outcome.queue_ids for outcome in outcomes}) == COUNT
    assert take_numbers(postfix.user, COUNT) == list(range(COUNT))
    log = postfix.log.read_text()[before:]
    assert "improper command pipelining" not in log
    # Whoever looks whether Postfix is there says nothing.
    assert not re.search("lost connection after (?!CONNECT)", log)


@pytest.mark.parametrize("chunking", [smtpx.Chunking.AUTO, smtpx.Chunking.NEVER])
async def test_postfix_refuses_in_the_middle(
    front: Front, postfix: Postfix, chunking: smtpx.Chunking
) -> None:
    def source() -> Iterator[smtpx.Outgoing]:
        for outgoing in letters(60):
            if outgoing.key in {7, 8, 30}:
                outgoing.recipients = [NOBODY]
            yield outgoing

    url = f"smtp+plain://{HOST}:{postfix.port}"
    outcomes = await send_many(front, url, source(), chunking)
    refused = [
        outcome.outgoing.key
        for outcome in outcomes
        if outcome.delivery is smtpx.Delivery.REFUSED
    ]
    assert refused == [7, 8, 30]
    expected = [number for number in range(60) if number not in refused]
    assert take_numbers(postfix.user, 57) == expected


@pytest.mark.parametrize(
    ("options", "scheme"),
    [
        pytest.param((), "smtp+plain", id="ESMTP"),
        pytest.param(("-p",), "smtp+plain", id="without PIPELINING"),
        pytest.param(("-L",), "lmtp", id="LMTP"),
    ],
)
async def test_sink(front: Front, options: tuple[str, ...], scheme: str) -> None:
    with running_sink(*options) as sink:
        url = f"{scheme}://{HOST}:{sink.port}"
        outcomes = await send_many(front, url, letters(COUNT))
        assert sink.count() == COUNT
    assert {outcome.delivery for outcome in outcomes} == {smtpx.Delivery.DELIVERED}


@pytest.mark.parametrize("chunking", [smtpx.Chunking.AUTO, smtpx.Chunking.NEVER])
async def test_exim(front: Front, exim: Exim, chunking: smtpx.Chunking) -> None:
    url = f"smtp+plain://{HOST}:{exim.port}"
    before = len(exim.log.read_text())
    outcomes = await send_many(front, url, letters(FEW), chunking)
    assert {outcome.delivery for outcome in outcomes} == {smtpx.Delivery.DELIVERED}
    assert len({outcome.queue_ids for outcome in outcomes}) == FEW
    assert take_numbers(exim.user, FEW) == list(range(FEW))
    log = exim.log.read_text()[before:]
    assert "protocol" not in log  # as in: protocol synchronization error
    assert "SMTP syntax error" not in log


async def test_opensmtpd(front: Front, opensmtpd: OpenSMTPD) -> None:
    """It offers no CHUNKING, and takes a hundred messages over a connection."""
    url = f"smtp+plain://{HOST}:{opensmtpd.port}"
    before = len(opensmtpd.log.read_text())
    outcomes = await send_many(front, url, letters(FEW))
    assert {outcome.delivery for outcome in outcomes} == {smtpx.Delivery.DELIVERED}
    assert len({outcome.queue_ids for outcome in outcomes}) == FEW
    assert take_numbers(opensmtpd.user, FEW) == list(range(FEW))
    log = opensmtpd.log.read_text()[before:]
    failed = re.findall(r'failed-command command="(\w+).*result="(\w+)', log)
    # What follows a refused MAIL in its flight is refused, too.
    assert failed.count(("MAIL", "452")) == FEW // 100 - 1
    assert set(failed) <= {("MAIL", "452"), ("RCPT", "503"), ("DATA", "503")}
    assert log.count("smtp connected") == FEW // 100


async def test_sink_that_goes_in_the_middle(front: Front) -> None:
    """It closes at every DATA, and says nothing."""
    with running_sink("-q", "data") as sink, pytest.raises(smtpx.ConnectionLost):
        await send_many(front, f"smtp+plain://{HOST}:{sink.port}", letters(10))


async def test_dovecot_over_lmtp(front: Front, dovecot: Dovecot) -> None:
    three = (USER, NOBODY, OTHER)
    url = f"lmtp+unix://{dovecot.lmtp_socket}"
    outcomes = await send_many(front, url, letters(200, recipients=three))
    assert len(outcomes) == 200
    for outcome in outcomes:
        accepted = [one.is_accepted for one in outcome.recipients]
        assert accepted == [True, False, True]
    assert take_numbers(dovecot.user, 200) == list(range(200))
    assert take_numbers(dovecot.other, 200) == list(range(200))
