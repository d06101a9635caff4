"""What clients of other libraries do, done with this one: the examples of their pages.

docs/reference/counterparts.md names these tests.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

import smtpx
from smtpx.net.tls import client_context
from smtpx.sasl.mechanism import ClientContext, ClientMechanism
from smtpx.sasl.registry import CLIENT_MECHANISMS
from tests.counterparts.rooms import MESSAGE, PASSWORD, USER, Inbox, open_room


def test_send_mail() -> None:
    """Connect, TLS, AUTH, send, quit, in one call."""
    with open_room() as room:
        result = smtpx.send(
            MESSAGE,
            to=room.url("smtp+starttls"),
            auth=smtpx.Auth(USER, PASSWORD),
            sender="sender@example.org",
            recipients=["recipient@example.net"],
            client_options=room.options,
        )
    assert result.queue_id == "4XkQ"
    (taken,) = room.taken
    assert taken.content == MESSAGE
    assert (taken.user, taken.protocol) == (USER, "ESMTPSA")


def test_send_mail_by_implicit_tls() -> None:
    with open_room(implicit_tls=True) as room:
        smtpx.send(
            MESSAGE,
            to=room.url("smtps"),
            sender="sender@example.org",
            recipients=["recipient@example.net"],
            client_options=room.options,
        )
    assert room.taken[0].protocol == "ESMTPS"


def test_dial_and_say_each_command() -> None:
    """Connect; MAIL, RCPT, DATA, QUIT; the reply, its codes and texts."""
    with open_room() as room:
        client = smtpx.Client(room.url())
        client.connect()
        client.mail("sender@example.org")
        client.rcpt("recipient@example.net")
        result = client.data(b"This is the email body")
        assert result.reply is not None
        assert (result.reply.code, str(result.reply.enhanced)) == (250, "2.0.0")
        assert client.noop().code == 250
        assert client.verify("bob").text == "<bob>"
        assert client.mail("sender@example.org").code == 250
        assert client.reset().code == 250
        assert client.quit() is not None
        assert not client.is_connected
    assert room.taken[0].content == b"This is the email body\r\n"


def test_new_client_of_a_connection() -> None:
    with open_room() as room:
        host, _, port = room.server.addresses[0].rpartition(":")
        connected = socket.create_connection((host, int(port)))
        with smtpx.Client(socket=connected) as client:
            assert client.noop().code == 250


def test_lmtp_client_has_a_status_for_each_recipient() -> None:
    """Also over a connection that is there already."""
    with open_room(lmtp=True) as room:
        host, _, port = room.server.addresses[0].rpartition(":")
        connected = socket.create_connection((host, int(port)))
        with smtpx.LMTPClient(socket=connected) as client:
            client.mail("sender@example.org")
            client.rcpt("one@example.net")
            with pytest.raises(smtpx.RecipientsRefused):
                client.rcpt("bad@example.net")
            client.rcpt("two@example.net")
            result = client.data(MESSAGE)
    statuses = [(one.recipient, one.is_accepted) for one in result.recipients]
    assert statuses == [
        ("one@example.net", True),
        ("bad@example.net", False),
        ("two@example.net", True),
    ]
    assert [one.recipient for one in result.accepted] == [
        "one@example.net",
        "two@example.net",
    ]


def test_hello_starttls_and_auth_one_by_one() -> None:
    """A client may also do for itself what `connect` does."""
    with open_room() as room:
        options = replace(room.options, tls=smtpx.TLSMode.NEVER)
        with smtpx.Client(room.url(), options=options) as client:
            assert client.hello("client.example.org").code == 250
            assert client.starttls().code == 220
            assert client.tls is not None
            assert client.tls.version.startswith("TLSv1.")
            assert client.auth(USER, PASSWORD, mechanism="PLAIN").code == 235


def test_auth_by_mechanism() -> None:
    """CRAM-MD5 and PLAIN, with an identity to act as."""
    plain = smtpx.Auth(USER, PASSWORD, authorize_as=USER, mechanisms=("PLAIN",))
    cram = smtpx.Auth(USER, PASSWORD, mechanisms=("CRAM-MD5",))
    with open_room() as room:
        for auth in (plain, cram):
            url = room.url("smtp+starttls")
            with smtpx.Client(url, auth=auth, options=room.options) as client:
                assert client.is_connected


def test_mechanism_of_ones_own_starts_and_goes_on() -> None:
    """What a mechanism is told of the server, what it says first, and what next."""
    kind: type[ClientMechanism] = CLIENT_MECHANISMS["LOGIN"]
    context = ClientContext(host="mail.example.com")
    mechanism = kind(smtpx.Credentials(USER, PASSWORD), context)
    assert context.host == "mail.example.com"
    assert mechanism.name == "LOGIN"
    assert mechanism.start() is None
    assert mechanism.respond(b"Username:") == USER.encode()
    assert mechanism.respond(b"Password:") == PASSWORD.encode()


def test_extension_query() -> None:
    """In any case, with the parameters; and the mechanisms."""
    with open_room() as room:
        url = room.url("smtp+starttls")
        with smtpx.Client(url, options=room.options) as client:
            assert client.extension("size") == ("52428800",)
            assert client.extension("PIPELINING") == ()
            assert client.extension("XNONE") is None
            assert "CRAM-MD5" in client.capabilities.auth_mechanisms
            assert client.capabilities.size == 52_428_800


def test_command_by_hand() -> None:
    """For extensions that nobody thought of."""
    with open_room() as room, smtpx.Client(room.url()) as client:
        assert client.execute("XNONE", "1 2").code == 500


def test_timeouts_of_phases() -> None:
    timeouts = smtpx.Timeouts(command=20, data_end=30, connect=10, total=60)
    options = smtpx.ClientOptions(timeouts=timeouts, tls=smtpx.TLSMode.NEVER)
    with open_room() as room, smtpx.Client(room.url(), options=options) as client:
        assert client.noop().code == 250
    with pytest.raises(ValueError, match="data_end"):
        smtpx.Timeouts(data_end=0)


def test_debug_writer() -> None:
    """Every line, without secrets."""
    lines: list[str] = []
    with open_room() as room:
        options = replace(room.options, wire_log=lines.append)
        url = room.url("smtp+starttls")
        with smtpx.Client(url, auth=(USER, PASSWORD), options=options):
            pass
    assert lines[0].startswith("S: 220 ")
    assert not any(PASSWORD in line for line in lines)


def test_options_of_mail_and_rcpt() -> None:
    """Every parameter of go-smtp's MailOptions and RcptOptions arrives."""
    options = smtpx.MailOptions(
        body=smtpx.BodyType.EIGHTBITMIME,
        size=100,
        requiretls=True,
        smtputf8=True,
        auth="someone@example.org",
        return_content=smtpx.ReturnContent.HDRS,
        envelope_id="QQ314159",
    )
    rcpt_options = smtpx.RcptOptions(
        notify=(smtpx.Notify.FAILURE, smtpx.Notify.DELAY),
        original_recipient=smtpx.OriginalRecipient("rfc822", "bob@example.org"),
    )
    with open_room() as room:
        url = room.url("smtp+starttls")
        with smtpx.Client(url, options=room.options) as client:
            client.mail("sender@example.org", options)
            client.rcpt("recipient@example.net", rcpt_options)
            client.bdat(MESSAGE, is_last=True)
    (taken,) = room.taken
    assert taken.options == options
    assert taken.rcpt_options == [rcpt_options]
    recipient = taken.rcpt_options[0].original_recipient
    assert recipient is not None
    assert (recipient.address_type, recipient.address) == ("rfc822", "bob@example.org")


