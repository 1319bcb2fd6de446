"""The verbs doctor and convert. Heavy imports are inside the function."""

from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from visionkit.files import write_bytes
from visionkit.types import DataError, plain


def doctor(
    data: Path,
    /,
    *,
    split: str | None = None,
    task: Literal["detect", "instance", "keypoints", "classify", "segment"] | None = None,
    classes: Path | None = None,
    void: int | None = None,
    size: Annotated[list[int], cyclopts.Parameter(consume_multiple=True)] | None = None,
    html: Path | None = None,
    json: Path | None = None,
    fix: Path | None = None,
) -> int:
    """Examine a data set, and list everything that is wrong with it before hours of training are lost.

    The exit code is 1 where something is graded an error, and 0 otherwise.

    Args:
        data: folder with images and annotations (Pascal VOC, COCO, YOLO, CVAT, LabelMe, VIA, FiftyOne, Hugging
            Face, CSV, masks, class maps, class folders), or a YOLO data.yaml.
        split: the part to examine, such as train+val; by default all of it.
        task: what the data is for, where it could be for two tasks.
        classes: (segment) file that names the values of the class maps; see finetune.
        void: (segment) the value of the class maps that is not trained on, besides 255.
        size: of the images to train on: the long side, by default 384, or height and width.
        html: also write a page with pictures to this file.
        json: also write everything to this file.
        fix: (detect) also write annotations to this new folder, with everything corrected that can be; no image is
            touched.
    """
    from visionkit.doctor.examine import examine
    from visionkit.doctor.fix import write_fixed
    from visionkit.doctor.page import page

    long_side_or_size = _training_size(size or [384])
    for file in (html, json):
        if file:  # made now: an hour of examining should not end in a folder that cannot be written
            file.parent.mkdir(parents=True, exist_ok=True)
    diagnosis = examine(data, split, task, long_side_or_size, classes=classes, void=void)
    print(diagnosis)
    if html:
        write_bytes(html, page(diagnosis).encode())
    if json:
        write_bytes(json, diagnosis.to_json().encode())
    if fix:
        print(write_fixed(diagnosis, data, fix))
    return 1 if diagnosis.grades()["error"] else 0


def convert(
    data: Path,
    /,
    *,
    to: Literal["coco", "voc", "yolo", "cvat", "labelstudio"],
    out: Path,
    task: Literal["detect", "instance", "keypoints"] | None = None,
    copy: bool = False,
) -> None:
    """Write a data set of objects, whatever its format, as COCO, Pascal VOC, YOLO, CVAT or Label Studio.

    Classes, splits, crowds and masks are kept as far as the format can express them; what is lost is printed, or
    refused if it is masks or keypoints.

    Args:
        data: folder with images and annotations (Pascal VOC, COCO, YOLO, CVAT, LabelMe, VIA, FiftyOne, Hugging
            Face, CSV, masks), or a YOLO data.yaml.
        to: the format to write.
        out: a new folder; data that is there is never overwritten.
        task: detect writes the boxes alone, instance reads images with masks as objects, keypoints those of COCO.
        copy: copy the images; by default they are hard links, and copies only where links are impossible.
    """
    from visionkit.data.convert import convert as write

    for line in write(data, to, out, task, copy):
        print(plain(line))


def _training_size(size: list[int]) -> int | tuple[int, int]:
    """The long side, or (height, width)."""
    if min(size) >= 1 and len(size) == 1:
        return size[0]
    if min(size) >= 1 and len(size) == 2:
        return size[0], size[1]
    raise DataError(f"--size: expected the long side, or height and width, found {' '.join(map(str, size))}")
