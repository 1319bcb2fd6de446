"""Writes a data set to disk in a layout that other tools, and `open_dataset`, read."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from visionkit.data.dataset import Dataset
from visionkit.data.segments import run_lengths
from visionkit.files import write_bytes
from visionkit.images import write_image
from visionkit.npboxes import area, to_xywh
from visionkit.types import Sample


def write_coco(dataset: Dataset, root: Path, split: str) -> None:
    """Writes `root/annotations/instances_SPLIT.json` and the images as `root/SPLIT/ID.jpg`.

    Class id k becomes category k + 1, as COCO counts; `Sample.ignore` becomes `iscrowd`. Masks are not written.

    Args:
        dataset: samples with boxes; their ids become file names.
        root: made if it does not exist; other splits in it stay.
    """

    def name(sample):
        return f"{sample.id.replace('/', '_')}.jpg"

    def written(sample):
        write_image(root / split / name(sample), sample.image)
        return replace(sample, masks=None)

    write_annotations(
        map(written, dataset), dataset.class_names, root / "annotations" / f"instances_{split}.json", name
    )


def write_annotations(
    samples: Iterable[Sample], class_names: Sequence[str], file: Path, name: Callable[[Sample], str]
) -> None:
    """Writes COCO instances JSON; images are neither needed nor written.

    Args:
        samples: with boxes and, where they are to be written, masks; one after the other is asked for.
        class_names: of the class ids 0..K-1.
        file: the JSON file; its folder is made.
        name: a sample's `file_name`.
    """
    images, annotations = [], []
    for number, sample in enumerate(samples, 1):
        h, w = sample.image_size
        images.append({"id": number, "file_name": name(sample), "height": h, "width": w})
        ignore = [False] * len(sample.boxes) if sample.ignore is None else sample.ignore.tolist()
        areas, labels = area(sample.boxes).tolist(), sample.labels.tolist()
        for i, box in enumerate(to_xywh(sample.boxes).tolist()):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": labels[i] + 1,
                "bbox": box,
                "area": areas[i],
                "iscrowd": int(ignore[i]),
            }
            if sample.masks is not None:
                annotation |= {"area": int(sample.masks[i].sum()), "segmentation": run_lengths(sample.masks[i])}
            annotations.append(annotation)
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(class_names)]
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_bytes(file, json.dumps(content).encode())
