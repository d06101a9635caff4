"""The guard that holds clients to rates."""

from __future__ import annotations

import asyncio
import enum
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx.server.guards import Guard
from smtpx.server.networks import network_of
from smtpx.wire import replies
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from smtpx.sasl.mechanism import Identity
    from smtpx.server.rates import Decision, Rate, RateLimiter
    from smtpx.server.session import ConnectionInfo
    from smtpx.wire.address import Mailbox
    from smtpx.wire.params import MailOptions, RcptOptions

__all__ = ["Counted", "CountedBy", "RateGuard", "RateRule"]

logger = logging.getLogger("smtpx.server")

#: While a limiter does not answer, how often it is asked, in seconds. All others are
#: decided at once meanwhile, so that nobody waits for it in a queue.
_PROBE_PAUSE: Final = 1.0

#: Questions to a limiter at the same time, each of which may take a connection of its
#: own. One takes about 0.3 ms, so that it is asked thousands of times a second.
_MAX_ASKED: Final = 8

#: How often a limiter that stays silent is complained about, in seconds.
_LOG_PAUSE: Final = 60.0

#: A refusal is for a whole number of seconds, and at least one.
_MIN_RETRY_SECONDS: Final = 1


class Counted(enum.Enum):
    """What a rule counts."""

    CONNECTIONS = "connections"
    MESSAGES = "messages"
    RECIPIENTS = "recipients"
    AUTH_FAILURES = "failed logins"


class CountedBy(enum.Enum):
    """Whose hits a rule adds up.

    Attributes:
        ADDRESS: an IPv4 address, or the /64 that an IPv6 address is in: a host has all
            of these.
        NETWORK: an IPv4 /24, or an IPv6 /48: what a site is given.
        USER: who authenticated; a rule by user does not count what others do.
    """

    ADDRESS = "address"
    NETWORK = "network"
    USER = "user"


_PREFIX_BITS: Final = {CountedBy.ADDRESS: (32, 64), CountedBy.NETWORK: (24, 48)}


@dataclass(frozen=True, slots=True)
class RateRule:
    """So many of these from each of those.

    Attributes:
        counted: what.
        rate: how often.
        by: from whom.

    Raises:
        ValueError: connections or failed logins are to be counted by user, whom nobody
            knows then: and who guesses passwords could lock out whom he wants.

    >>> import smtpx
    >>> rate = smtpx.Rate(500, 3600)
    >>> RateRule(Counted.RECIPIENTS, rate, CountedBy.USER).by
    <CountedBy.USER: 'user'>
    """

    counted: Counted
    rate: Rate
    by: CountedBy = CountedBy.ADDRESS

    def __post_init__(self) -> None:
        if self.by is CountedBy.USER and self.counted in _BEFORE_USER:
            message = f"{self.counted.value} cannot be counted by user"
            raise ValueError(message)

    def key_for(self, connection: ConnectionInfo) -> str | None:
        """Return under which key a client counts; None: it does not.

        Args:
            connection: facts about the client.
        """
        if self.by is CountedBy.USER:
            subject = connection.user
        elif connection.peer_host is not None:
            ipv4, ipv6 = _PREFIX_BITS[self.by]
            subject = network_of(connection.peer_host, ipv4_bits=ipv4, ipv6_bits=ipv6)
        else:
            subject = None
        return subject and f"{self.counted.name}:{self.rate}:{self.by.value}:{subject}"


_BEFORE_USER: Final = frozenset({Counted.CONNECTIONS, Counted.AUTH_FAILURES})

# The code that refuses each, for now. All have the enhanced code 4.7.28, mail flood
# detected, of the registry that RFC 5248 set up.
_CODES: Final = {
    Counted.CONNECTIONS: 421,
    Counted.MESSAGES: 450,
    Counted.RECIPIENTS: 450,
    Counted.AUTH_FAILURES: 454,
}

# What to say when nobody can tell whether a rate is kept and the policy is to refuse.
_UNKNOWN: Final = {
    421: Reply(421, "4.3.0", "the limits cannot be checked now; come again later"),
    450: Reply(451, "4.3.0", "the limits cannot be checked now; try again later"),
    454: Reply(454, "4.3.0", "the limits cannot be checked now; try again later"),
}


