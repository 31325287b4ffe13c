"""procrastinate: its own worker with 8 threads at a time, in a database with its own schema."""

from __future__ import annotations

import asyncio
import threading
import time

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.jobs import JobDeferrer
from procrastinate.tasks import configure_task

from tests.bench.queue_peers import THREADS, Counter, Pings, answer, arguments


def main() -> None:
    url, what, count = arguments()
    app = App(connector=PsycopgConnector(conninfo=url, max_size=THREADS + 2))
    counter, pings = Counter(count), Pings()
    app.task(name="noop")(counter.__call__)
    app.task(name="ping")(pings.pong)

    sync = app.with_connector(SyncPsycopgConnector(conninfo=url))
    with sync.open():
        if not sync.check_connection():
            sync.schema_manager.apply_schema()
        if what == "drain":
            _deferrer("noop", sync).batch_defer(*[{} for _ in range(count)])

        ready = threading.Event()

        async def work() -> None:
            async with app.open_async():
                worker = asyncio.create_task(
                    app.run_worker_async(concurrency=THREADS, wait=True, install_signal_handlers=False)
                )
                ready.set()
                while not stop.is_set():
                    await asyncio.sleep(0.05)
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)

        stop = threading.Event()
        loop_thread = threading.Thread(target=lambda: asyncio.run(work()))
        started = time.perf_counter()
        loop_thread.start()
        if what == "drain":
            counter.done.wait()
            answer(count / (time.perf_counter() - started))
        else:
            ready.wait()
            time.sleep(1)
            answer(pings.measure(_deferrer("ping", sync).defer, count))
        stop.set()
        loop_thread.join()


def _deferrer(task: str, sync: App) -> JobDeferrer:
    return configure_task(name=task, job_manager=sync.job_manager)


if __name__ == "__main__":
    main()
