"""Tiny data sets of every format, written by the tests that read them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

H, W = 30, 40


def picture(file: Path, size=(H, W)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 99, np.uint8)).save(file)
    return file


def text(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return file


def voc_xml(objects, size=(H, W), filename="a.png") -> str:
    """Objects are (name, xmin, ymin, xmax, ymax[, difficult])."""
    items = "".join(
        f"<object><name>{name}</name><difficult>{rest[0] if rest else 0}</difficult><bndbox><xmin>{x1}</xmin>"
        f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>\n"
        for name, x1, y1, x2, y2, *rest in objects
    )
    h, w = size
    return (
        f"<annotation><filename>{filename}</filename><size><width>{w}</width><height>{h}</height></size>\n"
        f"{items}</annotation>"
    )


def voc(root: Path, images: dict, lists: dict | None = None) -> Path:
    for id, objects in images.items():
        picture(root / "JPEGImages" / f"{id}.png")
        text(root / "Annotations" / f"{id}.xml", voc_xml(objects, filename=f"{id}.png"))
    for name, ids in (lists or {}).items():
        text(root / "ImageSets" / "Main" / f"{name}.txt", "\n".join(ids) + "\n")
    return root


def coco_dict(annotations, names=("a",), categories=((1, "cat"), (7, "dog"))) -> dict:
    return {
        "images": [{"id": i, "file_name": f"{name}.png", "height": H, "width": W} for i, name in enumerate(names)],
        "annotations": [{"id": i, "image_id": 0, "category_id": 1, **a} for i, a in enumerate(annotations)],
        "categories": [{"id": i, "name": name} for i, name in categories],
    }


def coco(root: Path, content: dict, file="annotations.json", images="images") -> Path:
    for image in content["images"]:
        picture(root / images / image["file_name"])
    text(root / file, json.dumps(content))
    return root


def coco_keypoints(root: Path, annotations, file="person_keypoints_default.json", images="images") -> Path:
    """The one category person has three keypoints."""
    content = coco_dict(annotations, categories=((1, "person"),))
    names, limbs = ["nose", "left_hand", "right_hand"], [[1, 2], [1, 3]]
    content["categories"][0] |= {"keypoints": names, "skeleton": limbs}
    return coco(root, content, file, images)


def yolo(root: Path, labels: dict, names: str | None = "names: [cat, dog]\n") -> Path:
    """Labels are text by name, e.g. "train/a"; None for an image without a file."""
    for name, content in labels.items():
        picture(root / "images" / f"{name}.png")
        if content is not None:
            text(root / "labels" / f"{name}.txt", content)
    if names is not None:
        text(root / "data.yaml", names)
    return root


def mask(file: Path, values) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(file)
    return file


def pair(images: Path, masks: Path, name: str, values, suffix="") -> None:
    picture(images / f"{name}.png", np.shape(values))
    mask(masks / f"{name}{suffix}.png", values)


def mnist(root):
    """mnist.npz with 6 digits to learn from and 4 to test on."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 6), ("test", 4)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        arrays[f"y_{split}"] = np.arange(count, dtype=np.uint8)
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / "mnist.npz", **arrays)


def labelme(root: Path, shapes: dict, image: str = "{}.png") -> Path:
    """Shapes by name of the image, as (label, shape_type, points[, group_id])."""
    for name, several in shapes.items():
        picture(root / f"{name}.png")
        keys = ("label", "shape_type", "points", "group_id")
        content = {"shapes": [dict(zip(keys, shape, strict=False)) for shape in several]}
        content |= {"imagePath": image.format(name), "imageHeight": H, "imageWidth": W}
        text(root / f"{name}.json", json.dumps(content))
    return root


def cvat(root: Path, shapes: str, labels=("dog", "cat"), attributes="") -> Path:
    """`shapes`: the elements of the one image, images/a.png."""
    picture(root / "images" / "a.png")
    names = "".join(f"<label><name>{name}</name></label>" for name in labels)
    image = f'<image id="0" name="a.png" width="{W}" height="{H}" {attributes}>\n{shapes}\n</image>'
    text(
        root / "annotations.xml",
        f"<annotations><meta><task><labels>{names}</labels></task></meta>\n{image}</annotations>",
    )
    return root


def label_studio(root: Path, regions, config="", **data) -> Path:
    """`regions`: of the one image, images/a.png, as (type, label, value in percent)."""
    picture(root / "images" / "a.png")
    result = [
        {"type": kind, "from_name": "label", "to_name": "image", "original_width": W, "original_height": H}
        | {"value": {kind: [label], **value}}
        for kind, label, value in regions
    ]
    task = {
        "id": 1,
        "data": {"image": "/data/local-files/?d=images/a.png", **data},
        "annotations": [{"result": result}],
    }
    text(root / "tasks.json", json.dumps([task]))
    if config:
        text(root / "label_config.xml", config)
    return root


