"""Run in an interpreter of its own: no package of an extra is installed here.

It uses what needs an extra, each in turn, and prints a JSON object of what that said.
"""

# Each use imports what it uses, once the finder is in place.
# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import runpy
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.importlib import MetaPathFinderProtocol

#: The packages that some extra brings, by the name to import.
PACKAGES: Final = frozenset(
    {
        *("uvloop", "winloop", "pwdlib", "argon2", "bcrypt", "jwt", "cryptography"),
        *("prometheus_client", "opentelemetry", "spftrace", "throttled", "redis"),
        *("django", "flask", "click", "rich", "starlette", "uvicorn", "nh3", "trustme"),
        "pytest",
    }
)

MESSAGE: Final = b"From: a@example.com\r\nSubject: hi\r\n\r\nhello\r\n"
SIGNED: Final = (
    b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=a; c=relaxed/relaxed;\r\n"
    b" h=from; bh=uFLE8V2BJyUB90m+gm7DF1PNpNU9DMJY/HPYVBhmHAk=; b=AAAA\r\n"
)


class WithoutExtras:
    """A finder that finds what others do, but for some packages."""

    def __init__(self, finders: Sequence[MetaPathFinderProtocol]) -> None:
        self._finders = finders

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in PACKAGES:
            return None
        found = (finder.find_spec(name, path, target) for finder in self._finders)
        return next((spec for spec in found if spec is not None), None)


def check_spf() -> None:
    import smtpx
    from smtpx.testing.dns import DNSServer

    async def main() -> None:
        async with DNSServer({"example.com": [("TXT", "v=spf1 -all")]}) as server:
            options = smtpx.ResolverOptions(nameservers=(server.address,))
            await smtpx.check_spf(
                IPv4Address("192.0.2.1"),
                smtpx.Mailbox.parse("a@example.com"),
                "example.com",
                smtpx.DNSRecordResolver(options),
            )

    asyncio.run(main())


def verify_dkim() -> None:
    import smtpx
    from smtpx.testing.dns import DNSServer

    record = "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX"

    async def main() -> None:
        zone = {"a._domainkey.example.com": [("TXT", record)]}
        async with DNSServer(zone) as server:
            options = smtpx.ResolverOptions(nameservers=(server.address,))
            resolver = smtpx.DNSRecordResolver(options)
            await smtpx.verify_dkim(SIGNED + MESSAGE, resolver)

    asyncio.run(main())


def load_private_key() -> None:
    import smtpx

    smtpx.load_private_key(b"-----BEGIN PRIVATE KEY-----\n")


def check_token() -> None:
    import smtpx

    smtpx.TokenChecker(keys={"keys": []}, issuer="x", audience=("mail",))


def hash_password() -> None:
    from smtpx.app.passwords import hash_password

    hash_password("x")


def read_passwords() -> None:
    from smtpx.app.passwords import PasswordFile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "users"
        path.write_text("ann:$argon2id$x\n")
        PasswordFile(path)


def limit_in_memory() -> None:
    import smtpx

    smtpx.MemoryRateLimiter()


def limit_in_redis() -> None:
    import smtpx

    smtpx.RedisRateLimiter("redis://127.0.0.1")


def count_for_prometheus() -> None:
    import smtpx

    smtpx.PrometheusEvents()


def trace() -> None:
    import smtpx

    smtpx.OpenTelemetryEvents()


def use_django() -> None:
    importlib.import_module("smtpx.app.django")


def use_flask() -> None:
    importlib.import_module("smtpx.app.flask")


def make_certificates() -> None:
    from smtpx.testing.certificates import make_certificates

    make_certificates()


def start_inbox() -> None:
    from smtpx.inbox.service import DevInbox

    async def main() -> None:
        async with DevInbox():
            pass

    asyncio.run(main())


def run_command() -> None:
    errors = io.StringIO()
    sys.argv = ["smtpx", "serve"]
    with contextlib.redirect_stderr(errors), contextlib.suppress(SystemExit):
        runpy.run_module("smtpx", run_name="__main__")
    raise ImportError(errors.getvalue())


USES: Final[dict[str, Callable[[], None]]] = {
    use.__name__: use
    for use in (
        *(check_spf, verify_dkim, load_private_key, check_token, hash_password),
        *(read_passwords, limit_in_memory, limit_in_redis, count_for_prometheus),
        *(trace, use_django, use_flask, make_certificates, start_inbox, run_command),
    )
}


def main() -> None:
    """Use everything, and print what it said."""
    sys.meta_path[:] = [WithoutExtras(tuple(sys.meta_path))]
    said = {}
    for name, use in USES.items():
        try:
            use()
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"
        else:
            said[name] = "nothing"
    print(json.dumps(said))


if __name__ == "__main__":
    main()
