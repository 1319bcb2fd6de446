"""The same photographs and boxes in the layouts that annotation programs and the usual web services export.

`source` takes BCCD's first 24 photographs where they lie beside the checkout, and drawn ones elsewhere.
`PYTHONPATH=.:tests python tests/support/layouts.py` prints what reading each layout gives.
"""

import csv
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from support import tiny_data
from support.shared_data import SHARED

from visionkit import npboxes
from visionkit.data.readers.voc import voc
from visionkit.data.recognise import open_dataset, splits
from visionkit.images import write_image
from visionkit.types import DataError, Sample

SPLITS = ("train", "valid", "test")
BCCD = SHARED / "detection" / "bccd"


@dataclass(frozen=True)
class Photo:
    split: str
    sample: Sample

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def file(self) -> Path:
        assert self.sample.file is not None
        return self.sample.file

    def xywh(self, names: list[str]):
        """(class id, name, x, y, width, height) of each box."""
        for label, box in zip(self.sample.labels, npboxes.to_xywh(self.sample.boxes).tolist(), strict=True):
            yield int(label), names[label], *box


@dataclass(frozen=True)
class Source:
    """What every layout is written from, and what reading it must give."""

    photos: list[Photo]
    class_names: list[str]

    def of(self, *splits: str) -> list[Photo]:
        return [photo for photo in self.photos if photo.split in splits]

    def counts(self, split: str | None = None) -> dict[str, int]:
        labels = [label for p in self.photos if split in (None, p.split) for label in p.sample.labels.tolist()]
        return {name: labels.count(i) for i, name in enumerate(self.class_names)}


def source(folder: Path, drawn: bool = False) -> Source:
    """The first 24 photographs of BCCD, or six drawn photographs in `folder` with its classes."""
    if BCCD.is_dir() and not drawn:
        data = voc(BCCD)
    else:
        random, photos = np.random.default_rng(0), {}
        for i in range(6):
            corners = np.sort(random.integers(1, 30, (4, 2, 2)), axis=1) + [[0, 0], [2, 2]]  # [4, 2, xy]
            names = ("RBC", "RBC", "WBC", "Platelets")
            photos[f"p{i}"] = [(name, *xy.ravel().tolist()) for name, xy in zip(names, corners, strict=True)]
        for name, objects in photos.items():
            write_image(folder / "JPEGImages" / f"{name}.jpg", random.integers(0, 256, (34, 36, 3)).astype(np.uint8))
            xml = tiny_data.voc_xml(objects, (34, 36), f"{name}.jpg")
            tiny_data.text(folder / "Annotations" / f"{name}.xml", xml)
        data = voc(folder)
    photos = [Photo(SPLITS[max(0, i % 6 - 3)], record) for i, record in enumerate(data.records[:24])]
    return Source(photos, data.class_names)


