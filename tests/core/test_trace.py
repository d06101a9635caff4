"""The wire log: all that passes, but for secrets and content."""

from __future__ import annotations

import pytest

from smtpx.core.trace import REDACTED, WireLog, redact_command, redact_stray


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"AUTH PLAIN AGEAYg==", "AUTH PLAIN ***"),
        (b"auth plain AGEAYg==", "auth plain ***"),
        (b"AUTH\tPLAIN\tAGEAYg==", "AUTH PLAIN ***"),
        (b" AUTH  PLAIN  AGEAYg== x", "AUTH PLAIN ***"),
        (b"AUTH PLAIN", "AUTH PLAIN"),
        (b"AUTH", "AUTH"),
        (b"AUTH SCRAM-SHA-256 n,,", "AUTH SCRAM-SHA-256 ***"),
        # A client that forgot the mechanism.
        (b"AUTH AGFsaWNlAHNlY3JldA==", "AUTH ***"),
        (b"AUTH AGFsaWNl", "AUTH ***"),
        (b"AUTH " + b"A" * 21, "AUTH ***"),
        (b"AUTH " + b"A" * 20, "AUTH " + "A" * 20),
        (b"AUTHX PLAIN secret", "AUTHX PLAIN secret"),
        (b"NOOP a b c", "NOOP a b c"),
        (b"", ""),
        (b"a\x00\r\n\xff", "a\\x00\\r\\n\\xff"),
    ],
)
def test_redacted_commands(line: bytes, shown: str) -> None:
    assert redact_command(line) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"AUTHPLAIN AGEAYg==", "AUTHPLAIN ***"),
        (b"authplain\tAGEAYg==", "authplain ***"),
        (b"AUTH PLAIN AGEAYg==", "AUTH PLAIN ***"),
        (b" auth AGFsaWNl", "auth ***"),
        (b"Auth=LOGIN dGlt", "***"),
        (b"FROBNICATE", "FROBNICATE"),
        (b"  FROBNICATE  ", "FROBNICATE"),
        (b"QUUX 1 2", "QUUX ***"),
        # All that can be base64 of more than three octets is hidden.
        (b"AAAAAAAA", "***"),
        (b"aaaaaaaa secret", "***"),
        (b"AAAAAAA", "AAAAAAA"),
        (b"AAAA", "AAAA"),
        (b"A" * 21, "***"),
        (b"A" * 19, "A" * 19),
        (b"AbCdE", "***"),
        (b"PASS1", "***"),
        (b"a\x00b c", "***"),
        (b"GET / HTTP/1.1", "GET ***"),
        # Nothing in these is a secret, and what is wrong with them has to be seen.
        (b"mail FROM <a@b", "mail FROM <a@b"),
        (b"MAIL", "MAIL"),
        (b"BDAT x", "BDAT x"),
        (b"STARTTLS now", "STARTTLS now"),
        (b"XFORWARD ADDR", "XFORWARD ADDR"),
        (b"TURN it", "TURN it"),
        (b"", ""),
        (b"  ", "  "),
    ],
)
def test_redacted_lines_that_are_no_commands(line: bytes, shown: str) -> None:
    assert redact_stray(line) == shown


def test_a_long_stray_line_is_shortened() -> None:
    assert redact_stray(b"MAIL " + b"x" * 300, limit=10).startswith("MAIL xxxxx")
    assert len(redact_stray(b"MAIL " + b"x" * 5_000)) < 250


def test_a_long_command_is_shortened() -> None:
    assert redact_command(b"x" * 300, limit=10).startswith("xxxxxxxxxx")
    assert len(redact_command(b"x" * 300, limit=10)) < 40
    assert len(redact_command(b"x" * 5_000)) < 250


def test_log_of_both_directions() -> None:
    lines: list[str] = []
    log = WireLog(lines.append)
    log.server_octets(b"220 mx.test\r\n")
    log.client_line(b"AUTH LOGIN dGlt")
    log.server_octets(b"334 UGFzc3dvcmQ6\r\n")
    log.client_secret()
    log.client_stray(b"AUTHLOGIN dGlt")
    log.content(77)
    log.note("TLS")
    log.server_octets(b"250-a\r\n250 \xff\r\n")
    assert lines == [
        "S: 220 mx.test",
        "C: AUTH LOGIN ***",
        "S: 334 ***",
        f"C: {REDACTED}",
        "C: AUTHLOGIN ***",
        "C: (77 octets of content)",
        "== TLS ==",
        "S: 250-a",
        "S: 250 \\xff",
    ]
