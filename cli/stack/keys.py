"""The stack's secrets: made once at random, kept in one file that only its owner reads."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from cli.errors import CliError
from cli.stack.home import read_json, write_json

_TEN_YEARS = 10 * 365 * 24 * 3600
ISSUER = "imageledger"


@dataclass(frozen=True)
class Keys:
    """`anon_key` and `service_role_key` are JWTs signed (HS256) with `jwt_secret`; the rest are passwords."""

    jwt_secret: str = field(repr=False)
    anon_key: str = field(repr=False)
    service_role_key: str = field(repr=False)
    supabase_admin: str = field(repr=False)
    postgres: str = field(repr=False)
    authenticator: str = field(repr=False)
    media_worker: str = field(repr=False)
    analyst: str = field(repr=False)

    @classmethod
    def generate(cls) -> Keys:
        import jwt  # noqa: PLC0415 - with its cryptography it is slow to load, and needed once

        secret = secrets.token_urlsafe(48)
        now = int(time.time())

        def key(role: str) -> str:
            claims = {"iss": ISSUER, "role": role, "iat": now, "exp": now + _TEN_YEARS}
            return jwt.encode(claims, secret, algorithm="HS256")

        return cls(
            jwt_secret=secret,
            anon_key=key("anon"),
            service_role_key=key("service_role"),
            **{
                role: secrets.token_urlsafe(24)
                for role in ("supabase_admin", "postgres", "authenticator", "media_worker", "analyst")
            },
        )

    @classmethod
    def load(cls, path: Path) -> Keys | None:
        """The stored keys; None when there are none. Raises CliError when the file is damaged."""
        if not path.exists():
            return None
        data = read_json(path)
        if data and "analyst" not in data:  # made before there was this login
            data["analyst"] = secrets.token_urlsafe(24)
            write_json(path, data)
        names = {item.name for item in fields(cls)}
        if not names <= data.keys():
            raise CliError(
                f"{path} is damaged: {', '.join(sorted(names - data.keys()))} missing",
                remedy="restore the file, or start over with `imageledger down --destroy`",
                code="keys_damaged",
            )
        return cls(**{name: str(data[name]) for name in names})

    @classmethod
    def load_or_generate(cls, path: Path) -> Keys:
        keys = cls.load(path)
        if keys is None:
            keys = cls.generate()
            write_json(path, asdict(keys))
        return keys
