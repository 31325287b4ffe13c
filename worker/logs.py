"""Structured logs: one line a record, JSON or text, with the job's ids beside the message and no secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from worker.jobs import job_at_hand

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS = (
    (re.compile(r"(://[^\s:/@]+:)[^\s@]+@"), r"\1***@"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "***"),
    (re.compile(r"\bsb_secret_[\w-]+"), "***"),
    (re.compile(r"(?i)\b(password|apikey|secret|token)=[^\s&'\"]+"), r"\1=***"),
)


def redact(text: str) -> str:
    """The text without passwords in addresses, JWTs and secret keys."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class OfTheJob(logging.Filter):
    """Adds the job at hand to every line that is written during its work, whoever writes it."""

    def filter(self, record: logging.LogRecord) -> bool:
        job = job_at_hand()
        if job is not None:
            for name, value in job.log_fields().items():
                if name not in vars(record):
                    setattr(record, name, value)
        return True


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and value is not None}


class JsonFormatter(logging.Formatter):
    """{"time","level","logger","message", …extra, "exception"?} in one line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str))


class TextFormatter(logging.Formatter):
    """12:34:56.789 WARNING worker.consumer message key=value …"""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        extra = "".join(f" {key}={value}" for key, value in _fields(record).items())
        text = f"{time} {record.levelname:<7} {record.name} {record.getMessage()}{extra}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return redact(text)


def set_up(
    log_format: str, level: str, quiet: Iterable[str] = ("httpx", "httpcore", "hpack", "dramatiq", "pika")
) -> None:
    """Sends all logs to stderr. Loggers in `quiet` speak from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OfTheJob())
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in quiet:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
