"""Exports a model in a fresh process and compares what was written with the model."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from visionkit.export import EXPORTERS, keras_file
from visionkit.export.child import Job
from visionkit.export.failed import keep_failed, remove_failed
from visionkit.export.verify import ExportError, Report, add_scores, summary
from visionkit.image_files import find_images
from visionkit.processes import run_python
from visionkit.types import DataError

CALIBRATION_IMAGES = 100  # evenly chosen from a larger folder: more images hardly change the ranges


def export_model(
    model: Path | str,
    to: str,
    out: Path | str,
    check: Path | str | Sequence[Path] | None = None,
    count: int = 20,
    calibrate: Path | str | None = None,
    licence: str | None = None,
    score: Callable[[Path], dict[str, Any]] | None = None,
) -> str:
    """Exports a model in a process of its own, on the TensorFlow backend, and compares the result with the model.

    Nothing appears at `out` unless the comparison holds: a failed export is kept beside it as `out.failed`, and removed
    by the next export to `out`.

    Args:
        model: a run folder or a .keras file, trained on any backend.
        to: a name in `EXPORTERS`.
        out: the folder to write, new or empty. `export_report.json` in it holds what was compared.
        check: a folder, glob or file of images to compare on, or a list of files. Without it three drawn ones, which
            show that the export runs but seldom hold anything to detect.
        count: at most so many of them, evenly chosen.
        calibrate: a folder, glob or file of images from which an 8-bit exporter learns the range of every value; at
            most 100 of them are used.
        licence: of the weights, in place of the model's own.
        score: scores the export on labelled data once the comparison has held: a function of the export's folder that
            returns {"metric", "data", "before", "after"}. A fall above the tolerance fails the export.

    Returns:
        One line that says what was compared.

    Raises:
        DataError: there is no such model, exporter or image, `out` is in use, or `calibrate` is missing or not wanted.
        ExportError: the process failed, or the export gives other answers; one line.
    """
    if not isinstance(model, str | Path):
        found = type(model).__name__
        raise DataError(
            f"export takes a run folder or a .keras file, found {found}; model.save('model.keras') makes one"
        )
    out = Path(out)
    file = _checked_model(Path(model), to, calibrate is not None)
    _check_free(out)
    if count < 1:
        raise DataError(f"--images: expected 1 or more, found {count}")
    files, calibration = _evenly(check, count), _evenly(calibrate, CALIBRATION_IMAGES)
    remove_failed(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as temporary:
        part = Path(temporary) / "export"
        job = Job(
            model=str(file),
            to=to,
            out=str(part),
            check=_described(check),
            files=[str(file) for file in files],
            calibration=[str(file) for file in calibration],
            licence=licence,
            result=str(Path(temporary) / "result.json"),
        )
        try:
            report = _export_in_fresh_process(job)
            if score is not None:
                report = add_scores(part, report, score(part))
        except (ExportError, DataError) as error:
            kept = f" (kept in {keep_failed(part, out)})" if part.exists() else ""
            failure = ExportError(f"{error}{kept}")
            for note in getattr(error, "__notes__", ()):
                failure.add_note(note)
            raise failure from error
        if out.exists():
            out.rmdir()
        part.rename(out)
    return f"{to} in {out}: {summary(report)}"


def _checked_model(model: Path, to: str, calibrates: bool) -> Path:
    """The .keras file; raises a DataError where it is missing, or where there is no such exporter or calibration."""
    if to not in EXPORTERS:
        raise DataError(f"no exporter {to!r}; there are {', '.join(EXPORTERS)}")
    file = model / keras_file.NAME if model.is_dir() else model
    if not file.is_file():
        raise DataError(f"{model}: expected a .keras file or a folder that holds {keras_file.NAME}")
    wanted = getattr(EXPORTERS[to], "calibrates", False)
    if wanted and not calibrates:
        raise DataError(f"{to} needs images to calibrate on: --calibrate FOLDER")
    if calibrates and not wanted:
        raise DataError(f"{to} takes no --calibrate")
    return file


def _check_free(out: Path) -> None:
    if out.is_symlink() or os.path.ismount(out):  # cannot be replaced by what is written beside it
        raise DataError(f"{out}: is a link or a mounted folder; name a new folder in it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: must be new or empty; name another folder or remove this one")


def _described(check: Path | str | Sequence[Path] | None) -> str | None:
    """What the report calls the images."""
    if check is None:
        return None
    return str(check) if isinstance(check, Path | str) else "given one by one"


def _evenly(paths: Path | str | Sequence[Path] | None, count: int) -> list[Path]:
    """At most `count` of the images that `paths` names, evenly chosen."""
    files = [] if paths is None else find_images(paths)
    return [files[i * len(files) // count] for i in range(count)] if len(files) > count else files


def _export_in_fresh_process(job: Job) -> Report:
    """Runs `export.child` on the TensorFlow backend and returns its report.

    Raises:
        ExportError: with what the process printed as a note.
    """
    environment = {
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",  # this process may hold the GPU's memory, and on CPUs float32 stays float32
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }
    ended = run_python(["-m", "visionkit.export.child"], asdict(job), environment)
    answer = Path(job.result)
    result = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
    if "report" in result:
        return result["report"]
    ended_early = f"the export ended with code {ended.code}: {ended.failure or 'no message'}"
    error = ExportError(result.get("error", ended_early))
    error.add_note(f"{ended.log}\n")  # of several lines, and therefore shown with a traceback only
    raise error