def test_errors_carry_reply_and_stage() -> None:
    """Code, enhanced code and text; which command, and what the client was doing."""
    with open_room() as room, smtpx.Client(room.url()) as client:
        client.mail("sender@example.org")
        with pytest.raises(smtpx.SendError) as caught:
            client.rcpt("bad@example.net")
    error = caught.value
    assert error.reply == smtpx.Reply(550, "5.1.1", "no such mailbox")
    assert str(error.reply.enhanced) == "5.1.1"
    assert (error.command, error.phase) == ("RCPT", "rcpt")
    assert error.recipient == "bad@example.net"
    assert not error.is_temporary


def test_data_goes_out_if_one_recipient_is_accepted() -> None:
    with open_room() as room, smtpx.Client(room.url()) as client:
        result = client.send(
            MESSAGE,
            sender="sender@example.org",
            recipients=["bad@example.net", "good@example.net"],
        )
    assert [one.recipient for one in result.refused] == ["bad@example.net"]
    assert room.taken[0].recipients == ["good@example.net"]


def test_local_address() -> None:
    """Bind to an address of this host, as DialFrom does."""
    options = smtpx.ClientOptions(local_address="127.0.0.1")
    with open_room() as room, smtpx.Client(room.url(), options=options) as client:
        assert client.noop().code == 250


