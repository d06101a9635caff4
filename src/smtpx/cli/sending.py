"""What ``smtpx send`` does: prepare everything, then send and tell."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from smtpx.app.sinks import printable
from smtpx.cli.compose import Draft, address_fields, compose
from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.cli.screen import Screen, can_ask, reply_text
from smtpx.cli.sources import Source, built_source, file_source
from smtpx.client.blocking import Client
from smtpx.client.message import recipients_of, sender_of
from smtpx.client.options import (
    Auth,
    ClientOptions,
    Target,
    Timeouts,
    TLSMode,
    parse_url,
)
from smtpx.errors import BadSyntax, RecipientsRefused, SendError, SMTPXError
from smtpx.net.tls import client_context
from smtpx.wire.envelope import Delivery, RecipientResult, SendResult
from smtpx.wire.params import (
    BodyType,
    MailOptions,
    Notify,
    OriginalRecipient,
    RcptOptions,
    ReturnContent,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

__all__ = ["SendArguments", "Sending"]

# A bar is worth it for more than this, or for more messages than that.
_BAR_OCTETS: Final = 1_000_000
_BAR_MESSAGES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SendArguments:
    """The command line of ``smtpx send``, parsed."""

    files: tuple[str, ...]
    server: str
    # Addresses and content
    sender: str | None
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    subject: str | None
    body: str | None
    html: str | None
    attachments: tuple[Path, ...]
    headers: tuple[str, ...]
    reverse_path: str | None
    # Authentication
    user: str | None
    password: str | None
    password_file: Path | None
    mechanisms: tuple[str, ...]
    allow_plaintext_auth: bool
    # TLS
    tls: str | None
    ca_file: Path | None
    server_name: str | None
    client_cert: Path | None
    client_key: Path | None
    insecure: bool
    # MAIL and RCPT
    body_type: str | None
    size: int | None
    smtputf8: bool
    notify: tuple[str, ...]
    original_recipient: str | None
    return_content: str | None
    envelope_id: str | None
    require_all: bool
    # Connection
    hello_name: str | None
    local_address: str | None
    timeout: float | None
    pipelining: bool
    # Output
    verbose: bool
    quiet: bool

    @property
    def draft(self) -> Draft:
        """The part of it that builds a message."""
        return Draft(
            sender=self.sender,
            to=self.to,
            cc=self.cc,
            bcc=self.bcc,
            subject=self.subject,
            body=self.body,
            html=self.html,
            attachments=self.attachments,
            headers=self.headers,
        )


class Sending:
    """One run of the command."""

    def __init__(self, arguments: SendArguments) -> None:
        self._arguments = arguments
        self._screen = Screen(is_quiet=arguments.quiet)
        self._on_read: Callable[[int], None] = lambda _count: None
        self._failures: list[ExitCode] = []

    def run(self) -> None:
        """Send everything.

        Raises:
            Failure: something was not sent.
        """
        with ExitStack() as stack:
            sources = [self._open(path, stack) for path in self._arguments.files]
            if not sources:
                message = compose(self._arguments.draft)
                sources = [built_source(message, self._read)]
            # Before connecting: a mistake in the last file should not come up after
            # the first was sent.
            envelopes = [self._envelope_of(source) for source in sources]
            client = self._make_client()
            progress = self._start_progress(sources, stack)
            stack.enter_context(client)
            for source, (sender, recipients) in zip(sources, envelopes, strict=True):
                if progress is not None:
                    progress.update(progress.task_ids[0], name=source.name)
                self._send(client, source, sender, recipients)
        if self._failures:
            permanent = [one for one in self._failures if one != ExitCode.TEMPORARY]
            # Each was told where it happened.
            raise Failure(permanent[0] if permanent else ExitCode.TEMPORARY, "")

    def _open(self, path: str, stack: ExitStack) -> Source:
        source = file_source(path, self._read)
        stack.callback(source.close)
        return source

    def _read(self, count: int) -> None:
        self._on_read(count)

    # ------------------------------------------------------------------ preparation

    def _envelope_of(self, source: Source) -> tuple[str, list[str]]:
        """Find sender and recipients: those of the command line go first."""
        arguments = self._arguments
        header = source.header
        given = address_fields(arguments.draft)
        try:
            sender = sender_of(given if arguments.sender else header)
            has_recipients = bool(arguments.draft.recipients)
            recipients = recipients_of(given if has_recipients else header)
        except (ValueError, IndexError) as error:
            raise _without_address(source, error) from None
        if arguments.reverse_path is not None:
            sender = arguments.reverse_path.removeprefix("<").removesuffix(">")
        return sender, recipients

    def _make_client(self) -> Client:
        arguments = self._arguments
        try:
            target = parse_url(arguments.server)
        except ValueError as error:
            raise click.UsageError(f"--server: {error}") from None
        timeouts = Timeouts()
        if arguments.timeout is not None:
            names = [item.name for item in fields(Timeouts) if item.name != "total"]
            timeouts = Timeouts(**dict.fromkeys(names, arguments.timeout))
        options = ClientOptions(
            tls=None if arguments.tls is None else TLSMode(arguments.tls),
            tls_context=self._tls_context(),
            server_hostname=arguments.server_name,
            hello_name=arguments.hello_name,
            local_address=arguments.local_address,
            timeouts=timeouts,
            mechanisms=arguments.mechanisms or None,
            allow_plaintext_auth=arguments.allow_plaintext_auth,
            pipelining=arguments.pipelining,
            wire_log=self._screen.dialogue if arguments.verbose else None,
        )
        auth = self._auth(target)
        return Client(arguments.server, options=options, auth=auth)

    def _tls_context(self) -> ssl.SSLContext:
        arguments = self._arguments
        try:
            return client_context(
                ca_file=arguments.ca_file,
                certificate=arguments.client_cert,
                key=arguments.client_key,
                verify=not arguments.insecure,
            )
        except OSError as error:
            raise Failure(
                ExitCode.NO_INPUT,
                f"--ca-file, --client-cert or --client-key is no PEM file with that in "
                f"it: {explain(error)}",
            ) from None

    def _auth(self, target: Target) -> Auth | None:
        """Find out whom to log in as; ask for the password if it is nowhere."""
        arguments = self._arguments
        user = arguments.user or target.user
        if user is None:
            return None
        password = arguments.password
        if arguments.password_file is not None:
            text = arguments.password_file.read_text(encoding="utf-8")
            password = text.partition("\n")[0].removesuffix("\r")
        if password is None and arguments.user is None:
            password = target.password
        if password is None:
            if not can_ask():
                raise Failure(
                    ExitCode.USAGE,
                    f"there is no password for {user}: set SMTPX_PASSWORD, or use "
                    "--password-file",
                )
            prompt = f"Password of {user} at {target}"
            password = click.prompt(prompt, hide_input=True, err=True)
        return Auth(user, password)

    def _start_progress(
        self, sources: Sequence[Source], stack: ExitStack
    ) -> Progress | None:
        total = sum(source.size for source in sources)
        is_worth_it = total > _BAR_OCTETS or len(sources) > _BAR_MESSAGES
        console = self._screen.errors
        if self._arguments.quiet or not is_worth_it or not console.is_terminal:
            return None
        progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        task = progress.add_task("", total=total, name=sources[0].name)
        self._on_read = lambda count: progress.advance(task, count)
        stack.enter_context(progress)
        return progress

    # ---------------------------------------------------------------------- sending

    def _send(
        self, client: Client, source: Source, sender: str, recipients: list[str]
    ) -> None:
        """Send one message, and tell the result."""
        try:
            if not client.is_connected:
                client.connect()
            result = client.send(
                source.message,
                sender=sender,
                recipients=recipients,
                options=self._mail_options(),
                rcpt_options=self._rcpt_options(),
                require_all=self._arguments.require_all,
            )
        except RecipientsRefused as error:
            self._fail(source, error)
            self._show_recipients(error.results)
        except (SMTPXError, OSError) as error:
            self._fail(source, error)
        else:
            self._show(source, result)

    def _mail_options(self) -> MailOptions:
        arguments = self._arguments
        kind, content = arguments.body_type, arguments.return_content
        return MailOptions(
            size=arguments.size,
            body=None if kind is None else BodyType(kind.upper()),
            smtputf8=arguments.smtputf8,
            return_content=None if content is None else ReturnContent(content.upper()),
            envelope_id=arguments.envelope_id,
        )

    def _rcpt_options(self) -> RcptOptions:
        original = self._arguments.original_recipient
        return RcptOptions(
            notify=tuple(Notify(word.upper()) for word in self._arguments.notify),
            original_recipient=(
                None if original is None else OriginalRecipient("rfc822", original)
            ),
        )

    # ---------------------------------------------------------------------- results

    def _fail(self, source: Source, error: Exception) -> None:
        failure = explain(error)
        self._failures.append(failure.code)
        state = ""
        if isinstance(error, SendError) and error.delivery is Delivery.UNKNOWN:
            state = " (may have arrived)"
        self._screen.note(
            f"smtpx: {printable(source.name)}: not sent{state}: "
            f"{printable(str(failure))}",
            "red",
        )

    def _show(self, source: Source, result: SendResult) -> None:
        name = printable(source.name)
        queued = f", {printable(result.queue_id)}" if result.queue_id else ""
        if not result.refused:
            self._screen.result(f"{name}: sent{queued}", color="green")
        else:
            count = f"{len(result.accepted)} of {len(result.recipients)} recipients"
            self._screen.result(f"{name}: sent to {count}{queued}", color="yellow")
        if result.reply is not None:
            self._screen.result(f"  {reply_text(result.reply)}")
        self._show_recipients(result.recipients)
        refusals = [one.reply for one in result.refused]
        if refusals:
            is_temporary = all(one is not None and one.is_temporary for one in refusals)
            self._failures.append(
                ExitCode.TEMPORARY if is_temporary else ExitCode.NO_USER
            )

    def _show_recipients(self, results: Sequence[RecipientResult]) -> None:
        width = max((len(one.recipient) for one in results), default=0)
        for one in results:
            word = "accepted" if one.is_accepted else "refused "
            said = "" if one.reply is None else reply_text(one.reply)
            line = f"  {word}  {printable(one.recipient):{width}}  {said}".rstrip()
            self._screen.result(line, color=None if one.is_accepted else "red")


def _without_address(source: Source, error: Exception) -> Failure:
    """Say that a header does not tell who a message is from, or for."""
    text = "a header field holds something that is no address"
    if isinstance(error, BadSyntax):
        text = error.text
    elif isinstance(error, ValueError):
        text = str(error).partition(": ")[0]
    return Failure(
        ExitCode.DATA,
        f"{printable(source.name)}: {text}; name sender and recipients with --from "
        "and --to",
    )
