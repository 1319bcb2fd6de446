"""The main job in six steps, on drawn shapes: data, fine-tune, evaluate, detect, export, report. `make demo` runs it.

Each step prints the command that does the same on your own data.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from visionkit.cli import main as visionkit
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.images import read_image, write_image

DEMO = Path("demo")


def step(*words):
    """Runs one visionkit command as a person would, and stops the demo if it fails."""
    print(f"\n$ visionkit {' '.join(map(str, words))}", flush=True)
    if code := visionkit([str(word) for word in words]):
        sys.exit(code)


def contact_sheet(folder, file, rows=2, columns=4):
    """The first pictures of a folder, all of one size, in one."""
    pictures = [read_image(name) for name in sorted(folder.glob("*.jpg"))[: rows * columns]]
    lines = [np.concatenate(pictures[i * columns : (i + 1) * columns], axis=1) for i in range(rows)]
    write_image(file, np.concatenate(lines))


def main():
    start = time.monotonic()
    shutil.rmtree(DEMO, ignore_errors=True)
    print("drawing 400 training and 60 test images with shapes, as COCO annotations", flush=True)
    for split, count in (("train", 400), ("test", 60)):
        write_coco(shapes(count, (240, 320), seed=0, split=split), DEMO / "data", split)
    step("finetune", DEMO / "data", "--epochs", "10", "--image-size", "256", "--out", DEMO / "run")
    step("evaluate", DEMO / "run", DEMO / "data", "--split", "test", "--json", DEMO / "scores.json")
    step("detect", DEMO / "run", DEMO / "data" / "test", "--out", DEMO / "detections")
    step("export", DEMO / "run", "--to", "saved_model", "--out", DEMO / "export", "--check", DEMO / "data" / "test")
    step("report", DEMO / "run", "--data", DEMO / "data", "--split", "test")
    contact_sheet(DEMO / "detections", DEMO / "demo.jpg")
    scores = json.loads((DEMO / "scores.json").read_text())
    print(
        f"\nmAP50 {scores['mAP50']:.3f} on {scores['images']} held-back images, {time.monotonic() - start:.0f} s in all"
    )
    print(f"pictures: {DEMO / 'detections'}, some of them in {DEMO / 'demo.jpg'}")
    print(f"SavedModel with its export_report.json: {DEMO / 'export'}")
    print(f"open this page: {DEMO / 'run' / 'report.html'} (curves, scores, the worst mistakes, the data)")
    sys.exit(0 if scores["mAP50"] >= 0.9 else 1)


if __name__ == "__main__":
    main()
