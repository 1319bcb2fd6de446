"""Names of images that differ from their annotations only in case or in the Unicode form of accents."""

import pytest
from support import tiny_data

from visionkit.data.recognise import open_dataset
from visionkit.data.repair import Repairs
from visionkit.types import DataError, objects_of

PAIRS = {"case": ("img_1", "IMG_1"), "unicode": ("M\u00fcller", "Mu\u0308ller")}  # composed, and as macOS writes it


def voc(root, name):
    return tiny_data.voc(root, {name: [("cat", 5, 5, 9, 9)]})


def coco(root, name):
    return tiny_data.coco(root, tiny_data.coco_dict([{"bbox": [5, 5, 4, 4]}], [name]))


def yolo(root, name):
    return tiny_data.yolo(root, {name: "0 .5 .5 .5 .5"})


def table(root, name):
    return tiny_data.table(root, f"filename,class,xmin,ymin,xmax,ymax\n{name}.png,cat,5,5,9,9\n", [name])


@pytest.mark.parametrize("write", [voc, coco, yolo, table], ids=lambda write: write.__name__)
@pytest.mark.parametrize("names", PAIRS.values(), ids=list(PAIRS))
def test_the_only_name_that_fits_is_taken_and_that_is_said(tmp_path, write, names):
    root = write(tmp_path, names[0])
    image = next(root.rglob("*.png"))
    renamed = image.rename(image.with_name(f"{names[1]}.png"))
    repairs = Repairs("test", collect=True)
    records = open_dataset(root, repairs=repairs).records
    assert [(record.file, len(objects_of(record).boxes)) for record in records] == [(renamed, 1)]
    messages = [finding.message for finding in repairs.findings if finding.kind == "found by name"]
    assert len(messages) == 1 and renamed.name in messages[0]


def test_two_spellings_are_not_guessed_between(tmp_path):
    root = table(tmp_path, "img_1")
    for name in ("IMG_1.png", "Img_1.png"):
        tiny_data.picture(root / name)
    (root / "img_1.png").unlink()
    with pytest.raises(DataError, match=r"IMG_1.png or .*Img_1.png\? Both have the name 'img_1.png'"):
        open_dataset(root)
