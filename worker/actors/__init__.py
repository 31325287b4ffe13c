"""One actor a module. Each has `declare(broker, tools)`; ALL is what a worker runs."""

from __future__ import annotations

from worker.actors import (
    fill_listing,
    generate,
    process_image,
    queue_reviews,
    remake_thumb,
    remove_objects,
    review_image,
)

ALL = (fill_listing, generate, process_image, queue_reviews, remake_thumb, remove_objects, review_image)
