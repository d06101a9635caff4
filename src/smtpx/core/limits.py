"""What a peer may make a server hold or do: its limits, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one server session, all on by default.

    Every input that a peer controls has one: nothing unbounded is kept in memory, and
    no session runs for ever. Sizes are in octets and count what is transmitted, CRLF
    included.

    Attributes:
        max_command_octets: one command line. RFC 5321 section 4.5.3.1.4 asks for 512,
            each extension adds to it (RFC 3461 section 5 alone adds 500 to RCPT); 2,048
            is also Postfix's ``line_length_limit``. A longer line is refused with 500
            after its end.
        max_auth_octets: one AUTH command or SASL response: 12,288 (RFC 4954 section 4).
        max_message_octets: the content of a message after decoding, announced with SIZE
            (RFC 1870). 50 MiB is what Exim takes by default and Gmail accepts.
            ``None``: no limit.
        max_message_line_octets: one line of a message sent by DATA, CRLF included. RFC
            5321 section 4.5.3.1.6 allows 1,000, but much real mail is longer, so there
            is no limit unless you set one. Lines sent by BDAT are never limited (RFC
            3030).
        max_recipients: accepted recipients of one transaction; more get 452 4.5.3. RFC
            5321 section 4.5.3.1.8 demands at least 100; 1,000 is Postfix's default.
        max_recipient_domains: different domains of accepted recipients in one session;
            more get 452 4.5.3. It is for servers that bind a session to one internal
            delivery (RFC 9422 section 4.3), so there is no limit unless you set one.
        max_errors: negative replies since the last accepted message; the one that
            reaches the limit is 421 4.7.0 and ends the session. Sendmail ends at 10 bad
            commands, Postfix at 20 errors.
        max_commands: command lines in one session. Far above any honest client: 1,000
            recipients in each of 10,000 transactions would need more, but nobody
            sends that over one connection.
        max_transactions: MAIL commands accepted in one session; the next is answered
            with 421 4.7.0, on which a client connects anew. Bulk senders use 100 to
            1,000 messages a connection.
        max_auth_attempts: failed authentications before 421 4.7.0 (RFC 4954 section 4
            suggests a limit; 3 is Dovecot's and OpenSSH's habit).
        max_proxy_header_octets: a PROXY header of version 2, which could have 65,551.
            HAProxy's specification calls one "always smaller than an MSS", some 1,400;
            4,096 leave room for TLVs of one's own. One of version 1 has 107 at most.

    Raises:
        ValueError: a limit is not positive.

    >>> Limits(max_recipients=100).max_recipients
    100
    """

    max_command_octets: int = 2_048
    max_auth_octets: int = 12_288
    max_message_octets: int | None = 50 * 1024 * 1024
    max_message_line_octets: int | None = None
    max_recipients: int = 1_000
    max_recipient_domains: int | None = None
    max_errors: int = 10
    max_commands: int = 1_000_000
    max_transactions: int = 10_000
    max_auth_attempts: int = 3
    max_proxy_header_octets: int = 4_096

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 1:
                message = f"{field.name} must be at least 1, not {value}"
                raise ValueError(message)


DEFAULT_LIMITS = Limits()
