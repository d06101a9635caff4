"""What go-smtp's fork does with XCLIENT."""

from __future__ import annotations

import pytest

import smtpx


def test_who_may_speak_for_whom() -> None:
    """``AllowProxy(actual, asserted)`` is a hook, and a list of networks before it."""
    seen: list[tuple[str, str | None]] = []

    class Backend(smtpx.Session):
        async def xclient(self, attributes: smtpx.XClient) -> None:
            # The actual connection, and what is asserted.
            assert self.connection.peer_host == "127.0.0.1"
            if attributes.addr == "192.0.2.66":
                raise smtpx.Refuse(550, "5.7.0", "insufficient authorization")

        async def connected(self) -> None:
            original = self.connection.original
            seen.append(
                (self.connection.peer, None if original is None else original.peer)
            )

    networks = ("127.0.0.0/8",)
    options = smtpx.ServerOptions(xclient_networks=networks)
    assert options.xclient_networks == networks
    with (
        smtpx.Server(Backend, options=options).run_in_thread() as server,
        smtpx.Client(f"smtp+plain://{server.addresses[0]}") as client,
    ):
        with pytest.raises(smtpx.CommandRefused):
            client.xclient(smtpx.XClient(addr="192.0.2.66"))
        client.xclient(smtpx.XClient(addr="192.0.2.1", port=7))
    (gateway, nobody), (asserted, original) = seen
    assert (asserted, original) == ("192.0.2.1:7", gateway)
    assert nobody is None
