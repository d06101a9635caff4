"""Received-SPF: its grammar, and that nothing a client says breaks out of it."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.message.fields import parse_header
from smtpx.message.received_spf import ReceivedSPF

CLIENT = ip_address("192.0.2.1")

# RFC 7208 section 9.1, read as written.
_ATEXT = r"[0-9A-Za-z!#$%&'*+/=?^_`{|}~-]+"
_QUOTED = r'"(?:[^"\\\r\n]|\\[^\r\n])*"'
_PAIR = rf"[a-z-]+=(?:{_ATEXT}(?:\.{_ATEXT})*|{_QUOTED})"
_COMMENT = r"\((?:[^()\\\r\n]|\\[^\r\n])*\)"
GRAMMAR = re.compile(
    rf"(?:pass|fail|softfail|neutral|none|temperror|permerror) {_COMMENT} "
    rf"{_PAIR}(?:; ?{_PAIR})*"
)


def written(**changes: str) -> str:
    given = {"result": "fail", "receiver": "mx.example", "hello": "h.example"} | changes
    return ReceivedSPF(client=CLIENT, **given).to_field().text


def test_of_the_reverse_path() -> None:
    assert written(envelope_from="ann@example.com") == (
        "fail (mx.example: ann@example.com, 192.0.2.1) receiver=mx.example; "
        "identity=mailfrom; client-ip=192.0.2.1; "
        'envelope-from="ann@example.com"; helo=h.example'
    )


def test_of_the_hello_name() -> None:
    assert written() == (
        "fail (mx.example: h.example, 192.0.2.1) receiver=mx.example; "
        "identity=helo; client-ip=192.0.2.1; helo=h.example"
    )


def test_of_nothing_known() -> None:
    assert written(hello="") == (
        "fail (mx.example: unknown, 192.0.2.1) receiver=mx.example; "
        "identity=helo; client-ip=192.0.2.1"
    )


def test_of_an_ipv6_client_with_an_error() -> None:
    field = ReceivedSPF(
        result="permerror",
        receiver="mx.example",
        client=ip_address("2001:db8::1"),
        hello="[IPv6:2001:db8::1]",
        problem="two records",
    ).to_field()
    assert field.name == "Received-SPF"
    assert field.octets.startswith(b"Received-SPF: permerror (mx.example: [IPv6:")
    assert field.text.endswith(
        'client-ip="2001:db8::1"; helo="[IPv6:2001:db8::1]"; problem="two records"'
    )


def test_a_result_that_is_none() -> None:
    with pytest.raises(ValueError, match="no result of SPF: 'maybe'"):
        ReceivedSPF(result="maybe", receiver="mx.example", client=CLIENT)


@pytest.mark.parametrize("count", [512, 513])
def test_limit_of_a_value(count: int) -> None:
    text = written(hello="a" * count)
    assert text.endswith("helo=" + "a" * 512)
    octets = ReceivedSPF(
        result="none", receiver="x", client=CLIENT, hello="a" * count
    ).to_field()
    assert max(len(line) for line in octets.octets.split(b"\r\n")) <= 998


@given(hello=st.text(), sender=st.text(), problem=st.text())
def test_nothing_breaks_out(hello: str, sender: str, problem: str) -> None:
    field = ReceivedSPF(
        result="softfail",
        receiver="mx.example",
        client=CLIENT,
        hello=hello,
        envelope_from=sender,
        problem=problem,
    ).to_field()
    header, end = parse_header(field.octets)
    assert end == len(field.octets)
    assert header.fields == (field,)
    assert GRAMMAR.fullmatch(field.text), field.text


@pytest.mark.parametrize("text", ["\\", "\\)", ")", "(", '"', '\\"', "a(b)\\"])
def test_marks_are_escaped(text: str) -> None:
    field = written(hello=text)
    assert GRAMMAR.fullmatch(field), field
    assert field.count("identity=") == 1
