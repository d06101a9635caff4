"""OAuth tokens: which are right, and all the ways in which they are not."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

import smtpx

ISSUER, AUDIENCE, USER = "https://id.example.com", "mail", "ann@example.com"
RSA_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY: Final = ec.generate_private_key(ec.SECP256R1())
ED_KEY: Final = ed25519.Ed25519PrivateKey.generate()
SECRET: Final = b"0123456789abcdef0123456789abcdef"


def jwk(key: Any, **more: str) -> dict[str, Any]:  # noqa: ANN401 - of any kind
    if isinstance(key, bytes):
        encoded = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
        return {"kty": "oct", "k": encoded, **more}
    kinds: dict[type, Any] = {
        rsa.RSAPrivateKey: RSAAlgorithm,
        ec.EllipticCurvePrivateKey: ECAlgorithm,
        ed25519.Ed25519PrivateKey: OKPAlgorithm,
    }
    (kind,) = (found for base, found in kinds.items() if isinstance(key, base))
    row: dict[str, Any] = {**json.loads(kind.to_jwk(key.public_key())), **more}
    row.pop("key_ops", None)
    return row


KEYS: Final = {"keys": [jwk(RSA_KEY, kid="r"), jwk(EC_KEY, kid="e", alg="ES256")]}


def token(
    key: Any = RSA_KEY,  # noqa: ANN401
    algorithm: str | None = "RS256",
    *,
    headers: Mapping[str, Any] | None = None,
    without: str = "",
    **claims: object,
) -> str:
    now = int(time.time())
    payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": USER, "exp": now + 600, **claims}
    payload.pop(without, None)
    return jwt.encode(
        payload,
        key,
        algorithm,
        headers={"kid": "r"} if headers is None else {**headers},
    )


def checker(keys: Any = KEYS, **options: Any) -> smtpx.TokenChecker:  # noqa: ANN401
    given = {"issuer": ISSUER, "audience": (AUDIENCE,), **options}
    return smtpx.TokenChecker(keys=keys, **given)


def check(given: str, **options: Any) -> str | smtpx.TokenRefused:  # noqa: ANN401
    question = smtpx.CheckToken(USER, given)
    return asyncio.run(checker(**options).check(question))


def test_right_token_tells_its_user() -> None:
    assert check(token()) == USER
    assert check(token(EC_KEY, "ES256", headers={"kid": "e"})) == USER
    assert check(token(aud=["web", AUDIENCE])) == USER
    assert check(token(email="a@x.test"), user_claim="email") == "a@x.test"
    # Without a name it is for the one key of its kind.
    assert check(token(headers={})) == USER


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA_KEY, "PS512"), (ED_KEY, "EdDSA"), (SECRET, "HS256"), (EC_KEY, "ES256")],
)
def test_algorithms_that_are_allowed(key: object, algorithm: str) -> None:
    keys = {"keys": [jwk(key, kid="x")]}
    given = token(key, algorithm, headers={"kid": "x"})
    assert check(given, keys=keys, algorithms=(algorithm,)) == USER


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://id.example.org"},
        {"iss": ISSUER + "/"},
        {"aud": "web"},
        {"aud": []},
        {"sub": ""},
        {"sub": 7},
        {"exp": 1},
        {"exp": int(time.time()) - 31},
        {"nbf": int(time.time()) + 600},
        {"without": "exp"},
        {"without": "iss"},
        {"without": "aud"},
        {"without": "sub"},
    ],
)
def test_token_that_says_something_else(claims: dict[str, Any]) -> None:
    assert check(token(**claims)) == smtpx.TokenRefused()


def test_leeway_of_clocks() -> None:
    given = token(exp=int(time.time()) - 100)
    assert check(given) == smtpx.TokenRefused()
    assert check(given, leeway_seconds=500) == USER


def unsigned() -> str:
    return token("", "none")


def signed_with_the_public_key() -> str:
    """The public key taken for a password: everybody can sign with it."""
    pem = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"r"}')
    body = token().split(".")[1].encode()
    text = head.rstrip(b"=") + b"." + body
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = algorithm.sign(text, pem)
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "given",
    [
        unsigned(),
        signed_with_the_public_key(),
        token(OTHER_RSA_KEY),
        token(RSA_KEY, "RS512"),
        token(RSA_KEY, "PS256"),
        token(headers={"kid": "e"}),
        token(headers={"kid": "unknown"}),
        # A key within a token, or a place where one is, counts for nothing.
        token(OTHER_RSA_KEY, headers={"kid": "r", "jwk": jwk(OTHER_RSA_KEY)}),
        token(OTHER_RSA_KEY, headers={"kid": "r", "jku": "https://evil.example"}),
        token()[:-4] + "AAAA",
        token().rpartition(".")[0] + ".",
        "x",
        "",
        "a.b.c",
    ],
)
def test_token_that_is_not_signed_rightly(given: str) -> None:
    assert check(given) == smtpx.TokenRefused()


def test_symmetric_algorithms_do_not_take_public_keys() -> None:
    """RFC 8725: even where both are allowed."""
    given = signed_with_the_public_key()
    assert check(given, algorithms=("RS256", "HS256")) == smtpx.TokenRefused()


def test_two_keys_of_one_kind_must_be_told_apart() -> None:
    keys = {"keys": [jwk(RSA_KEY, kid="r"), jwk(OTHER_RSA_KEY, kid="o")]}
    assert check(token(headers={}), keys=keys) == smtpx.TokenRefused()
    assert check(token(OTHER_RSA_KEY, headers={"kid": "o"}), keys=keys) == USER


@pytest.mark.parametrize(
    ("claims", "is_right"),
    [
        ({"scope": "mail.send profile"}, True),
        ({"scope": "mail.sender"}, False),
        ({"scp": "mail.send"}, True),
        ({"scp": ["profile", "mail.send"]}, True),
        ({"scp": {"mail.send": 1}}, False),
        ({"scope": ["mail.send", 7]}, True),
        ({}, False),
    ],
)
def test_scope(claims: dict[str, Any], is_right: bool) -> None:
    url = "https://id.example.com/.well-known/openid-configuration"
    result = check(token(**claims), scope="mail.send", openid_configuration=url)
    refused = smtpx.TokenRefused("insufficient_scope", "mail.send", url)
    assert result == (USER if is_right else refused)


@pytest.mark.parametrize(
    ("kind", "is_right"),
    [("at+jwt", True), ("application/AT+JWT", True), ("JWT", False), ("", False)],
)
def test_type(kind: str, is_right: bool) -> None:
    """RFC 9068: a token for logging in to a page sends no mail."""
    given = token(headers={"kid": "r", "typ": kind})
    result = check(given, token_type="at+jwt")
    assert result == (USER if is_right else smtpx.TokenRefused())


def test_unverified_address_names_nobody() -> None:
    for verified, is_right in ((True, True), (False, False), ("true", False)):
        given = token(email=USER, email_verified=verified)
        result = check(given, user_claim="email")
        assert (result == USER) is is_right


# --- Keys. ---


def test_keys_are_exchanged_while_the_server_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jwks.json"

    def write(content: str) -> None:
        new = tmp_path / "new"
        new.write_text(content)
        new.replace(path)

    async def main() -> None:
        old, new = token(), token(OTHER_RSA_KEY, headers={"kid": "o"})
        write(json.dumps(KEYS))
        tokens = checker(path)

        async def user_of(given: str) -> object:
            return await tokens.check(smtpx.CheckToken("", given))

        assert await user_of(old) == USER
        assert await user_of(new) == smtpx.TokenRefused()
        both = [*KEYS["keys"], jwk(OTHER_RSA_KEY, kid="o")]
        write(json.dumps({"keys": both}))
        assert [await user_of(old), await user_of(new)] == [USER, USER]
        write(json.dumps({"keys": both[2:]}))
        assert await user_of(old) == smtpx.TokenRefused()
        # What is wrong changes nothing, and is said once.
        for wrong in ("{", "[]", '{"keys": []}', '{"keys": [{"kty": "RSA", "n": 7}]}'):
            write(wrong)
            caplog.clear()
            assert [await user_of(new), await user_of(new)] == [USER, USER]
            said = [one for one in caplog.records if one.levelno == logging.WARNING]
            assert len(said) == 1
        path.unlink()
        assert await user_of(new) == USER

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"keys": {}}, "no JWKS"),
        ({"keys": {"keys": ["x"]}}, "no JWKS"),
        ({"keys": {"keys": []}}, "no key for RS256, ES256"),
        ({"keys": {"keys": [jwk(RSA_KEY, use="enc")]}}, "no key"),
        ({"keys": {"keys": [jwk(RSA_KEY, alg="RS512")]}}, "no key"),
        ({"keys": {"keys": [jwk(EC_KEY, crv="P-384")]}}, "no key"),
        ({"keys": {"keys": [jwk(SECRET)]}}, "no key"),
        ({"keys": {"keys": [jwk(RSA_KEY), jwk(OTHER_RSA_KEY)]}}, "key 2 .* another"),
        (
            {"keys": {"keys": [{"kty": "RSA", "n": "!", "e": "!"}]}},
            "key 1 .* malformed",
        ),
        ({"algorithms": ("none",)}, "none is no way to sign"),
        ({"algorithms": ("RS256", "nOnE")}, "nOnE is no way"),
        ({"issuer": ""}, "name both"),
        ({"audience": ()}, "name both"),
        ({"audience": ("",)}, "name both"),
    ],
)
def test_wrong_settings(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        checker(**options)
    assert str(RSA_KEY.public_key().public_numbers().n) not in str(caught.value)
    assert SECRET.decode() not in str(caught.value)


def test_audience_is_no_text() -> None:
    with pytest.raises(TypeError, match="sequence"):
        checker(audience="mail")


def test_short_keys() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ValueError, match="key 1 of the JWKS is too short"):
        checker({"keys": [jwk(short)]})
    for octets, is_enough in ((31, False), (32, True)):
        keys = {"keys": [jwk(b"x" * octets)]}
        if is_enough:
            checker(keys, algorithms=("HS256",))
        else:
            with pytest.raises(ValueError, match="too short"):
                checker(keys, algorithms=("HS256",))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checker(tmp_path / "nope")
    (tmp_path / "bad").write_text("x")
    with pytest.raises(ValueError, match="no JSON"):
        checker(tmp_path / "bad")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ImportError, match=r"smtpx\[oauth\]"):
        checker()


# --- Secrets, and the whole way. ---


def test_no_token_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    given = token(OTHER_RSA_KEY)
    with caplog.at_level(logging.DEBUG):
        assert check(given) == smtpx.TokenRefused()
    assert "token refused: InvalidSignatureError" in caplog.text
    for part in given.split("."):
        assert part not in caplog.text


def test_over_smtp() -> None:
    tokens = checker(scope="mail.send")

    class Submission(smtpx.Session):
        async def check_token(
            self, question: smtpx.CheckToken
        ) -> str | smtpx.TokenRefused | None:
            return await tokens.check(question)

    async def main() -> None:
        async with smtpx.Server(Submission) as server:
            url = f"smtp+plain://{server.addresses[0]}"
            for mechanism in ("OAUTHBEARER", "XOAUTH2"):
                auth = smtpx.Auth(
                    USER, token=token(scope="mail.send"), mechanisms=(mechanism,)
                )
                async with smtpx.AsyncClient(url, auth=auth):
                    (connection,) = server.connections
                    assert connection.user == USER
            # A right token of Ann's is not Bob's.
            bob = smtpx.Auth("bob@example.com", token=token(scope="mail.send"))
            with pytest.raises(smtpx.AuthenticationFailed, match="535"):
                await smtpx.AsyncClient(url, auth=bob).connect()
            wrong = smtpx.Auth(USER, token=token(scope="mail.read"))
            with pytest.raises(smtpx.AuthenticationFailed, match="535"):
                await smtpx.AsyncClient(url, auth=wrong).connect()

    asyncio.run(main())
