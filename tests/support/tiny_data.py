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
