"""Recognition of formats, splits and their joining."""

import pickle

import numpy as np
import pytest
from support import tiny_data

from visionkit.data.readers import READERS
from visionkit.data.recognise import describe, open_dataset, splits
from visionkit.data.repair import Repairs
from visionkit.types import DataError, check_sample

BOX = [("cat", 1, 1, 9, 9)]
KINDS = {name: reader.tasks[0] for name, reader in READERS.items()}


def write(kind, root):
    tiny_data.FORMATS[kind](root)
    return root


@pytest.mark.parametrize("kind,task", KINDS.items())
def test_every_format_is_recognised(tmp_path, kind, task):
    root = write(kind, tmp_path / "data")
    names = ["train", "test"] if kind == "MNIST" else []
    assert describe(root, task) == f"{kind} in {root}, splits: {', '.join(names) or 'none'}"
    assert describe(tmp_path, task) == describe(root, task)  # a folder in a folder
    sample = open_dataset(root, task=task)[0]
    present = {
        "detect": "boxes",
        "instance": "masks",
        "keypoints": "keypoints",
        "classify": "label",
        "segment": "segmentation",
    }
    assert getattr(sample, present[task]) is not None
    assert splits(root, task) == names
    if kind != "images and instance masks":
        assert describe(root).startswith(kind)
    if "masks" not in kind and "maps" not in kind:
        wrong = "classify" if task == "detect" else "segment"
        with pytest.raises(DataError, match=f"found {kind}, which is for {task}, not {wrong}"):
            open_dataset(root, task=wrong)


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_keeps_the_contract(tmp_path, kind):
    root, reader = write(kind, tmp_path / "data"), READERS[kind]
    for task in reader.tasks:
        repairs = Repairs(kind, collect=True)
        data = pickle.loads(pickle.dumps(open_dataset(root, task=task, repairs=repairs)))  # as it travels to workers
        assert repairs.findings == [] and len(data) >= 1 and data.source
        assert len(set(data.class_names)) == len(data.class_names) >= 1
        assert len({record.id for record in data.records}) == len(data)
        for record, sample in zip(data.records, data, strict=True):
            assert record.file is None or (record.image is record.masks is record.segmentation is None)
            assert check_sample(sample, len(data.class_names)).image.shape == (*record.image_size, 3)
            assert record.file is None or (record.file.is_file() and record.file.is_relative_to(root))
            assert (record.label is None) == (task != "classify") and (record.boxes is None) == (
                task in ("classify", "segment")
            )
    with pytest.raises(DataError, match=f"{root}.*: no split 'nonsense'; there are: "):
        reader.open(root, "nonsense")


@pytest.mark.parametrize("kind", [kind for kind in READERS if kind != "MNIST"])
def test_every_reader_names_a_broken_image_and_one_that_leads_out(tmp_path, kind):
    root, outside = write(kind, tmp_path / "data"), tiny_data.picture(tmp_path / "outside.png")
    image = sorted(file for file in root.rglob("*.png") if "masks" not in file.parts)[0]
    for text in ("broken", "outside"):
        image.unlink()
        if text == "broken":
            image.write_text("no picture")
        else:
            image.symlink_to(outside)
        with pytest.raises(DataError, match=rf"{image}.*"):
            list(READERS[kind].open(root))


def test_nothing_recognised_says_what_was_looked_for(tmp_path):
    tiny_data.picture(tmp_path / "photos" / "a.png")  # a folder of images is not a data set
    expected = r"found 1 \.png: images without labels; label them, for example in CVAT, .* folder for each class$"
    with pytest.raises(DataError, match=rf"no data set recognised; {expected}"):
        open_dataset(tmp_path)
    (tmp_path / "photos" / "a.md").write_text("what is this?")
    with pytest.raises(DataError, match=r"found 1 \.md and 1 \.png; looked for Annotations/\*\.xml.*class folders"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        describe(tmp_path / "nowhere")
    with pytest.raises(DataError, match="expected detect, instance, keypoints, classify, segment, found 'colour'"):
        open_dataset(tmp_path, task="colour")


@pytest.mark.parametrize(
    "name,content,message",
    [
        (
            "a.csv",
            "Datei,Klasse,links\na.png,x,1\n",
            "a.csv with the columns datei, klasse, links looks like a table that",
        ),
        ("a.csv", "a.png,cat,2,3,7,7\n", "a.csv: its first line is no header but a row"),
        (
            "p.json",
            '[{"result": [{"from_name": "label", "to_name": "image"}]}]',
            "like Label Studio's JSON-MIN, or tasks without",
        ),
        (
            "p.json",
            '{"project": {"data_format_version": "3.1.1"}, "attribute": {}}',
            "like VIA 3, which visionkit does not read; annotate with VIA 2, or",
        ),
        ("p.json", '{"objects": [{"classTitle": "a", "geometryType": "rectangle"}]}', "like Supervisely"),
        ("p.json", '{"classes": [], "labels": {"a": [{"bounding_box": []}]}}', "like FiftyOneImageDetectionDataset"),
    ],
)
def test_what_is_not_read_is_refused_by_name_with_what_to_do(tmp_path, name, content, message):
    tiny_data.picture(tmp_path / "a.png")
    tiny_data.text(tmp_path / name, content)
    with pytest.raises(DataError, match=message + ".*(export it|name its columns|put one above)"):
        open_dataset(tmp_path)


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
    """100 damaged files of each format: read, load, and nothing but DataError."""
    task, root, random = KINDS[kind], write(kind, tmp_path), np.random.default_rng(0)
    targets = [f for f in root.rglob("*") if f.is_file() and "images" not in f.parts and "JPEGImages" not in f.parts]
    originals, tokens = {f: f.read_bytes() for f in targets}, [b"-1", b"1e999", b"nan", b"[", b"]", b'"', b"<", b"\xff"]
    failures = 0
    for _ in range(100):
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
    assert failures > 10, "the damage is too small to mean anything"
    assert len(open_dataset(root, task=task))


def test_boxes_alone_are_read_without_drawing_their_masks(tmp_path, monkeypatch):
    root = write("COCO JSON", tmp_path)
    assert open_dataset(root)[0].masks.sum() == open_dataset(root, task="instance")[0].masks.sum() == 20
    monkeypatch.setattr("visionkit.data.segments.rasterise", lambda *_: pytest.fail("drew a mask"))
    data = open_dataset(root, task="detect")
    assert data[0].masks is None and data[0].boxes.tolist() == [[2, 3, 7, 7]] and data[0].image.shape == (30, 40, 3)
    assert data.source == "COCO JSON annotations.json, boxes"


@pytest.mark.parametrize("kind", READERS)
def test_every_reader_refuses_a_folder_of_another_format(tmp_path, kind):
    tiny_data.picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"{tmp_path}"):
        READERS[kind].open(tmp_path)


def test_links_in_a_circle_and_to_nowhere_are_no_annotations(tmp_path):
    root = write("LabelMe", tmp_path / "data")
    for name in ("x.json", "y.csv", "z.xml", "m.jsonl", "samples.json"):
        (root / name).symlink_to(name)
        (root / f"1{name}").symlink_to("/nowhere")
    (root / "again").symlink_to(".")
    assert len(open_dataset(root, task="instance")) == 2
    root = write("CSV of boxes", tmp_path / "table")
    (root / "again").symlink_to(".")
    assert len(open_dataset(root)) == 2
