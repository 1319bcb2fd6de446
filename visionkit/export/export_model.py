"""Exports a model in a fresh process and compares what was written with the model."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from visionkit.export import EXPORTERS, keras_file
from visionkit.export.alone import search_path
from visionkit.export.verify import ExportError, add_scores, summary
from visionkit.image_files import find_images
from visionkit.types import DataError

CALIBRATION_IMAGES = 100  # of a larger folder, evenly chosen: more change the ranges little


def export_model(
    model: Path | str,
    to: str,
    out: Path | str,
    check: Path | str | None = None,
    count: int = 20,
    calibrate: Path | str | None = None,
    licence: str | None = None,
    score: Callable[[Path], dict] | None = None,
) -> str:
    """Exports a model in a process of its own, on the TensorFlow backend, and compares the result with the model.

    Nothing appears at `out` unless the comparison holds: a failed export stays beside it as `out.failed`.

    Args:
        model: a run folder or a .keras file, trained on any backend.
        to: a name in `EXPORTERS`.
        out: the folder to write; it must be new or empty. `export_report.json` in it holds what was compared.
        check: a folder, glob or file of images to compare on; without it three drawn ones, which show that the export
            runs but seldom hold anything to detect.
        count: at most so many of them, evenly chosen.
        calibrate: the same of images that show an exporter to whole numbers which values occur; it takes 100 of them.
        licence: of the weights, in place of what the model says.
        score: what labelled data say: a function of the export's folder that gives {"metric", "data", "before",
            "after"}, called when the comparison has held; a fall above the tolerance fails the export.

    Returns:
        One line that says what was compared.

    Raises:
        DataError: no such model, exporter or images, or `out` is in use, or nothing to calibrate on is given or wanted.
        ExportError: the process failed or the export does not say the same; one line.
    """
    if to not in EXPORTERS:
        raise DataError(f"no exporter {to!r}; there are {', '.join(EXPORTERS)}")
    out, file = Path(out), Path(model)
    file = file / keras_file.NAME if file.is_dir() else file
    if not file.is_file():
        raise DataError(f"{model}: expected a .keras file or a folder that holds {keras_file.NAME}")
    if out.is_symlink() or os.path.ismount(out):  # cannot be replaced by what is written beside it
        raise DataError(f"{out}: is a link or a mounted folder; name a new folder in it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: must be new or empty; name another folder or remove this one")
    calibrates = getattr(EXPORTERS[to], "calibrates", False)
    if calibrates != (calibrate is not None):
        want = f"{to} needs images to calibrate on: --calibrate FOLDER" if calibrates else f"{to} takes no --calibrate"
        raise DataError(want)
    if count < 1:
        raise DataError(f"--images: expected 1 or more, found {count}")
    files = _some(check, count)
    part, failed = (out.with_name(out.name + end) for end in (".part", ".failed"))
    for left in (part, failed):
        shutil.rmtree(left, ignore_errors=True)
    job = {"model": file, "to": to, "out": part, "check": None if check is None else str(check), "files": files}
    job |= {"licence": licence, "calibration": _some(calibrate, CALIBRATION_IMAGES)}
    report, error, log = _in_fresh_process(job)
    if report is not None and score is not None:
        try:
            report = add_scores(part, report, score(part))
        except (ExportError, DataError) as failure:
            report, error = None, str(failure)
    if report is None:
        if part.exists():
            part.rename(failed)
            error += f" (kept in {failed})"
        failure = ExportError(error)
        failure.add_note(f"{log}\n")  # of several lines, so shown with a traceback only
        raise failure
    if out.exists():
        out.rmdir()
    part.rename(out)
    return f"{to} in {out}: {summary(report)}"


def _some(paths, count: int) -> list[Path]:
    files = [] if paths is None else find_images(paths)
    return [files[i * len(files) // count] for i in range(count)] if len(files) > count else files


def _in_fresh_process(job: dict) -> tuple[dict | None, str, str]:
    """Runs `export.child` on the TensorFlow backend: its report, or None and one line of error; and what it printed."""
    environment = os.environ | {
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",  # the process that asks may hold the GPU's memory, and float32 stays float32
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        "PYTHONPATH": search_path(),
    }
    command = [sys.executable, "-m", "visionkit.export.child"]
    with tempfile.TemporaryDirectory() as temporary:
        answer = Path(temporary) / "result.json"
        job = json.dumps(job | {"result": answer}, default=str)
        done = subprocess.run(command, input=job, capture_output=True, text=True, env=environment)
        result = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
    error = result.get("error", f"the export ended with code {done.returncode}: {lines[-1].strip()}")
    return result.get("report"), error, done.stderr
