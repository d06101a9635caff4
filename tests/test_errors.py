"""Errors: their tree, their data, and what code written for smtplib finds in them."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import smtplib

import pytest

from smtpx import errors
from smtpx.errors import (
    AuthenticationFailed,
    BadAddress,
    BadParameter,
    BadProxyHeader,
    BadReply,
    BadSyntax,
    CommandRefused,
    ConnectError,
    ConnectionLost,
    DataRefused,
    Delivery,
    GreetingRefused,
    HelloRefused,
    LineTooLong,
    MessageAborted,
    MessageTooLarge,
    NotSupported,
    OutOfStep,
    PhaseTimeout,
    PoolUnavailable,
    RecipientsRefused,
    Refuse,
    SASLError,
    SenderRefused,
    SendError,
    SMTPXError,
    TLSFailed,
    TLSUnavailable,
    UnsafeOctets,
)
from smtpx.wire.envelope import RecipientResult
from smtpx.wire.replies import Reply

BUSY = Reply(451, "4.3.0", "busy")
NO = Reply(550, "5.7.1", "no\nnever")

# --- the tree ------------------------------------------------------------------------

TREE = {
    Refuse: (SMTPXError,),
    BadSyntax: (Refuse, ValueError),
    BadAddress: (BadSyntax,),
    BadParameter: (BadSyntax,),
    UnsafeOctets: (SMTPXError, ValueError),
    BadProxyHeader: (SMTPXError, ValueError),
    LineTooLong: (SMTPXError, ValueError),
    BadReply: (SMTPXError,),
    SASLError: (SMTPXError,),
    MessageAborted: (SMTPXError,),
    SendError: (SMTPXError, smtplib.SMTPException),
    ConnectError: (SendError, smtplib.SMTPConnectError),
    GreetingRefused: (ConnectError,),
    ConnectionLost: (SendError, smtplib.SMTPServerDisconnected),
    OutOfStep: (ConnectionLost,),
    PhaseTimeout: (ConnectionLost, TimeoutError),
    TLSFailed: (ConnectionLost,),
    HelloRefused: (SendError, smtplib.SMTPHeloError),
    TLSUnavailable: (SendError, smtplib.SMTPNotSupportedError),
    AuthenticationFailed: (SendError, smtplib.SMTPAuthenticationError),
    SenderRefused: (SendError, smtplib.SMTPSenderRefused),
    MessageTooLarge: (SenderRefused,),
    RecipientsRefused: (SendError, smtplib.SMTPRecipientsRefused),
    DataRefused: (SendError, smtplib.SMTPDataError),
    CommandRefused: (SendError, smtplib.SMTPResponseException),
    PoolUnavailable: (SendError,),
    NotSupported: (SendError, smtplib.SMTPNotSupportedError),
}


@pytest.mark.parametrize("error_type", TREE)
def test_bases(error_type: type[SMTPXError]) -> None:
    assert error_type.__bases__ == TREE[error_type]


def test_tree_names_every_error() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, SMTPXError)
    }
    assert defined == {SMTPXError, *TREE}
    assert {value.__name__ for value in defined} | {"Delivery"} == set(errors.__all__)


def test_docstring_draws_the_tree() -> None:
    lines = map(
        re.compile(r"    ([│├└─ ]*)(\w+)(?: +(.*))?").fullmatch,
        (errors.__doc__ or "").splitlines(),
    )
    drawn = [
        (len(match[1]) // 4, match[2], match[3] or "")
        for match in lines
        if match is not None
    ]
    parents: dict[int, type[SMTPXError]] = {}
    names = set()
    for depth, name, remark in drawn:
        error_type = getattr(errors, name)
        names.add(error_type)
        parents[depth] = error_type
        if depth:
            first, *others = error_type.__bases__
            assert first is parents[depth - 1]
            for other in others:
                module = "smtplib." if other.__module__ == "smtplib" else ""
                assert f"({module}{other.__name__})" in remark
    assert names == {SMTPXError, *TREE}


# --- refusals ------------------------------------------------------------------------


def test_refusal_carries_a_reply() -> None:
    error = Refuse(550, "5.1.1", "no such mailbox")
    assert (error.code, error.enhanced, error.text) == (550, "5.1.1", "no such mailbox")
    assert str(error) == "550 5.1.1 no such mailbox"
    assert str(Refuse(421)) == "421"
    assert str(Refuse(421, text="bye")) == "421 bye"


@pytest.mark.parametrize(
    ("code", "is_temporary"), [(400, True), (499, True), (500, False), (599, False)]
)
def test_refusal_is_temporary_by_its_first_digit(code: int, is_temporary: bool) -> None:
    assert Refuse(code).is_temporary is is_temporary


@pytest.mark.parametrize("code", [-1, 0, 250, 354, 399, 600])
def test_refusal_needs_the_code_of_one(code: int) -> None:
    with pytest.raises(ValueError, match="from 400 to 599"):
        Refuse(code)


@pytest.mark.parametrize(
    ("code", "enhanced"), [(550, "4.1.1"), (450, "5.1.1"), (550, ""), (550, "55.1.1")]
)
def test_refusal_needs_an_enhanced_code_of_its_class(code: int, enhanced: str) -> None:
    with pytest.raises(ValueError, match="another class"):
        Refuse(code, enhanced)


@pytest.mark.parametrize(
    ("error_type", "enhanced"),
    [(BadSyntax, "5.5.2"), (BadAddress, "5.1.3"), (BadParameter, "5.5.4")],
)
def test_bad_syntax_is_the_reply_of_a_server(
    error_type: type[BadSyntax], enhanced: str
) -> None:
    error = error_type("wrong")
    assert (error.code, error.enhanced, error.text) == (501, enhanced, "wrong")
    other = error_type("wrong", code=555, enhanced="5.9.9")
    assert (other.code, other.enhanced, other.text) == (555, "5.9.9", "wrong")


def test_errors_outside_of_a_conversation() -> None:
    unsafe = UnsafeOctets("MAIL command", "a\\r\\nb")
    assert (unsafe.what, unsafe.octets) == ("MAIL command", "a\\r\\nb")
    assert str(unsafe) == "MAIL command holds a control octet: a\\r\\nb"
    assert MessageAborted("connection lost").reason == "connection lost"
    assert str(MessageAborted("connection lost")) == "connection lost"


# --- a client's errors ---------------------------------------------------------------


def test_data_of_a_failure() -> None:
    error = CommandRefused(
        "RCPT was refused",
        reply=NO,
        command="RCPT",
        recipient="b@example.com",
        phase="rcpt",
        delivery=Delivery.UNKNOWN,
        is_temporary=True,
    )
    assert error.text == "RCPT was refused"
    assert error.reply is NO
    assert error.command == "RCPT"
    assert error.recipient == "b@example.com"
    assert error.phase == "rcpt"
    assert error.delivery is Delivery.UNKNOWN
    assert error.is_temporary is True
    assert str(error) == "RCPT was refused: 550 5.7.1 no\n5.7.1 never"


def test_data_that_is_not_known() -> None:
    error = ConnectionLost("connection lost")
    assert (error.reply, error.command, error.recipient) == (None, None, None)
    assert error.phase == ""
    assert str(error) == "connection lost"
    assert error.args == ("connection lost",)


@pytest.mark.parametrize(
    ("error_type", "is_temporary", "delivery"),
    [
        (SendError, False, Delivery.NOT_SENT),
        (ConnectError, True, Delivery.NOT_SENT),
        (GreetingRefused, True, Delivery.NOT_SENT),
        (ConnectionLost, True, Delivery.NOT_SENT),
        (OutOfStep, True, Delivery.NOT_SENT),
        (PhaseTimeout, True, Delivery.NOT_SENT),
        (TLSFailed, True, Delivery.NOT_SENT),
        (TLSUnavailable, True, Delivery.NOT_SENT),
        (HelloRefused, False, Delivery.NOT_SENT),
        (DataRefused, False, Delivery.REFUSED),
        (CommandRefused, False, Delivery.NOT_SENT),
        (NotSupported, False, Delivery.NOT_SENT),
    ],
)
def test_what_a_class_means(
    error_type: type[SendError], is_temporary: bool, delivery: Delivery
) -> None:
    error = error_type("failed")
    assert (error.is_temporary, error.delivery) == (is_temporary, delivery)
    # A reply knows better than the class; the caller knows better than both.
    assert error_type("failed", reply=BUSY).is_temporary is True
    assert error_type("failed", reply=NO).is_temporary is False
    assert error_type("failed", reply=NO, is_temporary=True).is_temporary is True
    assert error_type("failed", reply=BUSY, is_temporary=False).is_temporary is False
    chosen = error_type("failed", delivery=Delivery.UNKNOWN)
    assert chosen.delivery is Delivery.UNKNOWN


@pytest.mark.parametrize(
    ("code", "is_temporary"),
    [(250, False), (399, False), (400, True), (499, True), (500, False)],
)
def test_a_failure_is_temporary_by_the_first_digit_of_the_reply(
    code: int, is_temporary: bool
) -> None:
    assert ConnectionLost("odd", reply=Reply(code)).is_temporary is is_temporary


def test_delivery_reads_as_in_reports() -> None:
    assert [str(delivery) for delivery in Delivery] == [
        "delivered",
        "refused",
        "not sent",
        "unknown",
    ]


@pytest.mark.parametrize(
    "error_type",
    [ConnectError, GreetingRefused, HelloRefused, DataRefused, CommandRefused],
)
def test_smtplib_attributes_of_a_reply(error_type: type[SendError]) -> None:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        raise error_type("failed", reply=NO)
    assert caught.value.smtp_code == 550
    assert caught.value.smtp_error == b"5.7.1 no\n5.7.1 never"
    assert caught.value.args == (550, b"5.7.1 no\n5.7.1 never")


def test_smtplib_attributes_without_a_reply() -> None:
    error = ConnectError("no answer from grå.example")
    assert error.smtp_code == -1
    assert error.smtp_error == "no answer from grå.example".encode()
    assert ConnectError("odd \udcff").smtp_error == b"odd ?"


def test_smtplib_text_keeps_every_octet() -> None:
    error = DataRefused("failed", reply=Reply(554, None, "gr\udce5"))
    assert error.smtp_error == b"gr\xe5"
    assert str(error) == "failed: 554 gr\ufffd"


def test_sender_refused() -> None:
    with pytest.raises(smtplib.SMTPSenderRefused) as caught:
        raise SenderRefused("refused", sender="a@example.com", reply=NO, phase="mail")
    error = caught.value
    assert isinstance(error, SenderRefused)
    assert error.sender == "a@example.com"
    assert error.args == (550, b"5.7.1 no\n5.7.1 never", "a@example.com")
    assert (error.command, error.phase) == ("MAIL", "mail")
    assert error.delivery is Delivery.REFUSED
    chosen = SenderRefused("refused", sender="", delivery=Delivery.NOT_SENT)
    assert chosen.delivery is Delivery.NOT_SENT


def test_message_too_large() -> None:
    error = MessageTooLarge(sender="a@example.com", size=1001, limit=1000)
    assert (error.size, error.limit, error.sender) == (1001, 1000, "a@example.com")
    assert str(error) == "the message has 1001 octets, the server takes 1000"
    assert error.smtp_code == 552
    assert error.args == (552, str(error).encode(), "a@example.com")
    assert error.delivery is Delivery.NOT_SENT
    assert error.is_temporary is False
    assert error.reply is None


def test_recipients_refused() -> None:
    accepted = RecipientResult("a@example.com", Reply(250), is_accepted=True)
    busy = RecipientResult("b@example.com", BUSY, is_accepted=False)
    never = RecipientResult("c@example.com", NO, is_accepted=False)
    unasked = RecipientResult("d@example.com", None, is_accepted=False)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        raise RecipientsRefused(
            "refused", results=iter([accepted, busy, never, unasked]), phase="rcpt"
        )
    error = caught.value
    assert isinstance(error, RecipientsRefused)
    assert error.results == (accepted, busy, never, unasked)
    assert error.recipients == {
        "b@example.com": (451, b"4.3.0 busy"),
        "c@example.com": (550, b"5.7.1 no\n5.7.1 never"),
    }
    assert error.args == (error.recipients,)
    assert (error.reply, error.recipient) == (BUSY, "b@example.com")
    assert (error.command, error.phase) == ("RCPT", "rcpt")
    assert error.delivery is Delivery.REFUSED
    assert error.is_temporary is False
    assert RecipientsRefused("refused", results=[busy]).is_temporary is True
    assert RecipientsRefused("refused", results=[never]).is_temporary is False


def test_recipients_refused_are_named_up_to_three() -> None:
    """Which reply is whose is what a log has to tell, but not a thousand times."""
    results = [
        RecipientResult(f"{name}@b.test", Reply(550, "5.1.1", "no"), is_accepted=False)
        for name in "abcd"
    ]
    said = "refused: a@b.test: 550 5.1.1 no; b@b.test: 550 5.1.1 no; c@b.test: "
    error = RecipientsRefused("refused", results=results[:3])
    assert str(error) == said + "550 5.1.1 no"
    error = RecipientsRefused("refused", results=results)
    assert str(error) == said + "550 5.1.1 no; and 1 more"


def test_recipients_refused_without_replies() -> None:
    error = RecipientsRefused("none was asked", results=[])
    assert str(error) == "none was asked"
    assert (error.recipients, error.reply, error.recipient) == ({}, None, None)
    assert error.is_temporary is False


def test_authentication_failed() -> None:
    attempts = [("SCRAM-SHA-256", Reply(504, "5.5.4", "what?")), ("PLAIN", NO)]
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        raise AuthenticationFailed("refused", attempts=attempts, phase="auth")
    error = caught.value
    assert isinstance(error, AuthenticationFailed)
    assert error.attempts == tuple(attempts)
    assert (error.reply, error.command, error.phase) == (NO, "AUTH", "auth")
    assert error.smtp_code == 550
    temporary = AuthenticationFailed("odd", attempts=attempts, is_temporary=True)
    assert temporary.is_temporary is True
    none = AuthenticationFailed("no common mechanism")
    assert (none.attempts, none.reply, none.smtp_code) == ((), None, -1)


# --- across processes ----------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        SMTPXError("odd"),
        Refuse(550, "5.1.1", "no such mailbox"),
        BadAddress("bad", enhanced="5.1.7"),
        UnsafeOctets("NOOP", "\\n"),
        MessageAborted("timeout"),
        PhaseTimeout("slow", phase="mail"),
        CommandRefused("refused", reply=NO, command="HELP"),
        SenderRefused("refused", sender="a@b", reply=BUSY),
        MessageTooLarge(sender="", size=2, limit=1),
        RecipientsRefused("refused", results=[RecipientResult("a@b", NO, False)]),
        AuthenticationFailed("refused", attempts=[("PLAIN", NO)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling_and_copying(error: SMTPXError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)


def test_line_that_is_too_long_says_what_to_do() -> None:
    assert "ClientOptions(long_lines=True)" in str(LineTooLong())
