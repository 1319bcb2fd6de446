"""Boxes of x, y, width, height that pass for corners, since every width exceeds its x: warned of, not refused."""

import logging
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import tiny_data

import visionkit as vk
from visionkit import npboxes
from visionkit.data.recognise import open_dataset
from visionkit.data.shapes import shapes
from visionkit.doctor.examine import examine
from visionkit.models.target_check import TargetCheck
from visionkit.types import DataError, check_sample

SIZE = (300, 400)  # height, width
SAID = "may be x, y, width, height: read so, all of them end inside"


def large(count, seed=0):
    """Corners `[count, 4]` of one large object an image, whose width exceeds its x, as its height does its y."""
    rng = np.random.default_rng(seed)
    low = np.round(rng.uniform(2, (100, 70), (count, 2)))
    high = np.round(rng.uniform((300, 230), (400, 300), (count, 2)))
    return np.hstack([low, high]).astype(np.float32)


def dataset(boxes, size=SIZE, **options):
    labels, image = np.zeros(1, np.int32), np.zeros((*size, 3), np.uint8)
    samples = [
        vk.Sample(id=str(i), image_size=size, image=image, boxes=box[None], labels=labels)
        for i, box in enumerate(boxes)
    ]
    return vk.Dataset(samples, ["thing"], **options)


def sizes(boxes, size=SIZE):
    return np.tile(size, (len(boxes), 1))


def test_the_border_of_widths_tells_them_from_corners():
    corners = large(40)
    xywh = npboxes.to_xywh(corners)
    assert (xywh[:, :2] < xywh[:, 2:]).all()  # they pass for corners
    assert npboxes.may_be_xywh(xywh, sizes(xywh))
    assert not npboxes.may_be_xywh(corners, sizes(corners))
    assert not npboxes.may_be_xywh(xywh[:8], sizes(xywh[:8]))  # too few to say


@pytest.mark.parametrize(
    "boxes",
    [
        np.tile([[150, 100, 230, 180]], (100, 1)),  # one box again and again
        np.array([[200 - i, 150 - i, 200 + i, 150 + i] for i in range(10, 100)]),  # all in the very middle
        np.array([[10 + i, 10 + i, 60 + i, 50 + i] for i in range(60)]),  # logos at the top left
        np.array([[0, 0, 400 - i, 300 - i] for i in range(60)]),  # the same in both readings
    ],
    ids=["repeated", "centred", "top left", "from the corner"],
)
def test_corners_that_also_fit_are_not_suspected(boxes):
    boxes = boxes.astype(np.float32)
    assert npboxes.fit_as_xywh(boxes, np.array(SIZE)).all()
    assert not npboxes.may_be_xywh(boxes, sizes(boxes))


@pytest.mark.parametrize("seed", range(5))
def test_drawn_shapes_are_not_suspected(seed):
    records = shapes(40, (96, 128), seed=seed).records
    boxes = np.concatenate([record.boxes for record in records])
    assert not npboxes.may_be_xywh(boxes, sizes(boxes, (96, 128)))


def test_batches_and_evaluate_warn_of_samples_made_in_python(caplog):
    silent, right = dataset(npboxes.to_xywh(large(40)), source="mine"), dataset(large(40))
    says = SimpleNamespace(task="detect", class_names=["thing"])

    class Nothing(SimpleNamespace):
        def __call__(self, items, score=None):
            none = {"boxes": np.zeros((0, 4), np.float32), "scores": np.zeros(0, np.float32)}
            for record in items.records:
                yield vk.Detections(id=record.id, image_size=record.image_size, labels=np.zeros(0, np.int32), **none)

    for use in (lambda data: vk.batches(data, None, 8), lambda data: vk.evaluate(Nothing(**vars(says)), data)):
        caplog.clear()
        use(right)
        assert not caplog.messages
        use(silent)
        (said,) = caplog.messages
        assert said.startswith(f"mine: its 40 boxes {SAID}") and "makes corners" in said


def test_evaluate_refuses_samples_that_it_cannot_score():
    class Finds(SimpleNamespace):
        def __call__(self, items, score=None):
            return (None for _ in items.records)

    model, boxes = Finds(task="detect", class_names=["thing"]), np.float32([[10, 10, 50, 50]])
    (sample,) = dataset(boxes).records
    for wrong, said in (
        (replace(sample, labels=np.int32([1])), r"sample '0': expected labels 0\.\.0, found 1\.\.1"),
        (
            replace(sample, boxes=[[10, 10, 50, 50]]),
            r"int64 \(1, 4\); .astype\('float32'\) casts it",
        ),
    ):
        with pytest.raises(DataError, match=said):
            vk.evaluate(model, vk.Dataset([wrong], ["thing"]))
    with pytest.raises(DataError, match="the data set: holds no images to score the model on"):
        vk.evaluate(model, vk.Dataset([], ["thing"]))


def test_batches_refuse_fractions_of_samples_made_in_python():
    fractions = large(4) / np.float32([SIZE[::-1] * 2])
    with pytest.raises(DataError, match=r"^mine: its boxes look like fractions of the image, such as \[0\.\d+, "):
        vk.batches(dataset(fractions, source="mine"), None, 2)
    vk.batches(dataset(np.concatenate([np.float32([[0, 0, 1, 1]]), large(1)])), None, 2)  # one object of a single pixel


def test_fit_refuses_a_cast_of_images_of_fractions():
    images = np.random.default_rng(0).integers(0, 2, (2, *SIZE, 3)).astype(np.uint8)
    with pytest.raises(DataError, match=r"the images look scaled to 0\.\.1 \(values 0 to 1\)"):
        TargetCheck("SSD", "detect", 1, (*SIZE, 3))((images, {"boxes": large(2)[:, None], "labels": np.zeros((2, 1))}))


def test_fit_warns_once_and_whatever_reads_the_batches(caplog):
    def batches(boxes):
        for part in np.split(boxes, 8):
            images = np.zeros((len(part), *SIZE, 3), np.uint8)
            yield images, {"boxes": part[:, None], "labels": np.zeros((len(part), 1), np.int32)}

    for boxes, warnings in ((large(80), 0), (npboxes.to_xywh(large(80)), 1)):
        caplog.clear()
        check = pickle.loads(pickle.dumps(TargetCheck("SSD", "detect", 1, (*SIZE, 3))))
        for batch in batches(boxes):
            check(batch)
        assert len(caplog.messages) == warnings
    assert caplog.messages[0].startswith(f"SSD: the boxes {SAID}")
    assert caplog.records[0].levelno == logging.WARNING


def test_voc_with_such_boxes_is_reported_by_the_doctor_and_warned_of(tmp_path, caplog):
    boxes = npboxes.to_voc(npboxes.to_xywh(large(40) / 10))
    root = tiny_data.voc(tmp_path, {f"i{i}": [("cat", *box.tolist())] for i, box in enumerate(boxes)})
    open_dataset(root)
    assert any(SAID in said for said in caplog.messages)
    findings = examine(root).by_kind()["box format"]
    assert [finding.message.startswith(f"its 40 boxes {SAID}") for finding in findings] == [True]


def test_a_box_that_would_fit_as_xywh_is_refused_with_that_hint():
    (sample,) = dataset(np.float32([[100, 80, 60, 50]])).records
    with pytest.raises(
        DataError, match=r"found box \[\[100.0, 80.0, 60.0, 50.0\]\]; as x, y, width, height it would fit"
    ):
        check_sample(sample)
    (sample,) = dataset(np.float32([[390, 80, 60, 50]])).records
    with pytest.raises(DataError, match=r"50.0\]\]$"):
        check_sample(sample)
