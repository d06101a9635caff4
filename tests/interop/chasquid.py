"""A chasquid of our own: its configuration, queue and mail in one directory."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.interop.jail import Jail, substitute
from tests.interop.maildir import Maildir
from tests.interop.names import PASSWORD, USER
from tests.interop.programs import HOST, free_port, running, wait_until_listening
from tests.interop.refusals import address_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.certificates import ServerFiles

PROGRAM = "/usr/bin/chasquid"
TOOL = "/usr/bin/chasquid-util"

CONFIGURATION = """\
hostname: "chasquid.example"
max_data_size_mb: 20
smtp_address: "@host@:@port@"
submission_address: "@host@:@auth_port@"
submission_over_tls_address: "@host@:@tls_port@"
mail_delivery_agent_bin: "/bin/sh"
mail_delivery_agent_args: "/bin/deliver"
mail_delivery_agent_args: "%to_user%"
data_dir: "/var/lib/chasquid"
mail_log_path: "<stderr>"
"""

# Into a Maildir, as a program that is handed the message with its lines ended by CRLF.
DELIVER = """\
set -e
directory=/mail/$1
mkdir -p "$directory/tmp" "$directory/new"
tr -d '\\r' > "$directory/tmp/$$"
mv "$directory/tmp/$$" "$directory/new/$$"
"""


# Says by how it ends whether a message is refused: 20 is for good.
POST_DATA = f"""\
#!/bin/sh
case $MAIL_FROM in
  {address_of("end", 550)}) echo "{words_of("end")}"; exit 20 ;;
  {address_of("end", 450)}) echo "{words_of("end")}"; exit 75 ;;
esac
"""


@dataclass(frozen=True)
class Chasquid:
    """A chasquid that is running."""

    port: int
    # TLS from the first octet, and then only for those who have authenticated.
    tls_port: int
    # Takes mail only from those who have authenticated, and by TLS.
    auth_port: int
    version: str
    log: Path
    user: Maildir
    other: Maildir


PORTS = ("port", "tls_port", "auth_port")


def configure(jail: Jail, files: ServerFiles, ports: dict[str, int]) -> None:
    """Write the configuration."""
    values = {"host": HOST, **{name: str(port) for name, port in ports.items()}}
    jail.write("etc/chasquid/chasquid.conf", substitute(CONFIGURATION, values))
    jail.write("bin/deliver", DELIVER)
    jail.write("etc/chasquid/hooks/post-data", POST_DATA, 0o755)
    certificate = "etc/chasquid/certs/chasquid.example"
    jail.copy(files.certificate, f"{certificate}/fullchain.pem")
    jail.copy(files.key, f"{certificate}/privkey.pem")
    (jail.root / "etc/chasquid/domains/example.com").mkdir(parents=True)
    for name in (USER, "other@example.com"):
        jail.run(TOOL, "user-add", name, f"--password={PASSWORD}")


@contextlib.contextmanager
def running_chasquid(root: Path, files: ServerFiles) -> Iterator[Chasquid]:
    """Run chasquid in `root`; only root can, because of the chroot.

    Args:
        root: an empty directory that all users can enter.
        files: the certificate.
    """
    ports = {name: free_port() for name in PORTS}
    jail = Jail(root, "chasquid")
    configure(jail, files, ports)
    log = root / "output"
    with running(jail.command(PROGRAM), log) as process:
        for port in ports.values():
            wait_until_listening((HOST, port), process, log)
        yield Chasquid(
            version=jail.run(PROGRAM, "-version").split()[1],
            log=log,
            user=Maildir(root / "mail/user"),
            other=Maildir(root / "mail/other"),
            **ports,
        )
