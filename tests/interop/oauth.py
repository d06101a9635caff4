"""Who issues tokens in these tests."""

from __future__ import annotations

import functools
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.interop.names import USER

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

TOKEN_ISSUER = "https://id.example.com"
TOKEN_AUDIENCE = "smtp.example.com"
TOKEN_KEY_NAME = "2026-11"


@functools.cache
def token_key() -> RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_token_key() -> bytes:
    """Write the public key in PEM."""
    return (
        token_key()
        .public_key()
        .public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def token_keys() -> dict[str, Any]:
    """Write the public key as a JWKS."""
    key = json.loads(RSAAlgorithm.to_jwk(token_key().public_key()))
    key.pop("key_ops", None)
    return {"keys": [{**key, "kid": TOKEN_KEY_NAME}]}


def make_token(**claims: object) -> str:
    """Issue a token for the user."""
    now = int(time.time())
    said = {
        "iss": TOKEN_ISSUER,
        "aud": TOKEN_AUDIENCE,
        "sub": USER,
        "iat": now,
        "exp": now + 600,
        **claims,
    }
    return jwt.encode(said, token_key(), "RS256", headers={"kid": TOKEN_KEY_NAME})
