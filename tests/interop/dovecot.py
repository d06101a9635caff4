"""A Dovecot of our own: LMTP into a Maildir, and authentication for Postfix."""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.interop.maildir import Maildir
from tests.interop.names import PASSWORD, USER
from tests.interop.oauth import TOKEN_ISSUER, TOKEN_KEY_NAME, public_token_key
from tests.interop.programs import (
    HOST,
    UNPRIVILEGED_USER,
    find_program,
    free_port,
    running,
    wait_until_listening,
)
from tests.interop.refusals import address_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.certificates import ServerFiles

CONFIGURATION = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = lmtp
instance_name = smtpx-interop
hostname = dovecot.example
default_internal_user = dovecot
default_internal_group = dovecot
default_login_user = dovenull
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:{root}/mail/%n
mail_uid = {uid}
mail_gid = {gid}
# What is delivered is to be what was sent, without "Delivered-To" as the only
# thing that tells recipients apart.
lmtp_save_to_detail_mailbox = no
lmtp_rcpt_check_quota = no
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer
disable_plaintext_auth = no
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {root}/oauth2
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {root}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {root}/users
  default_fields = uid={uid} gid={gid} home={root}/mail/%n
}}
# Else each wrong password makes the next answer later, up to when Postfix gives up.
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
protocol lmtp {{
  mail_plugins = quota
}}
plugin {{
  quota = maildir:all
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = {host}
    port = {port}
  }}
}}
service auth {{
  unix_listener sasl {{
    mode = 0666
  }}
}}
"""

# Tokens are checked here, by the key in the directory: nobody is asked.
OAUTH2 = f"""\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={{root}}/keys/
issuers = {TOKEN_ISSUER}
username_attribute = sub
"""


@dataclass(frozen=True)
class Dovecot:
    """A Dovecot that is running."""

    lmtp_port: int
    lmtp_socket: Path
    sasl_socket: Path
    user: Maildir
    other: Maildir


@contextlib.contextmanager
def running_dovecot(root: Path, files: ServerFiles) -> Iterator[Dovecot]:
    """Run Dovecot in `root`; only root can, because it changes users.

    Args:
        root: an empty directory that all users can enter.
        files: the certificate.
    """
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    port = free_port()
    for name in ("run", "state", "mail"):
        (root / name).mkdir()
    os.chown(root / "mail", user.pw_uid, user.pw_gid)
    (root / "users").write_text(
        f"{USER}:{{PLAIN}}{PASSWORD}::::::\nother@example.com:{{PLAIN}}{PASSWORD}::::::\n"
        # Nothing fits in, and there is no place for anything.
        f"{address_of('end', 550)}:::::::userdb_quota_rule=*:bytes=1\n"
        f"{address_of('end', 450)}:::::::userdb_mail=maildir:/dev/null/x\n"
    )
    (root / "oauth2").write_text(OAUTH2.format(root=root))
    # By who asked for the token, the algorithm, and the name of the key.
    keys = root / "keys" / "default" / "RS256"
    keys.mkdir(parents=True)
    (keys / TOKEN_KEY_NAME).write_bytes(public_token_key())
    configuration = root / "dovecot.conf"
    configuration.write_text(
        CONFIGURATION.format(
            root=root,
            uid=user.pw_uid,
            gid=user.pw_gid,
            certificate=files.certificate,
            key=files.key,
            host=HOST,
            port=port,
        )
    )
    command = [find_program("dovecot", "dovecot-lmtpd"), "-F", "-c", str(configuration)]
    with running(command, root / "output") as process:
        wait_until_listening((HOST, port), process, root / "log")
        run = root / "run"
        yield Dovecot(
            port,
            run / "lmtp",
            run / "sasl",
            Maildir(root / "mail" / "user"),
            Maildir(root / "mail" / "other"),
        )
