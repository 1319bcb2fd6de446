"""The process that `export_model` starts: a job as JSON on stdin, a report or an error into its `result` file."""

import json
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
from PIL import Image

from visionkit.export import EXPORTERS, keras_file
from visionkit.export.verify import check_export


def run(job: dict) -> dict:
    """Exports `job["model"]` by the exporter `job["to"]` into `job["out"]`, compares, and returns the report."""
    from visionkit.predict.predictor import Predictor

    task, exporter, folder = keras_file.load(job["model"]), EXPORTERS[job["to"]], Path(job["out"])
    task.licence = job["licence"] or task.licence
    calibration = [Path(file) for file in job["calibration"]]
    exporter.save(task, folder, **({"calibration": calibration} if calibration else {}))
    with tempfile.TemporaryDirectory() as temporary:
        files = [Path(file) for file in job["files"]] or draw_images(Path(temporary))
        outputs = task.serving().output
        room = outputs["boxes"].shape[1] if "boxes" in outputs else 0
        images = job["check"] or "drawn images"
        return check_export(job["to"], exporter, Predictor(task), folder, files, room, images, task.count_params())


def draw_images(folder: Path) -> list[Path]:
    """Three blurred pictures of what differs between decoders: sizes, an EXIF turn, grey, alpha."""
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


def main():
    job = json.load(sys.stdin)
    try:
        result = {"report": run(job)}
    except Exception as error:
        traceback.print_exc()  # stderr reaches the user with --debug
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        line = lines[-1] if lines[0] == "in user code:" else lines[0]  # TensorFlow's traces end with the reason
        result = {"error": line}
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
