"""Writes a data set for programs in which people correct labels: CVAT and Label Studio.

Objects keep their class, their box to the last digit, and their mask if it can be written as one polygon. What is to
be looked at (`Job.marks`) stands beside them: in CVAT as the attribute `suspect` of an object, and proposed objects
have the attribute `proposed`; in Label Studio as predictions, and the column `suspicion` by which tasks can be sorted.

Of images that nobody has labelled yet (`Job.unlabelled`), proposals are drafts: in CVAT ordinary boxes, since that
program does not know which images somebody has looked at, and in Label Studio predictions of tasks without annotations.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from visionkit.data.conversion import Job, Mark, file_of, is_utf8
from visionkit.data.dataset import Dataset
from visionkit.data.outlines import as_polygon
from visionkit.data.readers.cvat import PROPOSED
from visionkit.data.readers.label_studio import CONFIG, LOCAL
from visionkit.data.segments import segments_of
from visionkit.files import whole_text
from visionkit.types import DataError, Sample, objects_of, plain

SUSPECT = "suspect"  # an attribute in CVAT, beside PROPOSED


def write_cvat(job: Job) -> None:
    """annotations.xml, CVAT for images 1.1, beside images/SPLIT."""
    _check_names(job, "CVAT")
    with whole_text(job.out / "annotations.xml") as stream:
        stream.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        stream.write(_text(_cvat_meta(job)))
        for number, (split, part, record) in enumerate(_records(job)):
            element = _cvat_image(job, split, part, record)
            element.set("id", str(number))
            stream.write(_text(element))
        stream.write("</annotations>\n")


def _cvat_meta(job: Job) -> ElementTree.Element:
    """The labels, in the order of the class ids: of a task, or of a project, whose images are in subsets."""
    meta = ElementTree.Element("meta")
    named = [split for split in job.parts if split]
    about = ElementTree.SubElement(meta, "project" if named else "task")
    labels = ElementTree.SubElement(about, "labels")
    for name in job.class_names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        attributes = ElementTree.SubElement(label, "attributes")
        shown = ((SUSPECT, "text", ""), (PROPOSED, "checkbox", "false"))
        for attribute, kind, value in shown if _is_marked(job) else ():
            element = ElementTree.SubElement(attributes, "attribute")
            fields = {
                "name": attribute,
                "mutable": "False",
                "input_type": kind,
                "default_value": value,
                "values": value,
            }
            for key, text in fields.items():
                ElementTree.SubElement(element, key).text = text
    if named:  # datumaro passes over the images of a subset that is not listed
        subsets = ElementTree.SubElement(about, "subsets")
        for split in named:
            ElementTree.SubElement(subsets, "subset").text = split
    return meta


def _cvat_image(job: Job, split: str, part: Dataset, record: Sample) -> ElementTree.Element:
    h, w = record.image_size
    name = "/".join(filter(None, (split, job.names[file_of(record)])))
    element = ElementTree.Element("image", {"name": name, "width": str(w), "height": str(h)})
    if split:
        element.set("subset", split)
    marks = {mark.row: mark for mark in reversed(job.marks_of(record))}  # of several, the most urgent
    for row, label, box, polygon in _shapes(part, record):
        mark = marks.get(row)
        _cvat_shape(element, job, label, box, polygon, mark.text if mark else "")
    for mark in job.marks_of(record):
        if mark.row is None and mark.box is not None and mark.label is not None:
            _cvat_shape(element, job, mark.label, mark.box, None, mark.text, proposed=True)
    return element


def _is_marked(job: Job) -> bool:
    """Whether labels are marked as suspicious, or as proposed."""
    return bool(job.marks) and not job.unlabelled


def _cvat_shape(
    image: ElementTree.Element,
    job: Job,
    label: int,
    box: np.ndarray,
    polygon: np.ndarray | None,
    text: str,
    proposed: bool = False,
) -> None:
    keys = {
        "label": job.class_names[label],
        "source": "auto" if proposed else "manual",
        "occluded": "0",
        "z_order": "0",
    }
    if polygon is None:
        keys |= dict(zip(("xtl", "ytl", "xbr", "ybr"), map(_number, box.tolist()), strict=True))
        shape = ElementTree.SubElement(image, "box", keys)
    else:
        keys["points"] = ";".join(f"{_number(x)},{_number(y)}" for x, y in polygon.tolist())
        shape = ElementTree.SubElement(image, "polygon", keys)
    if _is_marked(job):
        ElementTree.SubElement(shape, "attribute", {"name": SUSPECT}).text = text
        ElementTree.SubElement(shape, "attribute", {"name": PROPOSED}).text = "true" if proposed else "false"


def write_label_studio(job: Job) -> None:
    """tasks.json beside images/SPLIT, and label_config.xml for the project."""
    _check_names(job, "Label Studio")
    with whole_text(job.out / "tasks.json") as stream:
        for number, (split, part, record) in enumerate(_records(job)):
            stream.write("[\n" if not number else ",\n")
            stream.write(json.dumps(_task(job, number, split, part, record), ensure_ascii=False))
        stream.write("\n]\n")
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image"})
    for kind in ("RectangleLabels", "PolygonLabels"):
        labels = ElementTree.SubElement(view, kind, {"name": kind.lower(), "toName": "image"})
        for name in job.class_names:
            ElementTree.SubElement(labels, "Label", {"value": name})
    ElementTree.indent(view)
    with whole_text(job.out / CONFIG) as stream:
        stream.write(_text(view))


def _task(job: Job, number: int, split: str, part: Dataset, record: Sample) -> dict[str, Any]:
    file = "/".join(filter(None, ("images", split, job.names[file_of(record)])))
    marks = job.marks_of(record)
    data: dict[str, Any] = {"image": LOCAL + quote(file), "file": file, "split": split, "number": number}
    regions = [
        _region(f"object{row}", job.class_names[label], box, polygon, record.image_size)
        for row, label, box, polygon in _shapes(part, record)
    ]
    annotations = [] if job.unlabelled else [{"result": regions}]
    task: dict[str, Any] = {"id": number + 1, "data": data, "annotations": annotations}
    most = round(max((mark.score for mark in marks), default=0.0), 4)
    if _is_marked(job):
        data |= {"suspicion": most, "suspects": [mark.text for mark in marks]}
    if proposals := [_proposal(job, i, mark, record) for i, mark in enumerate(marks) if mark.box is not None]:
        task["predictions"] = [{"model_version": "visionkit", "score": most, "result": proposals}]
    return task


def _proposal(job: Job, i: int, mark: Mark, record: Sample) -> dict[str, Any]:
    assert mark.box is not None and mark.label is not None
    region = _region(f"proposal{i}", job.class_names[mark.label], mark.box, None, record.image_size)
    return region | {"score": round(mark.score, 4)}


def _region(
    id: str, name: str, box: np.ndarray, polygon: np.ndarray | None, image_size: tuple[int, int]
) -> dict[str, Any]:
    """A region in Label Studio's form: all lengths are percent of the image."""
    h, w = image_size
    kind = "rectanglelabels" if polygon is None else "polygonlabels"
    value: dict[str, Any] = {kind: [name]}
    if polygon is None:
        x1, y1, x2, y2 = box.astype(float).tolist()
        value |= {"x": x1 / w * 100, "y": y1 / h * 100, "width": (x2 - x1) / w * 100, "height": (y2 - y1) / h * 100}
        value["rotation"] = 0
    else:
        value |= {"points": (polygon / (w, h) * 100).tolist(), "closed": True}
    return {"id": id, "type": kind, "from_name": kind, "to_name": "image", "value": value} | {
        "original_width": w,
        "original_height": h,
        "image_rotation": 0,
    }


