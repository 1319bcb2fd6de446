"""Writes a data set to disk in a layout that other tools, and `open_dataset`, read."""

import json
from pathlib import Path

from visionkit.data.dataset import Dataset
from visionkit.images import write_image
from visionkit.npboxes import area, to_xywh


def write_coco(dataset: Dataset, root: Path, split: str) -> None:
    """Writes `root/annotations/instances_SPLIT.json` and the images as `root/SPLIT/ID.jpg`.

    Class id k becomes category k + 1, as COCO counts; `Sample.ignore` becomes `iscrowd`. Masks are not written.

    Args:
        dataset: samples with boxes; their ids become file names.
        root: made if it does not exist; other splits in it stay.
    """
    images, annotations = [], []
    for number, sample in enumerate(dataset, 1):
        h, w = sample.image_size
        name = f"{sample.id.replace('/', '_')}.jpg"
        write_image(root / split / name, sample.image)
        images.append({"id": number, "file_name": name, "height": h, "width": w})
        ignore = [False] * len(sample.boxes) if sample.ignore is None else sample.ignore.tolist()
        rows = zip(
            to_xywh(sample.boxes).tolist(), area(sample.boxes).tolist(), sample.labels.tolist(), ignore, strict=True
        )
        for box, size, label, crowd in rows:
            annotation = {
                "image_id": number,
                "category_id": label + 1,
                "bbox": box,
                "area": size,
                "iscrowd": int(crowd),
            }
            annotations.append({"id": len(annotations) + 1, **annotation})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(dataset.class_names)]
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content), encoding="utf-8")
