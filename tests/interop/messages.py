"""Messages that software along the way likes to damage."""

from __future__ import annotations

HEADER = (
    b"From: A <a@example.com>\r\n"
    b"To: B <b@example.net>\r\n"
    b"Subject: octet for octet\r\n"
    b"Date: Mon, 01 Jun 2026 12:00:00 +0000\r\n"
    b"Message-ID: <1@client.example>\r\n"
)

# Dots where they are stuffed and where they are not, blanks at the ends of lines,
# empty lines at the end, the longest line that RFC 5321 section 4.5.3.1.6 allows,
# octets beyond ASCII.
TRICKY = HEADER + (
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n"
    b".\r\n"
    b"..\r\n"
    b"...\r\n"
    b". a dot and a blank\r\n"
    b".a dot and a letter\r\n"
    b"a dot at the end.\r\n"
    b"trailing blanks  \r\n"
    b"trailing tab\t\r\n"
    b"From here it is not mbox\r\n"
    b"QUIT\r\n"
    b"RSET\r\n"
    b"\tGr\xc3\xbc\xc3\x9fe \xe2\x82\xac \xf0\x9f\x93\xac\r\n"
    b"\r\n"
    b"\r\n" + b"x" * 998 + b"\r\n"
    b"." + b"x" * 996 + b"\r\n"
    b"\r\n"
    b"\r\n"
)

EMPTY_BODY = HEADER + b"\r\n"


def large(octets: int) -> bytes:
    """Return a message of about `octets`, each line different from the others."""
    lines = (
        b"%s%08d the quick brown fox jumps over the lazy dog\r\n"
        % (b"." if number % 7 == 0 else b"", number)
        for number in range(octets // 54)
    )
    return HEADER + b"\r\n" + b"".join(lines)
