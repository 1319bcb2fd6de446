"""Conversion between formats: what was read is read again."""

import os

import numpy as np
import pytest
from support import layouts, tiny_data

from visionkit.cli import main
from visionkit.data.convert import WRITERS, convert
from visionkit.data.outlines import as_polygon
from visionkit.data.recognise import open_dataset, splits
from visionkit.data.segments import rasterise, run_lengths
from visionkit.types import DataError

SQUARE, OTHER = [2, 3, 7, 3, 7, 7, 2, 7], [20, 3, 24, 3, 24, 7.5, 20, 7.5]


def content(root, split=None, task=None):
    """Name of the image -> (class, crowd, box to a hundredth) of its objects, and their masks."""
    data = open_dataset(root, split, task)
    found = {}
    for sample in data:
        names = [data.class_names[label] for label in sample.labels]
        ignore = np.zeros(len(names), bool) if sample.ignore is None else sample.ignore
        boxes = np.round(sample.boxes.astype(float), 2).tolist()
        masks = [None] * len(names) if sample.masks is None else [mask.tobytes() for mask in sample.masks]
        assert sample.file.name not in found
        found[sample.file.name] = list(zip(names, ignore.tolist(), boxes, masks, strict=True))
    return found


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("layout", ["labelme", "csv_of_sides", "fiftyone", "labelimg_voc"])
def test_what_was_read_is_read_again(tmp_path, layout, to):
    source = layouts.source(tmp_path / "source", drawn=True)
    layouts.READ[layout][0](source, tmp_path / "data")
    lines = convert(tmp_path / "data", to, tmp_path / "out")
    assert splits(tmp_path / "out") == splits(tmp_path / "data")
    for split in [None, *splits(tmp_path / "data")]:
        before, after = content(tmp_path / "data", split), content(tmp_path / "out", split)
        assert before.keys() == after.keys() and before
        for name in before:
            assert [row[:2] for row in before[name]] == [row[:2] for row in after[name]]
            for old, new in zip(before[name], after[name], strict=True):
                assert new[2] == pytest.approx(old[2], abs=0.011)
    assert open_dataset(tmp_path / "out").class_names == source.class_names
    assert lines[-1] == f"{tmp_path / 'out'}: written as {to}, 6 images linked"


@pytest.fixture
def instances(tmp_path):
    """Crowds, several polygons, run lengths, a class without objects, and ids not in the order of names."""
    square = np.zeros((30, 40), np.uint8)
    square[5:20, 10:30] = 1
    square[8:12, 15:20] = 0  # a hole
    annotations = [
        {"bbox": [2, 3, 5, 4], "segmentation": [SQUARE]},
        {"bbox": [2, 3, 22, 4.5], "segmentation": [SQUARE, OTHER], "category_id": 3},
        {"bbox": [10, 5, 20, 15], "segmentation": run_lengths(square), "image_id": 1},
        {"bbox": [10, 5, 20, 15], "segmentation": run_lengths(square), "image_id": 1, "iscrowd": 1},
    ]
    categories = ((1, "zebra"), (2, "cat"), (3, "ant"))
    for split, names in (("train", ("a", "b")), ("val", ("c", "d"))):
        made = tiny_data.coco_dict(annotations, names, categories)
        tiny_data.coco(tmp_path / "data", made, f"annotations/instances_{split}.json", split)
    return tmp_path / "data"


def test_coco_keeps_masks_crowds_class_ids_and_sample_ids_exactly(tmp_path, instances):
    convert(instances, "coco", tmp_path / "out")
    for split in ("train", "val"):
        assert content(instances, split) == content(tmp_path / "out", split)
        old, new = open_dataset(instances, split), open_dataset(tmp_path / "out", split)
        assert old.class_names == new.class_names == ["zebra", "cat", "ant"]
        assert [r.id for r in old.records] == [r.id for r in new.records]
        assert [r.labels.tolist() for r in old.records] == [r.labels.tolist() for r in new.records]


def test_yolo_writes_masks_of_parts_and_holes_as_one_polygon_and_says_that_crowds_are_lost(tmp_path, instances):
    lines = convert(instances, "yolo", tmp_path / "out")
    assert "2 crowds or difficult objects were left out, which YOLO cannot express" in lines
    before, after = content(instances, task="instance"), content(tmp_path / "out", task="instance")
    assert {name: [(row[0], row[3]) for row in rows if not row[1]] for name, rows in before.items()} == {
        name: [(row[0], row[3]) for row in rows] for name, rows in after.items()
    }
    assert open_dataset(tmp_path / "out").class_names == ["zebra", "cat", "ant"]


def test_voc_refuses_masks_but_writes_the_boxes_alone_and_says_what_becomes_of_the_classes(tmp_path, instances):
    with pytest.raises(DataError, match=r"VOC has no masks, but COCO JSON .*boxes and masks; --task detect writes the"):
        convert(instances, "voc", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]  # nothing half written
    lines = convert(instances, "voc", tmp_path / "out", "detect", copy=True)
    assert content(instances, task="detect") == content(tmp_path / "out")
    assert "VOC has no list of classes: their ids become those of the names in use, sorted" in lines
    assert lines[-1].endswith("4 images copied")
    assert (tmp_path / "out" / "JPEGImages" / "a.png").stat().st_nlink == 1