def test_port_25_if_no_port_is_given() -> None:
    assert (
        repr(smtpx.Client("mail.example.com")) == "<Client mail.example.com:25: closed>"
    )


def test_name_of_this_host_in_ehlo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own name, or its address: never "localhost"."""
    monkeypatch.setattr(socket, "gethostname", lambda: "host.example.org")
    lines: list[str] = []
    options = smtpx.ClientOptions(wire_log=lines.append)
    with open_room() as room, smtpx.Client(room.url(), options=options):
        pass
    assert "C: EHLO host.example.org" in lines
    named = replace(options, hello_name="other.example.org")
    with open_room() as room, smtpx.Client(room.url(), options=named):
        pass
    assert "C: EHLO other.example.org" in lines


def test_unverified_tls_has_to_be_asked_for() -> None:
    with open_room() as room:
        url = room.url("smtp+starttls")
        with pytest.raises(smtpx.TLSFailed):
            smtpx.Client(url).connect()
        unverified = smtpx.ClientOptions(tls_context=client_context(verify=False))
        with smtpx.Client(url, options=unverified) as client:
            assert client.tls is not None
            assert not client.tls.is_verified
        # A name to be verified, apart from the address that was dialled.
        with smtpx.Client(url, options=room.options) as client:
            assert client.tls is not None
            assert client.tls.is_verified


def test_session_opportunistic_tls_and_no_authentication() -> None:
    """`connect` is what other libraries call a session."""
    options = smtpx.ClientOptions(
        tls=smtpx.TLSMode.OPPORTUNISTIC, tls_context=client_context(verify=False)
    )
    with open_room() as room:
        client = smtpx.Client(room.url(), options=options)
        client.connect()
        assert client.tls is not None
        client.close()
        assert not client.is_connected


def test_transaction_from_a_reader(tmp_path: Path) -> None:
    """Pipelined where possible; the content comes from a file; then another one."""
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE)
    with (
        open_room() as room,
        smtpx.Client(
            room.url(), options=smtpx.ClientOptions(pipelining=True)
        ) as client,
    ):
        for _ in range(2):
            with path.open("rb") as reader:
                client.send(
                    reader,
                    sender="sender@example.org",
                    recipients=["recipient@example.net"],
                )
    assert [taken.content for taken in room.taken] == [MESSAGE, MESSAGE]


def test_rset_after_a_transaction_that_failed() -> None:
    lines: list[str] = []
    options = smtpx.ClientOptions(wire_log=lines.append)
    with open_room() as room, smtpx.Client(room.url(), options=options) as client:
        with pytest.raises(smtpx.RecipientsRefused):
            client.send(MESSAGE, sender="a@example.org", recipients="bad@example.net")
        client.send(MESSAGE, sender="a@example.org", recipients="good@example.net")
    assert lines.index("C: RSET") < lines.index("C: RCPT TO:<good@example.net>")
    assert len(room.taken) == 1


def test_first_digit_is_conclusive() -> None:
    class Unusual(Inbox):
        async def rcpt(
            self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
        ) -> smtpx.Reply | None:
            return smtpx.Reply(259, "2.1.5", "as you like it")

    with open_room(Unusual) as room, smtpx.Client(room.url()) as client:
        client.mail("a@example.org")
        reply = client.rcpt("b@example.net")
        assert (reply.code, reply.is_positive) == (259, True)


def test_no_helo_after_a_temporary_refusal_of_ehlo() -> None:
    lines: list[str] = []

    class Busy(Inbox):
        async def hello(self, name: str) -> smtpx.Reply | None:
            raise smtpx.Refuse(450, "4.3.2", "too busy")

    options = smtpx.ClientOptions(wire_log=lines.append)
    with open_room(Busy) as room, pytest.raises(smtpx.HelloRefused):
        smtpx.Client(room.url(), options=options).connect()
    assert not any(line.startswith("C: HELO") for line in lines)


def test_hello_by_hand() -> None:
    with open_room() as room, smtpx.Client(room.url()) as client:
        assert (
            client.hello("other.example.org")
            .text.splitlines()[0]
            .endswith("greets other.example.org")
        )
