"""A Postfix of our own: its configuration, queue and mail in one directory."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.maildir import Maildir
from tests.interop.programs import (
    HOST,
    UNPRIVILEGED_USER,
    find_program,
    free_port,
    poll,
    running,
    wait_until_listening,
)
from tests.interop.refusals import ALL, address_of, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.certificates import ServerFiles

MAIN_CF = """\
compatibility_level = 3.6
config_directory = {root}/etc
queue_directory = {root}/spool
# Short ones come again within a thousand messages, which tests tell apart by them.
enable_long_queue_ids = yes
data_directory = {root}/data
maillog_file = {root}/log/maillog
maillog_file_prefixes = {root}
myhostname = postfix.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
# Nothing leaves: what is not for the domain below bounces.
default_transport = error:this instance delivers to example.com only
virtual_mailbox_domains = example.com
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = inline:{{
    {{ user@example.com = user/ }},
    {{ bj\u00f6rn@example.com = user/ }},
    {{ other@example.com = other/ }} }}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
message_size_limit = 20971520
# Off, so that what is delivered is what was sent.
local_header_rewrite_clients =
always_add_missing_headers = no
smtpd_tls_security_level = may
smtpd_tls_chain_files = {certificate}
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl_path}
smtpd_sasl_security_options = noanonymous
smtpd_tls_auth_only = yes
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{ {refuse_rcpt} }},
    reject_unlisted_recipient, permit
# Where a test asks for it, and at once instead of at RCPT.
smtpd_delay_reject = no
smtpd_sender_restrictions = check_sender_access inline:{{ {refuse_mail} }}
smtpd_data_restrictions = check_sender_access inline:{{ {refuse_data} }}
smtpd_end_of_data_restrictions = check_sender_access inline:{{ {refuse_end} }}
smtputf8_enable = yes
# What a test receives: in clear, and by TLS with the certificate checked.
relay_domains = example.net, example.org
transport_maps = inline:{{
    {{ example.net = smtp:[{host}]:{relay_port} }},
    {{ example.org = relay_tls:[{host}]:{relay_port} }} }}
smtp_tls_CAfile = {authority}
minimal_backoff_time = 1h
"""

MASTER_CF = """\
{host}:{port} inet n - n - - smtpd
{host}:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
{host}:{auth_port} inet n - n - - smtpd
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
{host}:{refusing_port} inet n - n - - smtpd
  -o smtpd_client_restrictions=reject
{host}:{gateway_port} inet n - n - - smtpd
  -o inet_protocols=all
  -o smtpd_authorized_xclient_hosts=127.0.0.0/8
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8
  -o smtpd_sasl_authenticated_header=yes
  -o smtpd_relay_restrictions=reject_unauth_destination
{host}:{strict_port} inet n - n - - smtpd
  -o smtpd_forbid_unauth_pipelining=yes
  -o broken_sasl_auth_clients=yes
  -o smtpd_tls_auth_only=no
{host}:{proxy_port} inet n - n - - smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
  -o smtpd_peername_lookup=no
  -o smtpd_relay_restrictions=reject_unauth_destination
{host}:{filtered_port} inet n - n - - smtpd
  -o content_filter=filter:[{host}]:{filter_port}
{host}:{proxied_port} inet n - n - - smtpd
  -o smtpd_proxy_filter={host}:{filter_port}
  -o smtpd_proxy_timeout=120s
smtp unix - - n - - smtp
relay_tls unix - - n - - smtp
  -o smtp_tls_security_level=secure
  -o smtp_tls_secure_cert_match=localhost
filter unix - - n - - smtp
  -o smtp_send_xforward_command=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A Postfix that is running."""

    port: int
    # TLS from the first octet.
    tls_port: int
    # Relays only for those who have authenticated.
    auth_port: int
    # Refuses all clients as soon as they come.
    refusing_port: int
    # Takes XCLIENT and XFORWARD.
    gateway_port: int
    # Closes on commands that did not wait; offers AUTH in both forms, in clear too.
    strict_port: int
    # Wants a PROXY header.
    proxy_port: int
    # Has a filter behind it that it speaks to before it takes a message.
    proxied_port: int
    # Hands all mail to a filter, with XFORWARD; nobody listens there but a test.
    filtered_port: int
    filter_port: int
    # Where it sends what is for example.net (in clear) and example.org (by TLS);
    # nobody listens there but a test.
    relay_port: int
    log: Path
    user: Maildir
    other: Maildir


PORTS = (
    *("port", "tls_port", "auth_port", "gateway_port", "proxy_port"),
    *("proxied_port", "filtered_port", "filter_port", "relay_port", "refusing_port"),
    "strict_port",
)


def refusals(stage: str) -> str:
    """Write down what it is to refuse there."""
    return ", ".join(
        f"{{ {address_of(stage, code)} = {code} {code // 100}.7.1 {words_of(stage)} }}"
        for one, code in ALL
        if one == stage
    )


def configure(
    root: Path, files: ServerFiles, sasl_path: Path, ports: dict[str, int]
) -> None:
    """Write the two configuration files, and make what Postfix does not make."""
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    for name in ("etc", "spool", "data", "mail", "log"):
        (root / name).mkdir()
    shutil.chown(root / "data", "postfix")
    os.chown(root / "mail", user.pw_uid, user.pw_gid)
    (root / "etc" / "main.cf").write_text(
        MAIN_CF.format(
            root=root,
            uid=user.pw_uid,
            gid=user.pw_gid,
            certificate=files.chain,
            sasl_path=sasl_path,
            authority=files.authority,
            host=HOST,
            relay_port=ports["relay_port"],
            **{f"refuse_{one.lower()}": refusals(one) for one, _ in ALL},
        ),
        encoding="utf-8",
    )
    (root / "etc" / "master.cf").write_text(MASTER_CF.format(host=HOST, **ports))


def daemon_directory() -> str:
    """Ask Postfix where its daemons are."""
    command = [find_program("postconf", "postfix"), "-dh", "daemon_directory"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextlib.contextmanager
def running_postfix(
    root: Path, files: ServerFiles, sasl_path: Path
) -> Iterator[Postfix]:
    """Run Postfix in `root`; only root can, because Postfix changes users.

    Args:
        root: an empty directory that all users can enter.
        files: the certificate.
        sasl_path: the socket of Dovecot's authentication service.
    """
    ports = {name: free_port() for name in PORTS}
    configure(root, files, sasl_path, ports)
    # Makes the queue's directories, and checks who owns what.
    check = [find_program("postfix", "postfix"), "-c", str(root / "etc"), "check"]
    subprocess.run(check, check=True)
    command = [f"{daemon_directory()}/master", "-c", str(root / "etc"), "-s"]
    with running(command, root / "log" / "output") as process:
        log = root / "log" / "maillog"
        for name, port in ports.items():
            if name not in {"filter_port", "relay_port"}:
                wait_until_listening((HOST, port), process, log)
        # Postfix has somebody write it who is started with the first line.
        poll(lambda: log.exists() or None, "the log of Postfix")
        yield Postfix(
            user=Maildir(root / "mail" / "user"),
            other=Maildir(root / "mail" / "other"),
            log=log,
            **ports,
        )
