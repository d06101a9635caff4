"""Checks of commands: their order, their lines, and what stands behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpx.probe.check import Check, Need, said
from smtpx.probe.findings import (
    Finding,
    left_out,
    not_offered,
    noted,
    ok,
    unclear,
    weak,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.probe.bench import Bench

__all__ = ["CHECKS"]

# RFC 5321 section 4.5.3.1.4: a command line with its CRLF must be taken up to here.
_LINE_OCTETS: Final = 512
# Longer than any buffer for lines that is known: a server that reads in pieces takes
# each for a command.
_LONG_LINE_OCTETS: Final = 40_000

# RFC 5321 section 4.5.3.1.8: so many recipients must be taken.
_RECIPIENTS: Final = 100


def order(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.1.4: commands out of order are refused."""
    cases = {
        "MAIL before EHLO": (False, (bench.mail,)),
        "RCPT before MAIL": (True, ("RCPT TO:<postmaster>",)),
        "DATA before MAIL": (True, ("DATA",)),
        "MAIL within a transaction": (True, (bench.mail, bench.mail)),
        "an unknown command": (True, ("XYZZY",)),
        "an unknown parameter": (True, (f"{bench.mail} XYZZY=1",)),
    }
    for case, (is_introduced, commands) in cases.items():
        with bench.ready() if is_introduced else bench.greeted() as dialogue:
            for command in commands:
                reply = dialogue.ask(command)
        if reply.is_permanent:
            yield ok(said(reply), case=case)
        elif reply.is_temporary:
            yield noted(said(reply), case=case)
        else:
            yield weak(
                f"taken: {said(reply)}",
                "refuse it by a code 5xx, so that both ends know where they are",
                case=case,
            )


