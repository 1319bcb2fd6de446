"""The main job in six steps, on drawn shapes: data, fine-tune, evaluate, detect, export, report. `make demo` runs it.

Each step prints the command that does the same on your own data.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from visionkit.cli import main as visionkit
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco

DEMO = Path("demo")
ENOUGH = 0.95  # mAP50, below which the demo fails


def step(*words):
    """Runs one visionkit command as a person would, and stops the demo if it fails."""
    print(f"\n$ visionkit {' '.join(map(str, words))}", flush=True)
    if code := visionkit([str(word) for word in words]):
        sys.exit(code)


def main():
    start = time.monotonic()
    shutil.rmtree(DEMO, ignore_errors=True)
    print("drawing 400 training and 60 test images with shapes, as COCO annotations", flush=True)
    for split, count in (("train", 400), ("test", 60)):
        write_coco(shapes(count, (240, 320), seed=0, split=split), DEMO / "data", split)
    run, test = DEMO / "run", DEMO / "data" / "test"
    step("finetune", DEMO / "data", "--epochs", "7", "--image-size", "256", "--out", run)
    step("evaluate", run, DEMO / "data", "--split", "test", "--json", DEMO / "scores.json")
    step("detect", run, test, "--out", DEMO / "detections")
    step("export", run, "--to", "saved_model", "--out", run / "saved_model", "--check", test)
    step("report", run, "--data", DEMO / "data", "--split", "test")
    scores = json.loads((DEMO / "scores.json").read_text())
    seconds = time.monotonic() - start
    print(f"\nmAP50 {scores['mAP50']:.3f} on {scores['images']} held-back images, {seconds:.0f} s in all")
    print(f"open this page: {run / 'report.html'} (curves, scores, mistakes, what proves the exports, the data)")
    sys.exit(0 if scores["mAP50"] >= ENOUGH else 1)


if __name__ == "__main__":
    main()
