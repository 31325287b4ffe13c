"""remove_objects {"bucket", "paths"}: removes the bytes that no row refers to, and makes sure of it."""

from __future__ import annotations

import logging

import dramatiq

from worker.errors import WorkerError
from worker.jobs import current_job
from worker.tools import Tools

log = logging.getLogger(__name__)


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""

    def remove_objects(bucket: str, paths: list[str]) -> None:
        job = current_job()
        # Asked now, not when the job was made: a path may have come to life again.
        with tools.ledger.removable(bucket, paths) as doomed:
            tools.objects.remove(bucket, doomed)
        settled = 0
        if doomed or job.attempt > 1:
            # Of all: an earlier attempt may have ended between its removal and this.
            settled = tools.ledger.settle_removal(bucket, paths)
            tools.ledger.record_removal(paths)
        log.info(
            "removed %s objects",
            len(doomed),
            extra={
                "action": "removed",
                "bucket": bucket,
                "kept": len(paths) - len(doomed),
                "settled": settled,
                **job.log_fields(),
            },
        )

    dramatiq.actor(broker=broker, actor_name="remove_objects", throws=(WorkerError,))(remove_objects)
