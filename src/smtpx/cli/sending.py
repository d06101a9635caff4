"""What ``smtpx send`` does: prepare everything, then send and tell."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

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
from smtpx.cli.auth_options import LoginArguments
from smtpx.cli.compose import Draft, address_fields, compose
from smtpx.cli.failures import ExitCode, Failure
from smtpx.cli.report import JSONReport, Mail, Report, Summary
from smtpx.cli.screen import Screen
from smtpx.cli.sources import MeteredFile, Source, built_source, find_sources
from smtpx.client.blocking import Client
from smtpx.client.message_addresses import recipients_of, sender_of
from smtpx.client.options import (
    Chunking,
    ClientOptions,
    Timeouts,
    TLSMode,
    parse_url,
)
from smtpx.client.outgoing import Outgoing
from smtpx.errors import BadProxyHeader, BadSyntax, RecipientsRefused, SMTPXError
from smtpx.wire.address import Mailbox
from smtpx.wire.envelope import RecipientResult
from smtpx.wire.params import (
    BodyType,
    MailOptions,
    Notify,
    OriginalRecipient,
    RcptOptions,
    ReturnContent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smtpx.net.dns import DNSResolver
    from smtpx.wire.forwarded import XClient
    from smtpx.wire.preamble import ProxyHeader
    from smtpx.wire.replies import Reply

__all__ = ["SendArguments", "Sending"]

# A bar is worth it for more than this, or for more messages than that.
_BAR_OCTETS: Final = 1_000_000
_BAR_MESSAGES: Final = 10

_SMTP_PORT: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class SendArguments(LoginArguments):
    """The command line of ``smtpx send``, parsed."""

    files: tuple[str, ...]
    server: str
    mx: bool
    mx_port: int | None
    name_server: DNSResolver | None
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
    # TLS, beside what all have
    tls: str | None
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
    chunking: str
    proxy: str | None
    proxy_header: ProxyHeader | None
    proxy_version: str | None
    xclient: XClient | None
    allow_undeclared_content: bool
    # Output
    json: bool
    dry_run: bool
    check_recipients: bool
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
        self._screen = Screen(is_quiet=arguments.quiet, outlives_reader=True)
        self._on_read: Callable[[int], None] = lambda _count: None
        self._on_turn: Callable[[str], None] = lambda _name: None
        self._report = Report(self._screen)

    def run(self) -> None:
        """Send everything.

        Raises:
            Failure: something was not sent.
        """
        with ExitStack() as stack:
            # Before connecting: a mistake in the last file should not come up after the
            # first was sent.
            mails = [self._address(source) for source in self._find_sources(stack)]
            report = self._report = stack.enter_context(self._make_report(len(mails)))
            url = self._find_url(mails)
            if self._arguments.dry_run:
                for mail in mails:
                    report.planned(mail)
                return
            client = self._make_client(url)
            self._start_progress([mail.source for mail in mails], stack)
            try:
                stack.enter_context(client)
            except (SMTPXError, OSError) as error:
                if not self._arguments.json:
                    raise
                # A program wants to read of each.
                for mail in mails:
                    report.sent(mail, (), (), error)
            else:
                self._run_with(client, mails)
        if report.failures:
            permanent = [one for one in report.failures if one != ExitCode.TEMPORARY]
            # Each was told where it happened.
            raise Failure(permanent[0] if permanent else ExitCode.TEMPORARY, "")

    def _run_with(self, client: Client, mails: Sequence[Mail]) -> None:
        if self._arguments.check_recipients:
            self._check_recipients(client, mails)
        elif len(mails) == 1:
            self._send(client, mails[0])
        else:
            self._send_many(client, mails)

    def _find_sources(self, stack: ExitStack) -> list[Source]:
        arguments = self._arguments
        if not arguments.files:
            return [built_source(compose(arguments.draft), self._read)]
        return [
            source
            for path in arguments.files
            for source in find_sources(path, self._read, stack)
        ]

    def _make_report(self, count: int) -> Report:
        if self._arguments.json:
            return JSONReport(self._screen)
        if count > _BAR_MESSAGES and not self._arguments.verbose:
            return Summary(self._screen)
        return Report(self._screen)

    def _read(self, count: int) -> None:
        self._on_read(count)

    # ------------------------------------------------------------------ preparation

    def _address(self, source: Source) -> Mail:
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
        return Mail(source, sender, recipients)

    def _find_url(self, mails: Sequence[Mail]) -> str:
        """Find out where to connect."""
        if not self._arguments.mx:
            return self._arguments.server
        domains = {_domain_of(one) for mail in mails for one in mail.recipients}
        if len(domains) != 1 or "" in domains:
            names = ", ".join(sorted(domain or "none" for domain in domains))
            raise Failure(
                ExitCode.DATA,
                f"--mx sends to one domain, and recipients have these: "
                f"{printable(names)}; send to each by itself",
            )
        return f"smtp+mx://{domains.pop()}:{self._arguments.mx_port or _SMTP_PORT}"

    def _proxy_header(self) -> ProxyHeader | None:
        header, version = self._arguments.proxy_header, self._arguments.proxy_version
        if header is None or version is None:
            return header
        try:
            return replace(header, version=int(version))
        except BadProxyHeader as error:
            raise click.UsageError(f"--proxy-header: {error}") from None

    def _make_client(self, url: str) -> Client:
        arguments = self._arguments
        try:
            target = parse_url(url)
        except ValueError as error:
            raise click.UsageError(f"--server: {error}") from None
        timeouts = Timeouts()
        if arguments.timeout is not None:
            names = [item.name for item in fields(Timeouts) if item.name != "total"]
            timeouts = Timeouts(**dict.fromkeys(names, arguments.timeout))
        options = ClientOptions(
            tls=None if arguments.tls is None else TLSMode(arguments.tls),
            tls_context=arguments.tls_context(),
            server_hostname=arguments.server_name,
            hello_name=arguments.hello_name,
            local_address=arguments.local_address,
            resolver=arguments.name_server,
            timeouts=timeouts,
            mechanisms=arguments.mechanisms or None,
            allow_plaintext_auth=arguments.allow_plaintext_auth,
            pipelining=arguments.pipelining,
            chunking=Chunking(arguments.chunking),
            proxy=arguments.proxy,
            proxy_header=self._proxy_header(),
            xclient=arguments.xclient,
            allow_undeclared_content=arguments.allow_undeclared_content,
            wire_log=self._screen.dialogue if arguments.verbose else None,
        )
        auth = self._arguments.find_auth(target)
        return Client(url, options=options, auth=auth)

    def _start_progress(self, sources: Sequence[Source], stack: ExitStack) -> None:
        total = sum(source.size for source in sources)
        is_worth_it = total > _BAR_OCTETS or len(sources) > _BAR_MESSAGES
        console = self._screen.errors
        if self._arguments.quiet or not is_worth_it or not console.is_terminal:
            return
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
        self._on_turn = lambda name: progress.update(task, name=name)
        stack.enter_context(progress)

    # ---------------------------------------------------------------------- sending

    def _send(self, client: Client, mail: Mail) -> None:
        """Send one message, and tell the result."""
        error: Exception | None = None
        recipients: tuple[RecipientResult, ...] = ()
        result: tuple[Reply, ...] = ()
        message = mail.source.open()
        try:
            sent = client.send(
                message,
                sender=mail.sender,
                recipients=mail.recipients,
                options=self._mail_options(),
                rcpt_options=self._rcpt_options(),
                require_all=self._arguments.require_all,
            )
        except RecipientsRefused as refused:
            error, recipients = refused, refused.results
        except (SMTPXError, OSError) as failed:
            error = failed
        else:
            recipients = sent.recipients
            result = () if sent.reply is None else (sent.reply,)
        finally:
            _close(message)
        self._report.sent(mail, recipients, result, error)

    def _send_many(self, client: Client, mails: Sequence[Mail]) -> None:
        """Send messages over one connection, and tell each result."""
        left = iter(mails)
        told = 0
        try:
            for outcome in client.send_many(
                map(self._outgoing, left), retry_not_sent=True
            ):
                told += 1
                _close(outcome.outgoing.message)
                mail = cast("Mail", outcome.outgoing.key)
                self._report.sent(
                    mail, outcome.recipients, outcome.replies, outcome.error
                )
        except (SMTPXError, OSError) as error:
            # What was taken is reported; the rest was never begun.
            for mail in mails[told:]:
                self._report.sent(mail, (), (), error)

    def _outgoing(self, mail: Mail) -> Outgoing:
        self._on_turn(mail.source.name)
        return Outgoing(
            mail.source.open(),
            mail.sender,
            mail.recipients,
            self._mail_options(),
            self._rcpt_options(),
            require_all=self._arguments.require_all,
            key=mail,
        )

    def _check_recipients(self, client: Client, mails: Sequence[Mail]) -> None:
        """Ask whether recipients would be accepted, and send nothing."""
        for mail in mails:
            results: list[RecipientResult] = []
            try:
                client.reset()
                client.mail(mail.sender, options=self._mail_options())
                for recipient in mail.recipients:
                    try:
                        reply = client.rcpt(recipient, options=self._rcpt_options())
                    except RecipientsRefused as refused:
                        results.extend(refused.results)
                    else:
                        results.append(RecipientResult(recipient, reply, True))
            except (SMTPXError, OSError) as error:
                self._report.sent(mail, tuple(results), (), error)
            else:
                self._report.checked(mail, results)

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


def _domain_of(recipient: str) -> str:
    """Return where a recipient is, as a host of a URL; empty: nowhere."""
    domain = Mailbox.parse(recipient).domain.lower()
    return domain.replace("[ipv6:", "[")


def _close(message: object) -> None:
    """Close a message that is a file."""
    if isinstance(message, MeteredFile):
        message.close()


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
