"""An OpenSMTPD of our own: its configuration, queue and mail in one directory."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.interop.jail import PORTS, ROOT, USERS, Jail, JailedServer, substitute
from tests.interop.maildir import Maildir
from tests.interop.names import PASSWORD, USER
from tests.interop.programs import (
    HOST,
    find_program,
    free_port,
    running,
    wait_until_listening,
)
from tests.interop.refusals import ALL, address_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.certificates import ServerFiles

PROGRAM = "/usr/sbin/smtpd"

CONFIGURATION = """\
pki opensmtpd.example cert "/etc/certificate.pem"
pki opensmtpd.example key "/etc/key.pem"
ca authority cert "/etc/authority.pem"
table users file:/etc/users
table credentials file:/etc/credentials
table aliases { "user" = "user", "other" = "other" }
smtp max-message-size 20M
queue ttl 1h
# A session for each message: one that is kept while no test listens counts as a
# failure of the route, which is given up for a while then.
mta limit session-mail-max 1
mta limit session-keepalive 0
# Else a route rests between connections, for seconds.
mta limit conn-delay-route 0
mta limit conn-delay-relay 0
mta limit reconn-delay-route 0
mta limit session-transaction-delay 0
@refusals@
filter "nobody" phase connect match src "127.0.0.1" \\
  disconnect "554 no connection today"
listen on @host@ port @refusing_port@ hostname opensmtpd.example filter "nobody"
listen on @host@ port @port@ tls pki opensmtpd.example hostname opensmtpd.example \\
  filter "refusals"
listen on @host@ port @unfiltered_port@ tls pki opensmtpd.example \\
  hostname opensmtpd.example
listen on @host@ port @tls_port@ smtps pki opensmtpd.example \\
  hostname opensmtpd.example auth-optional <users>
listen on @host@ port @auth_port@ tls-require pki opensmtpd.example \\
  hostname opensmtpd.example auth <users>
action "local" maildir "/mail/%{user.username}" alias <aliases>
match from any for domain "example.com" action "local"
@relays@
"""


# A relay that was used rests for ten seconds: each of these is one of its own, since it
# has a name of its own to say.
RELAYS = 20


def relays(host: str, port: int) -> str:
    """Write down where mail for others goes: by subdomains, in clear and by TLS."""
    lines = []
    for number in range(RELAYS):
        helo = f"helo opensmtpd{number}.example"
        lines += [
            f'action "clear{number}" relay {helo} host smtp+notls://{host}:{port}',
            f'action "tls{number}" relay {helo} host smtp+tls://label@{host}:{port} '
            "auth <credentials>",
            f'match from any for domain "n{number}.example.net" action "clear{number}"',
            f'match from any for domain "n{number}.example.org" action "tls{number}"',
        ]
    return "\n".join(lines)


# What it calls the stages of a transaction.
PHASES = {"MAIL": "mail-from", "RCPT": "rcpt-to", "DATA": "data", "end": "commit"}


def refusals() -> str:
    """Write down what it is to refuse."""
    lines = []
    for stage, code in ALL:
        name, address = f"{stage.lower()}{code}", address_of(stage, code)
        condition = "rcpt-to" if stage == "RCPT" else "mail-from"
        action = "disconnect" if code == 421 else "reject"
        lines.append(f'table {name} {{ "{address}" }}')
        lines.append(
            f'filter "{name}" phase {PHASES[stage]} match {condition} <{name}> '
            f'{action} "{code} {words_of(stage)}"'
        )
    names = ", ".join(f'"{stage.lower()}{code}"' for stage, code in ALL)
    return "\n".join([*lines, f'filter "refusals" chain {{ {names} }}'])


@dataclass(frozen=True)
class OpenSMTPD(JailedServer):
    """An OpenSMTPD that is running."""

    # 7.6 ends whole when a client leaves while it asks a filter about it ("lookup:
    # tree_get", then "process queue socket closed"): at half of all probes, if there is
    # something else to do. So here nothing is filtered.
    unfiltered_port: int


def configure(jail: Jail, files: ServerFiles, ports: dict[str, int]) -> None:
    """Write the configuration, and make what OpenSMTPD does not make."""
    values = {"host": HOST, **{name: str(port) for name, port in ports.items()}}
    values["refusals"] = refusals()
    values["relays"] = relays(HOST, ports["relay_port"])
    jail.write("etc/smtpd.conf", substitute(CONFIGURATION, values))
    jail.write("etc/users", f"{USER}\t{crypt(PASSWORD)}\n")
    jail.write("etc/credentials", f"label\t{USER}:{PASSWORD}\n")
    jail.copy(files.certificate, "etc/certificate.pem")
    # It refuses a key that others may read.
    jail.copy(files.key, "etc/key.pem", 0o600)
    jail.copy(files.authority, "etc/authority.pem")
    # The authorities that it trusts unless a rule names others.
    jail.copy(files.authority, "etc/ssl/certs/ca-certificates.crt")
    for name in ("user", "other"):
        home = jail.root / "mail" / name
        home.mkdir()
        os.chown(home, USERS[name], USERS[name])
    spool = jail.root / "var/spool/smtpd"
    spool.mkdir(parents=True)
    spool.chmod(0o711)
    (jail.root / "var/run").mkdir(exist_ok=True)
    os.chown(jail.root / "var/lib/opensmtpd/empty", ROOT, ROOT)


def crypt(password: str) -> str:
    """Return what crypt(3) makes of a password."""
    done = subprocess.run(
        [find_program("openssl", "openssl"), "passwd", "-6", "-stdin"],
        check=True,
        capture_output=True,
        input=password.encode(),
    )
    return done.stdout.decode().strip()


@contextlib.contextmanager
def running_opensmtpd(root: Path, files: ServerFiles) -> Iterator[OpenSMTPD]:
    """Run OpenSMTPD in `root`; only root can, because of the chroot.

    Args:
        root: an empty directory that all users can enter.
        files: the certificate.
    """
    ports = {name: free_port() for name in (*PORTS, "unfiltered_port")}
    jail = Jail(root, "opensmtpd")
    configure(jail, files, ports)
    log = root / "output"
    with running(jail.command(PROGRAM, "-d"), log) as process:
        for name, port in ports.items():
            if name != "relay_port":
                wait_until_listening((HOST, port), process, log)
        yield OpenSMTPD(
            version=version_of(jail),
            log=log,
            user=Maildir(root / "mail/user"),
            other=Maildir(root / "mail/other"),
            **ports,
        )


def version_of(jail: Jail) -> str:
    """Ask for the version, which `smtpd` tells before how it is used."""
    first = jail.run(PROGRAM, "-h", is_checked=False).splitlines()[0]
    return first.rpartition(" ")[2]
