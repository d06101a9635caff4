"""An Exim of our own: its configuration, queue and mail in one directory."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tests.interop.jail import PORTS, USERS, Jail, JailedServer, substitute
from tests.interop.maildir import Maildir
from tests.interop.names import PASSWORD, USER
from tests.interop.programs import HOST, free_port, running, wait_until_listening
from tests.interop.refusals import ALL, address_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.certificates import ServerFiles

PROGRAM = "/usr/sbin/exim4"

CONFIGURATION = """\
primary_hostname = exim.example
local_interfaces = <; [@host@]:@port@ ; [@host@]:@tls_port@ ; [@host@]:@auth_port@ ; \
  [@host@]:@refusing_port@
tls_on_connect_ports = @tls_port@
tls_advertise_hosts = *
tls_certificate = /etc/exim4/certificate.pem
tls_privatekey = /etc/exim4/key.pem
auth_advertise_hosts = ${if def:tls_in_cipher {*}{}}
dsn_advertise_hosts = *
chunking_advertise_hosts = ${if eq{$received_port}{@auth_port@}{}{*}}
prdr_enable = true
message_size_limit = 20M
log_file_path = /var/log/exim-%slog
log_selector = +all
keep_environment =
host_lookup =
rfc1413_hosts =
acl_smtp_connect = check_connection
acl_smtp_mail = check_mail
acl_smtp_rcpt = check_rcpt
acl_smtp_predata = check_data
acl_smtp_data = check_end
never_users =
# There are some hundred messages of tests, and each is to be delivered at once.
smtp_accept_queue_per_connection = 0

begin acl
check_connection:
  deny condition = ${if eq{$received_port}{@refusing_port@}}
       message = 554 no connection today
  accept
check_mail:
@refuse_mail@
  accept
check_data:
@refuse_data@
  accept
check_end:
@refuse_end@
  accept
check_rcpt:
@refuse_rcpt@
  deny condition = ${if and {{eq{$received_port}{@auth_port@}} \
         {!def:authenticated_id}}}
       message = authentication required
  require domains = example.com : example.net : example.org
          message = relay not permitted
  require verify = recipient
          message = no such mailbox
  accept

begin routers
relay:
  driver = manualroute
  domains = example.net : example.org
  transport = ${if eq{$domain}{example.org}{remote_tls}{remote}}
  route_data = @host@::@relay_port@
  self = send
local:
  driver = accept
  domains = example.com
  local_parts = user : other : bj\u00f6rn
  transport = maildir

begin transports
remote:
  driver = smtp
  hosts_avoid_tls = *
  allow_localhost
remote_tls:
  driver = smtp
  hosts_require_tls = *
  tls_verify_certificates = /etc/exim4/authority.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames = :
  hosts_require_auth = *
  allow_localhost
maildir:
  driver = appendfile
  directory = /mail/${if eq{$local_part}{other}{other}{user}}
  maildir_format
  create_directory
  user = nobody
  group = nobody
  return_path_add

begin retry
* * F,2h,1h

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${lookup{$auth2}lsearch{/etc/exim4/passwords} \
    {${if eq{$value}{$auth3}}}{false}}
  server_set_id = $auth2
  client_send = ^@user@^@password@
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${lookup{$auth1}lsearch{/etc/exim4/passwords} \
    {${if eq{$value}{$auth2}}}{false}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${lookup{$auth1}lsearch{/etc/exim4/passwords}{$value}fail}
  server_set_id = $auth1
"""


def refusals(stage: str) -> str:
    """Write down what it is to refuse there."""
    key = "recipients" if stage == "RCPT" else "senders"
    return "\n".join(
        f"  {'deny' if code >= 500 else 'defer'} {key} = {address_of(stage, code)}\n"
        f"       message = {code} {words_of(stage)}"
        for one, code in ALL
        if one == stage
    )


class Exim(JailedServer):
    """An Exim that is running."""


def configure(jail: Jail, files: ServerFiles, ports: dict[str, int]) -> None:
    """Write the configuration."""
    values = {
        "host": HOST,
        "user": USER,
        "password": PASSWORD.replace("$", r"\$"),
        **{name: str(port) for name, port in ports.items()},
        **{f"refuse_{one.lower()}": refusals(one) for one, _ in ALL},
    }
    jail.write("etc/exim4/exim4.conf", substitute(CONFIGURATION, values))
    jail.write("etc/exim4/passwords", f"{USER}: {PASSWORD}\n")
    jail.copy(files.certificate, "etc/exim4/certificate.pem")
    # Exim reads it as its own user.
    jail.copy(files.key, "etc/exim4/key.pem")
    jail.copy(files.authority, "etc/exim4/authority.pem")
    for name in ("var/log", "var/spool/exim4"):
        (jail.root / name).mkdir(parents=True, exist_ok=True)
        os.chown(jail.root / name, USERS["Debian-exim"], USERS["Debian-exim"])


@contextlib.contextmanager
def running_exim(root: Path, files: ServerFiles) -> Iterator[Exim]:
    """Run Exim in `root`; only root can, because of the chroot.

    Args:
        root: an empty directory that all users can enter.
        files: the certificate.
    """
    ports = {name: free_port() for name in PORTS}
    jail = Jail(root, "exim4-daemon-light")
    configure(jail, files, ports)
    version = jail.run(PROGRAM, "-bV").partition("Exim version ")[2].split()[0]
    with running(jail.command(PROGRAM, "-bdf"), root / "output") as process:
        for name, port in ports.items():
            if name != "relay_port":
                wait_until_listening((HOST, port), process, root / "output")
        yield Exim(
            version=version,
            log=root / "var/log/exim-mainlog",
            user=Maildir(root / "mail/user"),
            other=Maildir(root / "mail/other"),
            **ports,
        )
