"""Listeners: several roles in one server, unix sockets, inherited descriptors."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from smtpx.server.options import ServerOptions
from smtpx.server.sockets import Address, Listener, inherited_sockets
from tests.server.conftest import Certificates, Run
from tests.server.peers import recorder, serve, until


def test_one_server_in_three_roles(run: Run, certificates: Certificates) -> None:
    async def check_password(self: object, user: str, password: str) -> bool:
        return True

    async def scenario() -> None:
        addresses: list[Address] = [
            Listener("127.0.0.1:0", require_auth=False),
            Listener("127.0.0.1:0", implicit_tls=True),
            Listener("127.0.0.1:0", require_tls=True),
            Listener("127.0.0.1:0", lmtp=True, require_auth=False),
        ]
        async with serve(
            recorder(check_password=check_password),
            addresses,
            tls=certificates.server,
            require_auth=True,
        ) as served:
            relay = await served.ready()
            assert "STARTTLS" in await relay.ask(b"EHLO c.test\r\n")
            assert await relay.say(b"MAIL FROM:<>\r\n") == [250]
            implicit = await served.connect(tls=certificates.client, index=1)
            assert await implicit.codes(1) == [220]
            assert "STARTTLS" not in await implicit.ask(b"EHLO c.test\r\n")
            assert await implicit.ask(b"MAIL FROM:<>\r\n") == (
                "530 5.7.0 authentication required"
            )
            submission = await served.connect(index=2)
            assert await submission.codes(1) == [220]
            await submission.say(b"EHLO c.test\r\n")
            assert await submission.ask(b"MAIL FROM:<>\r\n") == (
                "530 5.7.0 issue STARTTLS first"
            )
            local = await served.connect(index=3)
            assert await local.say(b"LHLO c.test\r\n", 2) == [220, 250]
            protocols = sorted(info.protocol for info in served.server.connections)
            assert protocols == ["ESMTP", "ESMTP", "ESMTPS", "LMTP"]

    run(scenario())


def test_limits_are_of_the_whole_server(run: Run) -> None:
    async def scenario() -> None:
        addresses: list[Address] = ["127.0.0.1:0", "127.0.0.1:0"]
        async with serve(recorder(), addresses, max_connections=1) as served:
            await served.greeted()
            second = await served.connect(index=1)
            assert await second.codes(1) == [421]

    run(scenario())


def test_options_are_those_of_the_server_where_nothing_else_is_said() -> None:
    options = ServerOptions(hostname="mx.test", require_auth=True)
    assert Listener(":25").options_here(options) is options
    assert Listener(":25", require_auth=True).options_here(options) is options
    changed = Listener(":25", require_auth=False, backlog=7).options_here(options)
    assert (changed.require_auth, changed.backlog) == (False, 7)
    # What is made up for unknown users is the same at each listener.
    assert changed.auth_secret == options.auth_secret


class OnPort25(socket.socket):
    """As if systemd, which may do that, had bound it."""

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 25


@pytest.mark.parametrize("server", [{}, {"lmtp": True}, {"lmtp_too": True}])
@pytest.mark.parametrize("here", [{}, {"lmtp": True}, {"lmtp_too": True}])
def test_lmtp_is_never_on_port_25(
    server: dict[str, bool], here: dict[str, bool]
) -> None:
    # RFC 2033 section 5.
    options = ServerOptions(**server)  # type: ignore[arg-type]
    with OnPort25() as handed_over, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        address: str | socket.socket
        for address in ("127.0.0.1:25", "[::1]:25", ":25", handed_over):
            listener = Listener(address, **here)  # type: ignore[arg-type]
            if server or here:
                with pytest.raises(ValueError, match="not be used on port 25"):
                    listener.options_here(options)
            else:
                assert listener.options_here(options) is options
        for address in ("127.0.0.1:24", "127.0.0.1:2525", "unix:/run/25", other):
            listener = Listener(address, **here)  # type: ignore[arg-type]
            found = listener.options_here(options)
            wanted = here or server
            assert {"lmtp": found.lmtp, "lmtp_too": found.lmtp_too} == {
                "lmtp": wanted.get("lmtp", False),
                "lmtp_too": wanted.get("lmtp_too", False),
            }


def test_smtp_alone_can_be_asked_for() -> None:
    for options in (ServerOptions(lmtp=True), ServerOptions(lmtp_too=True)):
        listener = Listener(":25", lmtp=False, lmtp_too=False)
        found = listener.options_here(options)
        assert (found.lmtp, found.lmtp_too) == (False, False)


def test_lmtp_is_in_place_of_smtp_or_beside_it() -> None:
    with pytest.raises(ValueError, match="choose one"):
        ServerOptions(lmtp=True, lmtp_too=True)
    with pytest.raises(ValueError, match="choose one"):
        Listener(":24", lmtp=True, lmtp_too=True).options_here(ServerOptions())


@pytest.mark.parametrize(
    ("address", "options", "text"),
    [
        ("127.0.0.1", {}, "write host:port"),
        ("unix:", {}, "write unix:/path"),
        ("unix:@", {}, "write unix:/path"),
        ("127.0.0.1:25", {"mode": 0o600}, "mode is for a unix socket"),
        ("unix:@name", {"owner": 0}, "owner is for a unix socket"),
        ("127.0.0.1:25", {"group": "mail"}, "group is for a unix socket"),
        ("unix:/x", {"reuse_port": True}, "are for host:port"),
        ("unix:/x", {"dual_stack": True}, "are for host:port"),
    ],
)
def test_listeners_that_make_no_sense(
    address: str, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        Listener(address, **options)


def test_a_socket_has_no_permissions_to_set() -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="mode is for"):
        Listener(sock, mode=0o600)


# --- TCP. ---


def test_two_processes_may_share_a_port(run: Run) -> None:
    async def scenario() -> None:
        first = Listener("127.0.0.1:0", reuse_port=True)
        async with serve(recorder(), [first]) as served:
            (address,) = served.server.addresses
            async with serve(recorder(), [Listener(address, reuse_port=True)]):
                pass
            with pytest.raises(OSError, match="in use"):
                async with serve(recorder(), address):
                    raise AssertionError

    run(scenario())


@pytest.mark.parametrize("is_dual", [False, True])
def test_dual_stack(run: Run, is_dual: bool) -> None:
    async def scenario() -> None:
        async with serve(
            recorder(), [Listener("[::]:0", dual_stack=is_dual)]
        ) as served:
            port = int(served.server.addresses[0].rpartition(":")[2])
            with socket.socket() as client:
                assert (client.connect_ex(("127.0.0.1", port)) == 0) is is_dual
                if is_dual:
                    await until(lambda: len(served.server.connections) == 1)
                    (info,) = served.server.connections
                    # An IPv4 client is one, and has connected to an address.
                    assert str(info.peer_ip) == "127.0.0.1"
                    assert info.is_local
                    assert info.local == f"[::ffff:127.0.0.1]:{port}"

    run(scenario())


def test_a_name_stands_for_all_its_addresses(run: Run) -> None:
    async def scenario() -> None:
        async with serve(recorder(), "localhost:0") as served:
            hosts = {a.rpartition(":")[0] for a in served.server.addresses}
            found = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
            assert hosts == {
                f"[{where[0]}]" if ":" in str(where[0]) else where[0]
                for *_, where in found
            }

    run(scenario())


def test_an_address_of_another_machine(run: Run) -> None:
    async def scenario() -> None:
        with pytest.raises(OSError, match=r"192\.0\.2\.1:0: ") as caught:
            async with serve(recorder(), "192.0.2.1:0"):
                raise AssertionError
        assert caught.value.errno == errno.EADDRNOTAVAIL

    run(scenario())


# --- Unix sockets. ---


def test_permissions_and_owner(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp"
    nobody = pwd.getpwnam("nobody")
    is_root = os.geteuid() == 0
    owner: str | int = "nobody" if is_root else os.geteuid()
    group = nobody.pw_gid if is_root else os.getegid()

    async def scenario() -> None:
        listener = Listener(f"unix:{path}", mode=0o620, owner=owner, group=group)
        async with serve(recorder(), [listener]) as served:
            status = path.stat()
            assert stat.S_IMODE(status.st_mode) == 0o620
            expected = nobody.pw_uid if is_root else os.geteuid()
            assert (status.st_uid, status.st_gid) == (expected, group)
            await served.ready()
        assert not path.exists()
        async with serve(recorder(), [Listener(f"unix:{path}", group=group)]):
            assert path.stat().st_gid == group

    run(scenario())


def test_an_owner_who_does_not_exist(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        listener = Listener(f"unix:{tmp_path / 'smtp'}", owner="no-such-user")
        with pytest.raises(OSError, match="no such user"):
            async with serve(recorder(), [listener]):
                raise AssertionError

    run(scenario())


def test_a_socket_in_use_is_not_taken_away(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        address = f"unix:{tmp_path / 'smtp'}"
        async with serve(recorder(), address) as served:
            with pytest.raises(OSError, match=r"(?i)in use"):
                async with serve(recorder(), address):
                    raise AssertionError
            await served.ready()

    run(scenario())


def test_a_socket_whose_queue_is_full_is_in_use(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = str(tmp_path / "smtp")
        with socket.socket(socket.AF_UNIX) as busy:
            busy.bind(path)
            busy.listen(0)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                with pytest.raises(OSError, match=r"(?i)in use"):
                    async with serve(recorder(), f"unix:{path}"):
                        raise AssertionError

    run(scenario())


def test_abstract_namespace(run: Run) -> None:
    async def scenario() -> None:
        name = f"@smtpx-test-{os.getpid()}"
        async with serve(recorder(), f"unix:{name}") as served:
            assert served.server.addresses == (f"unix:{name}",)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name.replace("@", "\0"))
                await until(lambda: len(served.server.connections) == 1)
                (info,) = served.server.connections
                assert info.is_local
                assert info.local == f"unix:{name}"

    run(scenario())


# --- Inherited descriptors. ---


def test_no_sockets_are_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inherited_sockets() == []
    # They are of the process that systemd started, not of its children.
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert inherited_sockets() == []


INHERITING = """
    import os, sys
    os.environ["LISTEN_PID"] = str(os.getpid())
    from smtpx import inherited_sockets
    def names(*args):
        return [sock.getsockname() for sock in kept(inherited_sockets(*args))]
    every = []
    def kept(socks):
        every.extend(socks)
        assert not any(sock.get_inheritable() for sock in socks)
        return socks
    print([names(*args) for args in {calls}])
    print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


