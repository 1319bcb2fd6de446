"""Readers: one for each format of data sets, and `READERS`, the table by which a folder's format is recognised."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from visionkit.data import arrays
from visionkit.data.dataset import Dataset
from visionkit.data.readers import (
    coco,
    cvat,
    fiftyone,
    folder,
    label_studio,
    labelme,
    mask_pairs,
    masks,
    metadata_jsonl,
    tables,
    via,
    voc,
    yolo,
)


class Reader(NamedTuple):
    """A format of data sets and its reader.

    Args:
        tasks: what it is for, the usual one first: "detect", "instance", "keypoints", "classify" or "segment".
        layout: the files by which it is recognised, as shown to the user.
        recognise: root -> what was found, something true if the folder has this format; it reads as little as it can.
        splits: root -> the names of its splits.
        open: `(root, split, repairs=...) -> Dataset`; split None stands for everything.
    """

    tasks: tuple[str, ...]
    layout: str
    recognise: Callable[[Path], object]
    splits: Callable[[Path], Iterable[str]]
    open: Callable[..., Dataset]


# The first that recognises a folder reads it, so class folders, which match nearly anything, come last.
READERS = {
    "Pascal VOC XML": Reader(
        ("detect",), "Annotations/*.xml beside JPEGImages/, or XML among the images", voc.folders, voc.splits, voc.voc
    ),
    "COCO JSON": Reader(
        ("detect", "instance"), "annotations/*.json, *.json or train/*.json", coco.splits, coco.splits, coco.coco
    ),
    "COCO keypoints": Reader(
        ("keypoints", "detect"),
        "annotations/person_keypoints_*.json, or COCO JSON with keypoints",
        coco.keypoint_splits,
        coco.keypoint_splits,
        coco.coco_keypoints,
    ),
    "YOLO txt": Reader(
        ("detect", "instance"),
        "images/ beside labels/*.txt, or txt among the images",
        yolo.splits,
        yolo.splits,
        yolo.yolo,
    ),
    "CVAT for images": Reader(
        ("detect", "instance"), "annotations.xml beside images/", cvat.files, cvat.splits, cvat.cvat
    ),
    "LabelMe": Reader(
        ("detect", "instance"), "*.json with `shapes`", labelme.recognise, labelme.splits, labelme.labelme
    ),
    "Label Studio": Reader(
        ("detect", "instance"),
        "*.json of tasks with `annotations`",
        label_studio.files,
        label_studio.splits,
        label_studio.label_studio,
    ),
    "VIA": Reader(("detect", "instance"), "*.json or *.csv with regions", via.files, via.splits, via.via),
    "FiftyOne": Reader(
        ("detect", "instance"),
        "samples.json beside data/",
        fiftyone.objects,
        fiftyone.splits,
        fiftyone.fiftyone,
    ),
    "FiftyOne classes": Reader(
        ("classify",), "samples.json with classifications", fiftyone.classes, fiftyone.splits, fiftyone.fiftyone
    ),
    "metadata.jsonl of boxes": Reader(
        ("detect",),
        "metadata.jsonl with `objects`",
        metadata_jsonl.boxes,
        metadata_jsonl.splits,
        metadata_jsonl.metadata_jsonl,
    ),
    "metadata.jsonl of classes": Reader(
        ("classify",),
        "metadata.jsonl with `label`",
        metadata_jsonl.classes,
        metadata_jsonl.splits,
        metadata_jsonl.metadata_jsonl,
    ),
    "CSV of boxes": Reader(
        ("detect",), "*.csv with a box a row", tables.boxes, tables.splits_of_boxes, tables.csv_boxes
    ),
    "CSV of classes": Reader(
        ("classify",), "*.csv with an image's class a row", tables.classes, tables.splits_of_classes, tables.csv_classes
    ),
    "images and class maps": Reader(
        ("segment",),
        "images/ beside masks/, or train/ beside trainannot/",
        mask_pairs.folders,
        mask_pairs.splits,
        masks.semantic_masks,
    ),
    "images and instance masks": Reader(
        ("instance", "detect"),
        "images/ beside masks/",
        mask_pairs.folders,
        mask_pairs.splits,
        masks.instance_masks,
    ),
    "MNIST": Reader(("classify",), arrays.FILE, arrays.splits, arrays.splits, arrays.mnist),
    "class folders": Reader(
        ("classify",), "CLASS/*.jpg or train/CLASS/*.jpg", folder.recognise, folder.splits, folder.folder
    ),
}
