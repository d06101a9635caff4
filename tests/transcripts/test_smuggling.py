"""False ends of data: none of them ends a message (CVE-2023-51764, 51765, 51766).

Each is followed by a command of an attacker. Whatever the policy for bare newlines, the
server sees one message, gives one reply to it, and never runs the command.
"""

from __future__ import annotations

import pytest

from smtpx.testing.drivers import Certificates, play
from smtpx.testing.steps import escape
from smtpx.testing.transcripts import parse_transcript
from tests.false_ends import FALSE_ENDS

COMMANDS = (
    b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<victim@mx.test>\r\nDATA\r\nevil\r\n"
)

TEMPLATE = r"""# RFC 5321 section 4.1.1.4: only CRLF . CRLF ends the data
with bare_newline={policy}
S: 220 *
C: EHLO client.test
S: 250-mx.test * (more)
C: MAIL FROM:<a@client.test>
C: RCPT TO:<b@mx.test>
C: DATA
S: 250 2.1.0 *
S: 250 2.1.5 *
S: 354 *
C| {data}\r\n.\r\n
S: {reply} *
C: RCPT TO:<b@mx.test>
S: 503 5.5.1 *
C: QUIT
S: 221 2.0.0 *
== CLOSE ==
{outcome}
"""


def decode(data: bytes) -> bytes:
    """Take the dots off: the oracle, one line at a time."""
    lines = data.split(b"\r\n")
    return b"\r\n".join(line.removeprefix(b".") for line in lines) + b"\r\n"


def normalize(content: bytes) -> bytes:
    """Make each line end CRLF, one octet at a time."""
    normal = bytearray()
    for index, octet in enumerate(content):
        previous, following = content[index - 1 : index], content[index + 1 : index + 2]
        is_bare_lf = octet == 0x0A and previous != b"\r"
        is_bare_cr = octet == 0x0D and following != b"\n"
        normal += b"\r\n" if is_bare_lf or is_bare_cr else bytes([octet])
    return bytes(normal)


def has_bare_newline(content: bytes) -> bool:
    return normalize(content) != content


@pytest.mark.parametrize("driver", ["whole", "octets", "pipelined", "asyncio"])
@pytest.mark.parametrize("policy", ["refuse", "accept", "normalize"])
@pytest.mark.parametrize("at_start", [False, True], ids=["behind-text", "at-start"])
@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=escape)
def test_false_end(
    false_end: bytes,
    at_start: bool,
    policy: str,
    driver: str,
    certificates: Certificates,
) -> None:
    # Right behind 354 a line begins, so a false end needs no line end before it.
    start = false_end.removeprefix(b"\r\n") if at_start else b"Hello" + false_end
    data = start + COMMANDS.removesuffix(b"\r\n")
    content = decode(data)
    if policy == "normalize":
        content = normalize(content)
    is_refused = policy == "refuse" and has_bare_newline(data)
    shown = escape(content, limit=1000)
    delivered = f'then delivered a@client.test b@mx.test "{shown}"'
    text = TEMPLATE.format(
        policy=policy,
        data=escape(data, limit=1000),
        reply="550 5.6.0" if is_refused else "250 2.0.0",
        outcome="then nothing delivered" if is_refused else delivered,
    )
    play(parse_transcript(text), driver, certificates)
