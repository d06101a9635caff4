r"""The ``with`` lines of a transcript, as the options of a server.

``with`` names a field of `smtpx.ServerOptions`, `smtpx.Limits` or, with ``_timeout``
behind it, `smtpx.ServerTimeouts`, or a field of `smtpx.ExtensionSettings`. A bare name
switches on, ``name=no`` off, ``name=none`` takes a limit away. Beside them there are
``tls`` (STARTTLS is offered), ``vrfy``, ``extension=KEYWORD``, ``verb=VERB`` for a verb
that a user registers, ``greeting_delay=6s`` with ``early_talkers=421`` for what these
get, ``error_delay=1s``, and ``rate=messages:2/hour``, which counts in memory.

>>> from smtpx.testing.transcripts import parse_transcript
>>> transcript = parse_transcript("# a rule\nwith lmtp max_recipients=2\nC: NOOP\n")
>>> options = server_options(transcript)
>>> options.lmtp, options.limits.max_recipients, options.hostname
(True, 2, 'mx.test')
"""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from smtpx.core.limits import Limits
from smtpx.server.delays import ErrorDelay, GreetingDelay
from smtpx.server.limiters import MemoryRateLimiter
from smtpx.server.options import ServerOptions, ServerTimeouts
from smtpx.server.rate_guard import Counted, RateGuard, RateRule
from smtpx.server.rates import Rate
from smtpx.testing.steps import Setting, Transcript, TranscriptError
from smtpx.wire.extensions import DEFAULT_REGISTRY, Extension, ExtensionSettings
from smtpx.wire.framing import BareNewline
from smtpx.wire.grammar import parse_raw

__all__ = ["OF_THE_TEST", "server_options"]

_LIMITS = frozenset(field.name for field in dataclasses.fields(Limits))
_TIMEOUTS = frozenset(field.name for field in dataclasses.fields(ServerTimeouts))
_EXTENSION_SETTINGS = frozenset(
    field.name for field in dataclasses.fields(ExtensionSettings)
)
_OPTIONS = frozenset(field.name for field in dataclasses.fields(ServerOptions))

#: What the drivers look at themselves.
OF_THE_TEST = frozenset({"free-texts", "one-segment"})
_SWITCHES: Mapping[str | None, bool] = {None: True, "yes": True, "no": False}


def server_options(
    transcript: Transcript, tls: ssl.SSLContext | None = None
) -> ServerOptions:
    """Make the options that a transcript asks for.

    Args:
        transcript: whose ``with`` lines count.
        tls: the certificate of a server that offers STARTTLS; by default a context
            without one, good for the core only.

    Raises:
        TranscriptError: a ``with`` line names no option.
    """
    limits: dict[str, Any] = {}
    timeouts: dict[str, Any] = {}
    options: dict[str, Any] = {"hostname": "mx.test"}
    extensions: set[str] = set()
    extension_settings: dict[str, Any] = {}
    for setting in transcript.settings:
        name = setting.name
        if name in OF_THE_TEST:
            continue
        if name == "tls":
            options["tls"] = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        elif name in {"vrfy", "extension"}:
            extensions.add((setting.value or name).upper())
        elif name in _OWN_WAYS:
            _OWN_WAYS[name](transcript, setting, options)
        elif name in _EXTENSION_SETTINGS:
            extension_settings[name] = _extension_setting(transcript, setting)
        elif name in _LIMITS:
            limits[name] = _number(transcript, setting, int)
        elif name.removesuffix("_timeout") in _TIMEOUTS and name.endswith("_timeout"):
            timeouts[name.removesuffix("_timeout")] = _number(
                transcript, setting, float
            )
        elif name in _OPTIONS:
            options[name] = _option(transcript, setting)
        else:
            raise _error(transcript, setting, "there is no such option")
    return ServerOptions(
        limits=Limits(**limits),
        timeouts=ServerTimeouts(**timeouts),
        extensions=frozenset(extensions),
        extension_settings=ExtensionSettings(**extension_settings),
        **options,
    )


def _number(
    transcript: Transcript, setting: Setting, kind: type[int] | type[float]
) -> float | None:
    if setting.value == "none":
        return None
    try:
        return kind((setting.value or "").removesuffix("s"))
    except ValueError:
        raise _error(transcript, setting, "that is no number") from None


def _extension_setting(transcript: Transcript, setting: Setting) -> object:
    """Read a setting of an extension: a number of seconds, words, or a switch."""
    if setting.name.endswith("_seconds"):
        return _number(transcript, setting, int)
    if setting.name == "no_soliciting":
        return tuple((setting.value or "").split(","))
    if setting.name == "mt_priority_profile":
        return setting.value
    return _option(transcript, setting)


def _option(transcript: Transcript, setting: Setting) -> object:
    """Read an option that is a switch, a text, a set of names, or a policy."""
    name, value = setting.name, setting.value
    if name == "bare_newline":
        return BareNewline[(value or "").upper()]
    if name == "plaintext_auth":
        return frozenset((value or "").split(","))
    if name == "auth_mechanisms" or name.endswith("_networks"):
        return () if value == "none" else tuple((value or "").split(","))
    if name == "hostname":
        return value
    if value not in _SWITCHES:
        raise _error(transcript, setting, "write a bare name, =yes or =no")
    return _SWITCHES[value]


def _register_verb(_: Transcript, setting: Setting, options: dict[str, Any]) -> None:
    verb = parse_raw(setting.value or "")
    row = Extension(verb.verb, "the transcript", verbs=(verb,))
    options["registry"] = DEFAULT_REGISTRY.with_extension(row)


def _delay_greeting(
    transcript: Transcript, setting: Setting, options: dict[str, Any]
) -> None:
    field = {"greeting_delay": "seconds", "early_talkers": "code"}[setting.name]
    value = _number(transcript, setting, int if field == "code" else float)
    given = options.get("greeting_delay", GreetingDelay())
    options["greeting_delay"] = dataclasses.replace(given, **{field: value})


def _delay_errors(
    transcript: Transcript, setting: Setting, options: dict[str, Any]
) -> None:
    options["error_delay"] = ErrorDelay(_number(transcript, setting, float) or 0.0)


def _hold_to_rate(
    transcript: Transcript, setting: Setting, options: dict[str, Any]
) -> None:
    counted, _, rate = (setting.value or "").partition(":")
    try:
        rule = RateRule(Counted[counted.upper()], Rate.parse(rate))
    except (KeyError, ValueError):
        raise _error(transcript, setting, "write messages:2/hour") from None
    guard = RateGuard(MemoryRateLimiter(), [rule])
    options["guards"] = (*options.get("guards", ()), guard)


# Settings that are not written as the option is.
_OWN_WAYS: Mapping[str, Callable[[Transcript, Setting, dict[str, Any]], None]] = {
    "verb": _register_verb,
    "greeting_delay": _delay_greeting,
    "early_talkers": _delay_greeting,
    "error_delay": _delay_errors,
    "rate": _hold_to_rate,
}


def _error(transcript: Transcript, setting: Setting, problem: str) -> TranscriptError:
    return TranscriptError(
        f"{transcript.name}:{setting.number}: with {setting.name}: {problem}"
    )
