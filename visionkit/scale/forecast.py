"""What a run would take, before anything of it is started or written."""

import time
from collections.abc import Sequence
from itertools import chain
from math import ceil
from typing import Any

from visionkit.scale.manifest import Item, items_of
from visionkit.scale.shard import predictions_of

SAMPLE = 32  # images that are measured
DAY = 24  # hours


def forecast(predictor: Any, sources: Sequence[str], shard: int, score: float | None) -> str:
    """Counts the images, measures how long some of them take here, and says what that means for all.

    Args:
        predictor: see `shard.predictions_of`.
        sources: see `manifest.items_of`.
        shard: images in each.
        score: detections below it are left out; None for other tasks.
    """
    listing = items_of(sources)
    sample = [item for item, _ in zip(listing, range(SAMPLE), strict=False)]
    images = size = unknown = 0
    for item in chain(sample, listing):
        images, size, unknown = images + 1, size + max(0, item.size), unknown + (item.size < 0)
    if not images:
        return "no images were found"
    rate = _rate(predictor, sample, score)
    hours = images / rate / 3600
    megabytes = f"{size / 1e6:.1f} MB" + (f" and {unknown} of unknown size" if unknown else "")
    lines = [
        f"images: {images}, {megabytes}, in {-(-images // shard)} shards of {shard}",
        f"speed: {rate:.2f} images/s in one worker, measured here on {len(sample)} images, reading included",
        f"time: {hours:.2f} hours with one worker; for one day it takes {ceil(hours / DAY)} of them, for one hour "
        f"{ceil(hours)}",
    ]
    return "\n".join(lines)


def _rate(predictor: Any, sample: Sequence[Item], score: float | None) -> float:
    """Images a second, after a first batch that compiles the network."""
    list(predictions_of(predictor, sample[: predictor.batch_size], score))
    began = time.perf_counter()
    for _ in predictions_of(predictor, sample, score):
        pass
    return len(sample) / (time.perf_counter() - began)
