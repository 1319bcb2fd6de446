"""Tiles: which there are, what is merged, and a detector that sees an object only where it is large enough."""

from itertools import pairwise

import numpy as np
import pytest

from visionkit import images
from visionkit.predict.folders import detect_folder
from visionkit.predict.inputs import Failure
from visionkit.predict.predictor import Predictor
from visionkit.predict.tiling import OVERLAP, Tiled, merged, tiles
from visionkit.types import DataError, check_detections

SIDE = 64


class FindGreen:
    """A Task without a network: the boxes of all green rectangles that are 8 pixels or more where the network sees."""

    image_size, resize, class_names = (SIDE, SIDE), "letterbox", ("green",)

    def serving(self):
        return self

    def predict_on_batch(self, batch):
        import cv2

        boxes = np.zeros((len(batch), 50, 4), np.float32)
        labels = np.full((len(batch), 50), -1, np.int32)
        for i, image in enumerate(batch.astype(int)):
            green = ((image[..., 1] > 150) & (image[..., 0] < 100)).astype(np.uint8)
            _, _, found, _ = cv2.connectedComponentsWithStats(green)
            large = [row for row in found[1:] if min(row[2:4]) >= 8][:50]
            for j, (x, y, w, h, _) in enumerate(large):
                boxes[i, j], labels[i, j] = (x, y, x + w, y + h), 0
        scores = np.where(labels == 0, 0.9, 0).astype(np.float32)
        return {"boxes": boxes, "scores": scores, "labels": labels}


@pytest.fixture(scope="module")
def predictor():
    return Predictor(FindGreen(), batch_size=4)


def scene(size, boxes):
    image = np.full((*size, 3), 30, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = (0, 255, 0)
    return image


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (200, 333), (1000, 70), (10, 500)])
def test_tiles_cover_the_image_and_overlap(size):
    h, w = size
    whole, *cut = tiles(size, SIDE)
    assert whole == (0, 0, w, h)
    assert bool(cut) == (max(size) > SIDE)
    seen = np.zeros(size, int)
    for x1, y1, x2, y2 in cut:
        assert (x2 - x1, y2 - y1) == (min(w, SIDE), min(h, SIDE))
        seen[y1:y2, x1:x2] += 1
    assert not cut or seen.min() >= 1
    starts = sorted({x1 for x1, *_ in cut})
    assert all(b - a <= SIDE * (1 - OVERLAP) for a, b in pairwise(starts))


def test_small_and_large_objects_are_found_once_each(predictor):
    small = [(10, 12, 20, 22), (58, 100, 68, 112), (180, 40, 195, 50), (239, 140, 250, 155)]  # the second is cut
    large = (80, 5, 170, 35)  # larger than a tile
    image = scene((160, 256), [*small, large])
    (alone,) = predictor([image])
    assert len(alone.boxes) == 1  # at a quarter of their size, the small ones are not seen
    (found,) = Tiled(predictor, SIDE)([image])
    check_detections(found, num_classes=1)
    order = np.lexsort(found.boxes.T[::-1])
    expected = np.float32(sorted([*small, large]))
    np.testing.assert_allclose(found.boxes[order], expected, atol=4)  # the large one is known to 4 pixels
    exact = (np.abs(found.boxes[order] - expected).max(axis=1) < 1e-3).sum()
    assert exact >= 4  # and the small ones exactly


def test_masks_come_with_the_boxes_that_are_kept():
    class WithMasks(FindGreen):
        task = "instance"

        def predict_on_batch(self, batch):  # the left half of each box
            found = super().predict_on_batch(batch)
            half = np.zeros((*found["scores"].shape, 28, 28), np.float32)
            half[..., :14] = 1
            return found | {"masks": half}

    boxes = [(10, 12, 20, 22), (58, 100, 68, 112), (80, 5, 170, 35)]  # small, cut by a tile, larger than a tile
    (found,) = Tiled(Predictor(WithMasks(), batch_size=4), SIDE)([scene((160, 256), boxes)])
    assert found.masks.shape == (3, 160, 256) and found.masks.dtype == np.uint8
    for (x1, y1, x2, y2), mask in zip(found.boxes, found.masks, strict=True):
        rows, columns = mask.nonzero()
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(edges, (x1, y1, (x1 + x2) / 2, y2), atol=1.5)
        assert mask.sum() == pytest.approx((x2 - x1) * (y2 - y1) / 2, rel=0.15)


def test_merging_knows_classes_and_cuts():
    boxes = np.float32([[0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10], [0, 0, 5, 10], [2, 2, 5, 5], [50, 0, 60, 10]])
    scores = np.float32([0.5, 0.6, 0.4, 0.9, 0.3, 0.2])
    labels = np.int32([0, 0, 1, 0, 0, 0])
    cut = np.array([False, False, False, True, False, True])
    # 0 is 1 again; 2 is of another class; 3 is cut and lies in 1 for 4/5; 4 lies in 1 but was not cut; 5 is alone.
    assert merged(boxes, scores, labels, cut).tolist() == [1, 2, 4, 5]
    assert merged(boxes[:0], scores[:0], labels[:0], cut[:0]).tolist() == []


def test_order_failures_and_files(predictor, tmp_path):
    for name in ("a", "c"):
        images.write_image(tmp_path / "in" / f"{name}.png", scene((100, 150), [(70, 50, 80, 60)]))
    (tmp_path / "in" / "b.png").write_text("nothing")
    (tmp_path / "in" / "d.png").write_text("nothing")
    results = list(Tiled(predictor, SIDE)([tmp_path / "in" / f"{name}.png" for name in "bacd"], failures="yield"))
    with pytest.raises(DataError, match=r"b\.png"):
        Tiled(predictor, SIDE)(tmp_path / "in" / "b.png")
    assert len(Tiled(predictor, SIDE)(tmp_path / "in" / "a.png")) == len(results[1])
    assert [isinstance(result, Failure) for result in results] == [True, False, False, True]
    assert [result.file.stem for result in results] == list("bacd")
    report = detect_folder(Tiled(predictor, SIDE), tmp_path / "in", tmp_path / "out", progress=False)
    assert (report.done, report.rows, len(report.failed)) == (2, 2, 2)
    assert list(Tiled(predictor, SIDE)([])) == []


def test_what_cannot_be_tiled_is_refused(predictor):
    with pytest.raises(DataError, match="16 pixels or more, found 4"):
        Tiled(predictor, 4)
    classifier = Predictor(FindGreen())
    classifier.task = "classify"
    with pytest.raises(DataError, match="for the task classify"):
        Tiled(classifier, 64)
