"""One actor a module. Each has `declare(broker, tools)`; ALL is what a worker runs."""

from __future__ import annotations

from worker.actors import (
    fetch_image,
    fill_listing,
    generate,
    process_image,
    queue_reviews,
    remake_thumb,
    remove_objects,
    review_image,
)

ALL = (
    fetch_image,
    fill_listing,
    generate,
    process_image,
    queue_reviews,
    remake_thumb,
    remove_objects,
    review_image,
)