@pytest.mark.parametrize(
    ("names", "calls", "expected"),
    [
        (None, "[(), ()]", [[0, 1, 2], []]),
        ("a:b:a", "[(), ()]", [[0, 1, 2], []]),
        ("a:b:a", "[('a',), ('a',), ('c',), ('b',)]", [[0, 2], [], [], [1]]),
        ("a:b:a", "[('b',), ()]", [[1], [0, 2]]),
    ],
)
def test_sockets_that_systemd_bound(
    tmp_path: Path, names: str | None, calls: str, expected: list[list[int]]
) -> None:
    sockets = []
    paths = [str(tmp_path / f"{number}") for number in range(3)]
    for path in paths:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sockets.append(sock)
    code = textwrap.dedent(INHERITING).format(calls=calls)
    program = textwrap.dedent(
        f"""
        import os, sys
        given = {[sock.fileno() for sock in sockets]}
        high = [os.dup(fd) for fd in given]
        high = [os.dup2(fd, 50 + n) for n, fd in enumerate(high)]
        for n, fd in enumerate(high):
            os.dup2(fd, 3 + n, inheritable=True)
        os.execv(sys.executable, [sys.executable, "-c", {code!r}])
        """
    )
    environment = {**os.environ, "LISTEN_FDS": "3"}
    if names is not None:
        environment["LISTEN_FDNAMES"] = names
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        pass_fds=[sock.fileno() for sock in sockets],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    for sock in sockets:
        sock.close()
    taken = [[paths[number] for number in numbers] for numbers in expected]
    assert done.stdout == f"{taken}\n[]\n", done.stderr
