r"""Rewriting what passes to a session: sender, recipients, content.

>>> import asyncio, smtpx
>>> class Inbox(smtpx.Session):
...     async def data(self, body):
...         print([str(one.mailbox) for one in self.envelope.recipients])
...         print(await body.read())
>>> class Rewrite(smtpx.Transform):
...     async def recipient(self, forward_path, options):
...         local_part = forward_path.local_part.partition("+")[0]
...         return [(smtpx.Mailbox(local_part, forward_path.domain), options)]
...     async def body(self, content):
...         yield b"X-Seen: yes\r\n"
...         async for block in content:
...             yield block
>>> async def main():
...     async with smtpx.Server(smtpx.transform(Inbox, Rewrite)) as server:
...         await smtpx.asend(
...             b"Subject: hi\r\n\r\nhello\r\n",
...             to=f"smtp+plain://{server.addresses[0]}",
...             sender="ann@example.com",
...             recipients=["bob+list@example.net"],
...         )
>>> asyncio.run(main())
['bob@example.net']
b'X-Seen: yes\r\nSubject: hi\r\n\r\nhello\r\n'

Theory of operation. A session is asked for what it overrides, by its class: for its
hooks, for the mechanisms and extensions that it thereby has. So the session around
another one is of a class made for the class of that one, which overrides the same hooks
and those that rewrite. The session within gets a `ConnectionInfo` of its own, in which
the envelope is what it was told; all else in it is the connection's.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from smtpx.core.server_base import require_final
from smtpx.errors import Refuse
from smtpx.server.body import Body
from smtpx.server.session import ConnectionInfo, Session, Statuses
from smtpx.wire import replies
from smtpx.wire.envelope import Envelope, Recipient
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from smtpx.wire.address import Mailbox
    from smtpx.wire.params import MailOptions, RcptOptions

__all__ = ["Transform", "transform"]

SessionFactory: TypeAlias = Callable[[ConnectionInfo], Session]


class Transform:
    """Rewrites what one session is told. Subclass it, override what you need.

    It is made as a session is: by calling what you gave to `transform`, for each.
    A method refuses as a hook does, by raising ``Refuse``.

    Attributes:
        connection: facts about the connection, with the envelope before it is
            rewritten here.
    """

    def __init__(self, connection: ConnectionInfo) -> None:
        self.connection = connection

    async def sender(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> tuple[Mailbox | None, MailOptions]:
        """Rewrite what MAIL says.

        Args:
            reverse_path: the sender; None for ``<>``.
            options: the parameters.

        Returns:
            What the session is told. If you rewrite the content, give its new size in
            the options; the declared one is left out.
        """
        return reverse_path, options

    async def recipient(
        self, forward_path: Mailbox, options: RcptOptions
    ) -> Sequence[tuple[Mailbox, RcptOptions]]:
        """Rewrite what RCPT says.

        Args:
            forward_path: the recipient.
            options: the parameters.

        Returns:
            The recipients that the session is told of. Of several, all must be
            accepted, or the client's is refused. With none, the client's is accepted,
            and gets nothing.
        """
        return ((forward_path, options),)

    async def body(self, content: Body) -> AsyncGenerator[bytes, None]:
        """Rewrite the content; an async generator, so that it streams.

        Nothing is read of the client that nobody waits for. The end of the generator
        reaches the session only when the client's message is complete: one that is
        cut off stays so, whatever you catch.

        Args:
            content: what came in.

        Yields:
            Blocks of what the session reads.
        """
        async for block in content:
            yield block


TransformFactory: TypeAlias = Callable[[ConnectionInfo], Transform]


def transform(
    session_factory: SessionFactory, *steps: TransformFactory
) -> SessionFactory:
    """Return what makes sessions that are told what transforms make of a dialogue.

    They can do all that the sessions within can: LMTP with a status for each recipient,
    AUTH with the same mechanisms, VRFY, EXPN, ETRN and verbs of your own.

    Args:
        session_factory: as for ``Server``: a class will do.
        steps: classes of transforms, or what makes transforms; the first gets what the
            client said, the next what the first made of it.

    Returns:
        What to give to ``Server``.
    """
    for step in reversed(steps):
        session_factory = _wrap(session_factory, step)
    return session_factory


def _wrap(session_factory: SessionFactory, step: TransformFactory) -> SessionFactory:
    def make(connection: ConnectionInfo) -> Session:
        view = _View(connection)
        inner = session_factory(view)
        return _class_for(type(inner))(connection, view, inner, step(connection))

    return make


class _View(ConnectionInfo):
    """The facts about a connection, with an envelope of its own.

    What is not set here is asked of the connection: its slots are empty in this object.
    """

    __slots__ = ("_real",)

    def __init__(self, real: ConnectionInfo) -> None:
        self._real = real
        self.envelope: Envelope | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it is there
        return getattr(self._real, name)


class _RewrittenBody(Body):
    """What a generator makes of a body.

    Args:
        source: of the client.
        stream: reads it.
    """

    __slots__ = ("_is_read", "_source", "_stream")

    def __init__(self, source: Body, stream: AsyncGenerator[bytes, None]) -> None:
        super().__init__(_nothing)
        self._source = source
        self._stream = stream
        self._is_read = False

    async def __anext__(self) -> bytes:
        self._is_read = True
        try:
            async for block in self._stream:
                if block:
                    self.octets_received += len(block)
                    return block
            # A generator may have caught what says that the message was cut off; or
            # it left the rest unread, in which that may still happen; or all is over,
            # and who reads on is told so.
            async for _ in self._source:
                pass
        finally:
            self._is_read = False
        raise StopAsyncIteration

    async def close(self) -> None:
        """Let go of the generator: the hook has returned."""
        # Whom the hook left behind reading finds the source closed.
        if not self._is_read:
            await self._stream.aclose()


def _nothing() -> None:
    """Take no note that a block was taken: the source does."""


class _GroupedStatuses:
    """Gives the client's recipients their statuses, when all they stand for have one.

    Args:
        front: the client's.
        groups: for each recipient there, those that the session was told of.
    """

    def __init__(self, front: Statuses, groups: list[list[Recipient]]) -> None:
        self._front = front
        self._groups = groups
        self._position = {
            recipient.index: position
            for position, group in enumerate(groups)
            for recipient in group
        }
        self._known: dict[int, Reply] = {}
        self._is_over = False

    def set(self, index: int, reply: Reply) -> None:
        """Take the status of one that the session was told of."""
        if self._is_over:
            message = "the message was answered or aborted"
            raise RuntimeError(message)
        if index in self._known:
            message = f"recipient {index} has its status already"
            raise ValueError(message)
        require_final(reply)
        self._enter(index, reply)

    def _enter(self, index: int, reply: Reply) -> None:
        self._known[index] = reply
        position = self._position[index]
        group = [self._known.get(one.index) for one in self._groups[position]]
        known = [one for one in group if one is not None]
        if len(known) == len(group):
            self._front.set(self._front.recipients[position], _worst(known))

    def set_dropped(self) -> None:
        """Accept for those who get nothing."""
        for recipient, group in zip(self._front.recipients, self._groups, strict=True):
            if not group:
                self._front.set(recipient, replies.MESSAGE_ACCEPTED)

    def set_rest(self, reply: object) -> None:
        """Give those left out what the hook returned, if it is an answer at all."""
        if not isinstance(reply, Reply) or reply.is_intermediate:
            return
        for index in self._position:
            if index not in self._known:
                self._enter(index, reply)

    def close(self) -> None:
        """Take no more: the hook has returned."""
        self._is_over = True


def _worst(statuses: list[Reply]) -> Reply:
    """Combine the statuses of those that one recipient stands for.

    Nothing is acknowledged that was not taken. A temporary failure comes first: when
    the client tries again, the permanent one is still there.
    """
    return min(statuses, key=_rank)


def _rank(reply: Reply) -> int:
    return 0 if reply.is_temporary else 1 if reply.is_permanent else 2


def _is_granted(reply: Reply | None) -> bool:
    return reply is None or reply.is_positive


# The session within was asked once more, and did not say the same.
_IN_DOUBT: Final = Reply(451, "4.3.0", "recipients changed their mind; try again later")


class _Transformed(Session):
    """A session around another one; see `_class_for`.

    Args:
        connection: facts about the connection.
        view: the same, as the session within sees them.
        inner: that session.
        step: rewrites what it is told.
    """

    def __init__(
        self,
        connection: ConnectionInfo,
        view: _View,
        inner: Session,
        step: Transform,
    ) -> None:
        super().__init__(connection)
        self.inner = inner
        self._view = view
        self._step = step
        self._has_new_body = type(step).body is not Transform.body
        self._groups: list[list[Recipient]] = []
        self._is_in_doubt = False

    async def mail(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply | None:
        self._forget()
        path, wanted = await self._step.sender(reverse_path, options)
        if self._has_new_body and wanted.size == options.size:
            # It was declared of what the client sends (RFC 1870 section 5).
            wanted = replace(wanted, size=None)
        reply = await self.inner.mail(path, wanted)
        if _is_granted(reply):
            self._view.envelope = Envelope(path, wanted, [])
        return reply

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        if self._is_in_doubt:
            return _IN_DOUBT
        told = self.inner.envelope.recipients
        group: list[Recipient] = []
        reply: Reply | None = None
        try:
            for mailbox, wanted in await self._step.recipient(forward_path, options):
                reply = await self.inner.rcpt(mailbox, wanted)
                if not _is_granted(reply):
                    if group:
                        await self._begin_again()
                    return reply
                group.append(Recipient(mailbox, wanted, len(told) + len(group)))
        except Exception:
            if group:
                await self._begin_again()
            raise
        told += group
        self._groups.append(group)
        return reply if len(group) == 1 else None

    async def _begin_again(self) -> None:
        """Tell the session within, once more, of those who are accepted.

        A recipient cannot be taken back in SMTP, so a session that passes all on would
        send to some of those whom the client was refused.
        """
        inner, envelope = self.inner, self.inner.envelope
        self._is_in_doubt = True
        self._view.envelope = None
        again = Envelope(envelope.reverse_path, envelope.options, [])
        try:
            await inner.reset()
            reply = await inner.mail(again.reverse_path, again.options)
        finally:
            self._view.envelope = again
        for one in envelope.recipients:
            if _is_granted(reply):
                reply = await inner.rcpt(one.mailbox, one.options)
                again.recipients.append(one)
        self._is_in_doubt = not _is_granted(reply)

    async def data(self, body: Body) -> Reply | None:
        if self._is_in_doubt:
            return _IN_DOUBT
        if not self.inner.envelope.recipients:
            return None
        async with self._rewritten(body) as content:
            return await self.inner.data(content)

    async def lmtp_data(self, body: Body, statuses: Statuses) -> Reply | None:
        if self._is_in_doubt:
            return _IN_DOUBT
        grouped = _GroupedStatuses(statuses, self._groups)
        grouped.set_dropped()
        told = self.inner.envelope.recipients
        if not told:
            return None
        try:
            async with self._rewritten(body) as content:
                reply = await self.inner.lmtp_data(content, Statuses(told, grouped.set))
        except Refuse as error:
            reply = Reply(error.code, error.enhanced, error.text)
        finally:
            grouped.close()
        if not body.is_aborted:
            grouped.set_rest(replies.MESSAGE_ACCEPTED if reply is None else reply)
        return reply

    async def reset(self) -> None:
        self._forget()
        await self.inner.reset()

    def _forget(self) -> None:
        self._view.envelope = None
        self._groups = []
        self._is_in_doubt = False

    @contextlib.asynccontextmanager
    async def _rewritten(self, body: Body) -> AsyncGenerator[Body, None]:
        if not self._has_new_body:
            yield body
            return
        content = _RewrittenBody(body, self._step.body(body))
        try:
            yield content
        finally:
            await content.close()


def _pass_on(hook: str) -> Callable[..., Any]:
    async def call(self: _Transformed, *arguments: object) -> object:
        return await getattr(self.inner, hook)(*arguments)

    return call


async def _start_data(self: _Transformed) -> Reply | None:
    # Of a message for nobody the session is not told.
    return await self.inner.start_data() if self.inner.envelope.recipients else None


# The hooks that nothing is rewritten for.
_PASSED_ON: Final[dict[str, Callable[..., Any]]] = {
    "start_data": _start_data,
    **{
        hook: _pass_on(hook)
        for hook in (
            *("connected", "hello", "start_tls", "closed"),
            *("verify", "expand", "etrn", "help", "command", "xclient", "xforward"),
            *("check_password", "scram_credentials", "readable_password"),
            *("check_token", "external_identity", "admit_anonymous"),
            *("answer_question", "authorize"),
        )
    },
}

_classes: WeakKeyDictionary[type[Session], type[_Transformed]] = WeakKeyDictionary()


def _class_for(inner: type[Session]) -> type[_Transformed]:
    """Return the class of sessions around those of a class: it overrides as that does.

    By its hooks a class tells which mechanisms and extensions it has.
    """
    kind = _classes.get(inner)
    if kind is None:
        members = {
            hook: call
            for hook, call in _PASSED_ON.items()
            if getattr(inner, hook) is not getattr(Session, hook)
        }
        kind = type(f"Transformed{inner.__name__}", (_Transformed,), members)
        _classes[inner] = kind
    return kind