def via(root: Path, regions, name="via.json") -> Path:
    """Regions of a.png as (shape_attributes, region_attributes)."""
    picture(root / "a.png")
    described = [{"shape_attributes": shape, "region_attributes": attributes} for shape, attributes in regions]
    text(root / name, json.dumps({"a.png99": {"filename": "a.png", "size": 99, "regions": described}}))
    return root


def jsonl(root: Path, lines) -> Path:
    for line in lines:
        picture(root / line["file_name"])
    text(root / "metadata.jsonl", "\n".join(map(json.dumps, lines)) + "\n")
    return root


def fiftyone(root: Path, labels: dict, field="ground_truth", classes=()) -> Path:
    """Labels by name of the image: what `field` holds."""
    for name in labels:
        picture(root / "data" / f"{name}.png")
    samples = [{"filepath": f"data/{name}.png", "tags": [], field: value} for name, value in labels.items()]
    text(root / "samples.json", json.dumps({"samples": samples}))
    text(root / "metadata.json", json.dumps({"name": "x", "classes": {field: list(classes)} if classes else {}}))
    return root


def table(root: Path, content: str, names=("a",), file="labels.csv") -> Path:
    for name in names:
        picture(root / f"{name}.png")
    text(root / file, content)
    return root


def _class_folders(root: Path) -> None:
    for name in ("ant", "bee"):
        picture(root / name / "a.png")


_SQUARE = [[2, 3], [7, 3], [7, 7], [2, 7]]
_BOXES = {"bbox": [[2, 3, 5, 4]], "categories": ["cat"]}
_DETECTIONS = {
    "_cls": "Detections",
    "detections": [{"_cls": "Detection", "label": "cat", "bounding_box": [0.1, 0.1, 0.5, 0.5]}],
}
_CLASS = {"_cls": "Classification", "label": "cat"}
_SEGMENT = {"bbox": [2, 3, 5, 4], "segmentation": [[2, 3, 7, 3, 7, 7, 2, 7]]}

# Every format of READERS -> writes a tiny data set of it without splits; the contract tests run over these.
FORMATS = {
    "Pascal VOC XML": lambda root: voc(root, {"a": [("cat", 1, 1, 9, 9)]}),
    "COCO JSON": lambda root: coco(root, coco_dict([_SEGMENT], categories=((1, "cat"), (2, "dog")))),
    "COCO keypoints": lambda root: coco_keypoints(root, [{"bbox": [2, 3, 5, 4], "keypoints": [3, 4, 2] * 3}]),
    "YOLO txt": lambda root: yolo(root, {"a": "0 0.5 0.5 0.5 0.5"}),
    "CVAT for images": lambda root: cvat(root, '<polygon label="cat" points="2.0,3.0;7.0,3.0;7.0,7.0;2.0,7.0"/>'),
    "LabelMe": lambda root: labelme(root, {"a": [("cat", "polygon", _SQUARE)], "b": []}),
    "Label Studio": lambda root: label_studio(
        root, [("polygonlabels", "cat", {"points": [[5, 10], [17.5, 10], [17.5, 25], [5, 25]]})]
    ),
    "VIA": lambda root: via(root, [({"name": "rect", "x": 2, "y": 3, "width": 5, "height": 4}, {"class": "cat"})]),
    "FiftyOne": lambda root: fiftyone(root, {"a": _DETECTIONS, "b": None}),
    "FiftyOne classes": lambda root: fiftyone(root, dict.fromkeys("ab", _CLASS)),
    "metadata.jsonl of boxes": lambda root: jsonl(
        root, [{"file_name": f"{name}.png", "objects": _BOXES} for name in "ab"]
    ),
    "metadata.jsonl of classes": lambda root: jsonl(
        root, [{"file_name": f"{name}.png", "label": "cat"} for name in "ab"]
    ),
    "CSV of boxes": lambda root: table(
        root, "filename,class,xmin,ymin,xmax,ymax\na.png,cat,2,3,7,7\nb.png,cat,2,3,7,9\n", "ab"
    ),
    "CSV of classes": lambda root: table(root, "image,label\na.png,cat\nb.png,dog\n", "ab"),
    "images and class maps": lambda root: pair(root / "images", root / "masks", "a", [[0, 1]]),
    "images and instance masks": lambda root: pair(root / "images", root / "masks", "a", [[0, 1]]),
    "MNIST": lambda root: mnist(root),
    "class folders": _class_folders,
}
