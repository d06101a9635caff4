"""A server that says what a transcript writes, for one client on a loopback socket."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence

from smtpx.testing.steps import (
    ClientSays,
    Mark,
    ServerOctets,
    ServerSays,
    Signal,
    Step,
    Transcript,
    TranscriptError,
    TranscriptMismatch,
    Wait,
    escape,
)

__all__ = ["PATIENCE_SECONDS", "ScriptServer"]

# A guard against a hang; no test waits for it to pass.
PATIENCE_SECONDS = 30.0


class ScriptServer(threading.Thread):
    """Says the server's lines of a transcript to one client, and compares what it says.

    Args:
        transcript: for messages.
        steps: what to play.
        driver: who plays, for messages.
        tls: the certificate, for ``== TLS ==``.
        skip: puts the client's clock forward, for ``== WAIT 300s ==``.

    Attributes:
        port: that it listens on.
        problem: what went wrong, once the thread has ended.
    """

    def __init__(
        self,
        transcript: Transcript,
        steps: Sequence[Step],
        driver: str,
        tls: ssl.SSLContext | None,
        *,
        skip: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__(name="smtpx-script", daemon=True)
        self._transcript = transcript
        self._steps = steps
        self._driver = driver
        self._tls = tls
        self._skip = skip
        self._has_starttls = any(
            isinstance(step, ClientSays) and step.octets == b"STARTTLS\r\n"
            for step in steps
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self.problem: BaseException | None = None

    def run(self) -> None:
        """Serve one client."""
        try:
            with self._listener:
                self._peer, _ = self._listener.accept()
            self._peer.settimeout(PATIENCE_SECONDS)
            try:
                for step in self._steps:
                    self._take(step)
                self._expect_end(len(self._transcript.source))
            finally:
                self._peer.close()
        except BaseException as problem:
            self.problem = problem

    def _take(self, step: Step) -> None:
        match step:
            case ServerSays():
                self._send(step.octets())
            case ServerOctets():
                self._send(step.octets)
            case ClientSays():
                self._expect(step)
            case Wait():
                if self._skip is None:
                    raise TranscriptError(
                        f"{self._transcript.name}:{step.number}: there is no clock here"
                    )
                self._skip(step.seconds)
            case Signal(mark=Mark.TLS):
                context = self._tls or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                # A client may refuse the certificate; what it does then is written.
                with contextlib.suppress(ssl.SSLError):
                    self._peer = context.wrap_socket(self._peer, server_side=True)
            case Signal(mark=Mark.CLOSE):
                self._peer.close()
            case Signal(mark=Mark.END_TLS):
                self._end_tls()
            case Signal():
                self._expect_end(step.number)

    def _end_tls(self) -> None:
        """Say that TLS ends, and go on in plaintext without waiting for an answer."""
        self._peer.settimeout(0)
        with contextlib.suppress(OSError):
            if isinstance(self._peer, ssl.SSLSocket):
                self._peer.unwrap()
        self._peer = socket.socket(fileno=self._peer.detach())
        self._peer.settimeout(PATIENCE_SECONDS)

    def _send(self, octets: bytes) -> None:
        # A client that closed at once, as it may after what it did not like to hear,
        # is what its own outcome tells.
        with contextlib.suppress(OSError):
            self._peer.sendall(octets)

    def _expect(self, step: ClientSays) -> None:
        heard = bytearray()
        while len(heard) < len(step.octets):
            octets = self._receive(len(step.octets) - len(heard))
            heard += octets
            if not octets or not step.octets.startswith(heard):
                problem = "the client said something else" if heard else "no word"
                heard += self._rest()
                raise self._mismatch(step.number, problem, heard)

    def _expect_end(self, number: int) -> None:
        if self._peer.fileno() < 0:
            return
        heard = self._receive(1)
        if heard:
            heard += self._rest()
        # The records of a handshake that failed, or an alert behind the end of TLS, are
        # no words of the client.
        if heard and not (self._has_starttls and heard[1:2] == b"\x03"):
            raise self._mismatch(number, "the client said more", heard)

    def _receive(self, count: int) -> bytes:
        try:
            return self._peer.recv(count)
        except OSError:
            return b""

    def _rest(self) -> bytes:
        """What came already beyond the octet that differs."""
        self._peer.settimeout(0)
        with contextlib.suppress(OSError):
            return self._peer.recv(4_096)
        return b""

    def _mismatch(
        self, number: int, problem: str, heard: bytes | bytearray
    ) -> TranscriptMismatch:
        lines = bytes(heard).removesuffix(b"\r\n").split(b"\r\n") if heard else []
        shown = [f"C: {escape(line)}" for line in lines[:8]]
        return self._transcript.mismatch(number, self._driver, problem, heard=shown)
