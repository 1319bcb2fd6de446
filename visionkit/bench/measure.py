"""How fast models are, in whichever runtime they are in: alone, and from files to written results.

Each model runs in a process of its own, with a set number of threads; while one works the others wait, and calls are
made in turn, so that what disturbs the machine disturbs all alike: read the ratios.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.files import write_json
from visionkit.types import DataError

WARM_UP = 2  # calls before the first that counts: graphs are traced in the first
PAUSE = 0.05  # seconds between two calls, in which idle threads of the one before stop spinning
BRACKET = 6  # calls of the model alone before, and after, a folder of images
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class Worker:
    """A process that answers a line of JSON with a line of JSON; its first line says what it is.

    Args:
        command: what to run.
        threads: of the libraries that compute; None leaves them their own choice.
    """

    def __init__(self, command: Sequence[str], threads: int | None = None):
        limits = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
        environment = os.environ | limits | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self._process = subprocess.Popen([*command], env=environment, **pipes)
        self.about = self._answer()

    def call(self, **request) -> dict:
        """The answer to one request.

        Raises:
            DataError: the process says that it cannot, or ended.
        """
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self):
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"{' '.join(self._process.args[-2:])}: ended; see above"}
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
    say=print,
) -> list[dict]:
    """Measures models; rows are said as they come.

    Args:
        models: what detect and classify take; an export counts in its runtime.
        images: a folder, glob, list or file; without it models are only measured alone.
        batches: images a step.
        threads: of each process, one measurement for each number; by default the runtimes choose.
        counts: how many images to go through, each number in a process of its own, which shows whether memory grows
            with it; `images` are repeated as links. By default as many as there are.
        rounds: calls that count.

    Returns:
        Rows of `model`, `runtime`, `threads`, `batch`, `load_s`, and
        of a model alone `latency_ms` (median of a call), `p90_ms`, `images_per_s`, `peak_mb`;
        of images `images`, `seconds`, `images_per_s`, `alone_images_per_s`, of the model before and after in the same
        process, `share` (of the one in the other), `model_waits`, the share of the time in which the model had nothing
        to do, and `peak_mb`.
    """
    rows = []
    for limit in threads or (None,):
        for batch in batches:
            rows += _alone(models, batch, limit, rounds, say)
        if images is not None:
            for model in models:
                for batch in batches:
                    rows += _through(model, images, batch, limit, counts, say)
    return rows


def _worker(model, batch, threads) -> Worker:
    command = [sys.executable, "-m", "visionkit.bench.worker", str(model), str(batch), str(threads or 0)]
    return Worker(command, threads)


def _row(model, threads, worker, **numbers) -> dict:
    about = worker.about
    row = {"model": str(model), "runtime": about["runtime"], "threads": threads, "batch": about["batch"]}
    return row | {"load_s": about["load_s"]} | numbers


def _alone(models, batch, threads, rounds, say) -> list[dict]:
    workers, times = [_worker(model, batch, threads) for model in models], [[] for _ in models]
    for turn in range(WARM_UP + rounds):
        for worker, seconds in zip(workers, times, strict=True):
            time.sleep(PAUSE)
            spent = worker.call(calls=1)["seconds"]
            seconds += spent if turn >= WARM_UP else []
    rows = []
    for model, worker, seconds in zip(models, workers, times, strict=True):
        latency = float(np.median(seconds))
        numbers = {"latency_ms": 1e3 * latency, "p90_ms": 1e3 * float(np.percentile(seconds, 90))}
        numbers |= {"images_per_s": worker.about["batch"] / latency, "peak_mb": worker.call(calls=0)["peak_mb"]}
        rows.append(_row(model, threads, worker, **numbers))
        say(line(rows[-1]))
        worker.close()
    return rows


def _through(model, images, batch, threads, counts, say) -> list[dict]:
    rows = []
    for count in counts or (None,):
        with tempfile.TemporaryDirectory() as folder:
            files = _repeated(images, count, Path(folder) / "in")
            worker = _worker(model, batch, threads)
            worker.call(calls=WARM_UP)
            alone = worker.call(calls=BRACKET)["seconds"]
            found = worker.call(images=[str(file) for file in files], out=str(Path(folder) / "out"))
            alone += worker.call(calls=BRACKET)["seconds"]
            rate, bare = found["images"] / found["seconds"], worker.about["batch"] / float(np.median(alone))
            numbers = {"images": found["images"], "seconds": found["seconds"], "images_per_s": rate}
            numbers |= {"alone_images_per_s": bare, "share": rate / bare, "model_waits": found["model_waits"]}
            rows.append(_row(model, threads, worker, **numbers, peak_mb=found["peak_mb"]))
            say(line(rows[-1]))
            worker.close()
    return rows


def _repeated(images, count: int | None, folder: Path) -> list[Path]:
    """`count` paths of image files: those that `images` name, again and again under names of their own."""
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


def line(row: dict) -> str:
    """A row for people, below `HEADER`."""
    name = row["model"] if len(row["model"]) < 28 else "…" + row["model"][-26:]
    what = f"{row['images']} files" if "images" in row else "alone"
    text = f"{name:28}{row['runtime']:>13}{row['threads'] or 'own':>8}{row['batch']:>6}{what:>11}"
    text += f"{row['images_per_s']:>10.2f}{row['peak_mb']:>9.0f}"
    if "images" in row:
        return f"{text}   {row['share']:.2f} of the model alone, which waits {row['model_waits']:.0%} of the time"
    calls = f"{row['latency_ms']:.1f} ms a call, 9 in 10 below {row['p90_ms']:.1f}"
    return f"{text}   {calls}; loaded in {row['load_s']:.1f} s"


def write(rows: Sequence[dict], file: Path | None, drawing: Path | None) -> None:
    """The rows as JSON, with the versions and the machine, and as a picture, where files are named."""
    from visionkit.environment import environment, import_keras_quietly

    if file is not None:
        with contextlib.suppress(ModuleNotFoundError):
            import_keras_quietly()
        write_json(file, {"rows": rows, **environment()})
    if drawing is not None:
        picture(rows, drawing)


def picture(rows: Sequence[dict], file: Path | str) -> None:
    """Images a second of each row as bars, those of one model and runtime in one colour."""
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
