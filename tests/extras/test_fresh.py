"""Each extra alone, in a virtual environment of its own, does what it is for.

The wheel is built as for a release. `make extras` runs these; they install packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.architecture.layout import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.extras

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]["optional-dependencies"]

#: What works without any extra: a message from a client to a server, and back.
ROUND_TRIP = """
import smtpx
from smtpx.testing.mail_server import MailServer
with MailServer() as there:
    result = smtpx.send(b"Subject: hi\\r\\n\\r\\nhello\\r\\n", to=there.url,
                        sender="a@example.com", recipients=["b@example.com"])
    assert result.accepted and len(there.inbox) == 1
"""

#: What each extra is for.
PROGRAMS = {
    "fast": """
        import asyncio, importlib.util, sys
        from smtpx.server.worker import find_loop
        name = "winloop" if sys.platform == "win32" else "uvloop"
        assert importlib.util.find_spec(name)
        with asyncio.Runner(loop_factory=find_loop()) as runner:
            assert type(runner.get_loop()).__module__.startswith(name)
        """,
    "passwords": """
        import asyncio, pathlib
        from smtpx.app.passwords import PasswordFile, hash_password
        pathlib.Path("users").write_text("ann:" + hash_password("secret") + "\\n")
        users = PasswordFile("users")
        assert asyncio.run(users.check("ann", "secret"))
        assert not asyncio.run(users.check("ann", "wrong"))
        """,
    "oauth": """
        import base64, jwt
        from cryptography.hazmat.primitives.asymmetric import ec
        key = ec.generate_private_key(ec.SECP256R1())
        row = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        checker = smtpx.TokenChecker(
            keys={"keys": [row]}, issuer="https://id.test", audience=("mail",))
        """,
    "prometheus": """
        from prometheus_client import CollectorRegistry, generate_latest
        registry = CollectorRegistry()
        smtpx.PrometheusEvents(registry)
        assert b"smtpx_sessions_active" in generate_latest(registry)
        """,
    "opentelemetry": """
        smtpx.ServerOptions(events=smtpx.OpenTelemetryEvents())
        """,
    "auth": """
        import asyncio, ipaddress
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from smtpx.testing.dns import DNSServer
        key = Ed25519PrivateKey.from_private_bytes(bytes(32))
        signer = smtpx.DKIMSigner("example.com", "s", key)
        signed = signer.sign(b"From: a@example.com\\r\\n\\r\\nhello\\r\\n")
        async def main():
            zone = {"example.com": [("TXT", "v=spf1 ip4:192.0.2.1 -all")],
                    "s._domainkey.example.com": [("TXT", smtpx.make_key_record(key))]}
            async with DNSServer(zone) as server:
                resolver = smtpx.DNSRecordResolver(
                    smtpx.ResolverOptions(nameservers=(server.address,)))
                spf = await smtpx.check_spf(ipaddress.ip_address("192.0.2.1"),
                    smtpx.Mailbox.parse("a@example.com"), "example.com", resolver)
                (dkim,) = await smtpx.verify_dkim(signed, resolver)
                assert (spf.result, dkim.result) == ("pass", "pass"), (spf, dkim)
        asyncio.run(main())
        """,
    "limits": """
        import asyncio
        rule = smtpx.RateRule(smtpx.Counted.CONNECTIONS, smtpx.Rate.parse("1/hour"))
        guard = smtpx.RateGuard(smtpx.MemoryRateLimiter(), [rule])
        with smtpx.Server(smtpx.Session, options=smtpx.ServerOptions(
                guards=(guard,), hostname="mx.test")).run_in_thread() as server:
            pass
        """,
    "redis": """
        smtpx.RedisRateLimiter("redis://127.0.0.1:6379/0")
        """,
    "django": """
        import django
        from django.conf import settings
        from django.core import mail
        with MailServer() as there:
            settings.configure(EMAIL_BACKEND="smtpx.app.django.EmailBackend",
                EMAIL_HOST=there.host, EMAIL_PORT=there.port)
            django.setup()
            mail.send_mail("hi", "hello", "a@example.com", ["b@example.com"])
            there.inbox.assert_sent(subject="hi")
        """,
    "flask": """
        from flask import Flask
        from smtpx.app.flask import Mail
        with MailServer() as there:
            app = Flask("x")
            app.config.update(MAIL_SERVER=there.host, MAIL_PORT=there.port,
                              MAIL_DEFAULT_SENDER="a@example.com")
            mail = Mail(app)
            with app.app_context():
                mail.send_message("hi", recipients=["b@example.com"], body="hello")
            there.inbox.assert_sent(subject="hi")
        """,
    "cli": """
        import pathlib, subprocess, sys
        command = str(pathlib.Path(sys.executable).parent / "smtpx")
        assert b"serve" in subprocess.check_output([command, "--help"])
        with MailServer() as there:
            subprocess.check_call([command, "send", "-q", "-s", there.url, "-f",
                "a@example.com", "-t", "b@example.com", "--subject", "hi",
                "--body", "hello"])
            there.inbox.assert_sent(subject="hi")
        """,
    "inbox": """
        import asyncio
        from smtpx.inbox.service import DevInbox, InboxOptions
        import urllib.request
        async def main():
            options = InboxOptions(smtp=("127.0.0.1:0",), web="127.0.0.1:0", tls=True)
            async with DevInbox(options) as inbox:
                (page,) = inbox.web_urls
                url = page.rstrip("/") + "/api/v1/info"
                with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
                    assert b"messages" in answer.read()
        asyncio.run(main())
        """,
    "testing": """
        import subprocess, sys
        subprocess.check_call([sys.executable, "-m", "pytest", "-q", "test_it.py"])
        """,
}

#: Plugins whose fixtures must not clash with ours, beside what the extra brings.
BESIDE = {"testing": ("smtpdfix==0.5.3", "pytest-localserver==0.10.0.post0")}

TESTS_OF_A_USER = """
import smtplib
import pytest

