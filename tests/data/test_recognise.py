"""Recognition of formats, splits and their joining."""

import pickle

import numpy as np
import pytest
from support import tiny_data

from visionkit.data.recognise import describe, open_dataset, splits
from visionkit.types import DataError

BOX = [("cat", 1, 1, 9, 9)]
COCO = tiny_data.coco_dict([{"bbox": [2, 3, 5, 4], "segmentation": [[2, 3, 7, 3, 7, 7, 2, 7]]}])


def write(kind, root):
    if kind == "Pascal VOC XML":
        tiny_data.voc(root, {"a": BOX})
    elif kind == "COCO JSON":
        tiny_data.coco(root, COCO)
    elif kind == "YOLO txt":
        tiny_data.yolo(root, {"a": "0 0.5 0.5 0.5 0.5"})
    elif kind == "MNIST":
        tiny_data.mnist(root)
    elif kind == "class folders":
        tiny_data.picture(root / "ant" / "a.png"), tiny_data.picture(root / "bee" / "a.png")
    else:
        tiny_data.pair(root / "images", root / "masks", "a", [[0, 1]])
    return root


KINDS = {
    "Pascal VOC XML": "detect",
    "COCO JSON": "detect",
    "YOLO txt": "detect",
    "class folders": "classify",
    "MNIST": "classify",
    "images and class maps": "segment",
    "images and instance masks": "instance",
}


@pytest.mark.parametrize("kind,task", KINDS.items())
def test_every_format_is_recognised(tmp_path, kind, task):
    root = write(kind, tmp_path / "data")
    names = ["train", "test"] if kind == "MNIST" else []
    assert describe(root, task) == f"{kind} in {root}, splits: {', '.join(names) or 'none'}"
    assert describe(tmp_path, task) == describe(root, task)  # a folder in a folder
    sample = open_dataset(root, task=task)[0]
    present = {"detect": "boxes", "instance": "masks", "classify": "label", "segment": "segmentation"}
    assert getattr(sample, present[task]) is not None
    assert splits(root, task) == names
    if kind != "images and instance masks":
        assert describe(root).startswith(kind)
    if "masks" not in kind and "maps" not in kind:
        wrong = "classify" if task == "detect" else "detect"
        with pytest.raises(DataError, match=f"found {kind}, which is for {task}, not {wrong}"):
            open_dataset(root, task=wrong)