def _copy(photos: list[Photo], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        shutil.copy(photo.file, folder / photo.name)


def _xml(source: Source, photos: list[Photo], folder: Path) -> None:
    for photo in photos:
        corners = npboxes.to_voc(photo.sample.boxes).tolist()
        objects = [(source.class_names[k], *c) for k, c in zip(photo.sample.labels, corners, strict=True)]
        xml = tiny_data.voc_xml(objects, photo.sample.image_size, photo.name)
        tiny_data.text(folder / f"{photo.file.stem}.xml", xml)


def _txt(photos: list[Photo], folder: Path, polygons: bool = False) -> None:
    for photo in photos:
        h, w = photo.sample.image_size
        lines = []
        for label, box in zip(photo.sample.labels, photo.sample.boxes.astype(np.float64), strict=True):
            x1, y1, x2, y2 = (box / (w, h, w, h)).tolist()
            values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
            if polygons:
                values = [x1, y1, x2, y1, x2, y2, x1, y2]
            lines.append(" ".join(map(str, [label, *values])))
        tiny_data.text(folder / f"{photo.file.stem}.txt", "\n".join(lines) + "\n")


def _names(source: Source, file: Path) -> None:
    tiny_data.text(file, "\n".join(source.class_names) + "\n")


def _coco(source: Source, photos: list[Photo], file: Path, prefix: str = "") -> None:
    images, annotations = [], []
    for i, photo in enumerate(photos):
        h, w = photo.sample.image_size
        images.append({"id": i, "file_name": prefix + photo.name, "height": h, "width": w})
        for k, _, *box in photo.xywh(source.class_names):
            annotations.append({"id": len(annotations), "image_id": i, "category_id": k + 1, "bbox": box})
    categories = [{"id": i, "name": name} for i, name in enumerate(source.class_names, start=1)]
    tiny_data.text(file, json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def pascal_voc(source: Source, root: Path) -> None:
    _copy(source.photos, root / "JPEGImages")
    _xml(source, source.photos, root / "Annotations")
    for split in SPLITS:
        stems = [photo.file.stem for photo in source.of(split)]
        tiny_data.text(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(stems) + "\n")


def labelimg_voc(source: Source, root: Path) -> None:
    _copy(source.photos, root)
    _xml(source, source.photos, root)


def labelimg_voc_of_two_days(source: Source, root: Path) -> None:
    for i, day in enumerate(("monday", "tuesday")):
        _copy(source.photos[i::2], root / day)
        _xml(source, source.photos[i::2], root / day)


def labelimg_yolo(source: Source, root: Path) -> None:
    _copy(source.photos, root)
    _txt(source.photos, root)
    _names(source, root / "classes.txt")


def roboflow_voc(source: Source, root: Path) -> None:
    for split in SPLITS:
        _copy(source.of(split), root / split)
        _xml(source, source.of(split), root / split)
    tiny_data.text(root / "README.roboflow.txt", "cells\n")


def roboflow_darknet(source: Source, root: Path) -> None:
    for split in SPLITS:
        _copy(source.of(split), root / split)
        _txt(source.of(split), root / split)
        _names(source, root / split / "_darknet.labels")
    tiny_data.text(root / "README.dataset.txt", "cells\n")


def roboflow_coco(source: Source, root: Path) -> None:
    for split in SPLITS:
        _copy(source.of(split), root / split)
        _coco(source, source.of(split), root / split / "_annotations.coco.json")


def roboflow_yolo(source: Source, root: Path, polygons: bool = False) -> None:
    for split in SPLITS:
        _copy(source.of(split), root / split / "images")
        _txt(source.of(split), root / split / "labels", polygons)
    keys = "".join(f"{key}: ../{split}/images\n" for key, split in zip(("train", "val", "test"), SPLITS, strict=True))
    tiny_data.text(root / "data.yaml", f"{keys}nc: 3\nnames: {json.dumps(source.class_names)}\n")


def yolo_polygons(source: Source, root: Path) -> None:
    roboflow_yolo(source, root, polygons=True)


def ultralytics_lists(source: Source, root: Path) -> None:
    _copy(source.photos, root / "pool" / "images")
    _txt(source.photos, root / "pool" / "labels")
    for split in SPLITS:
        tiny_data.text(root / f"{split}.txt", "".join(f"./pool/images/{p.name}\n" for p in source.of(split)))
    lists = "train: train.txt\nval: valid.txt\ntest: test.txt\n"
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(source.class_names))
    tiny_data.text(root / "cells.yaml", f"path: .\n{lists}names:\n{names}")


def cvat_yolo(source: Source, root: Path) -> None:
    keys = (("train", "train"), ("valid", "valid"), ("test", "test"))
    for _, split in keys:
        _copy(source.of(split), root / f"obj_{split}_data")
        _txt(source.of(split), root / f"obj_{split}_data")
        lines = "".join(f"data/obj_{split}_data/{p.name}\n" for p in source.of(split))
        tiny_data.text(root / f"{split}.txt", lines)
    _names(source, root / "obj.names")
    lists = "".join(f"{key} = data/{split}.txt\n" for key, split in keys)
    tiny_data.text(root / "obj.data", f"classes = 3\n{lists}names = data/obj.names\nbackup = backup/\n")


def coco_instances(source: Source, root: Path) -> None:
    for split in SPLITS:
        _copy(source.of(split), root / f"{split}2017")
        _coco(source, source.of(split), root / "annotations" / f"instances_{split}2017.json")


def coco_of_each_split(source: Source, root: Path) -> None:
    for split in SPLITS:
        _copy(source.of(split), root / split / "images")
        _coco(source, source.of(split), root / split / "labels.json")


def fiftyone_coco(source: Source, root: Path) -> None:
    _copy(source.photos, root / "data")
    _coco(source, source.photos, root / "labels.json")


def fiftyone_voc(source: Source, root: Path) -> None:
    _copy(source.photos, root / "data")
    _xml(source, source.photos, root / "labels")


def label_studio_coco(source: Source, root: Path) -> None:
    _copy(source.photos, root / "images")
    _coco(source, source.photos, root / "result.json", "/data/upload/7/")


def labelme(source: Source, root: Path) -> None:
    for split in SPLITS:
        _copy(source.of(split), root / split)
        _labelme(source, source.of(split), root / split, "")


def labelme_apart(source: Source, root: Path) -> None:
    _copy(source.photos, root / "images")
    _labelme(source, source.photos, root / "labels", "../images/")


def _labelme(source: Source, photos: list[Photo], folder: Path, prefix: str) -> None:
    for photo in photos:
        h, w = photo.sample.image_size
        boxes = [(name, [[x + bw, y + bh], [x, y]]) for _, name, x, y, bw, bh in photo.xywh(source.class_names)]
        shapes = [{"label": name, "points": points, "shape_type": "rectangle"} for name, points in boxes]
        content = {"version": "5.4.1", "shapes": shapes, "imagePath": prefix + photo.name, "imageData": None}
        tiny_data.text(folder / f"{photo.file.stem}.json", json.dumps({**content, "imageHeight": h, "imageWidth": w}))


def cvat_images(source: Source, root: Path, polygons: bool = False) -> None:
    labels = "".join(f"<label><name>{name}</name></label>" for name in source.class_names)
    lines = [f"<annotations><version>1.1</version><meta><job><labels>{labels}</labels></job></meta>"]
    for i, photo in enumerate(source.photos):
        _copy([photo], root / "images" / photo.split)
        h, w = photo.sample.image_size
        lines.append(f'<image id="{i}" name="{photo.name}" subset="{photo.split}" width="{w}" height="{h}">')
        for _, name, x, y, bw, bh in photo.xywh(source.class_names):
            x2, y2 = x + bw, y + bh
            corners = f'xtl="{x}" ytl="{y}" xbr="{x2}" ybr="{y2}"'
            if polygons:
                corners = f'points="{x},{y};{x2},{y};{x2},{y2};{x},{y2}"'
            attribute = '<attribute name="blurred">false</attribute>'
            tag = "polygon" if polygons else "box"
            lines.append(
                f'<{tag} label="{name}" source="manual" occluded="0" {corners} z_order="0">{attribute}</{tag}>'
            )
        lines.append("</image>")
    tiny_data.text(root / "annotations.xml", "\n".join([*lines, "</annotations>"]))


def cvat_polygons(source: Source, root: Path) -> None:
    cvat_images(source, root, polygons=True)


def _regions(photo: Photo, names: list[str]):
    for _, name, x, y, w, h in photo.xywh(names):
        yield {"name": "rect", "x": x, "y": y, "width": w, "height": h}, {"class": name, "note": ""}


def via_project(source: Source, root: Path) -> None:
    _copy(source.photos, root)
    images = {}
    for photo in source.photos:
        pairs = _regions(photo, source.class_names)
        regions = [{"shape_attributes": shape, "region_attributes": attributes} for shape, attributes in pairs]
        images[f"{photo.name}99"] = {"filename": photo.name, "size": 99, "regions": regions, "file_attributes": {}}
    content = {"_via_settings": {}, "_via_img_metadata": images, "_via_attributes": {"region": {}}}
    tiny_data.text(root / "via_project.json", json.dumps(content))


def via_json(source: Source, root: Path) -> None:
    for split in SPLITS:
        via_project(Source(source.of(split), source.class_names), root / split)
        file = root / split / "via_project.json"
        images = json.loads(file.read_text())["_via_img_metadata"]
        tiny_data.text(root / split / "via_region_data.json", json.dumps(images))
        file.unlink()


def via_csv(source: Source, root: Path) -> None:
    _copy(source.photos, root)
    header = ["filename", "file_size", "file_attributes", "region_count", "region_id"]
    rows: list[list[object]] = [[*header, "region_shape_attributes", "region_attributes"]]
    for photo in source.photos:
        for i, pair in enumerate(_regions(photo, source.class_names)):
            rows.append([photo.name, 99, "{}", len(photo.sample.labels), i, *map(json.dumps, pair)])
    _table(root / "via_region_data.csv", rows)


def hugging_face(source: Source, root: Path) -> None:
    for split, folder in zip(SPLITS, ("train", "validation", "test"), strict=True):
        _copy(source.of(split), root / folder)
        lines = []
        for photo in source.of(split):
            rows = list(photo.xywh(source.class_names))
            objects = {"bbox": [row[2:] for row in rows], "categories": [row[1] for row in rows]}
            lines.append(json.dumps({"file_name": photo.name, "objects": objects}))
        tiny_data.text(root / folder / "metadata.jsonl", "\n".join(lines))


def fiftyone(source: Source, root: Path) -> None:
    _copy(source.photos, root / "data")
    samples = []
    for photo in source.photos:
        h, w = photo.sample.image_size
        detections = [
            {"_cls": "Detection", "label": name, "bounding_box": [x / w, y / h, bw / w, bh / h], "attributes": {}}
            for _, name, x, y, bw, bh in photo.xywh(source.class_names)
        ]
        truth = {"_cls": "Detections", "detections": detections}
        tags = [{"valid": "validation"}.get(photo.split, photo.split), "checked"]
        samples.append({"filepath": f"data/{photo.name}", "tags": tags, "metadata": None, "ground_truth": truth})
    tiny_data.text(root / "samples.json", json.dumps({"samples": samples}))
    tiny_data.text(root / "metadata.json", json.dumps({"name": "cells", "default_classes": source.class_names}))


def _table(file: Path, rows: list[list[object]], separator: str = ",") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        csv.writer(stream, delimiter=separator).writerows(rows)


def roboflow_csv(source: Source, root: Path) -> None:
    """Its "Tensorflow Object Detection": corners in pixels, and the size of the image in each row."""
    for split in SPLITS:
        _copy(source.of(split), root / split)
        rows: list[list[object]] = [["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]]
        for photo in source.of(split):
            h, w = photo.sample.image_size
            for _, name, x, y, bw, bh in photo.xywh(source.class_names):
                rows.append([photo.name, w, h, name, x, y, x + bw, y + bh])
        _table(root / split / "_annotations.csv", rows)


def csv_of_sides(source: Source, root: Path) -> None:
    _copy(source.photos, root / "photos")
    rows: list[list[object]] = [["image_id", "label", "x", "y", "width", "height", "split"]]
    for photo in source.photos:
        rows += [[photo.file.stem, *row[1:], photo.split] for row in photo.xywh(source.class_names)]
    _table(root / "labels.csv", rows, ";")


def csv_of_fractions(source: Source, root: Path) -> None:
    _copy(source.photos, root / "images")
    for split in SPLITS:
        rows: list[list[object]] = [["path", "category", "x_center", "y_center", "width", "height"]]
        for photo in source.of(split):
            h, w = photo.sample.image_size
            for _, name, x, y, bw, bh in photo.xywh(source.class_names):
                rows.append([f"images/{photo.name}", name, (x + bw / 2) / w, (y + bh / 2) / h, bw / w, bh / h])
        _table(root / f"{split}_labels.csv", rows)


# Layout -> (how it is written, whether it has splits).
READ = {
    writer.__name__: (writer, has_splits)
    for writer, has_splits in (
        (pascal_voc, True),
        (labelimg_voc, False),
        (labelimg_voc_of_two_days, False),
        (labelimg_yolo, False),
        (roboflow_voc, True),
        (roboflow_darknet, True),
        (roboflow_coco, True),
        (roboflow_yolo, True),
        (yolo_polygons, True),
        (ultralytics_lists, True),
        (cvat_yolo, True),
        (coco_instances, True),
        (coco_of_each_split, True),
        (fiftyone_coco, False),
        (fiftyone_voc, False),
        (label_studio_coco, False),
        (labelme, True),
        (labelme_apart, False),
        (cvat_images, True),
        (cvat_polygons, True),
        (via_project, False),
        (via_json, True),
        (via_csv, False),
        (hugging_face, True),
        (fiftyone, True),
        (roboflow_csv, True),
        (csv_of_sides, True),
        (csv_of_fractions, True),
    )
}


def bare_splits(source: Source, root: Path) -> None:
    for split in SPLITS:
        _copy(source.of(split), root / split)


def create_ml(source: Source, root: Path) -> None:
    _copy(source.photos, root)
    content = []
    for photo in source.photos:
        boxes = [
            {"label": name, "coordinates": {"x": x + w / 2, "y": y + h / 2, "width": w, "height": h}}
            for _, name, x, y, w, h in photo.xywh(source.class_names)
        ]
        content.append({"image": photo.name, "annotations": boxes})
    tiny_data.text(root / "_annotations.createml.json", json.dumps(content))


def kitti(source: Source, root: Path) -> None:
    _copy(source.photos, root / "training" / "image_2")
    for photo in source.photos:
        boxes = list(photo.xywh(source.class_names))
        lines = [f"{name} 0.0 0 0.0 {x} {y} {x + w} {y + h} 0 0 0 0 0 0 0\n" for _, name, x, y, w, h in boxes]
        tiny_data.text(root / "training" / "label_2" / f"{photo.file.stem}.txt", "".join(lines))


def open_images(source: Source, root: Path) -> None:
    _copy(source.photos, root / "data")
    rows: list[list[object]] = [["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"]]
    for photo in source.photos:
        height, width = photo.sample.image_size
        for _, name, x, y, w, h in photo.xywh(source.class_names):
            sides = (x / width, (x + w) / width, y / height, (y + h) / height)
            rows.append([photo.file.stem, "xclick", f"/m/{name}", 1, *sides])
    _table(root / "labels" / "detections.csv", rows)


def wider_face(source: Source, root: Path) -> None:
    _copy(source.photos, root / "WIDER_train" / "images" / "0--Cells")
    lines = []
    for photo in source.photos:
        boxes = list(photo.xywh(source.class_names))
        lines += [f"0--Cells/{photo.name}", str(len(boxes))]
        lines += [f"{x:.0f} {y:.0f} {w:.0f} {h:.0f} 0 0 0 0 0 0" for _, _, x, y, w, h in boxes]
    tiny_data.text(root / "wider_face_split" / "wider_face_train_bbx_gt.txt", "\n".join(lines) + "\n")


def tf_record(source: Source, root: Path) -> None:
    for split in SPLITS:
        (root / split).mkdir(parents=True)
        (root / split / "cells.tfrecord").write_bytes(b"\x10\0\0\0\0\0\0\0")


# Layout -> (how it is written, what the refusal says).
REFUSED = {
    "bare_splits": (bare_splits, "in test/, train/, valid/, which are splits and no classes, but no labels"),
    "create_ml": (create_ml, "1 .json with `coordinates` looks like CreateML"),
    "kitti": (kitti, "look like KITTI, which visionkit does not read; convert it with datumaro"),
    "open_images": (open_images, "1 .csv with `ImageID` looks like Open Images"),
    "wider_face": (wider_face, "1 .txt with its name looks like WIDER FACE"),
    "tf_record": (tf_record, "3 .tfrecord with its suffix look like TFRecord"),
}


def print_table() -> None:
    """Prints layout, images, objects and splits of what can be read, and what is said of the other layouts."""
    with tempfile.TemporaryDirectory() as folder:
        known = source(Path(folder) / "source")
        for name, (write, _) in READ.items():
            write(known, root := Path(folder) / name)
            data = open_dataset(root, task="detect")
            labels = [label for record in data.records for label in record.labels.tolist()]
            counts = ", ".join(f"{labels.count(i)} {known}" for i, known in enumerate(data.class_names))
            parts = ", ".join(f"{split} {len(open_dataset(root, split))}" for split in splits(root))
            print(f"{name:26} {len(data)} images, {len(labels)} objects ({counts}), {parts or 'no splits'}")
        for name, (write, _) in REFUSED.items():
            write(known, root := Path(folder) / name)
            try:
                open_dataset(root)
            except DataError as error:
                print(f"{name:26} refused: {str(error).partition('recognised; ')[2][:90]}...")


if __name__ == "__main__":
    print_table()
