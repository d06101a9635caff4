"""All checks, and making them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx.errors import SMTPXError
from smtpx.probe import accounts, commands, messages, surface, transport
from smtpx.probe.check import Check, Need
from smtpx.probe.findings import Finding, Verdict, left_out, unclear

if TYPE_CHECKING:
    from smtpx.probe.bench import Bench

__all__ = ["CHECKS", "Result", "choose", "probe"]

CHECKS: Final[tuple[Check, ...]] = (
    *surface.CHECKS,
    *transport.CHECKS,
    *accounts.CHECKS,
    *commands.CHECKS,
    *messages.CHECKS,
)


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found.

    Attributes:
        check: which.
        findings: at least one.
    """

    check: Check
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The one of its findings that matters most."""
        return max((one.verdict for one in self.findings), key=lambda one: one.rank)


def choose(names: Iterable[str], but: Iterable[str] = ()) -> tuple[Check, ...]:
    """Return checks by name, in the order of all.

    Args:
        names: empty means all.
        but: those to leave out.

    Raises:
        ValueError: there is no check of such a name.
    """
    wanted, unwanted = frozenset(names), frozenset(but)
    known = {check.name for check in CHECKS}
    if unknown := sorted((wanted | unwanted) - known):
        raise ValueError(
            f"there is no check {', '.join(unknown)}; there are "
            f"{', '.join(check.name for check in CHECKS)}"
        )
    return tuple(
        check
        for check in CHECKS
        if (not wanted or check.name in wanted) and check.name not in unwanted
    )


def probe(bench: Bench, checks: Iterable[Check] = CHECKS) -> Iterator[Result]:
    """Make checks, one after another.

    Args:
        bench: of the server.
        checks: by default all.

    Yields:
        What each found, as soon as it is known.

    Raises:
        GreetingRefused: the server does not want to talk.
        AuthenticationFailed: the login that the options name is refused.
        OSError: nobody answers there at all.
    """
    # Once, before all: whoever cannot be reached is no matter of a check, and who gives
    # a wrong password is not to be locked out by sixty more.
    _ = bench.survey
    if bench.options.auth is not None:
        _ = bench.mechanism
    for check in checks:
        yield Result(check, tuple(_examine(bench, check)))


def _examine(bench: Bench, check: Check) -> Iterator[Finding]:
    if (reason := _lacking(bench, check.need)) is not None:
        yield left_out(reason)
        return
    try:
        yield from check.examine(bench)
    except TimeoutError:
        yield unclear(f"no reply within {bench.options.timeout:g} seconds")
    except (OSError, SMTPXError) as error:
        yield unclear(f"the dialogue broke: {error}")


def _lacking(bench: Bench, need: Need) -> str | None:
    """Say what a check lacks; None if nothing."""
    options = bench.options
    if need is Need.LEAVE and not options.relay_check:
        return "it asks the server to relay: only with --relay-check"
    if need is Need.LOGIN and options.auth is None:
        return "it logs in: only with --user"
    if need is Need.RECIPIENT and options.recipient is None:
        return "it names somebody in RCPT: only with --recipient"
    if need is Need.DELIVERY and options.recipient is None:
        return "it delivers messages: only with --recipient"
    return None
