"""queue_reviews {"after_id"}: one page of the round through all images after the review policy was changed."""

from __future__ import annotations

import logging

import dramatiq

from worker.errors import WorkerError
from worker.jobs import current_job
from worker.tools import Tools

log = logging.getLogger(__name__)


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""

    def queue_reviews(after_id: str | None) -> None:
        job = current_job()
        count = tools.ledger.queue_reviews(after_id, job)
        log.info("looked at %s images", count, extra={"action": "queue_reviews", **job.log_fields()})

    dramatiq.actor(broker=broker, actor_name="queue_reviews", throws=(WorkerError,))(queue_reviews)
