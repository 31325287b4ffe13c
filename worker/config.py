"""Settings of the worker, read once from the environment.

| Variable | Default | Meaning |
|---|---|---|
| `WORKER_DB_URL` | `SUPABASE_DB_URL` | database, as media_worker; a transaction pooler will do |
| `WORKER_LISTEN_URL` | `WORKER_DB_URL` | direct connection for LISTEN; empty: no LISTEN, polling only |
| `SUPABASE_URL` | – | the API; Storage is below it |
| `SUPABASE_SERVICE_ROLE_KEY` | – | key for Storage |
| `WORKER_PROCESSES` | 1 | worker processes |
| `WORKER_THREADS` | CPUs, at least 2 | jobs at the same time in a process |
| `WORKER_QUEUES` | all | comma-separated names of queues |
| `WORKER_LEASE_SECONDS` | 30 | how long a job stays with a worker that gives no sign of life; an hour at most |
| `WORKER_POLL_SECONDS` | 1 | pause between looks at an idle queue when no notification comes |
| `WORKER_GRACE_SECONDS` | 25 | after SIGTERM: how long running jobs may take before they are given back |
| `WORKER_MAINTENANCE_SECONDS` | 5 | pause between maintenance rounds; 0: this worker does none |
| `WORKER_KEEP_SUCCEEDED_HOURS` | 24 | how long succeeded jobs stay in the table |
| `WORKER_KEEP_FAILED_DAYS` | 30 | how long dead and canceled jobs stay |
| `WORKER_JOB_SECONDS` | 300 | time limit of one attempt |
| `WORKER_RENDER_SECONDS` | 30 | time limit of decoding and rendering one image |
| `WORKER_RENDER_MEMORY_MB` | 1536 | address space of one rendering child |
| `WORKER_RENDER_PROCESSES` | threads | rendering children of a process |
| `STORAGE_TIMEOUT_SECONDS` | 120 | time limit of one whole transfer |
| `BROKER_URL` | – | RabbitMQ (`amqp://`) or Redis (`redis://`) as the wire: `SCALING.md`; without it, none |
| `BROKER_NAMESPACE` | imageledger | what its queues' names begin with there |
| `BROKER_RELAY` | on | `off`: this worker never publishes; `imageledger relay` does |
| `BROKER_WINDOW` | 1000 | the most jobs of a queue that may be on the wire at a time |
| `BROKER_REPUBLISH_SECONDS` | 10 | when a job that the broker has lost is sent again |
| `WORKER_HTTP_PORT` | – | port of `/healthz`, `/readyz` and `/metrics`; without it there is none |
| `WORKER_HTTP_HOST` | 127.0.0.1 | where that port listens; `0.0.0.0` in a container |
| `LEGACY_FETCH_SECONDS` | 60 | time limit of copying one imported picture |
| `LEGACY_FETCH_NETWORKS` | – | networks that pictures may be copied from though they are not public: 10.0.0.0/8 |
| `GEMINI_…` | – | photo review by `gemini`, see `review/gemini.py` |
| `REPLICATE_…`, `OPENAI_…`, `GOOGLE_…`, `STABILITY_…` | – | generation, see `generation/README.md` |
| `OPENAI_…`, `GEMINI_…` | – | texts by `openai` and `google`, see `fill/README.md` |
| `OTEL_EXPORTER_OTLP_ENDPOINT` | – | where traces go: `http://collector:4318`; extra `imageledger[otel]` |
| `OTEL_EXPORTER_OTLP_HEADERS` | – | what the collector asks for: `name=value,…` |
| `OTEL_SERVICE_NAME` | imageledger-worker | name in traces; more by `OTEL_RESOURCE_ATTRIBUTES` |
| `OTEL_TRACES_SAMPLER` | parentbased_always_on | which jobs are traced; other `OTEL_…` as the SDK has them |
| `LOG_FORMAT` | text | `json` or `text` |
| `LOG_LEVEL` | INFO | |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from worker.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """See the table of this module. Durations are seconds unless the name says otherwise."""

    db_url: str = field(repr=False)
    listen_url: str | None = field(default=None, repr=False)
    supabase_url: str = ""
    service_role_key: str = field(default="", repr=False)
    processes: int = 1
    threads: int = 2
    queues: tuple[str, ...] = ()
    lease_seconds: float = 30.0
    poll_seconds: float = 1.0
    grace_seconds: float = 25.0
    maintenance_seconds: float = 5.0
    keep_succeeded_hours: float = 24.0
    keep_failed_days: float = 30.0
    job_seconds: float = 300.0
    render_seconds: float = 30.0
    render_memory_mb: int = 1536
    render_processes: int = 0
    storage_timeout_seconds: float = 120.0
    broker_url: str = field(default="", repr=False)
    broker_namespace: str = "imageledger"
    broker_relay: bool = True
    broker_window: int = 1000
    broker_republish_seconds: float = 10.0
    http_host: str = "127.0.0.1"
    http_port: int = 0
    log_format: str = "text"
    log_level: str = "INFO"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Reads the variables above. Raises ConfigError naming the variable that is missing or wrong."""
        read = _Reader(os.environ if env is None else env)
        db_url = read.text("WORKER_DB_URL") or read.text("SUPABASE_DB_URL")
        if not db_url:
            raise ConfigError("set WORKER_DB_URL (or SUPABASE_DB_URL) to the database's address")
        threads = int(read.number("WORKER_THREADS", max(2, os.cpu_count() or 2), least=1))
        return cls(
            db_url=db_url,
            listen_url=read.text("WORKER_LISTEN_URL", db_url) or None,
            supabase_url=read.url("SUPABASE_URL"),
            service_role_key=read.text("SUPABASE_SERVICE_ROLE_KEY"),
            processes=int(read.number("WORKER_PROCESSES", 1, least=1)),
            threads=threads,
            queues=tuple(name.strip() for name in read.text("WORKER_QUEUES").split(",") if name.strip()),
            lease_seconds=read.number("WORKER_LEASE_SECONDS", 30, least=1, most=3600),
            poll_seconds=read.number("WORKER_POLL_SECONDS", 1, least=0.01),
            grace_seconds=read.number("WORKER_GRACE_SECONDS", 25),
            maintenance_seconds=read.number("WORKER_MAINTENANCE_SECONDS", 5),
            keep_succeeded_hours=read.number("WORKER_KEEP_SUCCEEDED_HOURS", 24),
            keep_failed_days=read.number("WORKER_KEEP_FAILED_DAYS", 30),
            job_seconds=read.number("WORKER_JOB_SECONDS", 300, least=1),
            render_seconds=read.number("WORKER_RENDER_SECONDS", 30, least=0.1),
            render_memory_mb=int(read.number("WORKER_RENDER_MEMORY_MB", 1536, least=128)),
            render_processes=int(read.number("WORKER_RENDER_PROCESSES", threads, least=1)),
            storage_timeout_seconds=read.number("STORAGE_TIMEOUT_SECONDS", 120, least=1),
            broker_url=read.text("BROKER_URL"),
            broker_namespace=read.name("BROKER_NAMESPACE", "imageledger"),
            broker_relay=read.choice("BROKER_RELAY", ("on", "off")) == "on",
            broker_window=int(read.number("BROKER_WINDOW", 1000, least=1)),
            broker_republish_seconds=read.number("BROKER_REPUBLISH_SECONDS", 10, least=0.1),
            http_host=read.text("WORKER_HTTP_HOST", "127.0.0.1"),
            http_port=int(read.number("WORKER_HTTP_PORT", 0)),
            log_format=read.choice("LOG_FORMAT", ("text", "json")),
            log_level=read.text("LOG_LEVEL", "INFO").upper(),
        )


class _Reader:
    """Reads variables; says which one is wrong."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str, default: str = "") -> str:
        return self._env.get(name, default).strip()

    def number(self, name: str, default: float, *, least: float = 0.0, most: float = float("inf")) -> float:
        text = self.text(name)
        try:
            value = float(text) if text else float(default)
        except ValueError:
            raise ConfigError(f"{name} must be a number, not {text!r}") from None
        if not least <= value < float("inf"):
            raise ConfigError(f"{name} must be at least {least:g}, not {text!r}")
        if value > most:
            raise ConfigError(f"{name} must be at most {most:g}, not {text!r}")
        return value

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        text = self.text(name).lower() or known[0]
        if text not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, not {text!r}")
        return text

    def name(self, name: str, default: str) -> str:
        text = self.text(name) or default
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_-]{0,62}", text):
            raise ConfigError(f"{name} must be letters, digits, _ and -, not {text!r}")
        return text

    def url(self, name: str) -> str:
        text = self.text(name).rstrip("/")
        if text and (urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).netloc):
            raise ConfigError(f"{name} must be an http(s) address")
        return text
