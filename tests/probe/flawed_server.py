"""A small server that is right, but for the flaws that a test asks for.

It is written apart from the library's own, and simply: one thread a connection, one
method a verb. Each flaw is one `if`, so that what a check finds is that flaw.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

HOST = "127.0.0.1"
# The server's own patience, so that no thread outlives a test for long.
PATIENCE_SECONDS = 120
# Who may log in.
USER = "user@example.com"
PASSWORD = "correct horse"
END = b"\r\n.\r\n"
PIECE = 1024


@dataclass(frozen=True)
class Kind:
    """What a server is like.

    Attributes:
        flaws: by name; each is looked up where it shows.
        ends: what it takes for the end of a message, besides the true one.
        tls: what it shakes hands with; None offers no STARTTLS.
    """

    flaws: frozenset[str] = frozenset()
    ends: tuple[bytes, ...] = ()
    tls: ssl.SSLContext | None = None
    is_lmtp: bool = False
    offers: tuple[str, ...] = (
        "PIPELINING",
        "SIZE 100000",
        "CHUNKING",
        "ENHANCEDSTATUSCODES",
    )


class Gone(Exception):
    """The connection is over."""


class Conversation:
    """One connection."""

    def __init__(self, sock: socket.socket, kind: Kind) -> None:
        self.sock = sock
        self.kind = kind
        self.buffer = b""
        self.is_introduced = False
        self.is_tls = False
        self.has_mail = False
        self.recipients = 0
        self.chunks: bytes | None = None
        self.user = ""

    def has(self, flaw: str) -> bool:
        return flaw in self.kind.flaws

    # ----------------------------------------------------------------------- octets

    def receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self.buffer += data

    def say(self, *lines: str) -> None:
        text = ""
        for number, line in enumerate(lines, 1):
            code, _, rest = line.partition(" ")
            if self.has("no enhanced codes"):
                rest = rest.partition(" ")[2] if rest[:2] in {"2.", "5."} else rest
            text += f"{code}{' ' if number == len(lines) else '-'}{rest}\r\n"
        self.sock.sendall(text.encode())

    def line(self) -> bytes:
        """Read a command."""
        ends = [b"\r\n"]
        if self.has("LF ends a command"):
            ends.append(b"\n")
        if self.has("CR ends a command"):
            ends = [b"\r\n", b"\r"]
        while True:
            if self.has("reads in pieces") and b"\r\n" not in self.buffer[:PIECE]:
                if len(self.buffer) < PIECE:
                    self.receive()
                    continue
                line, self.buffer = self.buffer[:PIECE], self.buffer[PIECE:]
                return line
            found = [
                (place, -len(end), end)
                for end in ends
                if (place := self.buffer.find(end)) >= 0
            ]
            if found and not (self.has("waits") and self._ends_in_half()):
                place, _, end = min(found)
                line, self.buffer = (
                    self.buffer[:place],
                    self.buffer[place + len(end) :],
                )
                return line
            self.receive()

    def _ends_in_half(self) -> bool:
        return not self.buffer.endswith(b"\r\n")

    # --------------------------------------------------------------------- commands

    def run(self) -> None:
        self.greet()
        while True:
            line = self.line()
            if self.has("forgets the flight"):
                self.buffer = b""
            if len(line) > 500 and self.has("short lines"):
                self.say("500 5.5.2 too long")
                continue
            if len(line) > 2048:
                self.say("500 5.5.2 too long")
                continue
            if (b"\0" in line or b"\r" in line) and not self.has("takes controls"):
                self.say("501 5.5.2 controls")
                continue
            if max(line, default=0) > 127 and not self.has("takes 8-bit"):
                self.say("501 5.5.2 8-bit")
                continue
            # What is left of an end that was believed in too early is passed over.
            words = line.decode("latin-1").replace("\0", "").lstrip("\n")
            verb, _, rest = words.partition(" ")
            method: Callable[[str], None] = getattr(
                self, f"do_{verb.lower()}", self.unknown
            )
            method(rest)

    def greet(self) -> None:
        if self.has("minds early talk"):
            self.sock.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                self.receive()
                self.say("554 5.5.1 early talk")
                raise Gone
            self.sock.settimeout(PATIENCE_SECONDS)
        if self.has("refuses"):
            self.say("554 5.7.1 no")
        elif self.has("greets without a host"):
            self.say("220 hello ESMTP")
        elif self.has("greets without ESMTP"):
            self.say("220 mx.example ready")
        elif self.has("greets with a version"):
            self.say("220 mx.example ESMTP Mail 4.96")
        else:
            self.say(f"220 mx.example {'LMTP' if self.kind.is_lmtp else 'ESMTP'}")

    def unknown(self, rest: str) -> None:
        if self.has("takes unknown"):
            self.say("250 2.0.0 fine")
        else:
            self.say("500 5.5.1 unknown")

    def do_ehlo(self, rest: str) -> None:
        if self.kind.is_lmtp and not self.has("EHLO in LMTP"):
            self.say("500 5.5.1 LHLO")
            return
        self._hello()

    def do_lhlo(self, rest: str) -> None:
        self._hello()

    def _hello(self) -> None:
        if self.has("refuses EHLO"):
            self.say("502 5.5.1 no")
            return
        self.is_introduced = True
        offers = list(self.kind.offers)
        if self.kind.tls and (not self.is_tls or self.has("STARTTLS again")):
            offers.append("STARTTLS")
        self.say("250 mx.example", *(f"250 {one}" for one in offers))

    def do_helo(self, rest: str) -> None:
        self.is_introduced = True
        if self.has("HELO of two lines"):
            self.say("250 mx.example", "250 PIPELINING")
        else:
            self.say("250 mx.example")

    def do_starttls(self, rest: str) -> None:
        if self.kind.tls is None:
            self.say("502 5.5.1 no")
            return
        if self.buffer and self.has("refuses what follows"):
            self.say("554 5.5.1 nothing may follow")
            return
        self.say("220 2.0.0 go ahead")
        if self.buffer and self.has("answers in clear"):
            return
        if self.buffer and self.has("closes on what follows"):
            raise Gone
        if self.has("no handshake"):
            raise Gone
        if not self.has("keeps what was in clear"):
            self.buffer = b""
        self.sock = self.kind.tls.wrap_socket(self.sock, server_side=True)
        self.is_tls = True
        if not self.has("keeps the transaction"):
            self.reset()

    def do_auth(self, rest: str) -> None:
        mechanism, _, initial = rest.partition(" ")
        offers = any(one.startswith("AUTH ") for one in self.kind.offers)
        if not (self.is_tls or offers or self.has("AUTH unoffered")):
            self.say("538 5.7.11 TLS first")
        elif self.user and not self.has("AUTH twice"):
            self.say("503 5.5.1 you did")
        elif mechanism == "LOGIN":
            user, password = self._ask("VXNlcm5hbWU6"), self._ask("UGFzc3dvcmQ6")
            self._log_in(user, None if self.has("LOGIN refuses") else password)
        elif mechanism != "PLAIN" and not self.has("any mechanism"):
            self.say("504 5.5.4 unknown")
        else:
            self._log_in_plain(initial)

    def _ask(self, challenge: str) -> bytes | None:
        self.say(f"334 {challenge}")
        line = self.line()
        if line == b"*":
            return None
        with contextlib.suppress(binascii.Error):
            return base64.b64decode(line, validate=True)
        return None

    def _log_in_plain(self, initial: str) -> None:
        response: bytes | None = None
        if not initial:
            response = self._ask("")
        else:
            with contextlib.suppress(binascii.Error):
                response = base64.b64decode(initial, validate=True)
        if response is None and self.has("asks again"):
            self.say("334 again")
        elif response is None and not self.has("takes any login"):
            self.say("501 5.5.2 no")
            if self.has("answers twice"):
                self.say("501 5.5.2 no")
        else:
            if self.has("repeats the response"):
                self.say(f"535 5.7.8 {initial} is wrong")
                return
            user, password = (response or b"\0x\0x").split(b"\0")[1:]
            self._log_in(user, password)

    def _log_in(self, user: bytes | None, password: bytes | None) -> None:
        is_known = user == USER.encode()
        is_right = is_known and password == PASSWORD.encode()
        if is_right or self.has("takes any login"):
            self.user = (user or b"").decode()
            self.say("235 2.7.0 welcome")
        elif self.has("tells who exists") and not is_known:
            self.say("535 5.7.8 no such user")
        elif self.has("repeats the password"):
            self.say(f"535 5.7.8 {(password or b'').decode()} is wrong")
        elif self.has("other code"):
            self.say("550 5.7.1 no")
        else:
            self.say("535 5.7.8 wrong")

    def reset(self) -> None:
        self.has_mail, self.recipients, self.chunks = False, 0, None

    def do_rset(self, rest: str) -> None:
        self.reset()
        self.say("250 2.0.0 ok")

    def do_noop(self, rest: str) -> None:
        self.say("250 2.0.0 ok")

    def do_quit(self, rest: str) -> None:
        if self.has("stays after QUIT"):
            self.say("221 2.0.0 bye")
            self.receive()
        self.say("250 2.0.0 bye" if self.has("QUIT 250") else "221 2.0.0 bye")
        raise Gone

    def do_vrfy(self, rest: str) -> None:
        if self.has("VRFY tells"):
            is_known = rest in {"postmaster", "user@example.com"}
            self.say("250 2.1.5 user@example.com" if is_known else "550 5.1.1 who?")
        else:
            self.say("252 2.1.5 try")

    def do_expn(self, rest: str) -> None:
        self.say("250 2.1.5 root" if self.has("EXPN tells") else "502 5.5.1 no")

    def do_post(self, rest: str) -> None:
        if not self.has("HTTP"):
            self.say("421 4.7.0 no HTTP")
            raise Gone
        self.unknown(rest)

    def do_mail(self, rest: str) -> None:
        path, *parameters = rest.partition(":")[2].split()
        if not self.user and self.has("wants a login"):
            self.say("530 5.7.0 log in")
        elif self.has("minds senders") and path not in {"<>", f"<{USER}>"}:
            self.say("553 5.7.1 not you")
        elif (not self.is_introduced or self.has_mail) and not self.has("any order"):
            self.say("503 5.5.1 order")
        elif path == "<@>":
            self.say("501 5.1.7 bad")
        elif path == "<>" and self.has("refuses <>"):
            self.say("550 5.7.1 no")
        elif self.has("wants TLS") and not self.is_tls:
            self.say("530 5.7.0 TLS first")
        elif any(not one.startswith("SIZE=") for one in parameters):
            self.do_parameter()
        elif (
            parameters
            and int(parameters[0][5:]) > 100_000
            and not self.has("ignores SIZE")
        ):
            self.say("552 5.3.4 too large")
        else:
            self.has_mail = True
            self.say("250 2.1.0 ok")

    def do_parameter(self) -> None:
        if self.has("takes unknown"):
            self.say("250 2.1.0 ok")
        else:
            self.say("555 5.5.4 parameter")

    def do_rcpt(self, rest: str) -> None:
        path = rest.partition(":")[2].lower()
        local = {"<user@example.com>"}
        if not self.has("no postmaster"):
            local.add("<postmaster>")
        if not self.has_mail and not self.has("any order"):
            self.say("503 5.5.1 order")
        elif path in {"<@>", "<>"} and not self.has("nobody is fine"):
            self.say("501 5.1.3 bad")
        elif path not in local and not self.has("relays"):
            self.say("550 5.7.1 not here")
        elif self.recipients >= 10 and self.has("few recipients"):
            self.say("452 4.5.3 too many")
        else:
            self.recipients += 1
            self.say("250 2.1.5 ok")

    # --------------------------------------------------------------------- messages

    def do_data(self, rest: str) -> None:
        if self.chunks is not None and not self.has("DATA after BDAT"):
            self.say("503 5.5.1 BDAT")
            return
        is_for_nobody = not self.recipients and not self.has("any order")
        if is_for_nobody and not self.has("DATA for nobody"):
            self.say("503 5.5.1 nobody")
            return
        self.say("354 go ahead")
        content = self.content()
        count = 1
        if self.kind.is_lmtp and not self.has("one reply for all"):
            count = max(self.recipients, 1)
        if self.has("never answers"):
            self.receive()
        rest_of = content.replace(b"\r\n", b"")
        is_bare = b"\r" in rest_of or b"\n" in rest_of
        is_long = max(map(len, content.split(b"\r\n"))) > 997
        refusal = None
        if is_bare and not self.has("takes bare ends"):
            refusal = "550 5.6.0 bare"
        if is_long and self.has("no long text"):
            refusal = "500 5.6.0 long line"
        if not self.recipients and not self.has("accepts for nobody"):
            refusal = "554 5.5.1 nobody"
        for _ in range(count):
            self.say(refusal or "250 2.0.0 queued")
        self.reset()
        if self.has("suspicious") and self.buffer and self.buffer != b"QUIT\r\n":
            self.say("554 5.5.0 improper pipelining")
            raise Gone

    def content(self) -> bytes:
        """Read to the end of the message: the first of those that it believes in."""
        ends = (END, *self.kind.ends)
        # A dot right behind the 354 is an empty message.
        self.buffer = b"\r\n" + self.buffer
        while True:
            found = [
                (place, end) for end in ends if (place := self.buffer.find(end)) >= 0
            ]
            if self.has("ends at a long line") and len(self.buffer) > 50_000:
                content, self.buffer = self.buffer[:50_000], self.buffer[50_000:]
                return content
            if found:
                place, end = min(found)
                content = self.buffer[:place]
                self.buffer = self.buffer[place + len(end) :]
                return content
            self.receive()

    def do_bdat(self, rest: str) -> None:
        size, _, last = rest.partition(" ")
        is_right = size.isdigit() and len(size) < 10 and last in {"", "LAST"}
        if not is_right:
            if self.has("waits for chunks"):
                self.receive()
                raise Gone
            if self.has("takes any size"):
                self.say("250 2.0.0 ok")
                return
            self.say("501 5.5.4 size")
            raise Gone
        if not self.recipients and self.has("chunk is run"):
            self.say("503 5.5.1 nobody")
            return
        chunk = self.chunk(int(size))
        if not self.recipients:
            is_taken = self.has("chunk for nobody")
            self.say("250 2.0.0 ok" if is_taken else "503 5.5.1 nobody")
            return
        self.chunks = (self.chunks or b"") + chunk
        if last:
            self.reset()
        if not (last and self.has("silent LAST")):
            self.say("250 2.0.0 ok")

    def chunk(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.receive()
        if self.has("chunk ends at a dot"):
            place = self.buffer.find(END, 0, size)
            size = size if place < 0 else place + len(END)
        chunk, self.buffer = self.buffer[:size], self.buffer[size:]
        return chunk


class FlawedServer:
    """Serves connections in threads; use it as a context manager."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._listener = socket.create_server((HOST, 0))
        self._threads: list[threading.Thread] = []
        self._is_closing = threading.Event()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_closing.set()
        # Wakes up who accepts: closing does not.
        socket.create_connection((HOST, self.port)).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._is_closing.is_set():
            sock, _ = self._listener.accept()
            if self._is_closing.is_set():
                sock.close()
                return
            sock.settimeout(PATIENCE_SECONDS)
            conversation = Conversation(sock, self._kind)
            self._start(lambda talk=conversation: _serve(talk))  # type: ignore[misc]


def _serve(conversation: Conversation) -> None:
    try:
        with contextlib.suppress(Gone, OSError):
            conversation.run()
    finally:
        conversation.sock.close()
