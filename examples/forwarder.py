r"""A forwarder that keeps mail acceptable: SRS for SPF, ARC for DMARC.

    FORWARD_SECRET=... python examples/forwarder.py --domain example.org \
        --map forwards.txt --key arc.pem --selector arc2026 --relay smtp://localhost

Each line of the table has an address of ours, and where its mail goes:

    ann@example.org    ann@gmail.example  ann@work.example

Three things make others refuse forwarded mail. SPF: they see our host with a stranger's
sender; so the sender becomes one of ours (SRS), from which reports find back. DMARC:
SPF is of no use to it then, and DKIM breaks if anybody changes the message; so what we
found is sealed (ARC, RFC 8617), for those who trust us. Reputation: who forwards spam
is taken for its author; so mail whose author's domain disowns it is refused here.

The key is published as one for DKIM is: ``openssl genrsa 2048 > arc.pem``. Nothing is
stored: the 250 is that of the relay, which has to take it for every target.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import smtpx


class Forwarder:
    """Where mail goes, and under which sender."""

    def __init__(self, options: argparse.Namespace, secret: bytes) -> None:
        self.domain: str = options.domain
        self.srs = smtpx.SenderRewriter(options.domain, [secret])
        key = options.key.read_bytes()
        self.sealer = smtpx.ARCSealer(options.domain, options.selector, key)
        self.pool = smtpx.ClientPool(options.relay)
        self.targets: dict[str, list[smtpx.Mailbox]] = {}
        for line in options.map.read_text(encoding="utf-8").splitlines():
            words = line.partition("#")[0].split()
            if words:
                found = [smtpx.Mailbox.parse(one) for one in words]
                self.targets[str(found[0]).lower()] = found[1:]

    async def take(self, mail: smtpx.Mail) -> smtpx.Reply:
        """Forward a message, or bring a report back."""
        (recipient,) = mail.recipients
        if mail.message.hops > 50:
            raise smtpx.Refuse(554, "5.4.6", "the message goes round in circles")
        if recipient.mailbox.local_part.upper().startswith(("SRS0", "SRS1")):
            return await self._bring_back(mail, recipient.mailbox)
        user = smtpx.split_address(recipient.mailbox).user
        targets = self.targets.get(f"{user}@{self.domain}".lower())
        if not targets:
            raise smtpx.Refuse(550, "5.1.1", "no such mailbox here")
        found = await mail.authentication()
        if "temperror" in {found.dmarc.result, found.arc.result}:
            raise smtpx.Refuse(451, "4.7.5", "cannot verify the sender now")
        is_disowned = found.dmarc.policy is smtpx.DMARCPolicy.REJECT
        if found.dmarc.result == "fail" and is_disowned and not found.arc.is_pass:
            raise smtpx.Refuse(550, "5.7.26", "the sender's domain refuses this")
        # Ours, and none that came under our name. The seal is last: it covers all else.
        header = found.add_to(mail.header, self.domain, received_spf=True)
        message = smtpx.received_field(mail.connection) + header
        message += mail.message.without(lambda _: True)  # the body
        message = self.sealer.seal(message, found.to_results(self.domain), found.arc)
        return await self._send(message, self.srs.forward(mail.reverse_path), targets)

    async def _bring_back(
        self, mail: smtpx.Mail, address: smtpx.Mailbox
    ) -> smtpx.Reply:
        """Send a report to whose mail it is about."""
        if mail.reverse_path is not None:
            raise smtpx.Refuse(550, "5.7.1", "this address takes reports only")
        # Of an address that is not ours BadAddress is raised, which is 550 5.1.1.
        return await self._send(mail.octets, None, [self.srs.reverse(address)])

    async def _send(
        self, message: bytes, sender: smtpx.Mailbox | None, to: list[smtpx.Mailbox]
    ) -> smtpx.Reply:
        try:
            result = await self.pool.send(
                message, sender=sender or "", recipients=to, require_all=True
            )
        except smtpx.SendError as error:
            logging.warning("not forwarded to %s: %s", *to[:1], error)
            if error.reply is None or error.is_temporary:
                raise smtpx.Refuse(451, "4.4.0", "cannot be forwarded now") from error
            raise smtpx.Refuse(550, "5.0.0", "refused where it goes") from error
        if result.refused:  # by LMTP, for some: the others may get it twice
            refusals = [one.reply for one in result.refused]
            if all(one is not None and one.is_permanent for one in refusals):
                raise smtpx.Refuse(550, "5.0.0", "refused where some of it goes")
            raise smtpx.Refuse(451, "4.4.0", "cannot be forwarded to all now")
        return smtpx.Reply(250, "2.0.0", f"forwarded as {result.queue_id}")


def main() -> None:
    """Read the command line, and serve until a signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--domain", required=True, help="ours")
    parser.add_argument("--map", type=Path, required=True, help="file of the table")
    parser.add_argument("--key", type=Path, required=True, help="PEM, for ARC")
    parser.add_argument("--selector", default="arc", help="under which it is published")
    parser.add_argument("--listen", default="127.0.0.1:2525", help="host:port")
    parser.add_argument("--relay", default="smtp://localhost", help="sends it on")
    parser.add_argument("--nameserver", action="append", default=[], help="host:port")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    try:
        secret = os.environ.get("FORWARD_SECRET", "").encode()
        forwarder = Forwarder(options, secret)
    except (ValueError, OSError) as error:
        parser.error(f"{error}; the secret is FORWARD_SECRET")
    servers = smtpx.ResolverOptions(nameservers=tuple(options.nameserver))
    resolver = smtpx.DNSRecordResolver(servers)
    # One recipient a message: what was forwarded for one is not, when another fails.
    limits = smtpx.Limits(max_recipients=1)
    app = smtpx.App(
        smtpx.AppOptions(resolver=resolver), server=smtpx.ServerOptions(limits=limits)
    )
    app.on_message(f"{{user}}@{options.domain}")(forwarder.take)
    app.on_ready(lambda server: print("listening on", *server.addresses, flush=True))
    app.on_shutdown(forwarder.pool.close)
    app.run(options.listen)


if __name__ == "__main__":
    main()
