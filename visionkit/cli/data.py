"""`visionkit doctor`. Heavy imports stand inside the function."""

from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from visionkit.files import write_bytes
from visionkit.types import DataError


def doctor(
    data: Path,
    /,
    *,
    split: str | None = None,
    task: Literal["detect", "instance", "classify", "segment"] | None = None,
    classes: Path | None = None,
    void: int | None = None,
    size: Annotated[list[int], cyclopts.Parameter(consume_multiple=True)] | None = None,
    html: Path | None = None,
    json: Path | None = None,
    fix: Path | None = None,
):
    """Examine a data set: everything that is wrong with it, before hours of training find out.

    The exit code is 0 where nothing is graded an error, and 1 otherwise.

    Args:
        data: labelled data in any layout that finetune takes.
        split: the part to examine, such as train+val; by default all.
        task: what the data is for, where it can be for two.
        classes: (segment) file that names the values of the class maps; see finetune.
        void: (segment) the value of the class maps that is not trained on, besides 255.
        size: of the image to train on: its long side, by default 384, or height and width.
        html: also write a page with pictures to this file.
        json: also write everything to this file.
        fix: (detect) also write annotations with what can be put right to this new folder; no image is touched.
    """
    from visionkit.doctor.examine import examine
    from visionkit.doctor.fix import write_fixed
    from visionkit.doctor.page import page

    size = size or [384]
    if len(size) > 2 or min(size) < 1:
        raise DataError(f"--size: expected the long side, or height and width, found {' '.join(map(str, size))}")
    size = size[0] if len(size) == 1 else tuple(size)
    for file in filter(None, (html, json)):
        file.parent.mkdir(parents=True, exist_ok=True)
    diagnosis = examine(data, split, task, size, classes=classes, void=void)
    print(diagnosis)
    if html:
        write_bytes(html, page(diagnosis).encode())
    if json:
        write_bytes(json, diagnosis.to_json().encode())
    if fix:
        print(write_fixed(diagnosis, data, fix))
    return 1 if diagnosis.grades()["error"] else 0
