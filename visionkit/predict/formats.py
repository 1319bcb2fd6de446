"""Detections and classifications as files that other programs read.

A record is what `results.jsonl` holds about an image: `file`, its name; `number`, its index among all images, from 0;
`size` [height, width]; and from a detector `objects`, a list of {"label", "score", "box" [x1, y1, x2, y2] in pixels},
with "mask", COCO's run-length encoding, if there are masks, or "keypoints", a list of [x, y, logit]; from a classifier
`best`, a list of [class id, score]; from a segmenter `areas`, a list of [class id, pixels], largest first.

| `--format` | writes | |
|---|---|---|
| json | detections.json | COCO's result format, with names, masks and keypoints |
| csv | detections.csv | file, class, score, x1, y1, x2, y2 |
| coco | coco.json | images, categories (ids from 1) and annotations with scores |
| voc | voc/Annotations/NAME.xml | 1-based whole pixels, without scores |
| yolo | yolo/labels/NAME.txt and yolo/data.yaml | fractions, without scores |

In tables of comma-separated values, a name that a spreadsheet would take for a formula (it begins with =, +, - or @)
gets a ' in front, and control characters become escapes; see `cell`.

VOC and YOLO files are labels as a person would draw them, to be corrected and trained on. Images without objects get a
file there too. Their writers yield file names relative to the results folder, and texts; `Journal.write` then leaves
those files alone that somebody has corrected.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from pycocotools import mask as rle

from visionkit.files import whole_text
from visionkit.npboxes import to_voc, to_xywh, to_yolo
from visionkit.types import Classification, DataError, Detections, SegmentationMap, plain

TOP = 5  # how many classes of an image are kept
CLASSES = "classes.txt"  # the names of a segmenter's classes, beside masks/
AREAS, BEST = "areas.csv", "classes.csv"


def to_record(prediction: Detections | Classification | SegmentationMap) -> dict[str, Any]:
    """A prediction as a JSON object, with boxes rounded to hundredths of a pixel."""
    record: dict[str, Any] = {"size": [int(n) for n in prediction.image_size]}
    if isinstance(prediction, Classification):
        best = prediction.scores.argsort(kind="stable")[::-1][:TOP].tolist()
        record["best"] = [[k, round(float(prediction.scores[k]), 5)] for k in best]
    elif isinstance(prediction, SegmentationMap):
        labels, pixels = np.unique(prediction.segmentation, return_counts=True)
        order = np.argsort(-pixels, kind="stable")
        record["areas"] = np.stack([labels, pixels], axis=1)[order].tolist()
    else:
        record["objects"] = _objects(prediction)
    return record


def _objects(detections: Detections) -> list[dict[str, Any]]:
    objects = []
    for i, (label, score) in enumerate(zip(detections.labels.tolist(), detections.scores.tolist(), strict=True)):
        box = [round(float(v), 2) for v in detections.boxes[i]]
        item: dict[str, Any] = {"label": label, "score": round(score, 5), "box": box}
        if detections.masks is not None:
            code: dict[str, Any] = dict(rle.encode(np.asfortranarray(detections.masks[i])))
            item["mask"] = {"size": code["size"], "counts": code["counts"].decode("ascii")}
        if detections.keypoints is not None:
            item["keypoints"] = [[round(v, 2) for v in point] for point in detections.keypoints[i].tolist()]
        objects.append(item)
    return objects


def write_json(out: Path, records: Iterable[dict[str, Any]], class_names: Sequence[str]) -> None:
    """detections.json, a list: `image_id` (the number), `file_name`, `category`, `category_id`, `bbox`, `score`.

    With masks `segmentation`, COCO's run-length encoding, and with keypoints `keypoints`, x, y and a logit of each.
    """
    with whole_text(out / "detections.json", errors="backslashreplace") as stream:
        separator = "[\n"
        for record in records:
            for item in record["objects"]:
                row = {
                    "image_id": record["number"],
                    "file_name": record["file"],
                    "category": class_names[item["label"]],
                    "category_id": item["label"],
                    "bbox": _xywh(item["box"]),
                    "score": item["score"],
                }
                if "mask" in item:
                    row["segmentation"] = item["mask"]
                if "keypoints" in item:
                    row["keypoints"] = [value for point in item["keypoints"] for value in point]
                stream.write(separator + json.dumps(row, ensure_ascii=False))
                separator = ",\n"
        stream.write("\n]\n" if separator == ",\n" else "[]\n")


def write_csv(out: Path, records: Iterable[dict[str, Any]], class_names: Sequence[str]) -> None:
    """detections.csv, one row per object."""
    shown = [cell(name) for name in class_names]
    with whole_text(out / "detections.csv") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "class", "score", "x1", "y1", "x2", "y2"])
        for record in records:
            for item in record["objects"]:
                rows.writerow([cell(record["file"]), shown[item["label"]], item["score"], *item["box"]])


def write_coco(out: Path, records: Iterable[dict[str, Any]], class_names: Sequence[str]) -> None:
    """coco.json, a data set for programs that want images and categories together with the annotations."""
    with whole_text(out / "coco.json", errors="backslashreplace") as stream:
        categories = [{"id": k, "name": name} for k, name in enumerate(class_names, 1)]
        stream.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [')
        for i, record in enumerate(records):
            h, w = record["size"]
            image = {"id": record["number"] + 1, "file_name": record["file"], "height": h, "width": w}
            stream.write(("," if i else "") + "\n" + json.dumps(image, ensure_ascii=False))
        stream.write('],\n"annotations": [')
        number = 0
        for record in records:
            for item in record["objects"]:
                number += 1
                annotation = _coco_annotation(number, record["number"] + 1, item)
                stream.write(("," if number > 1 else "") + "\n" + json.dumps(annotation))
        stream.write("]}\n")


def _coco_annotation(number: int, image_id: int, item: dict[str, Any]) -> dict[str, Any]:
    bbox = _xywh(item["box"])
    annotation = {
        "id": number,
        "image_id": image_id,
        "category_id": item["label"] + 1,
        "bbox": bbox,
        "area": round(bbox[2] * bbox[3], 2),
        "iscrowd": 0,
        "score": item["score"],
    }
    if "mask" in item:
        annotation["segmentation"] = item["mask"]
        annotation["area"] = int(rle.area(item["mask"]))
    return annotation


def voc_labels(records: Iterable[dict[str, Any]], class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """voc/Annotations, one XML file per image, all in one folder; boxes are whole pixels, at least one wide and high.

    Yields:
        (name of the file, its text).
    """
    for record, name in _named(records, separator="_"):
        (h, w), boxes = record["size"], _boxes(record)
        first = np.clip(np.rint(to_voc(boxes)[:, :2]), 1, [w, h]).astype(int)
        last = np.clip(np.rint(boxes[:, 2:]), first, [w, h]).astype(int)
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = record["file"]
        size = ElementTree.SubElement(root, "size")
        for key, value in (("width", w), ("height", h), ("depth", 3)):
            ElementTree.SubElement(size, key).text = str(value)
        for item, (x1, y1), (x2, y2) in zip(record["objects"], first, last, strict=True):
            label: int = item["label"]
            element = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(element, "name").text = class_names[label]
            ElementTree.SubElement(element, "difficult").text = "0"
            box = ElementTree.SubElement(element, "bndbox")
            for key, value in (("xmin", x1), ("ymin", y1), ("xmax", x2), ("ymax", y2)):
                ElementTree.SubElement(box, key).text = str(value)
        ElementTree.indent(root)
        yield f"voc/Annotations/{name}.xml", ElementTree.tostring(root, encoding="unicode") + "\n"


def yolo_labels(records: Iterable[dict[str, Any]], class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """yolo/data.yaml, and yolo/labels, one text file per image with a line `class cx cy width height` per object.

    Yields:
        (name of the file, its text).
    """
    yield "yolo/data.yaml", yaml.safe_dump({"names": list(class_names)}, allow_unicode=True)
    for record, name in _named(records):
        rows = to_yolo(_boxes(record), record["size"]).tolist()
        text = ""
        for item, row in zip(record["objects"], rows, strict=True):
            text += " ".join([str(item["label"]), *(f"{value:.6f}" for value in row)]) + "\n"
        yield f"yolo/labels/{name}.txt", text


def check_numbers(file: Path, class_names: Sequence[str]) -> None:
    """Checks that class ids mean the same in the labels or masks of an earlier run as they do for this model.

    Args:
        file: names the classes of the earlier run: data.yaml or classes.txt. There is nothing to check without it.
        class_names: of this model.

    Raises:
        DataError: the names differ, or the file is broken.
    """
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    try:
        names = yaml.safe_load(text)["names"] if file.suffix == ".yaml" else text.rstrip("\n").split("\n")
        names = [names[i] for i in range(len(names))]  # also {0: name, ...}
    except Exception:  # as in data/readers/yolo.py: PyYAML raises many kinds of errors on bad text
        names = None
    if names is None:
        raise DataError(f"{file}: no class names that can be read; mend it, or choose another output folder")
    if names != list(class_names):
        raise DataError(f"{file}: labels there number other classes than this model; choose another output folder")


def write_classes(out: Path, records: Iterable[dict[str, Any]], class_names: Sequence[str]) -> None:
    """classes.csv, one row per image: file, then class and score of the best classes."""
    shown = [cell(name) for name in class_names]
    with whole_text(out / BEST) as stream:
        rows = csv.writer(stream)
        header = ["file"]
        for i in range(1, min(TOP, len(class_names)) + 1):
            header += [f"class{i}", f"score{i}"]
        rows.writerow(header)
        for record in records:
            row = [cell(record["file"])]
            for k, score in record["best"]:
                row += [shown[k], score]
            rows.writerow(row)


def write_areas(out: Path, records: Iterable[dict[str, Any]], class_names: Sequence[str]) -> None:
    """areas.csv, one row per class in an image: file, class, pixels, share of the image."""
    shown = [cell(name) for name in class_names]
    with whole_text(out / AREAS) as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "class", "pixels", "share"])
        for record in records:
            h, w = record["size"]
            for k, pixels in record["areas"]:
                rows.writerow([cell(record["file"]), shown[k], pixels, round(pixels / (h * w), 6)])


def cell(name: str) -> str:
    """A name for a table of comma-separated values: no spreadsheet takes it for a formula, and no terminal obeys it."""
    name = plain(name)
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


# Tables are one file for all images, written anew by every run; labels are one file per image, which people may edit.
TABLES = {
    "json": ("detections.json", write_json),
    "csv": ("detections.csv", write_csv),
    "coco": ("coco.json", write_coco),
}
LABELS = {"voc": voc_labels, "yolo": yolo_labels}
FORMATS = (*TABLES, *LABELS)


def _boxes(record: dict[str, Any]) -> np.ndarray:
    return np.array([item["box"] for item in record["objects"]], np.float64).reshape(-1, 4)


def _xywh(box: Sequence[float]) -> list[float]:
    return [round(float(v), 2) for v in to_xywh(np.array(box))]


def _named(records: Iterable[dict[str, Any]], separator: str = "/") -> Iterable[tuple[dict[str, Any], str]]:
    return zip(records, bare_names([record["file"] for record in records], separator), strict=True)


def bare_names(names: Sequence[str], separator: str = "/") -> list[str]:
    """Names without their suffix, all different.

    Names that would become equal keep their suffix; if they are still equal, the later ones get a number.

    Args:
        names: relative, with "/" between folders.
        separator: takes the place of "/".
    """

    def stem(name: str) -> str:
        return str(PurePosixPath(name).with_suffix("")).replace("/", separator)

    stems = Counter(map(stem, names))
    taken: dict[str, None] = {}
    for name in names:
        wanted = stem(name) if stems[stem(name)] == 1 else name.replace("/", separator)
        bare, number = wanted, 1
        while bare in taken:  # "a/b.jpg" and "a_b.jpg"
            number += 1
            bare = f"{wanted}-{number}"
        taken[bare] = None
    return list(taken)
