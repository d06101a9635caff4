"""Checks of where messages end: DATA, BDAT and the replies of LMTP.

All that a smuggler needs is an octet sequence that one server takes for the end of a
message and the one before it did not. So each check puts such a sequence into a
message, a command behind it, and the true end behind that; then it counts. One reply:
the command was content. Two or more: it was run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpx.probe.check import Check, Need, said
from smtpx.probe.findings import (
    Finding,
    left_out,
    not_offered,
    ok,
    unclear,
    unsafe,
    weak,
)
from smtpx.wire.octets import escape_octets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.probe.bench import Bench
    from smtpx.probe.dialogue import Dialogue
    from smtpx.wire.replies import Reply

__all__ = ["CHECKS", "SMUGGLERS"]

SMUGGLERS: Final = (
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\n..\r\n",
    b"\r\n. \r\n",
)
"""What is no end of a message (CVE-2023-51764, -51765, -51766, CVE-2024-27305)."""

# Octets that stand for a chunk and would be a command.
_PAYLOAD: Final = b"NOOP\r\n"

_IN_STEP: Final = "read all octets of a chunk, also of one that is refused"

# The longest line that must be taken, and one that no standard speaks of.
_TEXT_LINE_OCTETS: Final = 998
_LONG_TEXT_LINE_OCTETS: Final = 100_000


def _message(bench: Bench, subject: str) -> bytes:
    """Return a message up to its body, without an end of line behind the last line."""
    return (
        f"From: <probe@{bench.options.hello_name}>\r\n"
        f"To: <{bench.options.recipient}>\r\n"
        f"Subject: smtpx probe: {subject}\r\n"
        "\r\n"
        "A test of how this server tells where a message ends."
    ).encode()


def _addressed(bench: Bench, dialogue: Dialogue) -> Reply | None:
    """Say MAIL and RCPT; return the first refusal."""
    for command in (bench.mail, bench.rcpt):
        reply = dialogue.ask(command)
        if not reply.is_positive:
            return reply
    return None


def smuggling(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.1.1.4: CRLF . CRLF ends a message, and nothing else."""
    for end in SMUGGLERS:
        case = escape_octets(end)
        with bench.ready() as dialogue:
            refusal = _addressed(bench, dialogue) or dialogue.ask("DATA")
            if not refusal.is_intermediate:
                yield left_out(f"a transaction is refused: {said(refusal)}")
                return
            body = _message(bench, f"an end written as {case}")
            command = bench.mail.encode() + b"\r\n"
            dialogue.send(body + end + command + b".\r\n")
            try:
                first = dialogue.reply()
            except TimeoutError:
                yield unclear("no reply to the true end of the message", case=case)
                continue
            except OSError:
                yield ok("the connection is closed", case=case)
                continue
            rest = dialogue.fly(b"").replies
        yield _judge_end(end, first, rest)


def _judge_end(end: bytes, first: Reply, rest: tuple[Reply, ...]) -> Finding:
    """Judge by the count of replies."""
    case = escape_octets(end)
    if rest and rest[0].is_positive:
        return unsafe(
            f"ends the message: the command behind it was run ({said(rest[0])})",
            "end messages at CRLF.CRLF only; behind another server, mail in the name "
            "of its users can be smuggled in",
            case=case,
        )
    if rest:
        return weak(
            f"ends the message ({said(first)}); what followed was refused: "
            f"{said(rest[0])}",
            "end messages at CRLF.CRLF only",
            case=case,
        )
    if not first.is_positive:
        return ok(f"refused: {said(first)}", case=case)
    pairs_gone = end.replace(b"\r\n", b"")
    if b"\r" in pairs_gone or b"\n" in pairs_gone:
        return weak(
            f"is content, and accepted: {said(first)}",
            "refuse bare CR and LF, or make them CRLF: passed on as they are, the next "
            "server may see an end there",
            case=case,
        )
    return ok(f"is content: {said(first)}", case=case)


