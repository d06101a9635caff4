"""DMARC by RFC 9989: records, the walk up the DNS, alignment, policies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import BadSyntax
from smtpx.message.fields import parse_header
from smtpx.verify.dmarc import (
    DMARCPolicy,
    DMARCResult,
    author_domain,
    check_dmarc,
    parse_dmarc_record,
)
from tests.verify.records import FAILS, ZoneResolver


async def check(
    zone: dict[str, Any],
    author: str,
    *,
    spf: str | None = None,
    dkim: tuple[str, ...] = (),
) -> DMARCResult:
    header, _ = parse_header(f"From: a@{author}\r\n\r\n".encode())
    return await check_dmarc(header, ZoneResolver(zone), spf=spf, dkim=dkim)


def zone(**records: str) -> dict[str, Any]:
    """Make a zone: ``example_com`` is example.com, its value the DMARC record."""
    return {
        f"_dmarc.{name.replace('_', '.')}": [("TXT", text)]
        for name, text in records.items()
    }


REJECT = "v=DMARC1; p=reject"


@pytest.mark.parametrize(
    ("records", "author", "spf", "dkim", "result"),
    [
        ({"example_com": REJECT}, "example.com", "example.com", (), "pass"),
        ({"example_com": REJECT}, "Example.COM", None, ("EXAMPLE.com",), "pass"),
        ({"example_com": REJECT}, "example.com", None, (), "fail"),
        ({"example_com": REJECT}, "example.com", "other.com", ("x.org",), "fail"),
        # Relaxed: the same organization.
        ({"example_com": REJECT}, "example.com", "m.example.com", (), "pass"),
        ({"example_com": REJECT}, "a.example.com", None, ("b.c.example.com",), "pass"),
        # No suffix of a name is an organization by its letters.
        ({"example_com": REJECT}, "example.com", "notexample.com", (), "fail"),
        # Strict: the very domain.
        (
            {"example_com": REJECT + "; aspf=s"},
            "example.com",
            "m.example.com",
            (),
            "fail",
        ),
        (
            {"example_com": REJECT + "; aspf=s"},
            "example.com",
            "example.com",
            (),
            "pass",
        ),
        (
            {"example_com": REJECT + "; aspf=s"},
            "example.com",
            None,
            ("m.example.com",),
            "pass",
        ),
        (
            {"example_com": REJECT + "; adkim=s"},
            "example.com",
            None,
            ("m.example.com",),
            "fail",
        ),
        # Nothing published: it does not apply, whatever passed.
        ({}, "example.com", "example.com", (), "none"),
        ({"other_com": REJECT}, "example.com", None, (), "none"),
        # A public suffix keeps its domains apart.
        (
            {"com": "v=DMARC1; p=none; psd=y"},
            "a.example.com",
            "b.example.com",
            (),
            "pass",
        ),
        (
            {"com": "v=DMARC1; p=none; psd=y"},
            "a.example.com",
            "a.other.com",
            (),
            "fail",
        ),
        # psd=n ends an organization before its parent.
        (
            {"mail_example_com": REJECT + "; psd=n", "example_com": REJECT},
            "a.mail.example.com",
            "example.com",
            (),
            "fail",
        ),
        (
            {"mail_example_com": REJECT + "; psd=n", "example_com": REJECT},
            "a.mail.example.com",
            "b.mail.example.com",
            (),
            "pass",
        ),
        # Without it the highest record is the organization's.
        (
            {"mail_example_com": REJECT, "example_com": REJECT},
            "a.mail.example.com",
            "example.com",
            (),
            "pass",
        ),
    ],
)
async def test_results(
    records: dict[str, str],
    author: str,
    spf: str | None,
    dkim: tuple[str, ...],
    result: str,
) -> None:
    found = await check(zone(**records), author, spf=spf, dkim=dkim)
    assert found.result == result
    assert found.is_pass is (result == "pass")
    assert bool(found.aligned) is found.is_pass


@pytest.mark.parametrize(
    ("start", "organization"),
    [  # the examples of RFC 9989 section 4.10.2
        ({"mail_example_com": REJECT, "example_com": REJECT}, "example.com"),
        (
            {"mail_example_com": REJECT + "; psd=n", "example_com": REJECT},
            "mail.example.com",
        ),
        ({"com": REJECT + "; psd=y"}, "example.com"),
        ({"a_mail_example_com": REJECT + "; psd=y"}, "a.mail.example.com"),
    ],
)
async def test_examples_of_organizations(
    start: dict[str, str], organization: str
) -> None:
    found = await check(zone(**start), "a.mail.example.com")
    assert found.organization == organization


async def test_the_walk_asks_eight_times_at_most() -> None:
    resolver = ZoneResolver({})
    header, _ = parse_header(b"From: a@a.b.c.d.e.f.g.h.i.j.mail.example.com\r\n")
    await check_dmarc(header, resolver, spf=None, dkim=())
    assert [name for name, _ in resolver.questions] == [
        "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "_dmarc.g.h.i.j.mail.example.com",
        "_dmarc.h.i.j.mail.example.com",
        "_dmarc.i.j.mail.example.com",
        "_dmarc.j.mail.example.com",
        "_dmarc.mail.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
    ]


async def test_a_name_of_eight_labels_is_walked_whole() -> None:
    resolver = ZoneResolver({})
    header, _ = parse_header(b"From: a@a.b.c.d.e.f.g.h\r\n")
    await check_dmarc(header, resolver, spf=None, dkim=())
    assert len(resolver.questions) == 8


async def test_the_number_of_lookups_is_bounded() -> None:
    resolver = ZoneResolver(zone(example_com=REJECT))
    header, _ = parse_header(b"From: a@example.com\r\n")
    signed = [f"a.b.c.d.e.f.x{one}.example.com" for one in range(50)]
    await check_dmarc(header, resolver, spf=None, dkim=signed)
    assert len(resolver.questions) <= 2 + 10 * 8


@pytest.mark.parametrize(
    ("record", "author", "zone_more", "policy"),
    [
        ("p=reject", "example.com", {}, "reject"),
        ("p=reject", "a.example.com", {}, "reject"),
        ("p=reject; sp=quarantine", "example.com", {}, "reject"),
        ("p=reject; sp=quarantine", "a.example.com", {}, "quarantine"),
        ("p=none; np=reject", "a.example.com", {}, "reject"),
        ("p=none; sp=quarantine; np=reject", "a.example.com", {}, "reject"),
        ("p=none; np=reject", "example.com", {}, "none"),
        (
            "p=none; np=reject",
            "a.example.com",
            {"a.example.com": [("A", "192.0.2.1")]},
            "none",
        ),
        (
            "p=none; sp=quarantine; np=reject",
            "a.example.com",
            {"a.example.com": [("MX", "10 x.example.com")]},
            "quarantine",
        ),
        (
            "p=none; np=reject",
            "a.example.com",
            {"a.example.com": [("AAAA", "2001:db8::1")]},
            "none",
        ),
        (
            "p=none; np=reject",
            "a.example.com",
            {"a.example.com": [("TXT", "x")]},
            "reject",
        ),
        ("p=reject; t=y", "example.com", {}, "quarantine"),
        ("p=quarantine; t=y", "example.com", {}, "none"),
        ("p=none; t=y", "example.com", {}, "none"),
        ("p=reject; t=n", "example.com", {}, "reject"),
    ],
)
async def test_policies(
    record: str, author: str, zone_more: dict[str, Any], policy: str
) -> None:
    found = await check(
        {**zone(example_com=f"v=DMARC1; {record}"), **zone_more}, author
    )
    assert (found.result, found.policy) == ("fail", policy)
    assert found.to_method_result().properties == (
        ("header.from", author),
        ("policy.dmarc", policy),
    )


async def test_the_record_of_a_public_suffix_counts_if_there_is_no_other() -> None:
    found = await check(zone(com="v=DMARC1; p=none; sp=reject; psd=y"), "a.b.com")
    assert (found.result, found.policy) == ("fail", "reject")
    assert found.organization == "b.com"


@pytest.mark.parametrize(
    ("records", "result"),
    [
        ([("TXT", REJECT), ("TXT", "v=DMARC1; p=none")], "none"),
        ([("TXT", REJECT), ("TXT", "v=spf1 -all")], "fail"),
        ([("TXT", "v=DMARC2; p=none")], "none"),
        (FAILS, "temperror"),
    ],
)
async def test_what_else_the_dns_says(records: Any, result: str) -> None:  # noqa: ANN401
    found = await check({"_dmarc.example.com": records}, "example.com")
    assert found.result == result


async def test_a_failure_on_the_way_up_is_temporary() -> None:
    found = await check({"_dmarc.com": FAILS}, "a.com", spf="a.com")
    assert found.result == "temperror"
    assert found.reason


@pytest.mark.parametrize("spf", ["evil.org", None])
async def test_the_dns_of_another_domain_makes_no_failure_temporary(
    spf: str | None,
) -> None:
    """Who forges a message can sign it too, for a domain of his own."""
    records = {
        **zone(example_com=REJECT),
        "_dmarc.evil.org": FAILS,
        "_dmarc.org": FAILS,
    }
    found = await check(
        records, "example.com", spf=spf, dkim=("evil.org", "a.evil.org")
    )
    assert found.result == "fail"
    assert found.policy is DMARCPolicy.REJECT


async def test_the_dns_of_a_domain_that_cannot_be_the_authors_is_not_asked() -> None:
    resolver = ZoneResolver(zone(example_com=REJECT))
    header, _ = parse_header(b"From: a@example.com\r\n")
    signed = ["a.b.c.d.evil.org", "evilexample.com", "com"]
    await check_dmarc(header, resolver, spf="x.evil.org", dkim=signed)
    assert {name for name, _ in resolver.questions} == {
        "_dmarc.example.com",
        "_dmarc.com",
    }


async def test_one_failure_takes_nothing_from_what_passed() -> None:
    records = {**zone(example_com=REJECT), "_dmarc.b.example.com": FAILS}
    passed = await check(
        records, "example.com", spf="b.example.com", dkim=("example.com",)
    )
    assert passed.aligned == ("example.com",)
    alone = await check(records, "example.com", spf="b.example.com")
    assert alone.result == "temperror"


@pytest.mark.parametrize(
    ("text", "policies"),
    [
        ("v=DMARC1;p=reject", ("reject", None, None)),
        (" v = DMARC1 ; p = Reject ", ("reject", None, None)),
        (
            "v=DMARC1; p=none; sp=reject; np=quarantine",
            ("none", "reject", "quarantine"),
        ),
        ("v=DMARC1; rua=mailto:a@b.c", ("none", None, None)),
        ("v=DMARC1; p=x; sp=reject; rua=mailto:a@b.c", ("none", None, None)),
        ("v=DMARC1; p=reject; sp=x; rua=mailto:a@b.c", ("none", None, None)),
        ("v=DMARC1; p=reject; =; p; p=none; x y=z", ("reject", None, None)),
        ("v=DMARC1; p=reject;;;", ("reject", None, None)),
        ("v=DMARC1", None),
        ("v=DMARC1; p=x", None),
        ("v=DMARC1; p=reject; sp=x", None),
        ("v=DMARC1; rua=nonsense", None),
        ("v=dmarc1; p=reject", None),
        ("V=DMARC1; p=reject", None),
        ("v=DMARC1 p=reject", None),
        ("p=reject; v=DMARC1", None),
        ("", None),
    ],
)
def test_records(
    text: str, policies: tuple[str, str | None, str | None] | None
) -> None:
    record = parse_dmarc_record(text.encode(), "x")
    found = (
        None
        if record is None
        else (record.policy, record.subdomain_policy, record.missing_policy)
    )
    assert found == policies


def test_all_tags_of_a_record() -> None:
    record = parse_dmarc_record(
        b"v=DMARC1; p=none; adkim=S; aspf=s; t=Y; psd=N; fo=1:d; "
        b"rua=mailto:a@b.c!10m, https://x.y; ruf=mailto:d@e.f; pct=5",
        "x.y",
    )
    assert record is not None
    assert record.is_strict_dkim
    assert record.is_strict_spf
    assert record.is_testing
    assert (record.psd, record.failure_options) == ("n", "1:d")
    assert record.aggregate_reports == ("mailto:a@b.c", "https://x.y")
    assert record.failure_reports == ("mailto:d@e.f",)
    assert record.domain == "x.y"


@given(st.binary(max_size=80))
def test_no_record_makes_it_raise(octets: bytes) -> None:
    for start in (b"", b"v=DMARC1;", b"v=DMARC1; p=reject;"):
        record = parse_dmarc_record(start + octets, "x")
        assert record is None or isinstance(record.policy, DMARCPolicy)


@pytest.mark.parametrize(
    ("octets", "domain"),
    [
        (b"From: a@b.c\r\n", "b.c"),
        (b"From: A <a@B.c>, d@b.C\r\n", "b.c"),
        ("From: a@grå.example\r\n".encode(), "xn--gr-zia.example"),
        (b"From: x@evil.org <a@b.c>\r\n", "b.c"),
        (b"From: a@b.c, d@e.f\r\n", None),
        (b"From: a@b.c\r\nFrom: a@b.c\r\n", None),
        (b"From: a@b.c\r\nfrom: d@e.f\r\n", None),
        (b"To: a@b.c\r\n", None),
        (b"From:\r\n", None),
        (b"From: none\r\n", None),
        (b"From: a@b.c, none\r\n", None),
        (b"From: ceo@[192.0.2.1], a@b.c\r\n", None),
        (b"From: g: a@b.c;\r\n", "b.c"),
        (b"From: g: a@b.c;, d@e.f\r\n", None),
        (b"From: undisclosed:;\r\n", None),
        (b"From: <>\r\n", None),
        (b"From: a@b.c\r\nFROM : d@e.f\r\n", None),
        # Where the header ends others may go on, and find another From.
        (b"From: a@b.c\r\nno field\r\nFrom: d@e.f\r\n", None),
        (b"From: a@b.c\r\n" + b"X: y\r\n" * 10_000 + b"From: d@e.f\r\n", None),
        (b"From: a@b.c\r\nX: " + b"y" * 1_048_576 + b"\r\nFrom: d@e.f\r\n", None),
        (b"From: a@[192.0.2.1]\r\n", None),
        (b"From: a@b.c d@e.f\r\n", None),
        (b"From: <a@b.c> <d@e.f>\r\n", None),
    ],
)
async def test_the_domain_of_the_author(octets: bytes, domain: str | None) -> None:
    header, _ = parse_header(octets + b"\r\n")
    if domain is not None:
        assert author_domain(header) == domain
        return
    with pytest.raises(BadSyntax):
        author_domain(header)
    found = await check_dmarc(header, ZoneResolver({}), spf="b.c", dkim=["b.c"])
    assert found.result == "permerror"
    assert found.reason
    assert found.to_method_result().properties == ()
