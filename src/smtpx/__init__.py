"""SMTP, ESMTP and LMTP: client and server, asyncio and blocking.

Names are loaded when first used (PEP 562), so ``import smtpx`` alone is cheap: it
loads no event loop, no TLS and no optional package.

>>> import smtpx
>>> smtpx.Mailbox.parse("postmaster@example.com").domain
'example.com'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpx.app.application import (
        App,
        AppOptions,
    )
    from smtpx.app.event_log import EventLog, log_wire
    from smtpx.app.mail import Mail
    from smtpx.app.places import (
        CallbackSink,
        MboxSink,
        WebhookSink,
    )
    from smtpx.app.prometheus import PrometheusEvents
    from smtpx.app.relay import Relay, RelaySession
    from smtpx.app.serving import run
    from smtpx.app.sinks import (
        EmlSink,
        MaildirSink,
        Sink,
        received_field,
        trace_fields,
    )
    from smtpx.app.telemetry import OpenTelemetryEvents
    from smtpx.app.tokens import TokenChecker
    from smtpx.client.aio import AsyncClient, AsyncLMTPClient, asend
    from smtpx.client.aio_pool import ClientPool
    from smtpx.client.blocking import Client, LMTPClient, send
    from smtpx.client.blocking_pool import BlockingClientPool
    from smtpx.client.options import Auth, Chunking, ClientOptions, Timeouts, TLSMode
    from smtpx.client.outgoing import Outcome, Outgoing, SendWindow
    from smtpx.client.pool_options import PoolOptions, PoolStatistics
    from smtpx.core.build import is_compiled
    from smtpx.core.limits import Limits
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
    from smtpx.inbox.mailbox import InboxCap
    from smtpx.inbox.service import DevInbox, InboxOptions
    from smtpx.message.addresses import (
        Address,
        AddressParts,
        split_address,
    )
    from smtpx.message.parsed import (
        Attachment,
        ParsedMessage,
        ResentBlock,
        parse_message,
    )
    from smtpx.message.received_spf import ReceivedSPF
    from smtpx.message.reports import (
        DeliveryAction,
        DeliveryReport,
        RecipientReport,
        ReportHeader,
        make_report,
        parse_report,
    )
    from smtpx.message.results import (
        AuthenticationResults,
        MethodResult,
        remove_forged_results,
    )
    from smtpx.net.aio_dns import AsyncDNSResolver
    from smtpx.net.certificates import Certificate, ServerTLS, server_context
    from smtpx.net.dns import DNSFailure, DNSResolver, MailExchanger, Resolver
    from smtpx.net.records import (
        Answer,
        DNSRecordResolver,
        MXRecord,
        RecordResolver,
        ResolverOptions,
    )
    from smtpx.net.tls import TLSInfo, client_context
    from smtpx.sasl.mechanism import Credentials, Identity
    from smtpx.sasl.oauth import CheckToken, TokenRefused
    from smtpx.sasl.scram_keys import ScramCredentials, make_scram_credentials
    from smtpx.server.body import Body
    from smtpx.server.delays import ErrorDelay, GreetingDelay
    from smtpx.server.events import (
        AbortedEvent,
        AuthEvent,
        ClosedEvent,
        CommandEvent,
        ConnectedEvent,
        ErrorEvent,
        EventSink,
        HelloEvent,
        MailEvent,
        MessageEvent,
        RcptEvent,
        RefusedEvent,
        ServerEvent,
        TLSEvent,
    )
    from smtpx.server.guards import Guard
    from smtpx.server.limiters import MemoryRateLimiter, RedisRateLimiter
    from smtpx.server.listener import Server
    from smtpx.server.options import ServerOptions, ServerTimeouts
    from smtpx.server.rate_guard import Counted, CountedBy, RateGuard, RateRule
    from smtpx.server.rates import Decision, Rate, RateLimiter
    from smtpx.server.session import ConnectionInfo, Endpoints, Session, Statuses
    from smtpx.server.sockets import Listener, inherited_sockets
    from smtpx.server.transform import Transform, transform
    from smtpx.server.workers import run_workers
    from smtpx.verify.arc import (
        ARCResult,
        verify_arc,
    )
    from smtpx.verify.authentication import (
        Authentication,
        Origin,
        authenticate,
    )
    from smtpx.verify.canonical import Canonicalization
    from smtpx.verify.dkim import (
        DKIMResult,
        verify_dkim,
    )
    from smtpx.verify.dmarc import (
        DMARCPolicy,
        DMARCRecord,
        DMARCResult,
        check_dmarc,
    )
    from smtpx.verify.hosts import (
        IPRevResult,
        Mailable,
        check_iprev,
        check_mailable,
        is_mailable,
    )
    from smtpx.verify.keys import (
        load_private_key,
        make_key_record,
    )
    from smtpx.verify.sealing import ARCSealer
    from smtpx.verify.signing import DKIMSigner
    from smtpx.verify.spf import (
        SPFResult,
        check_spf,
    )
    from smtpx.verify.srs import SenderRewriter
    from smtpx.wire.address import Mailbox
    from smtpx.wire.capabilities import Capabilities
    from smtpx.wire.envelope import Envelope, Recipient, RecipientResult, SendResult
    from smtpx.wire.forwarded import ForwardedSource, Unknown, XClient, XForward
    from smtpx.wire.framing import BareNewline
    from smtpx.wire.grammar import parse_raw
    from smtpx.wire.options import (
        BodyType,
        ByMode,
        DeliverBy,
        MailOptions,
        NoSupportAction,
        Notify,
        OriginalRecipient,
        RcptOptions,
        ReturnContent,
        ValidSince,
    )
    from smtpx.wire.params import Parameter
    from smtpx.wire.preamble import ProxyHeader
    from smtpx.wire.proxy_tlvs import ProxyTLS, ProxyTLV, TLVType
    from smtpx.wire.registry import Extension, ExtensionSettings, Registry
    from smtpx.wire.replies import EnhancedCode, Reply
    from smtpx.wire.reply_decoder import ReplyLimits


__all__ = [
    "ARCResult",
    "ARCSealer",
    "AbortedEvent",
    "Address",
    "AddressParts",
    "Answer",
    "App",
    "AppOptions",
    "AsyncClient",
    "AsyncDNSResolver",
    "AsyncLMTPClient",
    "Attachment",
    "Auth",
    "AuthEvent",
    "Authentication",
    "AuthenticationFailed",
    "AuthenticationResults",
    "BadAddress",
    "BadParameter",
    "BadProxyHeader",
    "BadReply",
    "BadSyntax",
    "BareNewline",
    "BlockingClientPool",
    "Body",
    "BodyType",
    "ByMode",
    "CallbackSink",
    "Canonicalization",
    "Capabilities",
    "Certificate",
    "CheckToken",
    "Chunking",
    "Client",
    "ClientOptions",
    "ClientPool",
    "ClosedEvent",
    "CommandEvent",
    "CommandRefused",
    "ConnectError",
    "ConnectedEvent",
    "ConnectionInfo",
    "ConnectionLost",
    "Counted",
    "CountedBy",
    "Credentials",
    "DKIMResult",
    "DKIMSigner",
    "DMARCPolicy",
    "DMARCRecord",
    "DMARCResult",
    "DNSFailure",
    "DNSRecordResolver",
    "DNSResolver",
    "DataRefused",
    "Decision",
    "DeliverBy",
    "Delivery",
    "DeliveryAction",
    "DeliveryReport",
    "DevInbox",
    "EmlSink",
    "Endpoints",
    "EnhancedCode",
    "Envelope",
    "ErrorDelay",
    "ErrorEvent",
    "EventLog",
    "EventSink",
    "Extension",
    "ExtensionSettings",
    "ForwardedSource",
    "GreetingDelay",
    "GreetingRefused",
    "Guard",
    "HelloEvent",
    "HelloRefused",
    "IPRevResult",
    "Identity",
    "InboxCap",
    "InboxOptions",
    "LMTPClient",
    "Limits",
    "LineTooLong",
    "Listener",
    "MXRecord",
    "Mail",
    "MailEvent",
    "MailExchanger",
    "MailOptions",
    "Mailable",
    "Mailbox",
    "MaildirSink",
    "MboxSink",
    "MemoryRateLimiter",
    "MessageAborted",
    "MessageEvent",
    "MessageTooLarge",
    "MethodResult",
    "NoSupportAction",
    "NotSupported",
    "Notify",
    "OpenTelemetryEvents",
    "Origin",
    "OriginalRecipient",
    "OutOfStep",
    "Outcome",
    "Outgoing",
    "Parameter",
    "ParsedMessage",
    "PhaseTimeout",
    "PoolOptions",
    "PoolStatistics",
    "PoolUnavailable",
    "PrometheusEvents",
    "ProxyHeader",
    "ProxyTLS",
    "ProxyTLV",
    "Rate",
    "RateGuard",
    "RateLimiter",
    "RateRule",
    "RcptEvent",
    "RcptOptions",
    "ReceivedSPF",
    "Recipient",
    "RecipientReport",
    "RecipientResult",
    "RecipientsRefused",
    "RecordResolver",
    "RedisRateLimiter",
    "Refuse",
    "RefusedEvent",
    "Registry",
    "Relay",
    "RelaySession",
    "Reply",
    "ReplyLimits",
    "ReportHeader",
    "ResentBlock",
    "Resolver",
    "ResolverOptions",
    "ReturnContent",
    "SASLError",
    "SMTPXError",
    "SPFResult",
    "ScramCredentials",
    "SendError",
    "SendResult",
    "SendWindow",
    "SenderRefused",
    "SenderRewriter",
    "Server",
    "ServerEvent",
    "ServerOptions",
    "ServerTLS",
    "ServerTimeouts",
    "Session",
    "Sink",
    "Statuses",
    "TLSEvent",
    "TLSFailed",
    "TLSInfo",
    "TLSMode",
    "TLSUnavailable",
    "TLVType",
    "Timeouts",
    "TokenChecker",
    "TokenRefused",
    "Transform",
    "Unknown",
    "UnsafeOctets",
    "ValidSince",
    "WebhookSink",
    "XClient",
    "XForward",
    "__version__",
    "asend",
    "authenticate",
    "check_dmarc",
    "check_iprev",
    "check_mailable",
    "check_spf",
    "client_context",
    "inherited_sockets",
    "is_compiled",
    "is_mailable",
    "load_private_key",
    "log_wire",
    "make_key_record",
    "make_report",
    "make_scram_credentials",
    "parse_message",
    "parse_raw",
    "parse_report",
    "received_field",
    "remove_forged_results",
    "run",
    "run_workers",
    "send",
    "server_context",
    "split_address",
    "trace_fields",
    "transform",
    "verify_arc",
    "verify_dkim",
]

__version__ = "0.1.0"

# The same as the imports above, for the interpreter; a test compares the two.
_NAMES = {
    "smtpx.errors": (
        "AuthenticationFailed",
        "BadAddress",
        "BadParameter",
        "BadProxyHeader",
        "BadReply",
        "BadSyntax",
        "CommandRefused",
        "ConnectError",
        "ConnectionLost",
        "DataRefused",
        "Delivery",
        "GreetingRefused",
        "HelloRefused",
        "LineTooLong",
        "MessageAborted",
        "MessageTooLarge",
        "NotSupported",
        "OutOfStep",
        "PhaseTimeout",
        "PoolUnavailable",
        "RecipientsRefused",
        "Refuse",
        "SASLError",
        "SMTPXError",
        "SendError",
        "SenderRefused",
        "TLSFailed",
        "TLSUnavailable",
        "UnsafeOctets",
    ),
    "smtpx.wire.address": ("Mailbox",),
    "smtpx.wire.capabilities": ("Capabilities",),
    "smtpx.wire.grammar": ("parse_raw",),
    "smtpx.wire.envelope": ("Envelope", "Recipient", "RecipientResult", "SendResult"),
    "smtpx.wire.forwarded": ("ForwardedSource", "Unknown", "XClient", "XForward"),
    "smtpx.wire.framing": ("BareNewline",),
    "smtpx.wire.options": (
        "BodyType",
        "ByMode",
        "DeliverBy",
        "MailOptions",
        "NoSupportAction",
        "Notify",
        "OriginalRecipient",
        "RcptOptions",
        "ReturnContent",
        "ValidSince",
    ),
    "smtpx.wire.params": ("Parameter",),
    "smtpx.wire.preamble": ("ProxyHeader",),
    "smtpx.wire.proxy_tlvs": ("ProxyTLS", "ProxyTLV", "TLVType"),
    "smtpx.wire.registry": ("Extension", "ExtensionSettings", "Registry"),
    "smtpx.wire.replies": ("EnhancedCode", "Reply"),
    "smtpx.wire.reply_decoder": ("ReplyLimits",),
    "smtpx.sasl.mechanism": ("Credentials", "Identity"),
    "smtpx.sasl.oauth": ("CheckToken", "TokenRefused"),
    "smtpx.sasl.scram_keys": ("ScramCredentials", "make_scram_credentials"),
    "smtpx.core.build": ("is_compiled",),
    "smtpx.core.limits": ("Limits",),
    "smtpx.net.aio_dns": ("AsyncDNSResolver",),
    "smtpx.net.dns": ("DNSFailure", "DNSResolver", "MailExchanger", "Resolver"),
    "smtpx.net.tls": ("TLSInfo", "client_context"),
    "smtpx.net.certificates": ("Certificate", "ServerTLS", "server_context"),
    "smtpx.client.aio": ("AsyncClient", "AsyncLMTPClient", "asend"),
    "smtpx.client.aio_pool": ("ClientPool",),
    "smtpx.client.blocking": ("Client", "LMTPClient", "send"),
    "smtpx.client.blocking_pool": ("BlockingClientPool",),
    "smtpx.client.options": (
        "Auth",
        "Chunking",
        "ClientOptions",
        "TLSMode",
        "Timeouts",
    ),
    "smtpx.client.pool_options": ("PoolOptions", "PoolStatistics"),
    "smtpx.client.outgoing": ("Outcome", "Outgoing", "SendWindow"),
    "smtpx.server.body": ("Body",),
    "smtpx.server.events": (
        "AbortedEvent",
        "AuthEvent",
        "ClosedEvent",
        "CommandEvent",
        "ConnectedEvent",
        "ErrorEvent",
        "EventSink",
        "HelloEvent",
        "MailEvent",
        "MessageEvent",
        "RcptEvent",
        "RefusedEvent",
        "ServerEvent",
        "TLSEvent",
    ),
    "smtpx.server.listener": ("Server",),
    "smtpx.server.guards": ("Guard",),
    "smtpx.server.rates": (
        "Decision",
        "Rate",
        "RateLimiter",
    ),
    "smtpx.server.limiters": (
        "MemoryRateLimiter",
        "RedisRateLimiter",
    ),
    "smtpx.server.rate_guard": (
        "Counted",
        "CountedBy",
        "RateGuard",
        "RateRule",
    ),
    "smtpx.server.delays": (
        "ErrorDelay",
        "GreetingDelay",
    ),
    "smtpx.server.options": ("ServerOptions", "ServerTimeouts"),
    "smtpx.server.session": ("ConnectionInfo", "Endpoints", "Session", "Statuses"),
    "smtpx.server.sockets": ("Listener", "inherited_sockets"),
    "smtpx.server.workers": ("run_workers",),
    "smtpx.server.transform": ("Transform", "transform"),
    "smtpx.message.addresses": (
        "Address",
        "AddressParts",
        "split_address",
    ),
    "smtpx.message.parsed": (
        "Attachment",
        "ParsedMessage",
        "ResentBlock",
        "parse_message",
    ),
    "smtpx.message.results": (
        "AuthenticationResults",
        "MethodResult",
        "remove_forged_results",
    ),
    "smtpx.message.received_spf": ("ReceivedSPF",),
    "smtpx.message.reports": (
        "DeliveryAction",
        "DeliveryReport",
        "RecipientReport",
        "ReportHeader",
        "make_report",
        "parse_report",
    ),
    "smtpx.verify.srs": ("SenderRewriter",),
    "smtpx.app.event_log": ("EventLog", "log_wire"),
    "smtpx.app.prometheus": ("PrometheusEvents",),
    "smtpx.app.telemetry": ("OpenTelemetryEvents",),
    "smtpx.app.tokens": ("TokenChecker",),
    "smtpx.net.records": (
        "Answer",
        "DNSRecordResolver",
        "MXRecord",
        "RecordResolver",
        "ResolverOptions",
    ),
    "smtpx.inbox.mailbox": ("InboxCap",),
    "smtpx.inbox.service": ("DevInbox", "InboxOptions"),
    "smtpx.verify.spf": (
        "SPFResult",
        "check_spf",
    ),
    "smtpx.verify.dkim": (
        "DKIMResult",
        "verify_dkim",
    ),
    "smtpx.verify.signing": ("DKIMSigner",),
    "smtpx.verify.sealing": ("ARCSealer",),
    "smtpx.verify.canonical": ("Canonicalization",),
    "smtpx.verify.keys": (
        "load_private_key",
        "make_key_record",
    ),
    "smtpx.verify.arc": (
        "ARCResult",
        "verify_arc",
    ),
    "smtpx.verify.dmarc": (
        "DMARCPolicy",
        "DMARCRecord",
        "DMARCResult",
        "check_dmarc",
    ),
    "smtpx.verify.hosts": (
        "IPRevResult",
        "Mailable",
        "check_iprev",
        "check_mailable",
        "is_mailable",
    ),
    "smtpx.verify.authentication": (
        "Authentication",
        "Origin",
        "authenticate",
    ),
    "smtpx.app.relay": ("Relay", "RelaySession"),
    "smtpx.app.application": (
        "App",
        "AppOptions",
    ),
    "smtpx.app.mail": ("Mail",),
    "smtpx.app.places": (
        "CallbackSink",
        "MboxSink",
        "WebhookSink",
    ),
    "smtpx.app.serving": ("run",),
    "smtpx.app.sinks": (
        "EmlSink",
        "MaildirSink",
        "Sink",
        "received_field",
        "trace_fields",
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module, once."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what is public, loaded or not."""
    return sorted({*globals(), *__all__})
