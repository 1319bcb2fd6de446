"""What a portrait costs a detector: its mAP50 on the middle of each landscape photograph, at two scales.

    python tools/benchmarks/middle_crops.py runs/bccd ../shared/data/detection/bccd --split test

Cuts the middle 360x480 out of each 640x480 photograph of a split (any landscape with its height and three quarters of
that as its width), and the boxes with it: a box is kept if its centre is inside. The crops are scored as `evaluate`
scores them, portraits in a network of their own, and once more with one size for all.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.data.recognise import open_dataset
from visionkit.evaluate.scores import evaluate
from visionkit.open_model import open_predictor
from visionkit.types import Sample, objects_of


def middle(sample: Sample) -> Sample:
    """The middle of a landscape, three quarters as wide as it is high; the pixels too if there are any."""
    h, w = sample.image_size
    width = min(w, round(0.75 * h))
    left = (w - width) // 2
    objects = objects_of(sample)
    centres = (objects.boxes[:, 0] + objects.boxes[:, 2]) / 2
    keep = (centres > left) & (centres < left + width)
    boxes = npboxes.clip(objects.boxes[keep] - np.float32([left, 0, left, 0]), (h, width))
    image = None if sample.image is None else np.ascontiguousarray(sample.image[:, left : left + width])
    cut = {"boxes": boxes, "labels": objects.labels[keep], "ignore": objects.ignore[keep]}
    return replace(sample, image_size=(h, width), image=image, areas=None, masks=None, **cut)


def middles(dataset: Dataset) -> Dataset:
    """The data set of the middles."""
    whole = {record.id: i for i, record in enumerate(dataset.records)}
    records = [middle(record) for record in dataset.records]
    return Dataset(records, dataset.class_names, lambda record: middle(dataset[whole[record.id]]), dataset.source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a run folder or a .keras file")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    dataset, predictor = open_dataset(arguments.data, arguments.split), open_predictor(arguments.model)
    crops = middles(dataset)
    own, all_sizes = predictor.image_size, predictor.sizes
    found = {
        "images": len(crops),
        "image_size": own,
        "sizes": all_sizes,
        "whole": evaluate(predictor, dataset)["mAP50"],
    }
    found["crops, own networks"] = evaluate(predictor, crops)["mAP50"]
    predictor.sizes = (own,)
    found["crops, one size"] = evaluate(predictor, crops)["mAP50"]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