@pytest.mark.mail_server(tls=True)
def test_tls(mail_server, mail_inbox):
    with smtplib.SMTP("localhost", mail_server.port) as smtp:
        smtp.starttls(context=mail_server.certificates.client)
        smtp.sendmail("a@example.com", "b@example.com", "Subject: hi\\r\\n\\r\\n")
    mail_inbox.assert_sent(subject="hi", tls=True)

def test_beside_smtpdfix_and_pytest_localserver(
    mail_server, smtpd, smtpserver, shared_mail_server, mail_server_session
):
    ports = {mail_server.port, smtpd.port, smtpserver.addr[1], shared_mail_server.port}
    assert len(ports) == 4
    for port in ports:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            smtp.sendmail("a@example.com", "b@example.com", "Subject: x\\r\\n\\r\\n")
    mail_server.inbox.assert_sent(subject="x", count=1)
    assert len(smtpd.messages) == len(smtpserver.outbox) == 1

def test_no_name_is_taken_twice(request):
    ours = {"mail_server", "mail_inbox", "make_mail_server", "mail_server_session",
            "mail_server_options", "shared_mail_server", "mail_certificates",
            "mail_authority_file", "make_mail_script", "play_mail_transcript",
            "make_mail_zone"}
    manager = request.config.pluginmanager
    for name in ("smtpdfix", "pytest_localserver.plugin"):
        plugin = next(p for n, p in manager.list_name_plugin()
                      if p is not None and getattr(p, "__name__", "").startswith(
                          name.partition(".")[0]))
        assert not ours & set(vars(plugin))
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        *("--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)),
    )
    (built,) = folder.glob("smtpx-*.whl")
    return built


@pytest.fixture
def fresh(wheel: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make an environment with the wheel, some extras and some packages."""

    def make(*extras: str, beside: tuple[str, ...] = ()) -> Path:
        home = tmp_path / "venv"
        call(sys.executable, "-m", "venv", "--without-pip", str(home))
        scripts = "Scripts" if sys.platform == "win32" else "bin"
        python = home / scripts / "python"
        named = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
        call(
            *(sys.executable, "-m", "pip", "--python", str(python), "install"),
            *("--quiet", "--disable-pip-version-check", named, *beside),
        )
        return python

    return make


def call(*command: str, cwd: Path | None = None) -> None:
    run = subprocess.run(
        command,
        cwd=cwd,
        env=without_settings(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"


def without_settings() -> dict[str, str]:
    """Return the environment without what would lead to this copy of the library."""
    ours = {"PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def run_program(python: Path, program: str, folder: Path) -> None:
    call(str(python), "-c", program, cwd=folder)


def test_every_extra_has_a_program() -> None:
    assert PROGRAMS.keys() == EXTRAS.keys()


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_alone(extra: str, fresh: Callable[..., Path], tmp_path: Path) -> None:
    python = fresh(extra, beside=BESIDE.get(extra, ()))
    if extra == "testing":
        (tmp_path / "test_it.py").write_text(TESTS_OF_A_USER)
    run_program(python, ROUND_TRIP + textwrap.dedent(PROGRAMS[extra]), tmp_path)


def test_no_extra_at_all(fresh: Callable[..., Path], tmp_path: Path) -> None:
    python = fresh()
    names = " ".join(f"smtpx.{name};" for name in smtpx.__all__)
    run_program(python, f"{ROUND_TRIP}\n{names}", tmp_path)
    run = subprocess.run(
        [str(python), "-m", "smtpx", "serve"],
        cwd=tmp_path,
        env=without_settings(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "smtpx: the command line tools need click and rich: pip install 'smtpx[cli]'\n"
    )