class RateGuard(Guard):
    """Refuses for a while what comes too often.

    A connection too many is answered with ``421 4.7.28`` in place of the greeting, a
    message (MAIL) or recipient with 450, and a login after too many failed ones with
    454. Each says after how many seconds to try again.

    What a rule refuses does not count for it. Logins that are being checked count until
    it is known how they ended, so that many at once are no way around the limit.

    Args:
        limiter: counts; `MemoryRateLimiter`, `RedisRateLimiter`, or one of your own.
        rules: what is counted; several for one thing must all allow it.
        fails_open: what to do when the limiter fails or does not answer in time: let
            clients pass (by default), or refuse them for now.
        timeout: seconds that the limiter has to answer. Half a second: a client does
            not notice, and several rules take no longer than one, since a limiter that
            failed is asked again only after a second, by one client.

    Raises:
        ValueError: the time is not positive.

    Example:
        >>> import smtpx
        >>> guard = smtpx.RateGuard(
        ...     smtpx.MemoryRateLimiter(),
        ...     [
        ...         smtpx.RateRule(smtpx.Counted.CONNECTIONS, smtpx.Rate(30, 60)),
        ...         smtpx.RateRule(smtpx.Counted.AUTH_FAILURES, smtpx.Rate(10, 3600)),
        ...     ],
        ... )
        >>> options = smtpx.ServerOptions(guards=(guard,))
    """

    def __init__(
        self,
        limiter: RateLimiter,
        rules: Iterable[RateRule],
        *,
        fails_open: bool = True,
        timeout: float = 0.5,
    ) -> None:
        if timeout <= 0:
            message = f"timeout must be over 0 seconds, not {timeout}"
            raise ValueError(message)
        self._limiter = limiter
        rules = tuple(rules)
        self._rules = {
            counted: tuple(rule for rule in rules if rule.counted is counted)
            for counted in Counted
        }
        self._fails_open = fails_open
        self._timeout = timeout
        # Of a limiter that does not answer: when to ask it again, and to log again.
        self._is_down = False
        self._next_probe = 0.0
        self._next_log = 0.0
        self._undecided = 0
        self._room = asyncio.Semaphore(_MAX_ASKED)
        # The loop knows its tasks weakly.
        self._asking: set[asyncio.Task[Decision]] = set()
        self._logins = _PendingLogins()

    async def connected(self, connection: ConnectionInfo) -> Reply | None:
        """Count a connection.

        Args:
            connection: facts about the client.
        """
        return await self._count(Counted.CONNECTIONS, connection)

    async def mail(
        self,
        connection: ConnectionInfo,
        reverse_path: Mailbox | None,
        options: MailOptions,
    ) -> Reply | None:
        """Count a message.

        Args:
            connection: facts about the client.
            reverse_path: the sender.
            options: the parameters.
        """
        return await self._count(Counted.MESSAGES, connection)

    async def rcpt(
        self,
        connection: ConnectionInfo,
        forward_path: Mailbox,
        options: RcptOptions,
    ) -> Reply | None:
        """Count a recipient.

        Args:
            connection: facts about the client.
            forward_path: the recipient.
            options: the parameters.
        """
        return await self._count(Counted.RECIPIENTS, connection)

    async def authenticating(self, connection: ConnectionInfo) -> Reply | None:
        """Refuse to check who it is, if too many of its logins have failed.

        Args:
            connection: facts about the client.
        """
        for rule in self._rules[Counted.AUTH_FAILURES]:
            key = rule.key_for(connection)
            if key is None:
                continue
            # Before the limiter is asked, so that of many at once each knows of all
            # that asked before it.
            others = self._logins.begin(key, connection.id)
            decision = await self._ask(self._limiter.peek, key, rule.rate)
            if decision is None:
                if self._fails_open:
                    continue
                reply = _UNKNOWN[454]
            elif decision.remaining > others:
                continue
            else:
                reply = _refusal(Counted.AUTH_FAILURES, decision)
            self._logins.end(connection.id)
            return reply
        return None

    async def authenticated(
        self, connection: ConnectionInfo, identity: Identity
    ) -> Reply | None:
        """Note that a login did not fail.

        Args:
            connection: facts about the client.
            identity: who it is.
        """
        self._logins.end(connection.id)
        return None

    async def auth_refused(self, connection: ConnectionInfo, reply: Reply) -> None:
        """Count a login that failed.

        Args:
            connection: facts about the client.
            reply: what it was told.
        """
        try:
            # 421 comes in place of 535 when there were too many of them.
            if reply.code == 535 or reply is replies.TOO_MANY_AUTH_FAILURES:
                await self._count(Counted.AUTH_FAILURES, connection)
        finally:
            self._logins.end(connection.id)

    def ended(self, connection: ConnectionInfo) -> None:
        """Forget a login that was under way.

        Args:
            connection: facts about the client.
        """
        self._logins.end(connection.id)

    async def close(self) -> None:
        """Close the limiter's connections."""
        for task in self._asking:
            task.cancel()
        if self._asking:
            await asyncio.wait(self._asking, timeout=self._timeout)
        # It belongs to a loop as soon as somebody waits, and the next may be another.
        self._room = asyncio.Semaphore(_MAX_ASKED)
        await self._limiter.close()

    # ------------------------------------------------------------------------ inside

    async def _count(
        self, counted: Counted, connection: ConnectionInfo
    ) -> Reply | None:
        for rule in self._rules[counted]:
            key = rule.key_for(connection)
            if key is None:
                continue
            decision = await self._ask(self._limiter.hit, key, rule.rate)
            if decision is None:
                if not self._fails_open:
                    return _UNKNOWN[_CODES[counted]]
            elif not decision.is_allowed:
                return _refusal(counted, decision)
        return None

    async def _ask(
        self,
        call: Callable[[str, Rate], Coroutine[object, object, Decision]],
        key: str,
        rate: Rate,
    ) -> Decision | None:
        """Ask the limiter; None if it does not tell."""
        if self._is_hopeless():
            return None
        # What waits here for its turn is not late: in a flood all would be, and pass.
        async with self._room:
            if self._is_hopeless():
                return None
            # This one asks; those that come meanwhile do not wait for it.
            self._next_probe = _now() + _PROBE_PAUSE
            try:
                decision = await self._hear(call(key, rate))
            except Exception as error:
                self._note_down(error)
                return None
        if self._is_down:
            self._is_down = False
            logger.warning("%r answers again", self._limiter)
        return decision

    async def _hear(self, answer: Coroutine[object, object, Decision]) -> Decision:
        """Wait for an answer, no longer than allowed whatever the limiter does.

        A task of its own, because ``asyncio.timeout`` waits for what it cancels, and
        redis-py goes on waiting for Redis when it is cancelled at a wrong moment.
        """
        task = asyncio.create_task(answer)
        self._asking.add(task)
        task.add_done_callback(self._forget)
        try:
            await asyncio.wait({task}, timeout=self._timeout)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            raise TimeoutError
        return task.result()

    def _forget(self, task: asyncio.Task[Decision]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            # So that it counts as seen, if nobody waits any more.
            task.exception()

    def _is_hopeless(self) -> bool:
        """Tell whether the limiter did not answer, and is not to be asked yet."""
        is_hopeless = self._is_down and _now() < self._next_probe
        self._undecided += is_hopeless
        return is_hopeless

    def _note_down(self, error: Exception) -> None:
        """Log that a limiter fails, but not for every client of a flood."""
        now = _now()
        self._undecided += 1
        self._next_probe = now + _PROBE_PAUSE
        if not self._is_down or now >= self._next_log:
            self._next_log = now + _LOG_PAUSE
            logger.error(
                "%r does not tell, so clients are %s; %d times since last said: %s",
                self._limiter,
                "let pass" if self._fails_open else "refused",
                self._undecided,
                # What throttled-py raises hides the cause; a time-out has no text.
                str(error.__cause__ or error) or type(error).__name__,
            )
            self._undecided = 0
        self._is_down = True


def _now() -> float:
    return asyncio.get_running_loop().time()


def _refusal(counted: Counted, decision: Decision) -> Reply:
    seconds = max(math.ceil(decision.retry_after), _MIN_RETRY_SECONDS)
    return Reply(
        _CODES[counted],
        "4.7.28",
        f"too many {counted.value}; retry after {seconds} seconds",
    )


class _PendingLogins:
    """The logins under way: under which keys each counts."""

    def __init__(self) -> None:
        self._by_key: dict[str, set[str]] = {}
        self._by_connection: dict[str, set[str]] = {}

    def begin(self, key: str, connection: str) -> int:
        """Note a login; return how many others there are under its key."""
        pending = self._by_key.setdefault(key, set())
        others = len(pending - {connection})
        pending.add(connection)
        self._by_connection.setdefault(connection, set()).add(key)
        return others

    def end(self, connection: str) -> None:
        """Forget the login of a connection, if it has one."""
        for key in self._by_connection.pop(connection, ()):
            pending = self._by_key[key]
            pending.remove(connection)
            if not pending:
                del self._by_key[key]
