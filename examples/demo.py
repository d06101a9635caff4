"""Send real messages through every client, and compare what arrives octet for octet.

Servers on loopback take SMTP over TCP, and LMTP over TCP and over a unix socket, with
STARTTLS and AUTH. The messages are those of CPython's own test suite for ``email``, and
some made here: 8-bit, wrong charsets, dots, missing line ends, and a large attachment.
Each goes through the asyncio client, the blocking client, smtplib and curl.

What must arrive is the message with each line end, be it CRLF, LF or CR, made CRLF, as
RFC 5321 section 2.3.8 wants it, and nothing else changed. The clients of smtpx get the
message as it is and make that themselves. smtplib does it for ``str``, so an ASCII
message goes to it as ``str``; ``bytes`` it sends as they are, as curl does with a file,
so these are given the message with CRLF line ends.

Run it with ``make demo``. It exits with 1 if a single octet differs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import email.policy
import hmac
import importlib.metadata
import importlib.util
import random
import re
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import smtpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

USER, PASSWORD = "alice", "correct horse battery staple"
SENDER = "sender@example.com"
LEAST_MESSAGES = 20
SHOWN_MISTAKES = 5
EQUAL = "all equal"


# ---------------------------------------------------------------------------- messages


@dataclass(frozen=True)
class Sample:
    """A message as it is, and as it must arrive."""

    name: str
    original: bytes
    expected: bytes


def normalize(octets: bytes) -> bytes:
    """Make every line end CRLF, and the last line end with one."""
    octets = re.sub(rb"\r\n|\r|\n", b"\r\n", octets)
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def find_real_messages() -> tuple[str, list[Path]]:
    """Find messages that real software made, and say where they are from."""
    # Nothing of it is imported: where it is, is enough.
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec("test.test_email")
        if spec is not None and spec.origin is not None:
            paths = sorted((Path(spec.origin).parent / "data").glob("*.txt"))
            if len(paths) >= LEAST_MESSAGES:
                return "CPython's tests of email", paths
    # Some distributions take the tests out of Python.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        files = importlib.metadata.files("flufl.bounce") or []
        paths = sorted(
            Path(str(file.locate()))
            for file in files
            if file.suffix == ".txt" and file.parent.name == "data"
        )
        if len(paths) >= LEAST_MESSAGES:
            return "bounces collected by flufl.bounce", paths
    sys.exit(
        "demo: this Python has no test package, whose messages are sent here: "
        "pip install flufl.bounce==4.0"
    )


def make_messages(pictures: Sequence[Path], attachment_octets: int) -> dict[str, bytes]:
    """Make the messages that no collection has."""
    header = b"From: a@example.com\nTo: b@example.com\nSubject: made here\n"
    latin = header + b"Content-Type: text/plain; charset="
    made = {
        "UTF-8 text": latin + b"utf-8\n\n" + "Grüße, 日本語, ψ\n".encode(),
        "Latin-1 that claims to be UTF-8": latin + b"utf-8\n\ngr\xfc\xdfe\n",
        "a charset that nobody knows": latin + b"klingon-8\n\n\x80\xff\xfe\n",
        "8-bit octets in the header": b"X-Name: gr\xfc\xdfe\n" + header + b"\nhi\n",
        "lines of dots": header + b"\n.\n..\n...\n.\r\n.x\n\n.\n",
        "dots alone": b".\n.\n",
        "an empty body": header + b"\n",
        "no line end at the end": header + b"\nfinis",
        "CR, LF and CRLF line ends": header + b"\none\rtwo\nthree\r\nfour\r\r\nfive\n",
        "a line of 70,000 octets": header + b"\n" + b"x" * 70_000 + b"\n",
        "commands in the body": header + b"\nQUIT\nRSET\nMAIL FROM:<x@example.com>\n",
    }
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = (
        "a@x.test",
        "b@x.test",
        "Bilder",
    )
    message.set_content("Hällo")
    message.add_alternative("<p>H&auml;llo</p>", subtype="html")
    for path in pictures:
        message.add_attachment(
            path.read_bytes(),
            maintype="image",
            subtype=path.suffix[1:],
            filename=path.name,
        )
    made["text, HTML and pictures"] = message.as_bytes()
    large = EmailMessage(policy=email.policy.SMTP)
    large["From"], large["To"], large["Subject"] = "a@x.test", "b@x.test", "large"
    large.set_content("An attachment follows.")
    large.add_attachment(
        random.Random(1).randbytes(attachment_octets),  # noqa: S311 - no secret
        maintype="application",
        subtype="octet-stream",
        filename="large.bin",
    )
    made[f"an attachment of {attachment_octets:,} octets"] = large.as_bytes()
    return made


def collect_samples(attachment_octets: int) -> tuple[str, list[Sample]]:
    """Return where the messages are from, and the messages."""
    origin, paths = find_real_messages()
    pictures = sorted(paths[0].parent.glob("python.*"))
    named = {path.name: path.read_bytes() for path in paths}
    named |= make_messages(pictures, attachment_octets)
    return origin, [Sample(name, it, normalize(it)) for name, it in named.items()]


# ------------------------------------------------------------------------------ server


@dataclass
class Arrival:
    """What the server makes of one message."""

    octets: int
    difference: str
    protocol: str


@dataclass
class Checker:
    """Compares what arrives with what was sent, block by block."""

    samples: Sequence[Sample]
    arrivals: dict[str, list[Arrival]] = field(default_factory=dict)

    def open_session(self, connection: smtpx.ConnectionInfo) -> smtpx.Session:
        """Make a session for a client; `smtpx.Server` calls it."""
        return CheckingSession(connection, self)


class CheckingSession(smtpx.Session):
    """Takes messages of those who log in.

    The recipient says which message it is: ``<run>.<number>@demo.test``.
    """

    def __init__(self, connection: smtpx.ConnectionInfo, checker: Checker) -> None:
        super().__init__(connection)
        self.checker = checker

    async def check_password(self, user: str, password: str) -> bool:
        """Check it in constant time."""
        is_user = hmac.compare_digest(user.encode(), USER.encode())
        return hmac.compare_digest(password.encode(), PASSWORD.encode()) and is_user

    async def data(self, body: smtpx.Body) -> smtpx.Reply:
        """Compare the message as it streams in."""
        name = self.envelope.recipients[0].mailbox.local_part
        expected = self.checker.samples[int(name.rpartition(".")[2])].expected
        position = 0
        difference = ""
        async for block in body:
            wanted = expected[position : position + len(block)]
            if not difference and block != wanted:
                difference = describe_difference(position, block, wanted)
            position += len(block)
        if not difference and position < len(expected):
            difference = f"ends after {position:,} of {len(expected):,} octets"
        arrival = Arrival(position, difference, self.connection.protocol)
        self.checker.arrivals.setdefault(name, []).append(arrival)
        return smtpx.Reply(250, "2.0.0", f"queued as {name}")


def describe_difference(position: int, block: bytes, wanted: bytes) -> str:
    """Say where two blocks differ first."""
    pairs = zip(block, wanted, strict=False)
    equal = next((at for at, (a, b) in enumerate(pairs) if a != b), len(wanted))
    got, want = block[equal : equal + 8], wanted[equal : equal + 8]
    return f"octet {position + equal:,}: {got!r} in place of {want!r}"


# ----------------------------------------------------------------------------- clients


@dataclass(frozen=True)
class Place:
    """Where a server listens."""

    label: str
    is_lmtp: bool
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def url(self) -> str:
        """The URL for the clients of smtpx: STARTTLS is required over TCP."""
        if self.path:
            return f"lmtp+unix://{self.path}"
        scheme = "lmtp" if self.is_lmtp else "smtp+starttls"
        return f"{scheme}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Job:
    """All messages, to be sent by one client to one place."""

    run: str
    place: Place
    samples: Sequence[Sample]
    ca_file: Path

    def recipient(self, number: int) -> str:
        """Name the recipient of a message."""
        return f"{self.run}.{number}@demo.test"

    def client_options(self) -> smtpx.ClientOptions:
        """Return the options for the clients of smtpx."""
        context = ssl.create_default_context(cafile=self.ca_file)
        mode = smtpx.TLSMode.NEVER if self.place.path else smtpx.TLSMode.REQUIRED
        # One of the samples has a line of 70,000 octets, to see that it arrives.
        return smtpx.ClientOptions(tls=mode, tls_context=context, long_lines=True)


def send_with_asyncio(job: Job) -> None:
    """Send with `smtpx.AsyncClient`."""
    options = job.client_options()

    async def send_all() -> None:
        async with smtpx.AsyncClient(
            job.place.url, options=options, auth=(USER, PASSWORD)
        ) as client:
            for number, sample in enumerate(job.samples):
                await client.send(
                    sample.original, sender=SENDER, recipients=job.recipient(number)
                )

    asyncio.run(send_all())


def send_blocking(job: Job) -> None:
    """Send with `smtpx.Client`."""
    with smtpx.Client(
        job.place.url, options=job.client_options(), auth=(USER, PASSWORD)
    ) as client:
        for number, sample in enumerate(job.samples):
            client.send(
                sample.original, sender=SENDER, recipients=job.recipient(number)
            )


def send_with_smtplib(job: Job) -> None:
    """Send with the standard library."""
    place = job.place
    client: smtplib.SMTP
    if place.is_lmtp:
        # For a unix socket smtplib wants its path as the host.
        client = smtplib.LMTP(place.path or place.host, place.port)
    else:
        client = smtplib.SMTP(place.host, place.port)
    with client:
        if not place.path:
            client.starttls(context=ssl.create_default_context(cafile=job.ca_file))
        client.login(USER, PASSWORD)
        for number, sample in enumerate(job.samples):
            content: str | bytes = sample.expected
            options = ["BODY=8BITMIME"]
            if sample.original.isascii():
                content, options = sample.original.decode("ascii"), []
            client.sendmail(SENDER, [job.recipient(number)], content, options)


def send_with_curl(job: Job) -> None:
    """Send with curl: one process and one connection for all messages."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sections = []
        for number, sample in enumerate(job.samples):
            path = folder / f"{number}.eml"
            path.write_bytes(sample.expected)
            sections.append(
                f'url = "smtp://{job.place.host}:{job.place.port}/demo.test"\n'
                f'ssl-reqd\ncacert = "{job.ca_file}"\nuser = "{USER}:{PASSWORD}"\n'
                f'mail-from = "{SENDER}"\nmail-rcpt = "{job.recipient(number)}"\n'
                f'upload-file = "{path}"\n'
            )
        # On standard input: a command line shows the password to everybody.
        subprocess.run(  # noqa: S603 - a program that the user has installed
            [shutil.which("curl") or "curl", "--silent", "--show-error", "-K", "-"],
            input="next\n".join(sections).encode(),
            check=True,
            timeout=120,
        )


