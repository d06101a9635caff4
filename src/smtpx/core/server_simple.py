"""The commands of the server machine that move nothing along.

NOOP and RSET are answered here. The others ask for something, and change nothing but
what is said: VRFY, EXPN, ETRN, HELP, and verbs of one's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpx.core.events import (
    CommandAnswered,
    CommandReceived,
    EtrnReceived,
    Event,
    ExpnReceived,
    HelpReceived,
    VrfyReceived,
)
from smtpx.core.server_base import AGAIN, Stepped
from smtpx.core.server_gateway import NOTHING_TOLD, ServerGateway
from smtpx.wire import replies
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from smtpx.wire.commands import Etrn, Expn, Help, Noop, Raw, Rset, Vrfy
    from smtpx.wire.grammar import Grammar

__all__ = ["ServerSimple"]

_NOOP_ANSWERED: Final = CommandAnswered("NOOP")
_RSET_ANSWERED: Final = CommandAnswered("RSET")


class ServerSimple(ServerGateway):
    """Does the small commands; see ``ServerMachine``."""

    __slots__ = ("_default", "_grammar")

    # Of the session.
    _grammar: Grammar
    # What is said while an answer is awaited, if nobody says anything else.
    _default: Reply

    def _on_noop(self, _command: Noop) -> Stepped:
        self._send(replies.OK)
        return _NOOP_ANSWERED

    def _on_rset(self, _command: Rset) -> Stepped:
        self._abort_message("RSET before the end of the message")
        self._end_transaction()
        self._forwarded = NOTHING_TOLD
        self._send(replies.OK)
        self._queue.append(_RSET_ANSWERED)
        return AGAIN

    def _on_vrfy(self, command: Vrfy) -> Event:
        self._expect(replies.CANNOT_VERIFY)
        return VrfyReceived(command.text)

    def _on_expn(self, command: Expn) -> Event:
        self._expect(replies.NOT_IMPLEMENTED)
        return ExpnReceived(command.text)

    def _on_etrn(self, command: Etrn) -> Event:
        text = f"unable to queue messages for node {command.node}"
        self._expect(Reply(458, "4.3.0", text))
        return EtrnReceived(command.node)

    def _on_help(self, command: Help) -> Event:
        known = (verb.decode("ascii") for verb in self._grammar.verbs)
        refused = self._config.refused_verbs(is_tls=self.is_tls, is_local=self.is_local)
        verbs = " ".join(sorted(set(known) - refused))
        self._expect(Reply(214, "2.0.0", f"Commands: {verbs}"))
        return HelpReceived(command.text)

    def _on_raw(self, command: Raw) -> Event:
        self._expect(replies.NOT_IMPLEMENTED)
        return CommandReceived(command.verb, command.argument)

    def _expect(self, default: Reply) -> None:
        """Await an answer that changes nothing but what is said."""
        self._default = default
        self._pending = self._answer_default

    def _answer_default(self, reply: Reply | None) -> None:
        self._grant(reply or self._default, self._default)
