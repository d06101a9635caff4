"""What ``smtpx probe`` does: make the checks, and show what they found."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import click

from smtpx.app.sinks import printable
from smtpx.cli.auth_options import LoginArguments
from smtpx.cli.failures import ExitCode, Failure
from smtpx.cli.screen import Screen, reply_text
from smtpx.client.options import Target, parse_url
from smtpx.probe.bench import Bench, ProbeOptions
from smtpx.probe.findings import Verdict
from smtpx.probe.registry import CHECKS, Result, choose, probe

if TYPE_CHECKING:
    from smtpx.probe.findings import Finding

__all__ = ["ProbeArguments", "Probing"]

_COLORS: Final = {
    Verdict.OK: "green",
    Verdict.UNCLEAR: "yellow",
    Verdict.WEAK: "yellow",
    Verdict.UNSAFE: "red",
}

# Beside each finding; as wide as the longest, "not offered".
_WIDTH: Final = max(len(verdict) for verdict in Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeArguments(LoginArguments):
    """The command line of ``smtpx probe``, parsed."""

    url: str | None
    # What
    recipient: str | None
    sender: str
    relay_check: bool
    only: tuple[str, ...]
    skip: tuple[str, ...]
    list_checks: bool
    # Connection
    hello_name: str
    timeout: float
    # Output
    fail_on: str
    json: bool
    verbose: bool
    quiet: bool


class Probing:
    """One run of the command."""

    def __init__(self, arguments: ProbeArguments) -> None:
        self._arguments = arguments
        self._screen = Screen(is_quiet=arguments.quiet, outlives_reader=True)

    def run(self) -> None:
        """Make the checks, and tell.

        Raises:
            Failure: something is as bad as ``--fail-on`` says, or worse.
        """
        if self._arguments.list_checks:
            self._list()
            return
        try:
            checks = choose(self._arguments.only, self._arguments.skip)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        bench = self._make_bench()
        results = []
        if not self._arguments.json:
            self._show_head(bench)
        for result in probe(bench, checks):
            results.append(result)
            if not self._arguments.json:
                self._show(result)
        if self._arguments.json:
            self._screen.result(json.dumps(_record(bench, results), indent=2))
        else:
            self._show_sum(results)
        self._judge(results)

    def _list(self) -> None:
        width = max(len(check.name) for check in CHECKS)
        for check in CHECKS:
            self._screen.result(
                f"{check.name:{width}}  {check.title}; {check.reference}"
            )

    def _make_bench(self) -> Bench:
        arguments = self._arguments
        try:
            target = parse_url(arguments.url or "")
            _refuse_mx(target)
            auth = arguments.find_auth(target)
            if auth is not None and arguments.mechanisms:
                auth = replace(auth, mechanisms=arguments.mechanisms)
            options = ProbeOptions(
                recipient=arguments.recipient,
                sender=arguments.sender,
                hello_name=arguments.hello_name,
                tls_context=arguments.tls_context(),
                server_hostname=arguments.server_name,
                timeout=arguments.timeout,
                auth=auth,
                allow_plaintext_auth=arguments.allow_plaintext_auth,
                relay_check=arguments.relay_check,
                log=self._screen.dialogue if arguments.verbose else None,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        return Bench(target, options)

    # ------------------------------------------------------------------------ telling

    def _show_head(self, bench: Bench) -> None:
        kind = "LMTP" if bench.target.is_lmtp else "SMTP"
        greeting = reply_text(bench.survey.greeting)
        self._screen.result(f"{bench.target} ({kind})")
        self._screen.result(f"  {greeting}")

    def _show(self, result: Result) -> None:
        check = result.check
        self._screen.result(f"\n{check.title} ({check.name}, {check.reference})")
        for finding in result.findings:
            case = f"{printable(finding.case)}: " * bool(finding.case)
            self._screen.result(
                f"  {finding.verdict:{_WIDTH}}  {case}{printable(finding.text)}",
                color=_COLORS.get(finding.verdict),
            )
        # What to do is the same for all cases, mostly.
        for advice in dict.fromkeys(one.advice for one in result.findings):
            if advice:
                self._screen.result(f"  {'':{_WIDTH}}  -> {advice}")

    def _show_sum(self, results: list[Result]) -> None:
        counts = Counter(result.verdict for result in results)
        told = ", ".join(
            f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]
        )
        self._screen.result(f"\n{len(results)} checks: {told}")

    def _judge(self, results: list[Result]) -> None:
        threshold = Verdict(self._arguments.fail_on)
        failed = [one for one in results if one.verdict.rank >= threshold.rank]
        if failed:
            names = ", ".join(one.check.name for one in failed)
            raise Failure(
                ExitCode.PROTOCOL, f"{threshold} or worse, by the check of: {names}"
            )


def _refuse_mx(target: Target) -> None:
    if target.is_mx:
        raise click.UsageError(
            "a domain has several servers: name one of them, as smtp://HOST"
        )


def _record(bench: Bench, results: list[Result]) -> dict[str, object]:
    return {
        "server": str(bench.target),
        "protocol": "LMTP" if bench.target.is_lmtp else "SMTP",
        "greeting": str(bench.survey.greeting),
        "checks": [
            {
                "name": result.check.name,
                "title": result.check.title,
                "reference": result.check.reference,
                "verdict": str(result.verdict),
                "findings": [_finding(one) for one in result.findings],
            }
            for result in results
        ],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "case": finding.case,
        "verdict": str(finding.verdict),
        "text": finding.text,
        "advice": finding.advice,
    }