CLIENTS: dict[str, Callable[[Job], None]] = {
    "smtpx asyncio": send_with_asyncio,
    "smtpx blocking": send_blocking,
    "smtplib": send_with_smtplib,
    "curl": send_with_curl,
}


def why_not(client: str, place: Place) -> str:
    """Say why a client cannot send to a place; nothing if it can."""
    if client != "curl":
        return ""
    if place.is_lmtp:
        return "no LMTP"
    return "" if shutil.which("curl") else "not installed"


# ---------------------------------------------------------------------------- the demo


@dataclass(frozen=True)
class Result:
    """What one client did at one place."""

    client: str
    place: str
    seconds: float = 0.0
    arrived: int = 0
    octets: int = 0
    protocol: str = ""
    mistakes: tuple[str, ...] = ()
    why_not: str = ""

    def row(self) -> tuple[str, ...]:
        """Return the cells of a table."""
        if self.why_not:
            return (self.place, self.client, "", "", "", "", self.why_not)
        verdict = f"{len(self.mistakes)} differ" if self.mistakes else EQUAL
        return (
            *(self.place, self.client, self.protocol, f"{self.arrived}"),
            *(f"{self.octets:,}", f"{self.seconds:.2f}", verdict),
        )


@contextlib.contextmanager
def run_servers(checker: Checker, folder: Path) -> Iterator[tuple[list[Place], Path]]:
    """Start the servers; yield where they listen, and the authority to trust."""
    try:
        import trustme  # noqa: PLC0415 - for the demo alone
    except ModuleNotFoundError:
        sys.exit("demo: it needs a certificate: pip install trustme")
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    options = smtpx.ServerOptions(
        hostname="mx.demo.test", tls=context, require_auth=True, smtputf8=True
    )
    smtp_options = dataclasses.replace(options, require_tls=True)
    lmtp_options = dataclasses.replace(options, lmtp=True)
    addresses = ["127.0.0.1:0"]
    if sys.platform != "win32":
        addresses.append(f"unix:{folder / 'lmtp'}")
    smtp = smtpx.Server(checker.open_session, "127.0.0.1:0", options=smtp_options)
    lmtp = smtpx.Server(checker.open_session, addresses, options=lmtp_options)
    with smtp.run_in_thread(), lmtp.run_in_thread():
        places = []
        for server, name in [(smtp, "SMTP"), (lmtp, "LMTP")]:
            for address in server.addresses:
                host, _, port = address.rpartition(":")
                is_unix = address.startswith("unix:")
                places.append(
                    Place(
                        f"{name} unix" if is_unix else f"{name} TCP",
                        server is lmtp,
                        host="" if is_unix else host,
                        port=0 if is_unix else int(port),
                        path=address.removeprefix("unix:") if is_unix else "",
                    )
                )
        yield places, ca_file