def text_lines(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.5.3.1.6: lines of 998 octets are taken."""
    for octets in (_TEXT_LINE_OCTETS, _LONG_TEXT_LINE_OCTETS):
        case = f"{octets:,} octets"
        with bench.ready() as dialogue:
            refusal = _addressed(bench, dialogue) or dialogue.ask("DATA")
            if not refusal.is_intermediate:
                yield left_out(f"a transaction is refused: {said(refusal)}")
                return
            body = _message(bench, f"a line of {case}") + b"\r\n"
            flight = dialogue.fly(body + b"x" * octets + b"\r\n.\r\n")
        if len(flight.replies) > 1:
            yield unsafe(
                f"the rest of the line was run as commands: {flight.codes}",
                "read on to the end of the message",
                case=case,
            )
        elif not flight.replies:
            yield unclear("no reply, or the connection is closed", case=case)
        elif flight.replies[0].is_positive:
            yield ok(said(flight.replies[0]), case=case)
        elif octets > _TEXT_LINE_OCTETS:
            yield ok(f"refused: {said(flight.replies[0])}", case=case)
        else:
            yield weak(
                f"refused: {said(flight.replies[0])}",
                "take it: the standard says so",
                case=case,
            )


def chunks_refused(bench: Bench) -> Iterator[Finding]:
    """RFC 3030 section 2: the octets of a refused chunk are no commands."""
    if "CHUNKING" not in bench.survey.offered:
        yield not_offered("CHUNKING")
        return
    cases = {
        "before MAIL": [],
        "without RCPT": [bench.mail],
        "after RSET": [bench.mail, "RSET"],
    }
    for case, commands in cases.items():
        with bench.ready() as dialogue:
            for command in commands:
                dialogue.ask(command)
            chunk = b"BDAT %d LAST\r\n" % len(_PAYLOAD) + _PAYLOAD
            flight = dialogue.fly(chunk)
        if len(flight.replies) > 1:
            yield unsafe(
                f"a chunk was run as a command (replies: {flight.codes})",
                _IN_STEP,
                case=case,
            )
        elif flight.is_silent:
            yield unclear("no reply", case=case)
        elif flight.replies and flight.replies[0].is_positive:
            yield weak(
                f"taken without a recipient: {said(flight.replies[0])}",
                "refuse it by 503",
                case=case,
            )
        else:
            yield ok(f"refused, and in step: {flight.codes}", case=case)


def chunk_sizes(bench: Bench) -> Iterator[Finding]:
    """RFC 3030 section 2: a size is digits, and LAST the only word behind it."""
    if "CHUNKING" not in bench.survey.offered:
        yield not_offered("CHUNKING")
        return
    for text in ("-1", "+0", "99999999999999999999", "0 LASTX", "0 LAST x", ""):
        case = f"BDAT {text}".strip()
        with bench.ready() as dialogue:
            dialogue.ask(bench.mail)
            flight = dialogue.fly(f"BDAT {text}\r\n".encode())
        if flight.replies and flight.replies[0].is_positive:
            yield weak(
                f"taken: {said(flight.replies[0])}",
                "refuse it by 501, and close: nobody knows how much follows",
                case=case,
            )
        elif not flight.replies and flight.is_silent:
            # Without its reply the server waits for octets that nobody has.
            yield weak(
                "no reply: the server waits for a chunk of that size",
                "refuse it by 501 or 552, and close",
                case=case,
            )
        else:
            yield ok(f"refused: {flight.codes or 'closed'}", case=case)


def data_after_chunk(bench: Bench) -> Iterator[Finding]:
    """RFC 3030 section 2: DATA and BDAT do not mix in one transaction."""
    if "CHUNKING" not in bench.survey.offered:
        yield not_offered("CHUNKING")
        return
    with bench.ready() as dialogue:
        if (refusal := _addressed(bench, dialogue)) is not None:
            yield left_out(f"a transaction is refused: {said(refusal)}")
            return
        dialogue.send(b"BDAT %d\r\n" % len(_PAYLOAD) + _PAYLOAD)
        first = dialogue.reply()
        reply = dialogue.ask("DATA")
        # Closed here, so that nothing is delivered.
    if not first.is_positive:
        yield left_out(f"the first chunk is refused: {said(first)}")
    elif reply.is_intermediate:
        yield weak(
            f"DATA is taken after BDAT: {said(reply)}",
            "refuse it by 503: two ways to end one message",
        )
    else:
        yield ok(said(reply))


def chunk_content(bench: Bench) -> Iterator[Finding]:
    """RFC 3030 section 2: the octets of a chunk are content, whatever they are."""
    if "CHUNKING" not in bench.survey.offered:
        yield not_offered("CHUNKING")
        return
    looks_ended = _message(bench, "a chunk") + b"\r\n.\r\n" + _PAYLOAD
    cases = {
        "an end of DATA inside": (looks_ended, 1),
        # Nothing in it: an empty LAST ends the message.
        "an empty last chunk": (_message(bench, "an empty last chunk") + b"\r\n", 2),
    }
    for case, (content, expected) in cases.items():
        is_split = expected == 2
        data = b"BDAT %d%s\r\n" % (len(content), b"" if is_split else b" LAST")
        data += content + (b"BDAT 0 LAST\r\n" if is_split else b"")
        with bench.ready() as dialogue:
            if (refusal := _addressed(bench, dialogue)) is not None:
                yield left_out(f"a transaction is refused: {said(refusal)}")
                return
            flight = dialogue.fly(data)
        if len(flight.replies) > expected:
            yield unsafe(
                f"part of a chunk was run as a command (replies: {flight.codes})",
                _IN_STEP,
                case=case,
            )
        elif len(flight.replies) < expected:
            yield weak(
                f"{expected} replies are due, there are {len(flight.replies)}",
                "answer each BDAT",
                case=case,
            )
        else:
            yield ok(f"replies: {flight.codes}", case=case)


def reply_counts(bench: Bench) -> Iterator[Finding]:
    """RFC 2033 section 4.2: after the message, a reply for each recipient accepted."""
    if not bench.target.is_lmtp:
        yield left_out("this is SMTP, which has one reply for all")
        return
    for case, copies, refused in (
        ("one recipient", 1, 0),
        ("the same twice", 2, 0),
        ("one of two refused", 1, 1),
        ("all refused", 0, 1),
    ):
        with bench.ready() as dialogue:
            dialogue.ask(bench.mail)
            accepted = sum(dialogue.ask(bench.rcpt).is_positive for _ in range(copies))
            accepted += sum(
                dialogue.ask("RCPT TO:<@>").is_positive for _ in range(refused)
            )
            data = dialogue.ask("DATA")
            if not data.is_intermediate:
                yield (
                    ok(f"DATA is refused: {said(data)}", case=case)
                    if not accepted
                    else left_out(f"DATA is refused: {said(data)}")
                )
                continue
            flight = dialogue.fly(_message(bench, case) + b"\r\n.\r\n")
        # RFC 2033 section 4.2: nobody accepted, and DATA was: one reply, a refusal.
        due = accepted or 1
        if len(flight.replies) != due:
            yield unsafe(
                f"{due} replies are due, there are {len(flight.replies)}: "
                f"{flight.codes}",
                "send one for each recipient accepted: clients take the next reply "
                "for another message's",
                case=case,
            )
        else:
            yield ok(f"replies: {flight.codes}", case=case)


CHECKS: Final = (
    Check(
        "smuggling",
        "Ends of a message",
        "RFC 5321 section 4.1.1.4",
        smuggling,
        Need.DELIVERY,
    ),
    Check(
        "text-lines",
        "Long lines of text",
        "RFC 5321 section 4.5.3.1.6",
        text_lines,
        Need.DELIVERY,
    ),
    Check("bdat-refused", "Chunks refused", "RFC 3030 section 2", chunks_refused),
    Check("bdat-sizes", "Sizes of chunks", "RFC 3030 section 2", chunk_sizes),
    Check(
        "bdat-then-data",
        "DATA after BDAT",
        "RFC 3030 section 2",
        data_after_chunk,
        Need.RECIPIENT,
    ),
    Check(
        "bdat-content",
        "Content of chunks",
        "RFC 3030 section 2",
        chunk_content,
        Need.DELIVERY,
    ),
    Check(
        "lmtp-replies",
        "Replies of LMTP",
        "RFC 2033 section 4.2",
        reply_counts,
        Need.DELIVERY,
    ),
)
