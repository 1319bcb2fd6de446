"""The verb bench. Heavy imports are inside the function."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import cyclopts

from visionkit.types import DataError

_Several = cyclopts.Parameter(consume_multiple=True, negative=())


def bench(
    *models: Annotated[str, cyclopts.Parameter(allow_leading_hyphen=False)],
    images: str | None = None,
    batch: Annotated[Sequence[int], _Several] = (1, 8),
    threads: Annotated[Sequence[int], _Several] = (),
    count: Annotated[Sequence[int], _Several] = (),
    rounds: int = 10,
    json: Path | None = None,
    picture: Path | None = None,
    trust: bool = False,
) -> None:
    """Measure the speed of models: of the model alone, or from a folder of images to written results.

    Args:
        models: what detect and classify take; several are measured in turn, an export in its runtime.
        images: a folder, glob, list or file to process; by default models are measured alone.
        batch: images a step; several values.
        threads: (Linux) cores for each model; several values. By default each runtime chooses.
        count: process so many images, repeating those there are; several values show whether memory grows.
        rounds: how many calls are measured.
        json: also write the rows, and the environment they were measured in, to this file.
        picture: also draw them into this .png file.
        trust: open an exported SavedModel even if it does more than compute: it could read and write files.
    """
    from visionkit.bench.measure import HEADER, write
    from visionkit.bench.measure import bench as measure

    if not models:
        raise DataError("name a model: a run folder, a .keras file, an export, hf://OWNER/NAME or published weights")
    print(HEADER, flush=True)
    say = partial(print, flush=True)
    rows = measure(models, images, batch, threads, count, rounds, say=say, trust=trust)
    write(rows, json, picture)
