"""Play transcripts in reverse: the script is the server, our client talks to it.

The script listens on a loopback socket in a thread. The client is told what to do by
the ``client`` lines: ``client send from=... to=...`` and the like, one call a line, and
then the script plays exactly what is written, so a reply that is written behind a whole
flight comes only when the whole flight did. Or ``client commands``, for conversations
that were not written with our client in mind: then each command is a call of its own,
and each gets its reply at once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import inspect
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from smtpx.client.aio import AsyncClient, AsyncLMTPClient
from smtpx.client.blocking import Client, LMTPClient
from smtpx.client.options import Chunking, ClientOptions, Timeouts, TLSMode
from smtpx.errors import SendError
from smtpx.testing.caller import SkippingLoop, settle
from smtpx.testing.script_server import PATIENCE_SECONDS, ScriptServer
from smtpx.testing.scripted import render
from smtpx.testing.settings import server_options
from smtpx.testing.steps import (
    ClientAction,
    ClientSays,
    ServerSays,
    Step,
    Transcript,
    TranscriptMismatch,
)
from smtpx.wire.commands import Mail, Rcpt
from smtpx.wire.extensions import DEFAULT_REGISTRY, Offer
from smtpx.wire.forwarded import Unknown, XClient, XForward
from smtpx.wire.grammar import parse_command
from smtpx.wire.options import MailOptions, RcptOptions
from smtpx.wire.params import MAIL_PARAMETERS, RCPT_PARAMETERS, parse_parameters
from smtpx.wire.replies import Reply

__all__ = ["CLIENT_DRIVERS", "play_async_client", "play_client"]

AnyClient: TypeAlias = Client | AsyncClient

#: What a client is asked to do, and how to ask it.
Call: TypeAlias = tuple[ClientAction, Callable[[AnyClient], Any]]


# --- a conversation command by command ----------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """What one call of the client says, and the replies to it."""

    number: int
    octets: bytes
    replies: tuple[ServerSays, ...]

    @property
    def verb(self) -> str:
        """The command, in upper case; of content whatever its first word is."""
        return self.octets.split(b"\r\n", 1)[0].split(b" ")[0].decode("latin-1").upper()


class _Splitter:
    """Parts a conversation into units: each command with its own replies."""

    def __init__(self, transcript: Transcript) -> None:
        steps = transcript.steps
        self.replies = deque(s for s in steps if isinstance(s, ServerSays))
        self.is_lmtp = transcript.has_setting("lmtp")
        self.accepted = 0
        self.is_content = False

    def split(self, says: ClientSays) -> Iterator[Unit]:
        rest = says.octets
        while rest:
            size = self.size(rest)
            yield self.unit(says.number, rest[:size])
            rest = rest[size:]

    def size(self, octets: bytes) -> int:
        """How many octets the next unit has."""
        if self.is_content:
            end = (b"\r\n" + octets).index(b"\r\n.\r\n")
            return end + 3
        line_end = octets.index(b"\r\n") + 2
        words = octets[:line_end].upper().split()
        return line_end + (int(words[1]) if words[0] == b"BDAT" else 0)

    def unit(self, number: int, octets: bytes) -> Unit:
        ends_message = self.is_content or octets.upper().split(b"\r\n")[0].endswith(
            b" LAST"
        )
        count = self.accepted if self.is_lmtp and ends_message else 1
        unit = Unit(number, octets, tuple(self.replies.popleft() for _ in range(count)))
        self.is_content = unit.replies[0].code == "354"
        if unit.verb == "RCPT" and unit.replies[0].code.startswith("2"):
            self.accepted += 1
        return unit


def in_lock_step(transcript: Transcript) -> tuple[list[Step], list[Unit]]:
    """Part a conversation into commands that each wait for their reply.

    Returns:
        The steps in their new order, and the units.
    """
    splitter = _Splitter(transcript)
    steps: list[Step] = []
    units: list[Unit] = []
    for step in transcript.steps:
        if isinstance(step, ServerSays):
            # Only the greeting belongs to no command.
            if not steps:
                steps.append(splitter.replies.popleft())
        elif isinstance(step, ClientSays):
            for unit in splitter.split(step):
                units.append(unit)
                steps += (ClientSays(unit.number, unit.octets), *unit.replies)
        else:
            steps.append(step)
    return steps, units


# What `connect` says by itself.
_SAID_BY_CONNECT = frozenset({"EHLO", "LHLO", "HELO", "STARTTLS", "AUTH"})

_GRAMMAR = DEFAULT_REGISTRY.grammar(
    Offer(
        is_lmtp=False,
        is_tls=True,
        is_authenticated=True,
        max_message_octets=None,
        max_recipients=1_000,
        mechanisms=(),
        starttls_available=False,
        enabled=frozenset({"SMTPUTF8", "BINARYMIME", "DSN", "VRFY"}),
    )
)


def command_calls(units: Sequence[Unit]) -> Iterator[Call]:
    """A call of the client for each command that it does not say by itself."""
    number = units[0].number
    yield ClientAction(number, "connect", (), None, ()), lambda client: client.connect()
    remaining = deque(units)
    while remaining and remaining[0].verb in _SAID_BY_CONNECT:
        remaining.popleft()
    while remaining:
        unit = remaining.popleft()
        replies = unit.replies
        call = _COMMAND_CALLS.get(unit.verb, _call_execute)
        octets = unit.octets
        if unit.verb == "DATA" and replies[0].code == "354":
            content = remaining.popleft()
            octets, replies = content.octets, content.replies
        yield _command_action(unit, replies), call(octets)


def _command_action(unit: Unit, replies: Sequence[ServerSays]) -> ClientAction:
    """What must come of a command: what its reply says, as a result or an error."""
    code = replies[0].code
    if len(replies) > 1:  # LMTP: one for each recipient, and none for the message
        outcome: tuple[tuple[str, str], ...] = ()
    else:
        outcome = (("code", code),)
    raised = None if code[0] in "23" else "SendError"
    return ClientAction(unit.number, unit.verb, (), raised, outcome)


def _call_mail(octets: bytes) -> Callable[[AnyClient], Any]:
    command = parse_command(octets.removesuffix(b"\r\n"), _GRAMMAR)
    assert isinstance(command, Mail), command  # noqa: S101
    path = command.reverse_path
    return lambda client: client.mail("" if path is None else path, command.options)


def _call_rcpt(octets: bytes) -> Callable[[AnyClient], Any]:
    command = parse_command(octets.removesuffix(b"\r\n"), _GRAMMAR)
    assert isinstance(command, Rcpt), command  # noqa: S101
    return lambda client: client.rcpt(command.forward_path, command.options)


def _call_data(octets: bytes) -> Callable[[AnyClient], Any]:
    content = unstuff(octets)
    return lambda client: client.data(content)


def _call_bdat(octets: bytes) -> Callable[[AnyClient], Any]:
    line, _, chunk = octets.partition(b"\r\n")
    is_last = line.upper().endswith(b" LAST")
    return lambda client: client.bdat(chunk, is_last=is_last)


def _call_execute(octets: bytes) -> Callable[[AnyClient], Any]:
    verb, _, argument = octets.decode().removesuffix("\r\n").partition(" ")
    return lambda client: client.execute(verb, argument)


def _call_verify(octets: bytes) -> Callable[[AnyClient], Any]:
    text = octets.decode().removesuffix("\r\n").partition(" ")[2]
    return lambda client: client.verify(text)


_COMMAND_CALLS: Mapping[str, Callable[[bytes], Callable[[AnyClient], Any]]] = {
    "MAIL": _call_mail,
    "RCPT": _call_rcpt,
    "DATA": _call_data,
    "BDAT": _call_bdat,
    "VRFY": _call_verify,
    "RSET": lambda _octets: lambda client: client.reset(),
    "NOOP": lambda _octets: lambda client: client.noop(),
    "QUIT": lambda _octets: lambda client: client.quit(),
}


def unstuff(octets: bytes) -> bytes:
    """The message in a DATA body: without its doubled dots and its end."""
    lines = octets.removesuffix(b".\r\n").split(b"\r\n")
    return b"\r\n".join(line.removeprefix(b".") for line in lines)


# --- what the client is asked to do -------------------------------------------------


def action_calls(transcript: Transcript) -> Iterator[Call]:
    """A call of the client for each ``client`` line, behind one that connects."""
    actions = [action for action in transcript.actions if action.verb != "with"]
    if not actions or actions[0].verb != "connect":
        first = actions[0].number if actions else 1
        action = ClientAction(first, "connect", (), None, ())
        yield action, lambda client: client.connect()
    for action in actions:
        yield action, _action_call(transcript, action)


def _action_call(
    transcript: Transcript, action: ClientAction
) -> Callable[[AnyClient], Any]:
    if action.verb == "send":
        message = transcript.message or b""
        sender = action.values("from")[0]
        recipients = action.values("to")
        require_all = bool(action.values("require_all"))
        mail = " ".join(action.values("mail")).encode()
        rcpt = " ".join(action.values("rcpt")).encode()
        options = MailOptions(**parse_parameters(mail, MAIL_PARAMETERS))
        rcpt_options = RcptOptions(**parse_parameters(rcpt, RCPT_PARAMETERS))
        return lambda client: client.send(
            message,
            sender=sender,
            recipients=recipients,
            options=options,
            rcpt_options=rcpt_options,
            require_all=require_all,
        )
    arguments = dict(action.arguments)
    kind = _ATTRIBUTES.get(action.verb)
    if kind is not None:
        told = kind(**{name: _attribute(name, text) for name, text in action.arguments})
        return lambda client: getattr(client, action.verb)(told)
    return lambda client: getattr(client, action.verb)(**arguments)


_ATTRIBUTES: Mapping[str, Callable[..., object]] = {
    "xclient": XClient,
    "xforward": XForward,
}
_UNKNOWN = {unknown.value: unknown for unknown in Unknown}


def _attribute(name: str, text: str) -> object:
    """Read the value of an attribute of XCLIENT or XFORWARD."""
    if text in _UNKNOWN:
        return _UNKNOWN[text]
    return int(text) if name.endswith("port") else text


_OPTION_VALUES: Mapping[str, Callable[[str], object]] = {
    "tls": TLSMode,
    "chunking": Chunking,
    "hello_name": str,
    "server_hostname": str,
    "mechanisms": lambda value: tuple(value.split(",")),
}
_SWITCHES = {"": True, "yes": True, "no": False}


def client_options(
    transcript: Transcript, tls: ssl.SSLContext | None
) -> tuple[ClientOptions, tuple[str, str] | None]:
    """Make what the ``client with`` lines ask for: options, and user and password."""
    options: dict[str, Any] = {
        "tls": TLSMode.REQUIRED if transcript.needs_tls else TLSMode.NEVER,
        "tls_context": tls,
        "server_hostname": server_options(transcript).hostname,
        "hello_name": "client.test",
        # Where time passes on a clock of our own, that of a phase is what counts.
        "timeouts": Timeouts(
            total=None if transcript.needs_clock else PATIENCE_SECONDS
        ),
    }
    auth = None
    for action in transcript.actions:
        if action.verb != "with":
            continue
        for name, value in action.arguments:
            if name == "auth":
                user, _, password = value.partition(":")
                auth = (user, password)
            else:
                read = _OPTION_VALUES.get(name, _SWITCHES.__getitem__)
                options[name] = read(value)
    return ClientOptions(**options), auth


class _ClientPlay:
    """One transcript, one script, one client."""

    def __init__(
        self,
        transcript: Transcript,
        driver: str,
        server_tls: ssl.SSLContext | None,
        client_tls: ssl.SSLContext | None,
        *,
        skip: Callable[[float], None] | None = None,
    ) -> None:
        self.transcript = transcript
        self.driver = driver
        steps: Sequence[Step] = transcript.steps
        if any(action.verb == "commands" for action in transcript.actions):
            steps, units = in_lock_step(transcript)
            self.calls = list(command_calls(units))
        else:
            self.calls = list(action_calls(transcript))
        self.options, self.auth = client_options(transcript, client_tls)
        self.is_lmtp = transcript.has_setting("lmtp")
        self.server = ScriptServer(transcript, steps, driver, server_tls, skip=skip)
        scheme = "lmtp" if self.is_lmtp else "smtp"
        self.url = f"{scheme}://127.0.0.1:{self.server.port}"
        self.problem: TranscriptMismatch | None = None

    def compare(self, action: ClientAction, outcome: object) -> bool:
        """Compare what came of a call; whether the next one makes sense."""
        problem = self._difference(action, outcome)
        if problem is not None:
            shown = [f"{type(outcome).__name__}: {outcome}"]
            self.problem = self.transcript.mismatch(
                action.number, self.driver, problem, heard=shown
            )
            if isinstance(outcome, BaseException):
                self.problem.__cause__ = outcome
        return problem is None

    def finish(self) -> None:
        """Wait for the script; what it saw is closer to the cause than an outcome."""
        self.server.join()
        problem = self.server.problem
        if problem is not None and not isinstance(problem, OSError):
            raise problem from self.problem
        if self.problem is not None:
            raise self.problem
        if problem is not None:
            raise problem

    def _difference(self, action: ClientAction, outcome: object) -> str | None:
        if isinstance(outcome, BaseException):
            names = {kind.__name__ for kind in type(outcome).__mro__}
            if action.raised not in names:
                return "the client raised something else" if action.raised else "raised"
        elif action.raised is not None:
            return f"the client did not raise {action.raised}"
        for name, value in action.outcome:
            actual = _fact(outcome, name)
            if actual != value:
                return f"{name} is {actual}"
        return None


def _fact(outcome: Any, name: str) -> str:  # noqa: ANN401 - a result, reply or error
    """What a result, a reply or an error says under a name of a transcript."""
    if name == "accepted":
        return ",".join(each.recipient for each in outcome.accepted)
    if name == "refused":
        return ",".join(
            f"{each.recipient}:{each.reply.code if each.reply else '-'}"
            for each in outcome.refused
        )
    if name == "code":
        reply = outcome if isinstance(outcome, Reply) else outcome.reply
        return "-" if reply is None else str(reply.code)
    return render(getattr(outcome, name))


# Errors that a call may raise by what it is given, or by what it hears.
_EXPECTED_ERRORS = (SendError, ValueError)


def play_client(
    transcript: Transcript,
    *,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
) -> None:
    """Play a transcript as the server of a `smtpx.Client`.

    Args:
        transcript: what is written.
        server_tls: the certificate of the script, for ``== TLS ==``.
        client_tls: trusts it.

    Raises:
        TranscriptMismatch: the conversation, or what came of it, differs.
    """
    play = _ClientPlay(transcript, "client", server_tls, client_tls)
    kind = LMTPClient if play.is_lmtp else Client
    client = kind(play.url, options=play.options, auth=play.auth)
    play.server.start()
    try:
        for action, call in play.calls:
            try:
                outcome = call(client)
            except _EXPECTED_ERRORS as error:
                outcome = error
            if not play.compare(action, outcome):
                break
    finally:
        client.close()
    play.finish()


def play_async_client(
    transcript: Transcript,
    *,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
) -> None:
    """Play a transcript as the server of a `smtpx.AsyncClient`.

    Arguments and errors are those of `play_client`.
    """

    async def main(play: _ClientPlay) -> None:
        kind = AsyncLMTPClient if play.is_lmtp else AsyncClient
        client = kind(play.url, options=play.options, auth=play.auth)
        play.server.start()
        try:
            for action, call in play.calls:
                try:
                    outcome = call(client)
                    if inspect.isawaitable(outcome):
                        outcome = await outcome
                except _EXPECTED_ERRORS as error:
                    outcome = error
                if not play.compare(action, outcome):
                    break
        finally:
            await client.close()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SkippingLoop)  # noqa: S101 - made above

        async def pass_time(seconds: float) -> None:
            await settle()
            loop.skip(seconds)
            await settle()

        def skip(seconds: float) -> None:
            # Called by the script's thread, which goes on when what was due is done; or
            # when the client needs its loop no more.
            passing = asyncio.run_coroutine_threadsafe(pass_time(seconds), loop)
            with contextlib.suppress(concurrent.futures.CancelledError):
                passing.result()

        play = _ClientPlay(
            transcript, "async client", server_tls, client_tls, skip=skip
        )
        runner.run(main(play))
    play.finish()


CLIENT_DRIVERS: Mapping[str, Callable[..., None]] = {
    "client": play_client,
    "async-client": play_async_client,
}
