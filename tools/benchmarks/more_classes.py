"""What a detector forgets when a class is added: its mAP50 on the old classes before and after.

    python tools/benchmarks/more_classes.py OUT --epochs 20

A detector learns discs and rectangles. `finetune --from` goes on from it with other images, of discs, rectangles and
stars. Both are scored on the same images of discs and rectangles. All images are drawn.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from visionkit.cli import main as visionkit
from visionkit.data.dataset import Dataset
from visionkit.data.shapes import NAMES, shapes
from visionkit.data.writers import write_coco
from visionkit.evaluate.scores import evaluate
from visionkit.open_model import open_predictor
from visionkit.types import Sample

OLD, ALL = ["disc", "rectangle"], ["disc", "rectangle", "star"]
SIZE = (192, 192)


def drawn(count: int, names: list[str], split: str, seed: int) -> Dataset:
    """`count` images that show these classes and no other."""
    data = shapes(20 * count, SIZE, seed=seed, split=split, max_objects=3)
    records = []
    for record in data.records:
        assert record.labels is not None
        shown = [NAMES[label] for label in record.labels]
        if set(shown) <= set(names):
            records.append(replace(record, labels=np.array([names.index(name) for name in shown], np.int32)))

    def load(record: Sample) -> Sample:
        return replace(data.load(record), labels=record.labels, masks=None, segmentation=None)

    return Dataset(records[:count], names, load, data.source)


def main() -> None:
    """Trains twice, into OUT, and prints one line for each class and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder for the data and both runs")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--train-images", type=int, default=200)
    parser.add_argument("--test-images", type=int, default=100)
    parser.add_argument("--from", dest="start", help="what the first run begins with; by default ImageNet's weights")
    given = parser.parse_args()
    for folder, names, seed in (("old", OLD, 0), ("all", ALL, 1)):
        write_coco(drawn(given.train_images, names, "train", seed), given.out / folder, "train")
        write_coco(drawn(given.test_images, names, "test", seed), given.out / folder, "test")
    common = ["--epochs", str(given.epochs), "--image-size", str(SIZE[0])]
    first, second = given.out / "first", given.out / "second"
    start = ["--from", given.start] if given.start else []
    for words in (
        [str(given.out / "old"), "--out", str(first), *start],
        [str(given.out / "all"), "--out", str(second), "--from", str(first)],
    ):
        if visionkit(["finetune", *words, *common]):
            raise SystemExit(1)
    test = drawn(given.test_images, OLD, "test", 0)
    before, after = (evaluate(open_predictor(run), test)["per_class"] for run in (first, second))
    for name in OLD:
        print(f"{name}: mAP50 {before[name]['mAP50']:.3f} before, {after[name]['mAP50']:.3f} after")
    means = [np.mean([scores[name]["mAP50"] for name in OLD]) for scores in (before, after)]
    print(f"both: mAP50 {means[0]:.3f} before, {means[1]:.3f} after")


if __name__ == "__main__":
    main()
