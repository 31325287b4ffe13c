"""imageledger: dramatiq's Worker on worker.broker."""

from __future__ import annotations

import time

import dramatiq
import psycopg

from tests.bench.queue_peers import THREADS, Counter, Pings, answer, arguments
from worker.broker import LedgerBroker
from worker.config import Settings


def main() -> None:
    url, what, count = arguments()
    broker = LedgerBroker(Settings(db_url=url, listen_url=url, threads=THREADS))
    counter, pings = Counter(count), Pings()
    dramatiq.actor(broker=broker, actor_name="noop")(counter)
    ping = dramatiq.actor(broker=broker, actor_name="ping")(pings.pong)
    if what == "drain":
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("select queue.send('noop', '{}') from generate_series(1, %s)", (count,))
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
