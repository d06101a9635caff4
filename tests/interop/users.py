"""Sessions of ours that know the tests' user, by each way to prove it."""

from __future__ import annotations

import smtpx
from tests.interop.names import PASSWORD, USER
from tests.interop.oauth import TOKEN_AUDIENCE, TOKEN_ISSUER, token_keys


def make_checker() -> smtpx.TokenChecker:
    return smtpx.TokenChecker(
        keys=token_keys(), issuer=TOKEN_ISSUER, audience=(TOKEN_AUDIENCE,)
    )


class Users(smtpx.Session):
    """Knows one user."""

    tokens: smtpx.TokenChecker

    def __init__(
        self, connection: smtpx.ConnectionInfo, *, proved: list[smtpx.Identity]
    ) -> None:
        super().__init__(connection)
        self._proved = proved

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == (USER, PASSWORD)

    async def scram_credentials(
        self, user: str, hash_name: str
    ) -> smtpx.ScramCredentials | None:
        if user != USER:
            return None
        return smtpx.make_scram_credentials(
            PASSWORD, salt=b"0123456789abcdef", hash_name=hash_name
        )

    async def readable_password(self, user: str) -> str | None:
        return PASSWORD if user == USER else None

    async def check_token(
        self, question: smtpx.CheckToken
    ) -> str | smtpx.TokenRefused | None:
        return await self.tokens.check(question)

    async def authorize(self, identity: smtpx.Identity) -> smtpx.Reply | None:
        self._proved.append(identity)
        return await super().authorize(identity)

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        await body.read()
        return None
