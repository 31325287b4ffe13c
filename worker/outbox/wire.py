"""The wire: dramatiq's RabbitMQ or Redis broker, which carries ids of jobs and nothing else.

A message is a hint. Whatever comes out of it, also from strangers, is looked up in the table before it has any effect.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dramatiq import Message
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.errors import DecodeError

from worker.errors import ConfigError, WorkerError

log = logging.getLogger(__name__)

SCHEMES = ("amqp", "amqps", "redis", "rediss")
#: How long to wait for a message before looking whether something else is to be done, in milliseconds.
RECEIVE_MS = 100
_MOST_ID = 2**63 - 1
#: pika's own are far longer: a broker that falls silent must be noticed.
_AMQP = {
    "heartbeat": "20",
    "connection_attempts": "1",
    "socket_timeout": "5",
    "stack_timeout": "10",
    "blocked_connection_timeout": "15",
}


class WireError(WorkerError):
    """The message broker is away, refuses, or fell silent."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that came: the job it names, and what acknowledges it."""

    job_id: int
    message: MessageProxy
    inbox: Inbox


class Wire:
    """A connection for one thread, made when first used and again after `reset`. Raises WireError.

    Queues are named `<namespace>.<queue>` there, so that several projects can share a broker.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url, namespace
        self._is_redis = urlsplit(url).scheme.startswith("redis")
        self._broker: Any = None
        self._errors = _errors(self._is_redis)

    def send(self, queue: str, jobs: Iterable[tuple[int, str]]) -> None:
        """Sends (job id, actor) pairs, in order. They may have been sent also when it raises."""
        with self._trouble():
            for job_id, actor in jobs:
                self._open().enqueue(
                    Message(
                        queue_name=self._name(queue),
                        actor_name=actor,
                        args=(),
                        kwargs={},
                        options={"job_id": job_id},
                    )
                )

    def depth(self, queue: str) -> int:
        """How many messages wait there that no worker has received."""
        name = self._name(queue)
        with self._trouble():
            broker = self._open()
            if self._is_redis:
                return int(broker.client.llen(f"{broker.namespace}:{name}"))
            # It is made again here when the server has lost it.
            return int(broker.get_queue_message_counts(name)[0])

    def receive(self, queue: str, prefetch: int) -> Inbox:
        """Begins to receive; at most `prefetch` messages are on their way here without acknowledgement."""
        with self._trouble():
            consumer = self._open().consume(self._name(queue), prefetch=prefetch, timeout=RECEIVE_MS)
        return Inbox(consumer, prefetch, self._errors)

    def reset(self) -> None:
        """Closes the connection; the next call makes a new one."""
        broker, self._broker = self._broker, None
        if broker is not None:
            with contextlib.suppress(Exception):
                broker.close()
            if self._is_redis:
                with contextlib.suppress(Exception):
                    broker.client.connection_pool.disconnect()

    def _name(self, queue: str) -> str:
        return f"{self._namespace}.{queue}"

    def _open(self) -> Any:
        if self._broker is None:
            self._broker = self._redis() if self._is_redis else self._rabbitmq()
        return self._broker

    def _rabbitmq(self) -> Broker:
        from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415 - an extra

        parts = urlsplit(self._url)
        query = urlencode(_AMQP | dict(parse_qsl(parts.query)))
        return RabbitmqBroker(url=urlunsplit(parts._replace(query=query)), middleware=[])

    def _redis(self) -> Broker:
        import redis  # noqa: PLC0415 - an extra
        from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415

        client = redis.Redis.from_url(
            self._url,
            socket_timeout=5,
            socket_connect_timeout=5,
            socket_keepalive=True,
            health_check_interval=10,
        )
        return RedisBroker(client=client, namespace="dramatiq", middleware=[])  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            self.reset()
            raise WireError(_text(error)) from error


class Inbox:
    """Messages of one queue as they come. `next` and `close` are for one thread, `acknowledge` for all."""

    def __init__(self, consumer: Consumer, prefetch: int, errors: tuple[type[Exception], ...]) -> None:
        self._consumer, self._errors = consumer, errors
        self.prefetch = prefetch

    def next(self) -> Letter | None:
        """The next message, or None after a short while. Raises WireError when the connection is lost."""
        try:
            message = next(self._consumer)
        except DecodeError as error:
            log.warning("a message that nobody can read: %s", error, extra={"action": "wire_unreadable"})
            return None
        except self._errors as error:
            raise WireError(_text(error)) from error
        if message is None:
            return None
        job_id = message.options.get("job_id")
        if type(job_id) is not int or not 0 < job_id <= _MOST_ID:
            log.warning("a message that names no job", extra={"action": "wire_unreadable"})
            self._acknowledge(message)
            return None
        return Letter(job_id, message, self)

    def acknowledge(self, letter: Letter) -> None:
        """The message has done its work. If this gets lost it comes again, and finds nothing to claim."""
        self._acknowledge(letter.message)

    def _acknowledge(self, message: MessageProxy) -> None:
        try:
            self._consumer.ack(message)
        except Exception as error:
            log.debug("could not acknowledge: %s", error, extra={"action": "wire_ack_failed"})

    def close(self, unread: Sequence[Letter] = ()) -> None:
        """Ends it; what was received and not acknowledged goes to others."""
        with contextlib.suppress(Exception):
            self._consumer.requeue([letter.message for letter in unread])
        with contextlib.suppress(Exception):
            self._consumer.close()


def check(url: str) -> None:
    """Raises ConfigError unless the address can be used and its packages are there."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ConfigError("BROKER_URL must be an amqp(s):// or redis(s):// address")
    try:
        _errors(parts.scheme.startswith("redis"))
    except ImportError as error:
        raise ConfigError(
            f"BROKER_URL needs more packages: pip install 'imageledger[outbox]' ({error})"
        ) from None


def _errors(is_redis: bool) -> tuple[type[Exception], ...]:
    """What a broken connection looks like."""
    from dramatiq.errors import BrokerConnectionError  # noqa: PLC0415

    if is_redis:
        from redis.exceptions import RedisError  # noqa: PLC0415

        return (BrokerConnectionError, RedisError, OSError)
    from pika.exceptions import AMQPError  # noqa: PLC0415

    # pika answers with an AssertionError or a ValueError where a connection dies in the middle of a call.
    return (BrokerConnectionError, AMQPError, OSError, AssertionError, ValueError, AttributeError)


def _text(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
