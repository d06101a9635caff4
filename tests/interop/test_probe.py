"""``smtpx probe`` against the servers of others, and against ours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import smtpx
from smtpx.client.options import Auth, parse_url
from smtpx.probe import accounts
from smtpx.probe.bench import Bench, ProbeOptions
from smtpx.probe.findings import Verdict
from smtpx.probe.registry import CHECKS, Result, choose, probe
from tests.interop.names import PASSWORD, USER
from tests.interop.peers import RECIPIENT, Peer, open_peer
from tests.interop.programs import HOST
from tests.interop.recording import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.certificates import ServerFiles

pytestmark = pytest.mark.interop

# What is known to be unsafe, as these servers come from their packages and are set up
# here: newer ones may have mended it.
KNOWN: dict[str, set[str]] = {
    "postfix": {"smuggling"},
    "exim": set(),
    "opensmtpd": set(),
    "chasquid": set(),
    "dovecot": {"smuggling"},
    "aiosmtpd": set(),
    # It takes anything: that is what it is for.
    "sink": {"auth-refusals"},
    "smtpx": set(),
    "smtpx by TLS": set(),
}
OWN = ("smtpx", "smtpx by TLS")
# What of a check is not told in words: smuggling has a table, and the other is facts.
WORDLESS = {"smuggling": Verdict.UNSAFE, "auth-sender": Verdict.NOT_OFFERED}
# Of a server that has a port of its own for those who log in.
LOGIN_CHECKS = [check.name for check in accounts.CHECKS]


class Own(smtpx.Session):
    """Takes mail for the tests' recipients, and knows the tests' user."""

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)

    async def rcpt(
        self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
    ) -> smtpx.Reply | None:
        if str(forward_path).lower() not in {RECIPIENT, "postmaster"}:
            raise smtpx.Refuse(550, "5.1.1", "no such mailbox")
        return None

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        await body.read()
        return None


@pytest.fixture(scope="module")
def records() -> Iterator[Records]:
    found = Records("probe")
    yield found
    found.write()


@pytest.fixture
def probed(request: pytest.FixtureRequest, certificates: ServerFiles) -> Iterator[Peer]:
    """Run the server named, which may be ours."""
    if request.param not in OWN:
        with open_peer(request.param, request, certificates) as it:
            yield it
        return
    options = smtpx.ServerOptions(
        hostname="smtpx.example",
        tls=certificates.server_context(),
        implicit_tls=request.param != "smtpx",
        smtputf8=True,
    )
    server = smtpx.Server(Own, f"{HOST}:0", options=options)
    with server.run_in_thread():
        scheme = "smtps" if options.implicit_tls else "smtp"
        url = f"{scheme}://{server.addresses[0]}"
        yield Peer(request.param, smtpx.__version__, bytes, url, starttls=url, auth=url)


def as_record(results: list[Result]) -> dict[str, Any]:
    """Return what is kept: nothing that is another in each run, as queue ids are."""
    return {
        one.check.name: {
            "verdict": str(one.verdict),
            "cases": {found.case: str(found.verdict) for found in one.findings},
            "texts": [
                f"{found.case}: {found.text}" if found.case else found.text
                for found in one.findings
                if found.verdict.rank > WORDLESS.get(one.check.name, Verdict.OK).rank
            ],
        }
        for one in results
    }


@pytest.mark.parametrize(
    ("name", "probed"), [(one, one) for one in KNOWN], indirect=["probed"], ids=KNOWN
)
def test_probe(
    name: str, probed: Peer, records: Records, certificates: ServerFiles
) -> None:
    # With STARTTLS where there is any, though not required.
    url = probed.unfiltered or probed.starttls or probed.url
    url = url.replace("smtp+starttls:", "smtp:")
    options = ProbeOptions(
        recipient=RECIPIENT,
        hello_name="probe.example",
        tls_context=certificates.client_context(),
        timeout=5.0,
    )
    results = list(probe(Bench(parse_url(url), options)))
    if probed.auth is not None:
        # What somebody who has an account is told: of the port that is for those.
        place = parse_url(probed.auth.replace("smtp+starttls:", "smtp:"))
        bench = Bench(place, replace(options, auth=Auth(USER, PASSWORD)))
        found = {one.check: one for one in probe(bench, choose(LOGIN_CHECKS))}
        results = [found.get(one.check, one) for one in results]
    assert [one.check for one in results] == list(CHECKS)
    unsafe = {one.check.name for one in results if one.verdict is Verdict.UNSAFE}
    records.add(probed.name, {"version": probed.version, "checks": as_record(results)})
    assert unsafe <= KNOWN[name]
    # A whole transaction was possible, or nothing was found out.
    verdicts = {one.check.name: one.verdict for one in results}
    assert verdicts["smuggling"] is not Verdict.LEFT_OUT
    if name in OWN:
        assert max(v.rank for v in verdicts.values()) == Verdict.OK.rank
