"""How fast models are in any runtime: alone, and from image files to written results.

Each model runs in a process of its own with a given number of threads. While one works the others wait, and the models
are called in turn, so that whatever disturbs the machine disturbs all of them alike: compare the ratios.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.files import write_json
from visionkit.types import DataError

WARM_UP = 2  # calls that are not counted: graphs are traced in the first
PAUSE = 0.05  # seconds between two calls, so that idle threads of the previous process stop spinning
BRACKET = 6  # calls of the model alone, before and again after a folder of images
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class Worker:
    """A process that answers each line of JSON with a line of JSON; the first line it prints describes it.

    Args:
        command: what to run.
        threads: for the libraries that compute; None leaves the choice to them.
    """

    def __init__(self, command: Sequence[str], threads: int | None = None):
        self._command = list(command)
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
        if threads is not None:
            environment |= dict.fromkeys(_THREADS, str(threads))
        self._process = subprocess.Popen(
            self._command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # they are pipes
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self.about = self._answer()

    def call(self, **request: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            DataError: the process answers with an error, or has ended.
        """
        print(json.dumps(request), file=self._requests, flush=True)
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._requests.close()
        self._process.wait()
        self._answers.close()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        answer = json.loads(line) if line else {"error": f"{' '.join(self._command[-2:])}: ended; see above"}
        if "error" in answer:
            self.close()
            raise DataError(answer["error"])
        return answer


def bench(
    models: Sequence[Path | str],
    images: Path | str | None = None,
    batches: Sequence[int] = (1, 8),
    threads: Sequence[int] = (),
    counts: Sequence[int] = (),
    rounds: int = 10,
    say: Callable[[str], object] = print,
    trust: bool = False,
) -> list[dict[str, Any]]:
    """Measures models; each row is passed to `say` as soon as it is measured.

    Args:
        models: what detect and classify take; an export is measured in its runtime.
        images: a folder, glob, list or file; without it, models are only measured alone.
        batches: images per step; one measurement for each number.
        threads: of each process; one measurement for each number. By default the runtimes choose.
        counts: how many images to go through, each number in a process of its own, which shows whether memory grows
            with it; `images` are repeated as links. By default each image once.
        rounds: calls that are counted.
        say: takes each row as a line of text.
        trust: open SavedModels that do more than compute, too; see `open_predictor`.

    Returns:
        Rows with `model`, `runtime`, `threads`, `batch` and `load_s`.
        For a model alone also `latency_ms` (the median call), `p90_ms`, `images_per_s` and `peak_mb`.
        For a folder of images also `images`, `seconds`, `images_per_s`, `alone_images_per_s` (the model alone in the
        same process, before and after), `share` (the ratio of these two rates), `model_waits` (the share of the time
        in which the model had nothing to do) and `peak_mb`.
    """
    rows = []
    for limit in threads or (None,):
        for batch in batches:
            rows += _alone(models, batch, limit, rounds, say, trust)
        if images is not None:
            for model in models:
                for batch in batches:
                    rows += _through(model, images, batch, limit, counts, say, trust)
    return rows


def _worker(model: Path | str, batch: int, threads: int | None, trust: bool) -> Worker:
    words = ["--trust"] if trust else []
    words += [str(model), str(batch), str(threads or 0)]
    return Worker([sys.executable, "-m", "visionkit.bench.worker", *words], threads)


def _row(model: Path | str, threads: int | None, worker: Worker, **numbers: float) -> dict[str, Any]:
    return {
        "model": str(model),
        "runtime": worker.about["runtime"],
        "threads": threads,
        "batch": worker.about["batch"],
        "load_s": worker.about["load_s"],
        **numbers,
    }


def _alone(
    models: Sequence[Path | str],
    batch: int,
    threads: int | None,
    rounds: int,
    say: Callable[[str], object],
    trust: bool,
) -> list[dict[str, Any]]:
    """One row per model, all measured in turn."""
    workers = [_worker(model, batch, threads, trust) for model in models]
    times: list[list[float]] = [[] for _ in models]
    for turn in range(WARM_UP + rounds):
        for worker, seconds in zip(workers, times, strict=True):
            time.sleep(PAUSE)
            spent = worker.call(calls=1)["seconds"]
            if turn >= WARM_UP:
                seconds += spent
    rows = []
    for model, worker, seconds in zip(models, workers, times, strict=True):
        latency = float(np.median(seconds))
        row = _row(
            model,
            threads,
            worker,
            latency_ms=1e3 * latency,
            p90_ms=1e3 * float(np.percentile(seconds, 90)),
            images_per_s=worker.about["batch"] / latency,
            peak_mb=worker.call(calls=0)["peak_mb"],
        )
        rows.append(row)
        say(line(row))
        worker.close()
    return rows


