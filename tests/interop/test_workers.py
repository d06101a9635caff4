"""Workers are replaced, and certificates renewed, under the load of smtp-source."""

from __future__ import annotations

import re
import signal
import smtplib
import ssl
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest
import trustme

from smtpx.server.sockets import parse_address
from tests.interop.programs import START_SECONDS, find_program
from tests.server.test_workers import Farm

pytestmark = pytest.mark.interop

RESTARTS = 3
MESSAGES = 500
# What smtp-source says, and goes on, when it was asked to bear refusals.
REFUSAL = re.compile(r".*smtp-source: warning: .*\b421 4\.3\.2 server is shutting down")


def renew(folder: Path) -> bytes:
    """Write a new certificate; return it, DER."""
    issued = trustme.CA().issue_cert("mx.test")
    fresh = folder / "new.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(fresh))
    fresh.replace(folder / "mx.pem")
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


class Load:
    """Sends until told to stop; counts what was acknowledged."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.acknowledged = 0
        self.refused = 0
        self.strange: list[str] = []
        self.rounds = 0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._enough.is_set():
            self.send()
            self.rounds += 1

    def send(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join()


class SmtpSource(Load):
    """Ten connections at a time, with one message each or with many."""

    def send(self) -> None:
        keep = ["-d"] if self.rounds % 2 else []
        done = subprocess.run(
            [
                find_program("smtp-source", "postfix"),
                *keep,
                *("-A", "-s", "10", "-m", str(MESSAGES), "-l", "2000"),
                *("-f", "a@c.test", "-t", "b@mx.test", self.address),
            ],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        lines = done.stderr.splitlines()
        refused = [line for line in lines if REFUSAL.match(line)]
        self.strange += [line for line in lines if line not in refused]
        if done.returncode:
            self.strange.append(f"ended with {done.returncode}")
        self.refused += len(refused)
        self.acknowledged += MESSAGES - len(refused)


class TLSClient(Load):
    """A client that says STARTTLS, and notes which certificates it is shown."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.shown: list[bytes] = []

    def send(self) -> None:
        host, port = parse_address(self.address)
        assert host is not None
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            client = smtplib.SMTP(host, port, timeout=START_SECONDS)
        except smtplib.SMTPConnectError as error:
            self._note(error)
            return
        try:
            # By itself smtplib answers a 421 to EHLO with HELO, on a connection that
            # is closed by then.
            self._greet(client)
            client.starttls(context=context)
            self._greet(client)
            assert isinstance(client.sock, ssl.SSLSocket)
            self.shown.append(client.sock.getpeercert(binary_form=True) or b"")
            client.sendmail("a@c.test", "b@mx.test", "Subject: hi\r\n\r\nhi\r\n")
            self.acknowledged += 1
        except smtplib.SMTPException as error:
            self._note(error)
        finally:
            client.close()

    @staticmethod
    def _greet(client: smtplib.SMTP) -> None:
        code, text = client.ehlo()
        if code != 250:
            raise smtplib.SMTPHeloError(code, text)

    def _note(self, error: smtplib.SMTPException) -> None:
        code = getattr(error, "smtp_code", None)
        if isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPHeloError):
            code = error.smtp_code
        if code == 421:
            self.refused += 1
        else:
            self.strange.append(repr(error))


def all_are_replaced(farm: Farm, times: int) -> bool:
    begun, ended = farm.count(": serving"), farm.count(": ended\n")
    return (begun, ended) == (2 + 2 * times, 2 * times)


def have_gone_on(loads: list[Load], since: list[int]) -> bool:
    return all(load.rounds >= then + 2 for load, then in zip(loads, since, strict=True))


def test_nobody_notices_a_restart(tmp_path: Path) -> None:
    certificates = [renew(tmp_path)]
    # A client may be busy, and read its 421 late.
    farm = Farm(tmp_path, 2, grace=30.0, linger=5.0)
    loads: list[Load] = [SmtpSource(farm.address), TLSClient(farm.address)]
    try:
        for load in loads:
            load.start()
        for number in range(1, RESTARTS + 1):
            certificates.append(renew(tmp_path))
            farm.signal(signal.SIGHUP)
            farm.until(partial(all_are_replaced, farm, number))
            farm.until(partial(have_gone_on, loads, [load.rounds for load in loads]))
    finally:
        for load in loads:
            load.stop()
        farm.signal(signal.SIGTERM)
        status = farm.end()
        farm.close()
    source, tls = loads
    assert source.strange == []
    assert tls.strange == []
    assert status == 0
    # None that was acknowledged is lost, and none was stored that was not.
    stored = (tmp_path / "messages").read_bytes().splitlines()
    assert len(stored) == source.acknowledged + tls.acknowledged
    assert source.acknowledged > RESTARTS * MESSAGES
    # All workers took part, and all certificates were seen, in this order.
    assert len({line.split()[0] for line in stored}) > RESTARTS
    assert isinstance(tls, TLSClient)
    seen = list(dict.fromkeys(tls.shown))
    assert [certificates.index(one) for one in seen] == sorted(
        certificates.index(one) for one in seen
    )
    assert tls.shown[-1] == certificates[-1]
    print(
        f"{len(stored)} messages, {source.refused + tls.refused} refused with 421, "
        f"{RESTARTS} restarts"
    )
