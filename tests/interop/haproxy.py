"""An HAProxy of our own, in front of a server of ours."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.interop.programs import (
    HOST,
    find_program,
    free_port,
    running,
    wait_until_listening,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.certificates import ServerFiles

CONFIGURATION = """\
global
    log stderr format raw local0
defaults
    log global
    mode tcp
    timeout connect 120s
    timeout client 120s
    timeout server 120s
    unique-id-format conn-%rt
listen version1
    bind {host}:{version1}
    server smtp {plain} send-proxy
listen version2
    bind {host}:{version2}
    server smtp {plain} send-proxy-v2
listen everything
    bind {host}:{everything} ssl crt {chain} alpn smtp
    server smtp {plain} send-proxy-v2-ssl-cn proxy-v2-options {options}
listen behind_another
    bind {host}:{behind_another} accept-proxy
    server smtp {plain} send-proxy-v2
listen to_tls
    bind {host}:{to_tls}
    server smtp {tls} send-proxy-v2 ssl verify required ca-file {authority} {name}
listen through_tls
    bind {host}:{through_tls}
    server smtp {tls} send-proxy
listen to_unix
    bind {host}:{to_unix}
    server smtp {unix} send-proxy-v2
listen checked
    bind {host}:{checked}
    option smtpchk EHLO check.example
    server smtp {plain} send-proxy-v2 check check-send-proxy inter 100
"""
PORTS = (
    *("version1", "version2", "everything", "behind_another", "to_tls"),
    *("through_tls", "to_unix", "checked"),
)
OPTIONS = "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id"


@dataclass(frozen=True)
class HAProxy:
    """An HAProxy that is running: a port for each way to our server."""

    # The header is of version 1, or of version 2.
    version1: int
    version2: int
    # Clients come over TLS, and all that is known of them is told.
    everything: int
    # Clients send a header themselves.
    behind_another: int
    # HAProxy speaks TLS to the server, or hands on the client's.
    to_tls: int
    through_tls: int
    to_unix: int
    # HAProxy speaks to the server on its own account.
    checked: int


@contextlib.contextmanager
def running_haproxy(
    root: Path, files: ServerFiles, *, plain: str, tls: str, unix: Path
) -> Iterator[HAProxy]:
    """Run HAProxy in `root`.

    Args:
        root: an empty directory.
        files: the certificate of HAProxy, and of the server.
        plain: where our server listens without TLS.
        tls: where it listens with TLS from the first octet.
        unix: where it listens on a unix socket.
    """
    ports = {name: free_port() for name in PORTS}
    configuration = root / "haproxy.cfg"
    configuration.write_text(
        CONFIGURATION.format(
            host=HOST,
            chain=files.chain,
            authority=files.authority,
            name="verifyhost localhost sni str(localhost)",
            options=OPTIONS,
            plain=plain,
            tls=tls,
            unix=f"unix@{unix}",
            **ports,
        )
    )
    command = [find_program("haproxy", "haproxy"), "-db", "-f", str(configuration)]
    log = root / "log"
    with running(command, log) as process:
        for port in ports.values():
            wait_until_listening((HOST, port), process, log)
        yield HAProxy(**ports)
