"""OAuth access tokens checked against the keys of who issues them (RFC 9068, RFC 7519).

A token is a statement that is signed: who made it, for whom, about which user, until
when. What is compared with it comes from you alone. In particular the algorithms are
those that you name, and a key is used with an algorithm of its own kind only: a token
that says it is signed by nobody, or by a public key taken for a password, is refused
(RFC 8725).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from smtpx.sasl.oauth import TokenRefused

if TYPE_CHECKING:
    from jwt import PyJWK

    from smtpx.sasl.oauth import CheckToken

__all__ = ["TokenChecker"]

logger = logging.getLogger("smtpx.app")

_INSTALL: Final = "tokens need the package PyJWT: pip install 'smtpx[oauth]'"

# What RFC 7518 asks for, with RSA and with HS256.
_MIN_RSA_BITS: Final = 2_048
_MIN_SECRET_OCTETS: Final = 32

# The kind of key that each algorithm takes (RFC 7518, RFC 8037). What is
# not here, "none" above all, is no way to sign a token.
_KEY_TYPES: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
}
# RFC 7518: each has a curve of its own.
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

JWKS: TypeAlias = Mapping[str, Any]
# By identifier, empty if it has none, and algorithm.
_Keys: TypeAlias = dict[tuple[str, str], "PyJWK"]


@dataclass(frozen=True, kw_only=True)
class TokenChecker:
    """Tells whose token it is, by the keys of a JWKS (RFC 7517).

    Give its `check` to a session:

    ::

        class Submission(smtpx.Session):
            async def check_token(self, question):
                return await tokens.check(question)

    Attributes:
        keys: a file with a JWKS in JSON, or what such a file holds. A file that was
            changed is read again at the next check, so keys can be exchanged while
            the server runs; if it is wrong, that is logged, and what was read before
            stays in force.
        issuer: that made the token: its claim ``iss``, compared octet by octet.
        audience: whom the token is for: one of these must be in its claim ``aud``.
        algorithms: that it may be signed with. Never is the token asked.
        user_claim: the claim that names the user, such as ``sub`` or ``email``. An
            address that the issuer calls unverified names nobody.
        scope: that the token must have in its claim ``scope`` or ``scp``; empty: none.
        token_type: that it must have in its header, such as ``at+jwt`` (RFC 9068),
            so that no token of another kind passes; empty: any.
        leeway_seconds: by how much clocks may differ.
        openid_configuration: URL that tells a refused client where to get a token.

    Raises:
        OSError: the file cannot be read.
        ValueError: there is no usable key, a key is too short, or an algorithm is no
            way to sign. No text holds a key.
        ImportError: the extra ``oauth`` is not installed.

    >>> TokenChecker(
    ...     keys={"keys": []}, issuer="https://id.example.com", audience=("mail",)
    ... )
    Traceback (most recent call last):
    ValueError: the JWKS has no key for RS256, ES256
    """

    keys: str | os.PathLike[str] | JWKS
    issuer: str
    audience: Sequence[str]
    algorithms: Sequence[str] = ("RS256", "ES256")
    user_claim: str = "sub"
    scope: str = ""
    token_type: str = ""
    leeway_seconds: float = 30.0
    openid_configuration: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.audience, str):
            # "mail" in "mailing" is true, too.
            raise TypeError("audience is a sequence of names: write ('name',)")
        if not self.issuer or not self.audience or not all(self.audience):
            raise ValueError("a token is for somebody, by somebody: name both")
        if strange := [name for name in self.algorithms if name not in _KEY_TYPES]:
            raise ValueError(f"{', '.join(strange)} is no way to sign a token")
        source = self.keys
        if isinstance(source, Mapping):
            keys: _Keyring = _Keyring(_parse(source, self.algorithms))
        else:
            keys = _KeyFile(Path(source), tuple(self.algorithms))
        object.__setattr__(self, "_keyring", keys)

    async def check(self, question: CheckToken) -> str | TokenRefused:
        """Answer the question of a mechanism.

        It takes a fraction of a millisecond, and asks nobody.

        Args:
            question: the token.

        Returns:
            The user whose token it is, or why it is refused.
        """
        try:
            claims = self._verify(question.token)
        except _Refusal as refusal:
            # Nothing of the token: what is refused here may be accepted elsewhere.
            logger.info("token refused: %s", refusal)
            return self._refuse(refusal.status)
        user = claims[self.user_claim]
        return str(user)

    def _refuse(self, status: str) -> TokenRefused:
        return TokenRefused(status, self.scope, self.openid_configuration)

    def _verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token that is right."""
        import jwt  # noqa: PLC0415 - an extra, and slow to load

        try:
            header = jwt.get_unverified_header(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                self._find_key(header),
                # The key is of one algorithm, which the token names and you allowed.
                algorithms=list(self.algorithms),
                audience=list(self.audience),
                issuer=self.issuer,
                leeway=self.leeway_seconds,
                options={"require": ["exp", "iss", "aud", self.user_claim]},
            )
        except jwt.PyJWTError as error:
            # Its texts may hold what the token says.
            raise _Refusal(type(error).__name__) from None
        self._require_claims(header, claims)
        return claims

    def _find_key(self, header: Mapping[str, Any]) -> PyJWK:
        """Return the key that a token names; its name chooses among ours only."""
        name, algorithm = header.get("kid", ""), header.get("alg", "")
        keyring: _Keyring = self.__dict__["_keyring"]
        keys = keyring.current()
        key = keys.get((str(name), str(algorithm)))
        if key is None and not name:
            fitting = [key for (_, of), key in keys.items() if of == algorithm]
            # Whose it is cannot be told, unless there is one only.
            key = fitting[0] if len(fitting) == 1 else None
        if key is None:
            raise _Refusal("no key for it")
        return key

    def _require_claims(
        self, header: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> None:
        """Refuse what is signed rightly, and says too little."""
        user = claims[self.user_claim]
        if not isinstance(user, str) or not user:
            raise _Refusal("it names no user")
        if (
            self.user_claim == "email"
            and claims.get("email_verified", True) is not True
        ):
            raise _Refusal("its address is not verified")
        kind = str(header.get("typ", "")).lower().removeprefix("application/")
        if self.token_type and kind != self.token_type.lower():
            raise _Refusal("it is of another type")
        if self.scope and self.scope not in _scopes(claims):
            raise _Refusal("it lacks the scope", "insufficient_scope")


class _Refusal(Exception):
    """Why a token is refused, for the log, and the error code for the client."""

    def __init__(self, why: str, status: str = "invalid_token") -> None:
        super().__init__(why)
        self.status = status


def _scopes(claims: Mapping[str, Any]) -> set[str]:
    """Return the scopes of a token (RFC 9068), however it writes them."""
    scopes: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name, "")
        words = value.split(" ") if isinstance(value, str) else value
        if isinstance(words, list):
            scopes.update(word for word in words if isinstance(word, str))
    return scopes


