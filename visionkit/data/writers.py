"""Writes a data set to disk in a layout that other tools and `open_dataset` read."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.data.keypoints import as_annotation, as_category
from visionkit.data.segments import Segment, run_lengths, to_coco
from visionkit.files import write_bytes
from visionkit.images import write_image
from visionkit.npboxes import area, to_xywh
from visionkit.types import Sample, Skeleton, objects_of


def write_coco(dataset: Dataset, root: Path, split: str) -> None:
    """Writes `root/annotations/instances_SPLIT.json`, and the images as `root/SPLIT/ID.jpg`.

    Class id k becomes category k + 1, as COCO counts; `Sample.ignore` becomes `iscrowd`. Keypoints are written, masks
    are not.

    Args:
        dataset: samples with boxes; their ids become file names.
        root: created if it does not exist; other splits in it are kept.
        split: the name of the split.
    """

    def name(sample: Sample) -> str:
        return f"{sample.id.replace('/', '_')}.jpg"

    def with_image_written(sample: Sample) -> Sample:
        assert sample.image is not None
        write_image(root / split / name(sample), sample.image)
        return replace(sample, masks=None)

    samples = map(with_image_written, dataset)
    write_annotations(samples, dataset.class_names, root / "annotations" / f"instances_{split}.json", name)


def write_annotations(
    samples: Iterable[Sample],
    class_names: Sequence[str],
    file: Path,
    name: Callable[[Sample], str],
    segments: Callable[[Sample], Sequence[Segment] | None] = lambda sample: None,
) -> None:
    """Writes COCO JSON; images are neither needed nor written.

    Args:
        samples: with boxes, and with masks or keypoints if these are to be written; consumed one at a time.
        class_names: of the class ids 0..K-1.
        file: the JSON file; its folder is created.
        name: returns a sample's `file_name`.
        segments: returns what is written in place of a sample's masks, or None.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    skeleton: Skeleton | None = None
    for number, sample in enumerate(samples, 1):
        h, w = sample.image_size
        skeleton = skeleton or sample.skeleton
        images.append({"id": number, "file_name": name(sample), "height": h, "width": w})
        for annotation in _annotations(sample, segments(sample)):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **annotation})
    more = {} if skeleton is None else as_category(skeleton)
    categories = [{"id": k + 1, "name": name, **more} for k, name in enumerate(class_names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_bytes(file, json.dumps(content).encode())


def _annotations(sample: Sample, segments: Sequence[Segment] | None) -> Iterable[dict[str, Any]]:
    """COCO's record of each object of a sample, without the ids."""
    boxes, labels, ignore = objects_of(sample)
    areas, xywh = area(boxes).tolist(), to_xywh(boxes).tolist()
    for i, (label, crowd) in enumerate(zip(labels.tolist(), ignore.tolist(), strict=True)):
        annotation: dict[str, Any] = {
            "category_id": label + 1,
            "bbox": xywh[i],
            "area": areas[i],
            "iscrowd": int(crowd),
        }
        if segments is not None:
            annotation["segmentation"], annotation["area"] = to_coco(segments[i], sample.image_size)
        elif sample.masks is not None:
            annotation["area"] = int(sample.masks[i].sum())
            annotation["segmentation"] = run_lengths(sample.masks[i])
        if sample.keypoints is not None:
            annotation |= as_annotation(sample.keypoints[i])
        if sample.areas is not None and not np.isnan(sample.areas[i]):
            annotation["area"] = float(sample.areas[i])
        yield annotation
