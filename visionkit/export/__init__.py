"""Exporters: a trained model in the form in which it is deployed, proven to detect the same.

    >>> from visionkit.export import EXPORTERS
    >>> sorted(EXPORTERS)
    ['keras_file', 'saved_model']

An exporter is a module with `save(model, folder)`, `load(folder)` -> what a Predictor takes in place of a Task, and
`detect_alone(folder, files)` -> detections of the written files. Importing this package imports no framework.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import visionkit
from visionkit import images
from visionkit.export import keras_file, saved_model
from visionkit.export.verify import ExportError, summary
from visionkit.types import DataError

EXPORTERS = {"keras_file": keras_file, "saved_model": saved_model}


def export_model(model: Path | str, to: str, out: Path | str, check: Path | str | None = None, count: int = 20) -> str:
    """Exports a model in a process of its own, on the TensorFlow backend, and compares the result with the model.

    Nothing appears at `out` unless the comparison holds: a failed export stays beside it as `out.failed`.

    Args:
        model: a run folder or a .keras file, trained on any backend.
        to: a name in `EXPORTERS`.
        out: the folder to write; it must be new or empty. `export_report.json` in it holds what was compared.
        check: a folder, glob or file of images to compare on; without it three drawn ones, which show that the export
            runs but seldom hold anything to detect.
        count: at most so many of them, evenly chosen.

    Returns:
        One line that says what was compared.

    Raises:
        DataError: no such model, exporter or images, or `out` is in use.
        ExportError: the process failed or the export does not detect the same; one line.
    """
    if to not in EXPORTERS:
        raise DataError(f"no exporter {to!r}; there are {', '.join(EXPORTERS)}")
    out, file = Path(out), Path(model)
    file = file / keras_file.NAME if file.is_dir() else file
    if not file.is_file():
        raise DataError(f"{model}: expected a .keras file or a folder that holds {keras_file.NAME}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: must be new or empty; name another folder or remove this one")
    files = [] if check is None else images.find_images(check)
    files = [files[i * len(files) // count] for i in range(count)] if len(files) > count else files
    part, failed = (out.with_name(out.name + end) for end in (".part", ".failed"))
    for left in (part, failed):
        shutil.rmtree(left, ignore_errors=True)
    job = {"model": file, "to": to, "out": part, "check": None if check is None else str(check), "files": files}
    report, error, log = _in_fresh_process(job)
    if report is None:
        if part.exists():
            part.rename(failed)
            error += f" (kept in {failed})"
        failure = ExportError(error)
        failure.add_note(log)  # shown with a traceback only
        raise failure
    if out.exists():
        out.rmdir()
    part.rename(out)
    return f"{to} in {out}: {summary(report)}"


def _in_fresh_process(job: dict) -> tuple[dict | None, str, str]:
    """Runs `export.child` on the TensorFlow backend: its report, or None and one line of error; and what it printed."""
    here = str(Path(visionkit.__file__).parents[1])
    environment = os.environ | {
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",  # the process that asks may hold the GPU's memory, and float32 stays float32
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])),
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
