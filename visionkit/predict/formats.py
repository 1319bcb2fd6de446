"""Detections and classifications as files that other programs read, and as objects of the `supervision` package.

A record is what `results.jsonl` holds of an image: `file`, its name; `number`, its place among all images from 0;
`size` [height, width]; and of a detector `objects`, a list of {"label", "score", "box" [x1, y1, x2, y2] in pixels, and
where there are masks "mask", COCO's run-length code}; of a classifier `best`, a list of [class id, score]; of a
segmenter `areas`, a list of [class id, pixels], the largest first.

| `--format` | writes | |
|---|---|---|
| json | detections.json | COCO's result format, with names |
| csv | detections.csv | file, class, score, x1, y1, x2, y2 |
| coco | coco.json | images, categories (ours, counted from 1) and annotations with scores |
| voc | voc/Annotations/NAME.xml | 1-based whole pixels, without scores |
| yolo | yolo/labels/NAME.txt and yolo/data.yaml | fractions, without scores |

VOC and YOLO are what a person would have drawn: to be corrected and learned from, as labels. An image without objects
has its file there too. They are given as names of files, below the folder of results, and their texts, for
`Journal.write` to leave those alone that were corrected.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
import yaml
from pycocotools import mask as rle

from visionkit.files import whole_text
from visionkit.npboxes import to_voc, to_xywh, to_yolo
from visionkit.types import Classification, DataError, Detections, SegmentationMap

TOP = 5  # classes of an image that are kept
CLASSES = "classes.txt"  # the names of a segmenter's classes, beside masks/
AREAS, BEST = "areas.csv", "classes.csv"


def to_record(found: Detections | Classification | SegmentationMap) -> dict:
    """A prediction as JSON has it, rounded to hundredths of a pixel."""
    record = {"size": [int(n) for n in found.image_size]}
    if isinstance(found, Classification):
        best = found.scores.argsort(kind="stable")[::-1][:TOP].tolist()
        return record | {"best": [[k, round(float(found.scores[k]), 5)] for k in best]}
    if isinstance(found, SegmentationMap):
        labels, pixels = np.unique(found.segmentation, return_counts=True)
        order = np.argsort(-pixels, kind="stable")
        return record | {"areas": np.stack([labels, pixels], axis=1)[order].tolist()}
    record["objects"] = []
    for i, (label, score) in enumerate(zip(found.labels.tolist(), found.scores.tolist(), strict=True)):
        box = [round(float(v), 2) for v in found.boxes[i]]
        record["objects"].append({"label": label, "score": round(score, 5), "box": box})
        if found.masks is not None:
            code = rle.encode(np.asfortranarray(found.masks[i]))
            record["objects"][-1]["mask"] = {"size": code["size"], "counts": code["counts"].decode("ascii")}
    return record


def write_json(out: Path, records: Iterable[dict], class_names: Sequence[str]) -> None:
    """detections.json, a list: `image_id` (the number), `file_name`, `category`, `category_id`, `bbox`, `score`."""
    with whole_text(out / "detections.json", errors="backslashreplace") as stream:
        separator = "[\n"
        for record in records:
            same = {"image_id": record["number"], "file_name": record["file"]}
            for item in record["objects"]:
                found = same | {"category": class_names[item["label"]], "category_id": item["label"]}
                found |= {"bbox": _xywh(item["box"]), "score": item["score"]}
                if "mask" in item:
                    found["segmentation"] = item["mask"]
                stream.write(separator + json.dumps(found, ensure_ascii=False))
                separator = ",\n"
        stream.write("\n]\n" if separator == ",\n" else "[]\n")


def write_csv(out: Path, records: Iterable[dict], class_names: Sequence[str]) -> None:
    """detections.csv, a row an object."""
    with whole_text(out / "detections.csv") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "class", "score", "x1", "y1", "x2", "y2"])
        for record in records:
            for item in record["objects"]:
                rows.writerow([record["file"], class_names[item["label"]], item["score"], *item["box"]])


def write_coco(out: Path, records: Iterable[dict], class_names: Sequence[str]) -> None:
    """coco.json, a data set for programs that want images and categories with the annotations."""
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
                bbox = _xywh(item["box"])
                row = {"id": number, "image_id": record["number"] + 1, "category_id": item["label"] + 1}
                row |= {"bbox": bbox, "area": round(bbox[2] * bbox[3], 2), "iscrowd": 0, "score": item["score"]}
                if "mask" in item:
                    row |= {"segmentation": item["mask"], "area": int(rle.area(item["mask"]))}
                stream.write(("," if number > 1 else "") + "\n" + json.dumps(row))
        stream.write("]}\n")


def voc_labels(records: Iterable[dict], class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """voc/Annotations, an XML an image, all in one folder; boxes are rounded to whole pixels, at least one wide."""
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
            element = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(element, "name").text = class_names[item["label"]]
            ElementTree.SubElement(element, "difficult").text = "0"
            box = ElementTree.SubElement(element, "bndbox")
            for key, value in (("xmin", x1), ("ymin", y1), ("xmax", x2), ("ymax", y2)):
                ElementTree.SubElement(box, key).text = str(value)
        ElementTree.indent(root)
        yield f"voc/Annotations/{name}.xml", ElementTree.tostring(root, encoding="unicode") + "\n"


def yolo_labels(records: Iterable[dict], class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """yolo/data.yaml, and yolo/labels, a text file an image with a line `class cx cy width height` an object."""
    yield "yolo/data.yaml", yaml.safe_dump({"names": list(class_names)}, allow_unicode=True)
    for record, name in _named(records):
        rows = zip(record["objects"], to_yolo(_boxes(record), record["size"]).tolist(), strict=True)
        lines = [" ".join([str(item["label"]), *(f"{value:.6f}" for value in row)]) for item, row in rows]
        yield f"yolo/labels/{name}.txt", "".join(f"{line}\n" for line in lines)


def check_numbers(file: Path, class_names: Sequence[str]) -> None:
    """That labels or masks of an earlier run, whose class ids `file` names, mean the same by them as those to come.

    Raises:
        DataError: they do not, or the file is broken.
    """
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    try:
        names = yaml.safe_load(text)["names"] if file.suffix == ".yaml" else text.rstrip("\n").split("\n")
        names = [names[i] for i in range(len(names))]  # also {0: name, ...}
    except Exception:  # as data/yolo.py has it: PyYAML meets bad text with many kinds of errors
        names = None
    if names is None:
        raise DataError(f"{file}: no class names that can be read; mend it, or choose another output folder")
    if names != list(class_names):
        raise DataError(f"{file}: labels there number other classes than this model; choose another output folder")


def write_classes(out: Path, records: Iterable[dict], class_names: Sequence[str]) -> None:
    """classes.csv, a row an image: file, then class and score of the best classes."""
    with whole_text(out / BEST) as stream:
        rows = csv.writer(stream)
        columns = [[f"class{i}", f"score{i}"] for i in range(1, min(TOP, len(class_names)) + 1)]
        rows.writerow(["file", *(name for pair in columns for name in pair)])
        for record in records:
            rows.writerow(
                [record["file"], *(value for k, score in record["best"] for value in (class_names[k], score))]
            )


def write_areas(out: Path, records: Iterable[dict], class_names: Sequence[str]) -> None:
    """areas.csv, a row for each class in an image: file, class, pixels, share of the image."""
    with whole_text(out / AREAS) as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "class", "pixels", "share"])
        for record in records:
            h, w = record["size"]
            for k, pixels in record["areas"]:
                rows.writerow([record["file"], class_names[k], pixels, round(pixels / (h * w), 6)])


# One file for all images, written anew each time; and one an image, which somebody may correct.
TABLES = {
    "json": ("detections.json", write_json),
    "csv": ("detections.csv", write_csv),
    "coco": ("coco.json", write_coco),
}
LABELS = {"voc": voc_labels, "yolo": yolo_labels}
FORMATS = (*TABLES, *LABELS)


def to_supervision(found: Detections, class_names: Sequence[str]):
    """The same as `supervision.Detections`, with names under `data["class_name"]`, as its annotators expect them.

    Raises:
        ModuleNotFoundError: that package is not installed; visionkit does not depend on it.
    """
    import supervision

    return supervision.Detections(
        xyxy=found.boxes,
        mask=None if found.masks is None else found.masks.astype(bool),
        confidence=found.scores,
        class_id=found.labels.astype(int),
        data={"class_name": np.array([class_names[k] for k in found.labels], dtype=str)},
    )


def _boxes(record) -> np.ndarray:
    return np.array([item["box"] for item in record["objects"]], np.float64).reshape(-1, 4)


def _xywh(box) -> list[float]:
    return [round(float(v), 2) for v in to_xywh(np.array(box))]


def _named(records, separator: str = "/"):
    return zip(records, bare_names([record["file"] for record in records], separator), strict=True)


def bare_names(names: Sequence[str], separator: str = "/") -> list[str]:
    """Names without suffix; where two would share one both have the suffix, and the second of two more a number."""

    def stem(name):
        return str(PurePosixPath(name).with_suffix("")).replace("/", separator)

    stems, taken = Counter(map(stem, names)), {}
    for name in names:
        wanted = stem(name) if stems[stem(name)] == 1 else name.replace("/", separator)
        bare, number = wanted, 1
        while bare in taken:  # "a/b.jpg" and "a_b.jpg"
            bare, number = f"{wanted}-{number + 1}", number + 1
        taken[bare] = None
    return list(taken)
