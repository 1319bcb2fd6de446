"""The process of one model in a bench: python -m visionkit.bench.worker [--trust] MODEL BATCH THREADS

With 0 threads the runtime chooses. The first line printed has `runtime`, `task`, `batch` (smaller than BATCH for a
segmenter with many classes) and `load_s`; then each line that comes in is answered with a line.

| request | answer |
|---|---|
| {"calls": n} | `seconds` of n calls of the model alone, images in and arrays out, and `peak_mb` |
| {"images": [files], "out": folder} | `seconds` from files to written results, `images`, `model_waits`, `peak_mb` |
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visionkit.environment import peak_memory
from visionkit.export.exported import FILE, read_metadata
from visionkit.open_model import open_predictor
from visionkit.types import DataError

if TYPE_CHECKING:  # not at run time: OpenCV, which it imports, counts cores too
    from visionkit.predict.predictor import Predictor


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    sys.stdout = sys.stderr

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        *trust, model, batch_size, cores = sys.argv[1:]
        if int(cores) and hasattr(
            os, "sched_setaffinity"
        ):  # runtimes count the cores that they may use when they are imported
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
        start = time.perf_counter()
        predictor = open_predictor(Path(model), int(batch_size), trust == ["--trust"])
        seconds = time.perf_counter() - start
        say(runtime=runtime(Path(model)), task=predictor.task, batch=predictor.batch_size, load_s=seconds)
        for line in sys.stdin:
            request = json.loads(line)
            answer = through(predictor, **request) if "images" in request else alone(predictor, **request)
            say(**answer, peak_mb=peak_memory() / 2**20)
    except (DataError, OSError) as error:
        say(error=str(error))


def runtime(model: Path) -> str:
    """What computes: the name of the exporter, or Keras with the first two letters of its backend."""
    if (model / FILE).is_file():
        return read_metadata(model)["exporter"]
    import keras

    return f"keras/{keras.backend.backend()[:2]}"


def alone(predictor: "Predictor", calls: int) -> dict[str, Any]:
    """Times calls of the model on random images."""
    shape = (predictor.batch_size, *predictor.image_size, predictor.channels)
    batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        for value in predictor._serving.predict_on_batch(batch).values():
            np.asarray(value)
        times.append(time.perf_counter() - start)
    return {"seconds": times}


def through(predictor: "Predictor", images: list[str], out: str) -> dict[str, Any]:
    """Times what `visionkit detect`, `classify` or `segment` does with files, pictures and tables included."""
    from visionkit.predict.folders import classify_folder, detect_folder, segment_folder

    run = predictor._outputs  # whatever the size of the network
    busy = []  # seconds of each call of the model

    def timed(pixels: np.ndarray, inners: list[tuple[int, int]], size: tuple[int, int]) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        outputs = run(pixels, inners, size)
        busy.append(time.perf_counter() - start)
        return outputs

    predictor._outputs = timed
    folder = {"classify": classify_folder, "segment": segment_folder}.get(predictor.task, detect_folder)
    start = time.perf_counter()
    summary = folder(predictor, images, out, progress=False)
    seconds = time.perf_counter() - start
    predictor._outputs = run
    return {"seconds": seconds, "images": summary.done, "model_waits": max(0.0, 1 - sum(busy) / seconds)}


if __name__ == "__main__":
    main()
