"""Keypoints from maps, in pictures, in files and through tiles."""

import json
from dataclasses import replace

import numpy as np
import pytest

from visionkit.data.figures import SKELETON, figures
from visionkit.images import write_image
from visionkit.predict.draw import draw_detections, draw_sample
from visionkit.predict.folders import detect_folder
from visionkit.predict.keypoints import SURE, keypoints_of
from visionkit.predict.palette import PAPER, colour_of
from visionkit.predict.predictor import Predictor
from visionkit.predict.results import to_coco
from visionkit.predict.tiling import Tiled
from visionkit.types import Detections


def cubic(x):
    """The kernel of bicubic interpolation with a = -0.75, as torch and OpenCV have it."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def stretched(values, length):
    """Bicubic interpolation along the first axis, between the centres of the cells, with repeated borders."""
    rows = []
    for i in range(length):
        at = (i + 0.5) * len(values) / length - 0.5
        near = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
        rows.append(sum(cubic(at - k) * values[min(max(k, 0), len(values) - 1)] for k in near))
    return np.array(rows)


@pytest.mark.parametrize("box", [[3.5, 2, 23.2, 12.9], [0, 0, 4.2, 9], [10, 10, 10.4, 10.2], [5, 5, 75, 95.5]])
def test_a_keypoint_is_at_the_highest_pixel_of_the_map_stretched_over_its_box(box):
    maps = np.random.default_rng(0).normal(size=(1, 14, 14, 3)).astype(np.float32)
    x1, y1, x2, y2 = np.float32(box).astype(float)
    width, height = max(x2 - x1, 1), max(y2 - y1, 1)
    rows, columns = int(np.ceil(height)), int(np.ceil(width))
    for k, (x, y, logit) in enumerate(keypoints_of(maps, np.float32([box]))[0].tolist()):
        values = stretched(stretched(maps[0, :, :, k].astype(float), rows).T, columns).T
        row, column = np.unravel_index(values.argmax(), values.shape)
        assert logit == pytest.approx(values.max(), abs=1e-5)
        assert x == pytest.approx(x1 + (column + 0.5) * width / columns, abs=1e-4)
        assert y == pytest.approx(y1 + (row + 0.5) * height / rows, abs=1e-4)


def test_no_detections_have_no_keypoints():
    assert keypoints_of(np.zeros((0, 56, 56, 5)), np.zeros((0, 4), np.float32)).shape == (0, 5, 3)
    assert keypoints_of(np.zeros((1, 8, 8, 1)), np.float32([[0, 0, 9, 9]])).shape == (1, 1, 3)


def found(sample, sure=10.0):
    """Perfect detections of a sample with keypoints."""
    keypoints = sample.keypoints.copy()
    keypoints[..., 2] = sure
    scores = np.linspace(0.9, 0.8, len(keypoints)).astype(np.float32)
    return Detections(
        id=sample.id,
        image_size=sample.image_size,
        class_names=["figure"],
        boxes=sample.boxes,
        labels=sample.labels,
        scores=scores,
        keypoints=keypoints,
        skeleton=sample.skeleton,
    )


def test_sure_keypoints_and_their_limbs_are_drawn():
    sample = figures(1, max_objects=1)[0]
    grey = np.full((128, 128, 3), 128, np.uint8)
    x, y = np.floor(sample.keypoints[0, 3, :2]).astype(int)  # a hand, far from the box's rim and its plate
    hip, neck = sample.keypoints[0, 2, :2], sample.keypoints[0, 1, :2]
    middle = np.floor((hip + neck) / 2).astype(int)
    drawn = draw_detections(grey, found(sample), ["figure"])
    assert drawn[y, x].tolist() == list(PAPER)
    assert np.abs(drawn[middle[1], middle[0]].astype(int) - colour_of(0)).max() < 40
    unsure = draw_detections(grey, found(sample, SURE), ["figure"])
    assert unsure[y, x].tolist() == unsure[middle[1], middle[0]].tolist() == [128] * 3
    whole = draw_sample(replace(sample, image=grey), ["figure"], (128, 128))
    assert whole[y, x].tolist() == list(PAPER)
    hidden = sample.keypoints.copy()
    hidden[0, 3] = 0
    without = draw_sample(replace(sample, image=grey, keypoints=hidden), ["figure"], (128, 128))
    assert without[y, x].tolist() == [128] * 3


class Knows:
    """A model that answers for figures with maps whose highest cells hold the keypoints."""

    image_size, resize, task, class_names, skeleton = (96, 96), "letterbox", "keypoints", ["figure"], SKELETON

    def __init__(self, data):
        self.rows = iter(data.records)

    def serving(self):
        return self

    def predict_on_batch(self, images):
        rows = []
        for _ in images:
            record, scale = next(self.rows), 96 / 128
            boxes = record.boxes[:1] * scale
            maps = np.zeros((1, 56, 56, 7), np.float32)
            cells = (record.keypoints[0, :, :2] * scale - boxes[0, :2]) / (boxes[0, 2:] - boxes[0, :2]) * 56
            for k, (x, y) in enumerate(np.clip(cells.astype(int), 0, 55)):
                maps[0, y, x, k] = 9
            rows.append({"boxes": boxes, "scores": np.float32([0.9]), "labels": np.int32([0]), "heatmaps": maps})
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def test_a_predictor_gives_keypoints_in_pixels_of_the_original():
    data = figures(3)
    for record, one in zip(data.records, Predictor(Knows(data), batch_size=1)(data), strict=True):
        assert one.skeleton is SKELETON
        apart = np.abs(one.keypoints[0, :, :2] - record.keypoints[0, :, :2]).max()
        assert apart < 0.75 * max(record.boxes[0, 2:] - record.boxes[0, :2]) / 56 + 1
        assert one[0].keypoints.tolist() == one.keypoints[:1].tolist()


def test_files_hold_the_keypoints(tmp_path):
    data = figures(2)
    for sample in data:
        write_image(tmp_path / "in" / f"{sample.id}.png", sample.image)
    detect_folder(Predictor(Knows(data), batch_size=1), [tmp_path / "in"], tmp_path / "out", progress=False)
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [len(row["keypoints"]) for row in rows] == [21, 21]
    record = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[-1])
    points = record["objects"][0]["keypoints"]
    assert len(points) == 7 and all(2 < logit < 10 for _, _, logit in points)


def test_cocos_records_hold_the_keypoints():
    one = found(figures(1).records[0])
    record = to_coco(one, 3)[0]
    np.testing.assert_array_equal(np.reshape(record["keypoints"], (7, 3)), one.keypoints[0])


def test_tiles_bring_their_keypoints():
    data = figures(1)

    class Same(Knows):
        def predict_on_batch(self, images):
            self.rows = iter(data.records * len(images))
            return super().predict_on_batch(images)

    image = np.zeros((128, 230, 3), np.uint8)
    (one,) = Tiled(Predictor(Same(data), batch_size=1), tile=128)([image])
    assert one.keypoints.shape == (len(one), 7, 3) and one.skeleton is SKELETON
    lefts = {round(float(points[0, 0] - data.records[0].keypoints[0, 0, 0])) for points in one.keypoints}
    assert any(abs(left - 102) < 3 for left in lefts)  # the last tile begins at 102