class _Keyring:
    """Keys that stay as they are."""

    def __init__(self, keys: _Keys) -> None:
        self._keys = keys

    def current(self) -> _Keys:
        return self._keys


class _KeyFile(_Keyring):
    """Keys of a file, which is read again when it changes."""

    def __init__(self, path: Path, algorithms: tuple[str, ...]) -> None:
        self._path, self._algorithms = path, algorithms
        self._stamp = self._look()
        super().__init__(self._read())

    def current(self) -> _Keys:
        try:
            stamp = self._look()
            if stamp != self._stamp:
                # Once, even if it is wrong.
                self._stamp = stamp
                self._keys = self._read()
        except (OSError, ValueError) as error:
            logger.warning("%s stays as it was read before: %s", self._path, error)
        return self._keys

    def _look(self) -> tuple[int, int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> _Keys:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError:
            raise ValueError("it is no JSON") from None
        if not isinstance(found, dict):
            raise ValueError("it is no JWKS: an object with a list of keys")  # noqa: TRY004 - of a file
        return _parse(found, self._algorithms)


def _parse(jwks: JWKS, algorithms: Sequence[str]) -> _Keys:
    """Take the keys that are for one of the algorithms; pass over all others."""
    try:
        import jwt  # noqa: PLC0415 - an extra, and slow to load
    except ModuleNotFoundError:
        raise ImportError(_INSTALL) from None
    rows = jwks.get("keys")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is no JWKS: an object with a list of keys")
    keys: _Keys = {}
    for number, row in enumerate(rows, 1):
        for algorithm in algorithms:
            if not _is_for(row, algorithm):
                continue
            try:
                key = jwt.PyJWK(dict(row), algorithm)
            except jwt.PyJWTError:
                # Its text would show the key.
                raise ValueError(f"key {number} of the JWKS is malformed") from None
            _require_long(key, number)
            name = (str(row.get("kid", "")), algorithm)
            if name in keys:
                raise ValueError(
                    f"key {number} of the JWKS has the name of another one"
                )
            keys[name] = key
    if not keys:
        raise ValueError(f"the JWKS has no key for {', '.join(algorithms)}")
    return keys


def _is_for(row: Mapping[str, Any], algorithm: str) -> bool:
    """Say whether a key may be used with an algorithm (RFC 7517)."""
    return (
        row.get("kty") == _KEY_TYPES[algorithm]
        and row.get("use", "sig") == "sig"
        and row.get("alg", algorithm) == algorithm
        and row.get("crv") == _CURVES.get(algorithm, row.get("crv"))
    )


def _require_long(key: PyJWK, number: int) -> None:
    """Refuse a key that can be guessed."""
    bits = getattr(key.key, "key_size", _MIN_RSA_BITS)
    is_short = key.key_type == "RSA" and bits < _MIN_RSA_BITS
    if is_short or (isinstance(key.key, bytes) and len(key.key) < _MIN_SECRET_OCTETS):
        raise ValueError(f"key {number} of the JWKS is too short")