def controls(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.1.2: no NUL, and no octet beyond ASCII without SMTPUTF8."""
    cases = {
        "NUL in a path": b"MAIL FROM:<a\x00b@example.com>\r\n",
        "NUL behind a verb": b"RSET\x00\r\n",
        "8-bit in a path": b"MAIL FROM:<\xff@example.com>\r\n",
        "CR in a path": b"MAIL FROM:<a\rb@example.com>\r\n",
    }
    for case, line in cases.items():
        with bench.ready() as dialogue:
            flight = dialogue.fly(line)
        if len(flight.replies) > 1:
            yield weak(
                f"taken for {len(flight.replies)} commands: {flight.codes}",
                "end commands by CRLF only",
                case=case,
            )
        elif flight.is_silent:
            yield unclear("no reply", case=case)
        elif flight.replies and flight.replies[0].is_positive:
            yield weak(
                f"taken: {said(flight.replies[0])}",
                "refuse it: the next program reads another address, or none",
                case=case,
            )
        else:
            yield ok(f"refused: {flight.codes}", case=case)


def line_ends(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 2.3.8: CR and LF mean nothing alone."""
    for case, end in {"LF": b"\n", "CR": b"\r"}.items():
        with bench.ready() as dialogue:
            flight = dialogue.fly(b"NOOP" + end + b"NOOP\r\n")
        if len(flight.replies) > 1:
            yield weak(
                f"a bare {case} ends a command (replies: {flight.codes})",
                "end commands by CRLF only: what passes on such a line, as part of an "
                "address, brings commands along",
                case=case,
            )
        else:
            yield ok(f"a bare {case} ends no command", case=case)


def line_length(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.5.3.1.4: 512 octets are taken; more is one error."""
    with bench.ready() as dialogue:
        reply = dialogue.ask("NOOP " + "x" * (_LINE_OCTETS - 7))
    case = f"{_LINE_OCTETS} octets"
    if reply.is_positive or reply.code == 501:
        yield ok(said(reply), case=case)
    else:
        yield weak(said(reply), "take them: the standard says so", case=case)
    case = f"{_LONG_LINE_OCTETS:,} octets"
    with bench.ready() as dialogue:
        flight = dialogue.fly(b"NOOP " + b"x" * _LONG_LINE_OCTETS + b"\r\n")
    if len(flight.replies) > 1:
        yield weak(
            f"one line is taken for {len(flight.replies)} commands: {flight.codes}",
            "pass over the rest of a line that is too long: what passes on a long line "
            "brings commands along",
            case=case,
        )
    elif flight.is_silent and not flight.replies:
        yield unclear("no reply", case=case)
    elif flight.replies and flight.replies[0].is_positive:
        yield noted(f"taken: {said(flight.replies[0])}", case=case)
    else:
        yield ok(f"refused: {flight.codes}", case=case)


def pipelining(bench: Bench) -> Iterator[Finding]:
    """RFC 2920 section 3.2: commands in one flight are answered one by one."""
    if "PIPELINING" not in bench.survey.offered:
        yield not_offered("PIPELINING")
        return
    with bench.ready() as dialogue:
        flight = dialogue.fly(b"RSET\r\nNOOP\r\nXYZZY\r\nRSET\r\n")
    codes = [one.code // 100 for one in flight.replies]
    if codes == [2, 2, 5, 2]:
        yield ok("four commands in one flight: four replies, in order")
    else:
        yield weak(
            f"four commands in one flight are answered by {flight.codes}",
            "answer all, in order, or do not offer PIPELINING",
        )


def held_back(bench: Bench) -> Iterator[Finding]:
    """RFC 2920 section 3.2: a reply does not wait for the rest of the next command."""
    if "PIPELINING" not in bench.survey.offered:
        yield not_offered("PIPELINING")
        return
    with bench.ready() as dialogue:
        dialogue.send(b"NOOP\r\nNOO")
        try:
            dialogue.reply()
        except TimeoutError:
            yield weak(
                "the reply to a command waits until the next command is complete",
                "send replies when there is no whole command left to read",
            )
            return
        flight = dialogue.fly(b"P\r\n")
    if [one.code // 100 for one in flight.replies] == [2]:
        yield ok("the reply comes at once; the command cut in two is put together")
    else:
        yield weak(
            f"a command in two segments is answered by {flight.codes}",
            "read on until CRLF, whatever the segmentation",
        )


def data_without_recipient(bench: Bench) -> Iterator[Finding]:
    """RFC 2920 section 3.1: DATA after recipients that were all refused."""
    with bench.ready() as dialogue:
        commands = (bench.mail, "RCPT TO:<@>", "DATA")
        if "PIPELINING" in bench.survey.offered:
            dialogue.send("".join(f"{one}\r\n" for one in commands).encode())
            mail, rcpt, data = (dialogue.reply() for _ in commands)
        else:
            mail, rcpt, data = (dialogue.ask(one) for one in commands)
        if not mail.is_positive or rcpt.is_positive:
            yield left_out(f"MAIL and RCPT are answered by {mail.code} and {rcpt.code}")
        elif data.is_permanent:
            yield ok(said(data))
        elif data.is_intermediate:
            end = dialogue.ask(".")
            if end.is_positive:
                yield weak(
                    f"a message for nobody is accepted: {said(end)}",
                    "refuse DATA by 554 when there is no recipient",
                )
            else:
                yield ok(f"{data.code}, then {said(end)}")
        else:
            yield unclear(f"DATA for nobody: {said(data)}")


def http(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 7.8: a request of HTTP may bring commands along."""
    request = b"POST / HTTP/1.1\r\nHost: mx\r\nContent-Length: 50\r\n\r\n"
    with bench.greeted() as dialogue:
        flight = dialogue.fly(
            request + f"{bench.verb} {bench.options.hello_name}\r\n".encode()
        )
    if any(one.is_positive for one in flight.replies):
        yield weak(
            "commands within a request of HTTP are run",
            "close the connection at the first verb of HTTP: any page can make a "
            "browser say this to servers that only it can reach",
        )
    else:
        yield ok(f"closed, or all refused: {flight.codes}")


def early_talk(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.3.1: a client waits for the greeting."""
    hello = f"{bench.verb} {bench.options.hello_name}\r\n".encode()
    if bench.is_implicit:
        yield left_out("TLS comes first here")
        return
    with bench.connect() as dialogue:
        flight = dialogue.fly(hello)
    codes = [one.code // 100 for one in flight.replies]
    if codes == [2, 2]:
        yield noted("whoever talks before the greeting is served all the same")
    elif flight.is_silent:
        yield unclear(f"no reply in time, but {flight.codes}")
    else:
        yield ok(f"whoever talks before the greeting is refused: {flight.codes}")


def goodbye(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.1.1.10: QUIT is answered by 221, then the server closes."""
    with bench.ready() as dialogue:
        reply = dialogue.ask("QUIT")
        try:
            dialogue.reply()
        except TimeoutError:
            yield weak(
                f"the connection stays open after QUIT: {said(reply)}",
                "close it after the reply",
            )
            return
        except OSError:
            if reply.code == 221:
                yield ok(said(reply))
                return
    yield weak(f"QUIT is answered by {said(reply)}", "answer by 221, and close")


def recipients(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.5.3.1.8: at least 100 recipients."""
    if (limit := bench.survey.offered.limits.get("RCPTMAX", _RECIPIENTS)) < _RECIPIENTS:
        yield ok(f"LIMITS tells of {limit}")
        return
    with bench.ready() as dialogue:
        mail = dialogue.ask(bench.mail)
        if not mail.is_positive:
            yield left_out(f"MAIL is refused: {said(mail)}")
            return
        count, reply = 1, dialogue.ask(bench.rcpt)
        while reply.is_positive and count < _RECIPIENTS:
            count, reply = count + 1, dialogue.ask(bench.rcpt)
    if reply.is_positive:
        yield ok(f"{_RECIPIENTS} are taken")
    elif count == 1:
        yield left_out(f"the recipient is refused: {said(reply)}")
    else:
        yield weak(
            f"the recipient number {count} is refused: {said(reply)}",
            f"take {_RECIPIENTS}, or tell the limit by LIMITS (RFC 9422)",
        )


CHECKS: Final = (
    Check("order", "Order of commands", "RFC 5321 section 4.1.4", order),
    Check("controls", "NUL, CR and 8-bit", "RFC 5321 section 4.1.2", controls),
    Check("line-ends", "Ends of commands", "RFC 5321 section 2.3.8", line_ends),
    Check("line-length", "Long commands", "RFC 5321 section 4.5.3.1.4", line_length),
    Check("pipelining", "Pipelining", "RFC 2920 section 3.2", pipelining),
    Check("held-back", "Half a command", "RFC 2920 section 3.2", held_back),
    Check(
        "data-for-nobody",
        "DATA without recipients",
        "RFC 2920 section 3.1",
        data_without_recipient,
    ),
    Check("http", "HTTP", "RFC 5321 section 7.8", http),
    Check("early-talk", "Before the greeting", "RFC 5321 section 4.3.1", early_talk),
    Check("quit", "QUIT", "RFC 5321 section 4.1.1.10", goodbye),
    Check(
        "recipients",
        "Recipients",
        "RFC 5321 section 4.5.3.1.8",
        recipients,
        Need.RECIPIENT,
    ),
)
