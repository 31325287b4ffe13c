"""One actor a module. Each has `declare(broker, tools)`; ALL is what a worker runs."""

from __future__ import annotations

from worker.actors import fetch_image, generate, process_image, queue_reviews, remove_objects, review_image

ALL = (fetch_image, generate, process_image, queue_reviews, remove_objects, review_image)
