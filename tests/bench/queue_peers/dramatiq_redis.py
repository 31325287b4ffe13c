"""dramatiq on Redis: the same Worker, its own broker. Needs the package redis, which the project does not."""

from __future__ import annotations

import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.bench.queue_peers import THREADS, Counter, Pings, answer, arguments


def main() -> None:
    url, what, count = arguments()
    broker = RedisBroker(url=url)
    broker.flush_all()
    counter, pings = Counter(count), Pings()
    noop = dramatiq.actor(broker=broker, actor_name="noop")(counter)
    ping = dramatiq.actor(broker=broker, actor_name="ping")(pings.pong)
    if what == "drain":
        for _ in range(count):
            noop.send()
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, worker_threads=THREADS)
    started = time.perf_counter()
    worker.start()
    if what == "drain":
        counter.done.wait()
        answer(count / (time.perf_counter() - started))
    else:
        time.sleep(0.5)
        answer(pings.measure(ping.send, count))
    worker.stop(5000)
    broker.close()


if __name__ == "__main__":
    main()