def run_job(job: Job, client: str, checker: Checker) -> Result:
    """Send all messages, and see what arrived."""
    mistakes = []
    started = time.perf_counter()
    try:
        CLIENTS[client](job)
    except (smtplib.SMTPException, OSError, subprocess.SubprocessError) as error:
        mistakes.append(f"broke off: {error}")
    seconds = time.perf_counter() - started
    found = []
    for number, sample in enumerate(job.samples):
        name = job.recipient(number).partition("@")[0]
        arrivals = checker.arrivals.get(name, [])
        found += arrivals
        if len(arrivals) != 1:
            mistakes.append(f"{sample.name}: arrived {len(arrivals)} times")
        mistakes += [
            f"{sample.name}: {it.difference}" for it in arrivals if it.difference
        ]
    return Result(
        client,
        job.place.label,
        seconds,
        len(found),
        sum(it.octets for it in found),
        "/".join(sorted({it.protocol for it in found})),
        tuple(mistakes),
    )


HEADINGS = ("over", "client", "with", "messages", "octets", "seconds", "verdict")


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table, a nice one if rich is installed."""
    try:
        from rich.console import Console  # noqa: PLC0415 - optional
        from rich.table import Table  # noqa: PLC0415
    except ModuleNotFoundError:
        table = [HEADINGS, *rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = zip(row, widths, strict=True)
            print("  ".join(f"{cell:{width}}" for cell, width in cells).rstrip())
        return
    nice = Table(box=None, padding=(0, 2, 0, 0))
    for heading in HEADINGS:
        is_number = heading in {"messages", "octets", "seconds"}
        justify: Literal["left", "right"] = "right" if is_number else "left"
        nice.add_column(heading, justify=justify, no_wrap=True)
    for row in rows:
        is_run = bool(row[2])
        color = "green" if row[-1] == EQUAL else "red"
        nice.add_row(*row, style=color if is_run else "dim")
    Console().print(nice)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument(
        "--attachment-octets",
        type=int,
        default=20_000_000,
        help="size of the large attachment",
    )
    attachment_octets = parser.parse_args(arguments).attachment_octets
    origin, samples = collect_samples(attachment_octets)
    octets = sum(len(sample.expected) for sample in samples)
    print(f"{len(samples)} messages, {octets:,} octets: from {origin}, and made here")
    checker = Checker(samples)
    results = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places, ca_file = stack.enter_context(run_servers(checker, folder))
        for place in places:
            for client in CLIENTS:
                reason = why_not(client, place)
                if reason:
                    results.append(Result(client, place.label, why_not=reason))
                else:
                    job = Job(f"run{len(results)}", place, samples, ca_file)
                    results.append(run_job(job, client, checker))
    print_table([result.row() for result in results])
    print(
        "Each was compared octet for octet with the message with its line ends made\n"
        "CRLF (RFC 5321 section 2.3.8). The clients of smtpx made them so; so did\n"
        "smtplib for ASCII; for the rest of its messages and for curl they were so."
    )
    for result in results:
        for mistake in result.mistakes[:SHOWN_MISTAKES]:
            print(f"{result.client}, {result.place}: {mistake}")
        if len(result.mistakes) > SHOWN_MISTAKES:
            print(f"... and {len(result.mistakes) - SHOWN_MISTAKES} more")
    has_mistakes = any(result.mistakes for result in results)
    print("FAILED" if has_mistakes else "What arrived is what was sent.")
    return 1 if has_mistakes else 0


if __name__ == "__main__":
    raise SystemExit(main())
