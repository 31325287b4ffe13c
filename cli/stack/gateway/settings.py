"""The gateway's settings, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsError(Exception):
    """A setting is missing or cannot be read; the message names the variable."""


@dataclass(frozen=True)
class Settings:
    """What the gateway needs to know. Sizes are bytes, times are seconds."""

    db_url: str = field(repr=False)
    """Login that may take the roles supabase_auth_admin and supabase_storage_admin: in the stack,
    supabase_admin."""
    postgrest_url: str
    jwt_secret: str = field(repr=False)
    storage_dir: Path
    anon_key: str = field(repr=False)
    service_role_key: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 54321
    external_url: str = ""
    """The URL that clients use; it becomes the issuer of access tokens."""
    jwt_exp: int = 3600
    refresh_reuse_interval: int = 10
    password_min_length: int = 6
    file_size_limit: int = 500 * 1024 * 1024
    signed_upload_exp: int = 7200
    pool_size: int = 16

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read GATEWAY_*; raises SettingsError when a required one is missing or a number is not one."""

        def text(name: str) -> str:
            value = environment.get(f"GATEWAY_{name}", "")
            if not value:
                raise SettingsError(f"GATEWAY_{name} is not set")
            return value

        def number(name: str, default: int) -> int:
            value = environment.get(f"GATEWAY_{name}", "") or str(default)
            if not value.isascii() or not value.isdigit():
                raise SettingsError(f"GATEWAY_{name} must be a whole number, not {value!r}")
            return int(value)

        host = environment.get("GATEWAY_HOST") or cls.host
        port = number("PORT", cls.port)
        return cls(
            db_url=text("DB_URL"),
            postgrest_url=text("POSTGREST_URL").rstrip("/"),
            jwt_secret=text("JWT_SECRET"),
            storage_dir=Path(text("STORAGE_DIR")),
            anon_key=text("ANON_KEY"),
            service_role_key=text("SERVICE_ROLE_KEY"),
            host=host,
            port=port,
            external_url=(environment.get("GATEWAY_EXTERNAL_URL") or f"http://{host}:{port}").rstrip("/"),
            jwt_exp=number("JWT_EXP", cls.jwt_exp),
            refresh_reuse_interval=number("REFRESH_REUSE_INTERVAL", cls.refresh_reuse_interval),
            password_min_length=number("PASSWORD_MIN_LENGTH", cls.password_min_length),
            file_size_limit=number("FILE_SIZE_LIMIT", cls.file_size_limit),
            signed_upload_exp=number("SIGNED_UPLOAD_EXP", cls.signed_upload_exp),
            pool_size=number("POOL_SIZE", cls.pool_size),
        )