def test_boxes_of_one_pixel_and_at_every_border_survive_voc(tmp_path):
    boxes = [[0, 0, 1, 1], [39, 29, 1, 1], [3.25, 4.5, 0.5, 20.125], [0, 0, 40, 30]]
    tiny_data.coco(tmp_path / "data", tiny_data.coco_dict([{"bbox": box} for box in boxes]))
    convert(tmp_path / "data", "voc", tmp_path / "out")
    np.testing.assert_allclose(
        open_dataset(tmp_path / "out")[0].boxes, open_dataset(tmp_path / "data")[0].boxes, atol=0.003
    )


@pytest.mark.parametrize("to", WRITERS)
def test_names_that_are_equal_odd_or_no_utf8_are_kept_apart(tmp_path, to):
    names = ["train/x/1", "train/y/1", "train/caf\udce9", "val/1", "val/ b ", "val/train", "val/Grün"]
    for name in names:
        split, base = name.split("/", 1)
        tiny_data.picture(tmp_path / "data" / split / "images" / f"{base}.png")
        tiny_data.text(tmp_path / "data" / split / "labels" / f"{base}.txt", "0 0.5 0.5 0.5 0.5\n")
    tiny_data.text(tmp_path / "data" / "data.yaml", "names: ['a: b', '1']")
    label = tmp_path / "data" / "val" / "labels"
    (label / "train.txt").rename(label / "x.txt"), tiny_data.picture(tmp_path / "data" / "val" / "images" / "x.png")
    before = open_dataset(tmp_path / "data", "train")
    lines = convert(tmp_path / "data", to, tmp_path / "out")
    data = {split: open_dataset(tmp_path / "out", split) for split in ("train", "val")}
    assert len(data["train"]) == len(before) == 3 and len(data["val"]) == 5
    assert sum(len(record.boxes) for part in data.values() for record in part.records) == 7
    odd = b"caf_.png" if to in ("cvat", "labelstudio") else b"caf\xe9.png"
    assert os.fsencode(next(r.file for r in data["train"].records if "caf" in r.file.name).name).endswith(odd)
    assert "8 images got new names" in "".join(lines)
    assert data["train"].class_names == (["a: b"] if to == "voc" else ["a: b", "1"])


def test_the_command_says_what_it_wrote_and_never_overwrites(tmp_path, capsys):
    root = tiny_data.table(tmp_path / "data", "filename,class,xmin,ymin,xmax,ymax\na.png,cat,2,3,7,7\n", "ab")
    assert main(["convert", str(root), "--to", "coco", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        f"CSV of boxes in {root}, splits: none\nall: 1 images, 1 objects (1 cat)\n1 images of {root} "
    )
    for folder, message in (
        (tmp_path / "out", "already exists; choose a new or an empty folder"),
        (root / "new", f"is inside of the data, {root}; choose a folder beside it"),
    ):
        assert main(["convert", str(root), "--to", "voc", "--out", str(folder)]) == 1
        assert message in capsys.readouterr().err
    for kind, words in (
        ("class folders", "is for classify, but convert writes boxes and masks of objects\n"),
        ("images and class maps", "objects; if its masks number objects, give --task instance"),
    ):
        tiny_data.FORMATS[kind](tmp_path / kind)
        assert main(["convert", str(tmp_path / kind), "--to", "coco", "--out", str(tmp_path / "x")]) == 1
        assert words in capsys.readouterr().err


def test_instance_masks_of_images_become_coco_and_yolo(tmp_path):
    tiny_data.pair(tmp_path / "data" / "images", tmp_path / "data" / "masks", "a", [[0, 1, 1], [2, 2, 0]])
    for to in ("coco", "yolo"):
        convert(tmp_path / "data", to, tmp_path / to, "instance")
        assert content(tmp_path / to, task="instance") == content(tmp_path / "data", task="instance")


def test_a_subset_that_is_a_path_is_no_folder(tmp_path):
    box = '<box label="cat" xtl="2" ytl="3" xbr="7" ybr="7"/>'
    root = tiny_data.cvat(tmp_path / "data", box, attributes='subset="../../train"')
    text = (root / "annotations.xml").read_text().replace("</annotations>", "")
    tiny_data.picture(root / "images" / "b.png")
    tiny_data.text(root / "annotations.xml", text + '<image name="b.png" subset="val"></image></annotations>')
    with pytest.raises(DataError, match=r"the split .* cannot be the name of a folder; rename it"):
        convert(root, "coco", tmp_path / "out")


def test_one_polygon_is_drawn_as_the_mask_whatever_its_parts_and_holes():
    for seed in range(40):
        random = np.random.default_rng(seed)
        mask = (random.random(random.integers(2, 20, 2)) < random.random()).astype(np.uint8)
        mask[0, 0] = 1
        if seed % 2:
            mask = np.kron(mask, np.ones((3, 2), np.uint8))
        polygon = as_polygon(np.array(run_lengths(mask)["counts"]), mask.shape)
        np.testing.assert_array_equal(rasterise([polygon], mask.shape), mask)
    assert as_polygon(np.array([30]), (5, 6)) is None
