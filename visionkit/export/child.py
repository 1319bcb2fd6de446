"""The process that `export_model` starts: a Job as JSON on stdin, a report or an error into the file `job.result`."""

import json
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from visionkit.export import EXPORTERS, keras_file
from visionkit.export.painter import predictor_of
from visionkit.export.verify import ExportError, Report, check_export
from visionkit.predict.predictor import sizes_of


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to export and to compare; all paths as strings, for JSON.

    Args:
        model: the .keras file.
        to: name of the exporter.
        out: the folder to write.
        check: where `files` come from, for the report; None where there are none.
        files: images to compare on; without any, drawn ones.
        calibration: images to calibrate on.
        licence: of the weights, in place of the model's own.
        result: the file to answer into.
    """

    model: str
    to: str
    out: str
    check: str | None
    files: list[str]
    calibration: list[str]
    licence: str | None
    result: str


def run(job: Job) -> Report:
    """Exports a model, compares the export with it, and returns the report.

    Raises:
        ExportError: the exporter does not take the model, or the answers differ.
    """
    task, exporter, folder = keras_file.load_task(job.model), EXPORTERS[job.to], Path(job.out)
    if task.task == "style" and not getattr(exporter, "paints", False):
        takers = [name for name, other in EXPORTERS.items() if getattr(other, "paints", False)]
        raise ExportError(f"{job.to} does not take style networks; {' and '.join(takers)} do")
    task.licence = job.licence or task.licence
    options: dict[str, Any] = {}
    if job.calibration:
        options["calibration"] = [Path(file) for file in job.calibration]
    exporter.save(task, folder, **options)
    with tempfile.TemporaryDirectory() as temporary:
        files = [Path(file) for file in job.files] or draw_images(Path(temporary))
        check = job.check or "drawn images"
        sizes = () if task.task == "style" or not job.files else sizes_of(task)
        room, numbers = most_detections(task), task.count_params()
        return check_export(
            job.to, exporter, predictor_of(task), folder, files, room, check, numbers=numbers, sizes=sizes
        )


def most_detections(task: Any) -> int:
    """How many detections a model gives for an image at most; 0 for other tasks."""
    outputs = task.serving().output
    return outputs["boxes"].shape[1] if isinstance(outputs, dict) and "boxes" in outputs else 0


def draw_images(folder: Path) -> list[Path]:
    """Writes three blurred pictures that differ in what decoders differ in: sizes, EXIF orientation, grey, alpha."""
    random = np.random.default_rng(0)

    def picture(height, width):
        coarse = random.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    turned = picture(480, 640)
    turned.getexif()[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=turned.getexif(), quality=90)
    picture(600, 400).convert("L").save(folder / "grey.png")
    clear = picture(300, 500)
    clear.putalpha(clear.convert("L"))
    clear.save(folder / "alpha.png")
    return [folder / name for name in ("turned.jpg", "grey.png", "alpha.png")]


def main() -> None:
    job = Job(**json.load(sys.stdin))
    try:
        result = {"report": run(job)}
    except Exception as error:
        traceback.print_exc()  # stderr reaches the user with --debug
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        line = lines[-1] if lines[0] == "in user code:" else lines[0]  # TensorFlow's traces end with the reason
        result = {"error": line}
    Path(job.result).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