def _through(
    model: Path | str,
    images: Path | str,
    batch: int,
    threads: int | None,
    counts: Sequence[int],
    say: Callable[[str], object],
    trust: bool,
) -> list[dict[str, Any]]:
    """One row for each count of images, from files to written results."""
    rows = []
    for count in counts or (None,):
        with tempfile.TemporaryDirectory() as folder:
            files = _repeated(images, count, Path(folder) / "in")
            worker = _worker(model, batch, threads, trust)
            worker.call(calls=WARM_UP)
            alone = worker.call(calls=BRACKET)["seconds"]
            answer = worker.call(images=[str(file) for file in files], out=str(Path(folder) / "out"))
            alone += worker.call(calls=BRACKET)["seconds"]
            rate = answer["images"] / answer["seconds"]
            alone_rate = worker.about["batch"] / float(np.median(alone))
            row = _row(
                model,
                threads,
                worker,
                images=answer["images"],
                seconds=answer["seconds"],
                images_per_s=rate,
                alone_images_per_s=alone_rate,
                share=rate / alone_rate,
                model_waits=answer["model_waits"],
                peak_mb=answer["peak_mb"],
            )
            rows.append(row)
            say(line(row))
            worker.close()
    return rows


def _repeated(images: Path | str, count: int | None, folder: Path) -> list[Path]:
    """`count` paths of image files: links in `folder` to the files that `images` name, repeated under new names."""
    from visionkit.image_files import find_images

    files = find_images(images)
    if count is None:
        return files
    folder.mkdir()
    for i in range(count):
        source = files[i % len(files)]
        (folder / f"{i:06}{source.suffix}").symlink_to(source.absolute())
    return sorted(folder.iterdir())


HEADER = f"{'model':28}{'runtime':>13}{'threads':>8}{'batch':>6}{'':>11}{'images/s':>10}{'peak MB':>9}"


def line(row: dict[str, Any]) -> str:
    """A row as a line of text, to go below `HEADER`."""
    name = row["model"] if len(row["model"]) < 28 else "…" + row["model"][-26:]
    what = f"{row['images']} files" if "images" in row else "alone"
    text = f"{name:28}{row['runtime']:>13}{row['threads'] or 'own':>8}{row['batch']:>6}{what:>11}"
    text += f"{row['images_per_s']:>10.2f}{row['peak_mb']:>9.0f}"
    if "images" in row:
        return f"{text}   {row['share']:.2f} of the model alone, which waits {row['model_waits']:.0%} of the time"
    calls = f"{row['latency_ms']:.1f} ms a call, 9 in 10 below {row['p90_ms']:.1f}"
    return f"{text}   {calls}; loaded in {row['load_s']:.1f} s"


def write(rows: Sequence[dict[str, Any]], file: Path | None, drawing: Path | None) -> None:
    """Writes the rows as JSON, with versions and machine, and as a picture; None leaves either out."""
    from visionkit.environment import environment, import_keras_quietly

    if file is not None:
        with contextlib.suppress(ModuleNotFoundError):
            import_keras_quietly()
        write_json(file, {"rows": rows, **environment()})
    if drawing is not None:
        picture(rows, drawing)


def picture(rows: Sequence[dict[str, Any]], file: Path | str) -> None:
    """Draws images per second of each row as a bar; rows of the same model and runtime have the same colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = list(dict.fromkeys((row["model"], row["runtime"]) for row in rows))
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.38 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        colour = f"C{kinds.index((row['model'], row['runtime'])) % 10}"
        bar = axes.barh(place, row["images_per_s"], color=colour, alpha=0.55 if "images" in row else 1)
        axes.bar_label(bar, [f"{row['images_per_s']:.1f}"], padding=3)
    texts = []
    for row in rows:
        what = f", {row['images']} files to results" if "images" in row else ""
        limit = f", {row['threads']} threads" if row["threads"] else ""
        texts.append(f"{Path(row['model']).name} ({row['runtime']}), batch {row['batch']}{limit}{what}")
    axes.set_yticks(range(len(rows)), texts)
    axes.invert_yaxis()
    axes.set_xlabel("images a second")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
