"""JSON Web Tokens, HS256 with the stack's secret: access tokens, API keys and signed URLs."""

import time
from typing import Any

import jwt

Claims = dict[str, Any]


class TokenError(Exception):
    """The token is malformed, expired, signed with another key or by another algorithm; str() says which."""


class Tokens:
    """Signs and verifies with one secret. Only HS256 is accepted, so neither `none` nor a public key can
    stand in."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def sign(self, claims: Claims, lifetime: int) -> str:
        """A token with these claims, `iat` now and `exp` lifetime seconds later."""
        now = int(time.time())
        return jwt.encode({**claims, "iat": now, "exp": now + lifetime}, self._secret, algorithm="HS256")

    def verify(self, token: str) -> Claims:
        """The claims of a valid token; raises TokenError. `sub`, `aud` and `iss` are the caller's
        business."""
        options: Any = {"verify_aud": False, "verify_iat": False, "verify_sub": False, "verify_iss": False}
        try:
            claims: Claims = jwt.decode(token, self._secret, algorithms=["HS256"], options=options)
        except jwt.ExpiredSignatureError:
            raise TokenError('"exp" claim timestamp check failed') from None
        except jwt.InvalidSignatureError:
            raise TokenError("signature verification failed") from None
        except jwt.PyJWTError as error:
            raise TokenError(str(error) or "invalid token") from None
        return claims
