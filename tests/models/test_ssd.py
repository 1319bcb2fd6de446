"""SSD: the oracle, the loss's corner cases, and learning a handful of images by heart."""

import keras
import numpy as np
import pytest
from keras import ops
from support.models import detections_of, learned, loss_and_gradients
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.backbones.ssd_vgg import ssd300_vgg16, ssd512_vgg16
from visionkit.layers.decode import DecodeDetections
from visionkit.metrics.detection import DetectionMetric
from visionkit.models import MODELS
from visionkit.models.ssd import SSD300, SSD512
from visionkit.types import Sample


def ssd(num_classes=3, **knobs):
    return MODELS["ssd"](tiny_backbone(), num_classes, image_size=SIZE, pyramid_channels=16, **knobs)


def test_oracle_scores_one():
    """Ground truth -> targets -> perfect head outputs -> decoding -> metric: any slip in between costs mAP."""
    model = ssd()
    images, y = random_batch(batch=16, seed=3)
    labels, deltas, _, _ = model.targets({key: ops.convert_to_tensor(value) for key, value in y.items()})
    logits = 20.0 * ops.one_hot(labels, model.num_classes + 1)
    decode = DecodeDetections(model.anchors, SIZE, model.variances, 0.01, 0.45, 200, 200)
    served = decode(logits, deltas)
    metric = DetectionMetric(["a", "b", "c"])
    for i in range(len(images)):
        real = y["labels"][i] >= 0
        truth = Sample(id=str(i), image_size=SIZE, boxes=y["boxes"][i][real], labels=y["labels"][i][real])
        metric.update(truth, detections_of(served, i, str(i)))
    scores = metric.result()
    assert scores["mAP"] == pytest.approx(1.0)
    assert scores["voc12_mAP50"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"labels": np.full((2, 8), -1, np.int32)}, id="only empty images"),
        pytest.param({"boxes": np.tile(np.float32([0, 0, 96, 64]), (2, 8, 1))}, id="boxes as large as the image"),
        pytest.param({"boxes": np.tile(np.float32([95, 63, 96, 64]), (2, 8, 1))}, id="one pixel in the corner"),
        pytest.param({"ignore": np.ones((2, 8), bool)}, id="only crowds"),
    ],
)
def test_corner_cases_give_a_finite_loss_above_zero_and_finite_steps(change):
    images, y = random_batch(batch=2)
    loss, step = loss_and_gradients(ssd(), images, y | change)
    assert 0 < loss < 1e3
    assert 0 < step < np.inf


def test_an_empty_image_teaches_background():
    keras.utils.set_random_seed(0)
    images, y = random_batch(batch=2, objects=0)
    model = ssd()
    model.compile(optimizer=keras.optimizers.Adam(3e-2), run_eagerly=True)
    losses = [float(model.train_on_batch(images, y, return_dict=True)["loss"]) for _ in range(10)]
    assert losses[-1] < losses[0] / 2


def test_what_lies_in_a_crowd_is_not_background():
    model = ssd()
    y = {
        "boxes": np.float32([[[0, 0, 48, 64]]]),
        "labels": np.int32([[0]]),
        "ignore": np.array([[True]]),
    }
    _, _, positive, negative = map(ops.convert_to_numpy, model.targets(y))
    centre_x = model.anchors[:, [0, 2]].mean(axis=1)
    narrow = model.anchors[:, 2] - model.anchors[:, 0] < 30
    assert not positive.any()
    assert not negative[0][narrow & (centre_x < 30) & (centre_x > 16)].any()
    assert negative[0][narrow & (centre_x > 64)].all()


def test_a_missing_level_is_named():
    with pytest.raises(ValueError, match=r"no level \['C7'\]; it has \['C3', 'C4', 'C5'\]"):
        MODELS["ssd"](tiny_backbone(), 2, image_size=SIZE, levels=("C3", "C7"))


@pytest.mark.slow
def test_learns_eight_images_by_heart():
    """Bright rectangles of two classes; through serving() and the metric, as a user would score it."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, y = random_batch(batch=8, objects=2, num_classes=2, seed=1)
    images = rng.integers(0, 60, images.shape).astype(np.uint8)
    for image, boxes, labels in zip(images, y["boxes"], y["labels"], strict=True):
        for (x1, y1, x2, y2), label in zip(boxes[:2].round().astype(int), labels[:2], strict=True):
            image[y1:y2, x1:x2, label] = 255
    model = ssd(num_classes=2)
    model.compile(optimizer=keras.optimizers.Adam(5e-3), jit_compile=False)
    serving = model.serving()

    def score():
        served = serving.predict_on_batch(images)
        metric = DetectionMetric(["a", "b"])
        for i in range(8):
            real = y["labels"][i] >= 0
            truth = Sample(id=str(i), image_size=SIZE, boxes=y["boxes"][i][real], labels=y["labels"][i][real])
            metric.update(truth, detections_of(served, i, str(i)))
        return metric.result()["mAP50"]

    assert learned(lambda: model.fit(images, y, batch_size=8, epochs=15, verbose=0), score, 8) >= 0.9


@pytest.mark.parametrize(
    ("make", "knobs", "cells", "count"),
    [
        (ssd300_vgg16, SSD300, (38, 19, 10, 5, 3, 1), 8732),
        (ssd512_vgg16, SSD512, (64, 32, 16, 8, 4, 2, 1), 24564),
    ],
)
def test_the_papers_networks_have_the_papers_boxes(make, knobs, cells, count):
    model = MODELS["ssd"](make(), 20, **knobs)
    levels = keras.Model(model.backbone.input, model.backbone.output).compute_output_shape((1, *knobs["image_size"], 3))
    assert tuple(shape[1] for shape in levels.values()) == cells
    assert model.anchors.shape == (count, 4)
    side = knobs["image_size"][0]
    width = model.anchors[:, 2] - model.anchors[:, 0]
    assert width.max() == side
    assert width[0] == pytest.approx(knobs["anchor_sizes"][0])
    centres = model.anchors[-4:].reshape(-1, 2, 2).mean(axis=1)  # the single cell of the last level
    assert np.allclose(centres, side / 2)