def _records(job: Job) -> Iterator[tuple[str, Dataset, Sample]]:
    """(split, its data, a record of it), with the image put into its place; crowds are reported."""
    crowds = 0
    for split, part in job.parts.items():
        for record in part.records:
            job.place(record, f"images/{split}" if split else "images")
            crowds += int(objects_of(record).ignore.sum())
            yield split, part, record
    if crowds:
        job.remarks.append(f"{crowds} crowds or difficult objects were left out, which such programs cannot express")


def _shapes(part: Dataset, record: Sample) -> Iterator[tuple[int, int, np.ndarray, np.ndarray | None]]:
    """(row, class id, box, polygon of the mask or None) of each object that is no crowd."""
    boxes, labels, ignore = objects_of(record)
    segments = segments_of(part.load, record)
    for row in np.flatnonzero(~ignore).tolist():
        polygon = None
        if segments is not None and (polygon := as_polygon(segments[row], record.image_size)) is None:
            text = f"{record.file}: object {row + 1}: its mask cannot be written as one polygon"
            raise DataError(f"{text}; --task detect writes the boxes alone, --to coco the masks")
        yield row, int(labels[row]), boxes[row], polygon


def _check_names(job: Job, program: str) -> None:
    """Raises a DataError for the name of a class that the program's files cannot express."""
    for name in job.class_names:
        if name != name.strip() or plain(name) != name or not is_utf8(name):
            raise DataError(f"{program} cannot express the class {name!r}; rename it, or convert to coco")


def _number(value: float) -> str:
    """As short as gives the same float32."""
    return f"{value:.9g}"


def _text(element: ElementTree.Element) -> str:
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="unicode") + "\n"
