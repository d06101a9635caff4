"""How a server keeps clients waiting that deserve it, as values for its options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ErrorDelay", "GreetingDelay"]

#: A client waits five minutes for the greeting and for the reply to MAIL (RFC 5321
#: sections 4.5.3.2.1 and 4.5.3.2.2). We stay well below.
_MAX_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class GreetingDelay:
    """Greet late, and refuse a client that talks before.

    A client must wait for the greeting (RFC 5321 section 3.1). Programs that send spam
    or belong to another protocol often do not.

    Attributes:
        seconds: how long before the greeting. 6 is Postfix's ``postscreen_greet_wait``.
        code: what an early talker gets before the connection is closed: 554 5.5.1, or
            421 5.5.1 for one that may be a client in a hurry.

    Raises:
        ValueError: the time is not positive, or is over two minutes, for which not
            every client waits.
    """

    seconds: float = 6.0
    code: Literal[421, 554] = 554

    def __post_init__(self) -> None:
        _check("seconds", self.seconds)
        if self.code not in {421, 554}:
            message = f"early talkers get 421 or 554, not {self.code}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class ErrorDelay:
    """Answer late what is refused: a tarpit.

    The delay of the nth refusal since the last accepted message is ``seconds`` times
    ``growth`` to the power of n - 1, and never over ``max_seconds``. Nothing is read
    meanwhile, and nobody else waits.

    Attributes:
        seconds: of the first refusal that is delayed. 1 is Postfix's
            ``smtpd_error_sleep_time``.
        growth: by what the delay grows with each; 1: it does not.
        max_seconds: the longest. 20: with the ten errors that end a session a client
            waits two minutes in all, and none gives up on a single reply.
        free: refusals that are answered at once.

    Raises:
        ValueError: a time is not positive or over two minutes, for which not every
            client waits; or the delays shrink.

    >>> [ErrorDelay().after(errors) for errors in (1, 2, 3, 6)]
    [1.0, 2.0, 4.0, 20.0]
    """

    seconds: float = 1.0
    growth: float = 2.0
    max_seconds: float = 20.0
    free: int = 0

    def __post_init__(self) -> None:
        _check("seconds", self.seconds)
        _check("max_seconds", self.max_seconds)
        if self.growth < 1 or self.free < 0:
            message = "growth is at least 1, and free at least 0"
            raise ValueError(message)

    def after(self, errors: int) -> float:
        """Return for how many seconds a refusal is held back.

        Args:
            errors: refusals since the last accepted message, this one included.
        """
        power = errors - self.free - 1
        if power < 0:
            return 0.0
        # By logarithms, since a power may be too large for a number.
        room = math.log(self.max_seconds / self.seconds)
        if power * math.log(self.growth) >= room:
            return self.max_seconds
        return self.seconds * self.growth**power


def _check(name: str, seconds: float) -> None:
    if not 0 < seconds <= _MAX_SECONDS:
        message = f"{name} is over 0 and at most {_MAX_SECONDS:.0f}, not {seconds}"
        raise ValueError(message)
