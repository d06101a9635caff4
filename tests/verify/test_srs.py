"""Rewritten reverse paths: there and back, like another implementation, unforgeable."""

from __future__ import annotations

import pytest
import srslib  # type: ignore[import-untyped]  # it has no types
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadAddress
from smtpx.verify.srs import SenderRewriter
from smtpx.wire.address import Mailbox, quote_local_part

SECRET = b"sixteen octets, at least"
OLD_SECRET = b"another sixteen octets"
DAY = 86_400
NOW = 20_500 * DAY


def at(days: float = 0, secrets: tuple[bytes, ...] = (SECRET,)) -> SenderRewriter:
    return SenderRewriter("fwd.example", secrets, clock=lambda: NOW + days * DAY)


def forward(text: str, srs: SenderRewriter | None = None) -> Mailbox:
    rewritten = (srs or at()).forward(Mailbox.parse(text))
    assert rewritten is not None
    return rewritten


def oracle() -> srslib.SRS:
    made = srslib.SRS(SECRET)
    made._time_fn = lambda: NOW
    return made


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        "Ann.B@EXAMPLE.com",
        "a=b=c@example.com",
        "SRS0=HHHH=TT=example.com=ann@first.example",
        "srs0+HHHH=TT=example.com=ann@first.example",
        "SRS1=HHHH=first.example==HHHH=TT=example.com=ann@second.example",
    ],
)
def test_another_implementation_agrees(text: str) -> None:
    ours = str(forward(text))
    assert ours == oracle().forward(text, "fwd.example")
    assert str(at().reverse(Mailbox.parse(ours))) == oracle().reverse(ours)


def test_the_first_forwarder_and_the_second() -> None:
    first = forward("ann@example.com")
    assert first.local_part.startswith("SRS0=")
    second = SenderRewriter("second.example", [OLD_SECRET])
    third = SenderRewriter("third.example", [OLD_SECRET + b"3"])
    at_second = second.forward(first)
    assert at_second is not None
    at_third = third.forward(at_second)
    assert at_third is not None
    assert at_third.local_part.startswith("SRS1=")
    assert "=fwd.example==" in at_third.local_part
    # A report goes to the first at once, and from there to the sender.
    assert third.reverse(at_third) == second.reverse(at_second) == first
    assert str(at().reverse(first)) == "ann@example.com"


def test_what_stays() -> None:
    assert at().forward(None) is None
    ours = Mailbox("bob", "FWD.example")
    assert at().forward(ours) is ours


@pytest.mark.parametrize("text", ['"a b"@example.com', '"a\\"@b"@[192.0.2.1]'])
def test_quoted_ones(text: str) -> None:
    assert str(at().reverse(forward(text))) == text


@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_case_may_change_on_the_way(change: object) -> None:
    assert callable(change)
    rewritten = Mailbox.parse(change(str(forward("ann@example.com"))))
    assert str(at().reverse(rewritten)).lower() == "ann@example.com"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("=example.com=", "=example.org="),
        ("=ann@", "=eve@"),
        ("SRS0=", "SRS0=x"),
        ("SRS0=", "SRS2="),
        ("@fwd.example", "@other.example"),
    ],
)
def test_forged_ones(old: str, new: str) -> None:
    text = str(forward("ann@example.com"))
    assert old in text
    with pytest.raises(BadAddress) as caught:
        at().reverse(Mailbox.parse(text.replace(old, new)))
    assert (caught.value.code, caught.value.enhanced) == (550, "5.1.1")


@pytest.mark.parametrize(
    "text",
    ["bob@fwd.example", "SRS0=abc@fwd.example", "SRS0=a=AA==b@fwd.example"],
)
def test_what_is_none_of_ours(text: str) -> None:
    with pytest.raises(BadAddress):
        at().reverse(Mailbox.parse(text))


def test_a_forged_one_of_a_second_forwarder() -> None:
    text = str(forward("SRS0=HHHH=TT=example.com=ann@first.example"))
    with pytest.raises(BadAddress, match="not an address that we wrote"):
        at().reverse(Mailbox.parse(text.replace("first", "worst")))


@pytest.mark.parametrize("days", [0, 21])
def test_young_enough(days: int) -> None:
    rewritten = forward("ann@example.com")
    assert str(at(days).reverse(rewritten)) == "ann@example.com"


@pytest.mark.parametrize("days", [-1, 22, 1000])
def test_too_old_or_from_the_future(days: int) -> None:
    with pytest.raises(BadAddress, match="too old"):
        at(days).reverse(forward("ann@example.com"))


def test_secrets_are_changed() -> None:
    old, both = at(secrets=(OLD_SECRET,)), at(secrets=(SECRET, OLD_SECRET))
    rewritten = forward("ann@example.com", old)
    assert str(both.reverse(rewritten)) == "ann@example.com"
    with pytest.raises(BadAddress):
        at().reverse(rewritten)
    assert str(at().reverse(forward("ann@example.com", both))) == "ann@example.com"


@pytest.mark.parametrize(
    ("domain", "secrets", "age"),
    [
        ("fwd.example", [], 21),
        ("fwd.example", [b"x" * 15], 21),
        ("fwd.example", [SECRET, b""], 21),
        ("fwd.example", [SECRET], 0),
        ("fwd.example", [SECRET], 1024),
        ("fwd example", [SECRET], 21),
    ],
)
def test_what_cannot_be(domain: str, secrets: list[bytes], age: int) -> None:
    with pytest.raises(ValueError, match=r"secret|max_age_days|unexpected"):
        SenderRewriter(domain, secrets, max_age_days=age)


def test_limits_are_reached() -> None:
    assert (
        repr(SenderRewriter("a.b", [b"x" * 16], max_age_days=1))
        == "SenderRewriter('a.b')"
    )
    assert (
        repr(SenderRewriter("a.b", [b"x" * 16], max_age_days=1023))
        == "SenderRewriter('a.b')"
    )


_LOCAL_PARTS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40
)


@given(_LOCAL_PARTS)
def test_there_and_back(text: str) -> None:
    mailbox = Mailbox(quote_local_part(text), "example.com")
    rewritten = at().forward(mailbox)
    assert rewritten is not None
    assert at().reverse(rewritten).is_same_mailbox(mailbox)


@given(_LOCAL_PARTS)
def test_nothing_is_taken_that_was_not_written(text: str) -> None:
    for prefix in ("SRS0=", "SRS1=", "SRS0=aaaa=AA=", "SRS1=aaaa=x.y=="):
        mailbox = Mailbox(quote_local_part(prefix + text), "fwd.example")
        with pytest.raises(BadAddress):
            at().reverse(mailbox)