def test_nothing_recognised_says_what_was_looked_for(tmp_path):
    tiny_data.picture(tmp_path / "photos" / "a.png")  # a folder of images is not a data set
    expected = r"found 1 \.png: images without labels; looked for Annotations/\*\.xml.*class folders"
    with pytest.raises(DataError, match=rf"no data set recognised; {expected}"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        describe(tmp_path / "nowhere")
    with pytest.raises(DataError, match="expected detect, instance, segment, classify, found 'colour'"):
        open_dataset(tmp_path, task="colour")


def test_splits_are_joined(tmp_path):
    images = dict.fromkeys("abcd", BOX)
    lists = {"val": ["c"], "train": ["b", "a"], "test": ["d"], "trainval": ["a", "b", "c"]}
    root = tiny_data.voc(tmp_path, images, lists)
    assert splits(root) == ["train", "val", "test", "trainval"]
    data = open_dataset(root, "train+val")
    assert [r.id for r in data.records] == ["b", "a", "c"]
    assert data[2].image.shape == (30, 40, 3)
    with pytest.raises(DataError, match="sample 'c' is in two of the data sets"):
        open_dataset(root, "trainval+val")
    with pytest.raises(DataError, match="no split 'extra'"):
        open_dataset(root, "train+extra")


def test_joined_masks_come_from_their_own_split_and_travel_to_workers(tmp_path):
    for split, value in (("train", 1), ("val", 2)):
        tiny_data.pair(tmp_path / split, tmp_path / f"{split}annot", "x", [[0, value]])
    data = pickle.loads(pickle.dumps(open_dataset(tmp_path, "train+val", "segment")))
    assert [s.segmentation.tolist() for s in data] == [[[0, 1]], [[0, 2]]]


def test_images_that_each_split_counts_from_1_are_different_images(tmp_path):
    for split, x in (("train", 2), ("val", 4)):
        square = {"bbox": [x, 3, 5, 4], "segmentation": [[x, 3, x + 5, 3, x + 5, 7, x, 7]]}
        content = tiny_data.coco_dict([square], ("000001", f"of_{split}"))
        tiny_data.coco(tmp_path / "a", content, f"annotations/instances_{split}.json", split)
        content = tiny_data.coco_dict([square], ("images/000001",))
        tiny_data.coco(tmp_path / "b", content, f"{split}/_annotations.coco.json", split)
    assert [r.id for r in open_dataset(tmp_path / "b").records] == ["train/images/000001", "val/images/000001"]
    data = pickle.loads(pickle.dumps(open_dataset(tmp_path / "a", "train+val")))
    assert [r.id for r in data.records] == ["train/000001", "of_train", "val/000001", "of_val"]
    assert [sample.id for sample in data] == [r.id for r in data.records]
    assert [int(np.flatnonzero(data[i].masks[0].any(axis=0))[0]) for i in (0, 2)] == [2, 4]
    assert len(open_dataset(tmp_path / "a")) == 4


def test_different_classes_are_not_joined(tmp_path):
    for split, categories in (("train", ((1, "cat"),)), ("val", ((1, "dog"),))):
        content = tiny_data.coco_dict([], names=(split,), categories=categories)
        tiny_data.coco(tmp_path, content, f"annotations/instances_{split}.json", split)
    with pytest.raises(DataError, match=r"its classes \['dog'\] are not \['cat'\]"):
        open_dataset(tmp_path, "train+val")


def test_empty_split_is_named(tmp_path):
    root = tiny_data.voc(tmp_path, {"a": BOX}, {"test": []})
    with pytest.raises(DataError, match="split test: holds no images"):
        open_dataset(root, "test")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_annotations_raise_only_data_error(tmp_path, kind):
    """200 damaged files of each format: read, load, and nothing but DataError."""
    task, root, random = KINDS[kind], write(kind, tmp_path), np.random.default_rng(0)
    targets = [f for f in root.rglob("*") if f.is_file() and "images" not in f.parts and "JPEGImages" not in f.parts]
    originals, tokens = {f: f.read_bytes() for f in targets}, [b"-1", b"1e999", b"nan", b"[", b"]", b'"', b"<", b"\xff"]
    failures = 0
    for _ in range(200):
        file = targets[random.integers(len(targets))]
        damaged = bytearray(originals[file])
        for _ in range(random.integers(1, 5)):
            at, token = random.integers(len(damaged) + 1), tokens[random.integers(len(tokens))]
            damaged[at : at + random.integers(6)] = token if random.random() < 0.7 else bytes([random.integers(256)])
        file.write_bytes(damaged)
        try:
            list(open_dataset(root, task=task))
        except DataError as error:
            failures += 1
            assert str(tmp_path) in str(error)
        file.write_bytes(originals[file])
    assert failures > 20, "the damage is too small to mean anything"
    assert len(open_dataset(root, task=task))


def test_boxes_alone_are_read_without_drawing_their_masks(tmp_path, monkeypatch):
    root = write("COCO JSON", tmp_path)
    assert open_dataset(root)[0].masks.sum() == open_dataset(root, task="instance")[0].masks.sum() == 20
    monkeypatch.setattr("visionkit.data.segments.rasterise", lambda *_: pytest.fail("drew a mask"))
    data = open_dataset(root, task="detect")
    assert data[0].masks is None and data[0].boxes.tolist() == [[2, 3, 7, 7]] and data[0].image.shape == (30, 40, 3)
    assert data.source == "COCO JSON annotations.json, boxes"
