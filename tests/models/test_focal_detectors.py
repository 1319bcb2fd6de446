"""RetinaNet and FCOS: the oracle, the loss's corner cases, their assignment, and learning a few images by heart."""

import keras
import numpy as np
import pytest
from keras import ops
from support.models import BUILD, HEADS
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.checks.preflight import ANSWERS
from visionkit.metrics.detection import DetectionMetric
from visionkit.models import MODELS
from visionkit.models.fcos import centerness
from visionkit.ops.losses import binary_cross_entropy, focal_loss
from visionkit.types import Detections, Sample, check_detections

NAMES = ["retinanet", "fcos"]
both = pytest.mark.parametrize("name", NAMES)
# The anchors of the paper begin at 32 pixels, and the objects of these batches have 12 to 24.
SMALL = {"retinanet": {"anchor_scales": (1.5, 2.0, 2.5)}, "fcos": {}}


def detector(name, num_classes=3, **knobs):
    return MODELS[name](
        tiny_backbone(), **HEADS | SMALL[name] | {"class_names": ()} | knobs | {"num_classes": num_classes}
    )


def tensors(y):
    return {key: ops.convert_to_tensor(value) for key, value in y.items()}


def scored(served, y, names):
    """The metric's result for what a model served of a batch."""
    metric = DetectionMetric(names)
    served = {key: ops.convert_to_numpy(value) for key, value in served.items()}
    for i, (boxes, labels) in enumerate(zip(y["boxes"], y["labels"], strict=True)):
        real, found = labels >= 0, served["labels"][i] >= 0
        truth = Sample(id=str(i), image_size=SIZE, boxes=boxes[real], labels=labels[real])
        rows = {key: value[i][found] for key, value in served.items()}
        metric.update(truth, check_detections(Detections(id=str(i), image_size=SIZE, **rows)))
    return metric.result()


@both
def test_oracle_scores_one(name):
    """Ground truth -> targets -> perfect head outputs -> decoding -> metric: any slip in between costs mAP."""
    model = detector(name)
    _, y = random_batch(batch=16, objects=2, seed=4)
    served = ANSWERS[type(model)](model, model.serving().get_layer, tensors(y))
    scores = scored(served, y, ["a", "b", "c"])
    assert scores["mAP"] == pytest.approx(1.0)


CORNERS = {
    "only empty images": {"labels": np.full((2, 8), -1, np.int32)},
    "boxes as large as the image": {"boxes": np.tile(np.float32([0, 0, 96, 64]), (2, 8, 1))},
    "one pixel in the corner": {"boxes": np.tile(np.float32([95, 63, 96, 64]), (2, 8, 1))},
    "only crowds": {"ignore": np.ones((2, 8), bool)},
}


@pytest.mark.parametrize("knobs", [{}, {"group_norm": True, "giou": True, "p6_of_backbone": True}, None], ids=str)
def test_corner_cases_give_a_finite_loss_and_finite_steps_and_empty_images_teach_background(knobs):
    model = detector("fcos") if knobs is None else detector("retinanet", **knobs)
    model.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
    before = model.get_weights()
    bias = next(i for i, weight in enumerate(model.weights) if weight.path.endswith("class_logits/bias"))
    images, y = random_batch(batch=2)
    for case, change in CORNERS.items():
        model.set_weights(before)
        model.reset_metrics()
        loss = float(model.train_on_batch(images, y | change, return_dict=True)["loss"])
        steps = [np.abs(a - b).max() for a, b in zip(model.get_weights(), before, strict=True)]
        assert 0 <= loss < 1e3, case
        assert np.isfinite(steps).all(), case
        if case == "only empty images":
            assert (model.get_weights()[bias] < before[bias]).all()


@both
def test_what_lies_in_a_crowd_is_not_background(name):
    model = detector(name)
    y = {"boxes": np.float32([[[0, 0, 48, 64]]]), "labels": np.int32([[0]]), "ignore": np.array([[True]])}
    _, _, positive, negative = map(ops.convert_to_numpy, model.targets(tensors(y)))
    assert not positive.any()
    if name == "fcos":
        x, top = model.points.T
        inside = (x > 0) & (x < 48) & (top > 0) & (top < 64)
    else:
        inside = (model.anchors[:, 0] >= 0) & (model.anchors[:, 2] <= 48) & (model.anchors[:, 1] >= 0)
        inside &= model.anchors[:, 3] <= 64
        assert negative[0][model.anchors[:, 0] >= 48].all()
    assert inside.any() and not negative[0][inside].any()


@both
def test_before_training_every_class_is_unlikely(name):
    scores = 1 / (1 + np.exp(-detector(name).predict_on_batch(random_batch()[0])["logits"]))
    assert 0.005 < scores.min() < scores.max() < 0.02


@pytest.mark.slow
def test_learns_eight_images_by_heart():  # RetinaNet's training is compared with torchvision's in tests/certify
    """Bright rectangles of two classes; through serving() and the metric, as a user would score it."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, y = random_batch(batch=8, objects=2, num_classes=2, seed=1)
    images = rng.integers(0, 60, images.shape).astype(np.uint8)
    for image, boxes, labels in zip(images, y["boxes"], y["labels"], strict=True):
        for (x1, y1, x2, y2), label in zip(boxes[:2].round().astype(int), labels[:2], strict=True):
            image[y1:y2, x1:x2, label] = 255
    model = detector("fcos", 2, pyramid_channels=16)
    model.compile(optimizer=keras.optimizers.Adam(5e-3), jit_compile=False)
    model.fit(images, y, batch_size=8, epochs=100, verbose=0)
    assert scored(model.serving().predict_on_batch(images), y, ["a", "b"])["mAP50"] >= 0.9


def test_focal_loss_is_the_papers_formula():
    logits, targets = np.float32([-2.0, 0.5, 3.0, -1.0]), np.float32([0, 1, 1, 1])
    p = 1 / (1 + np.exp(-logits))
    pt, alpha = np.where(targets == 1, p, 1 - p), np.where(targets == 1, 0.25, 0.75)
    np.testing.assert_allclose(focal_loss(logits, targets), -alpha * (1 - pt) ** 2 * np.log(pt), rtol=1e-5)
    half = 0.5 * ops.convert_to_numpy(binary_cross_entropy(logits, targets))
    np.testing.assert_allclose(focal_loss(logits, targets, alpha=0.5, gamma=0.0), half, rtol=1e-6)


def test_a_point_of_two_objects_goes_to_the_smaller_and_sizes_to_their_levels():
    model = MODELS["fcos"](tiny_backbone(), 3, image_size=(256, 256), pyramid_channels=8, head_convs=1)
    boxes = np.float32([[[96, 96, 160, 160], [120, 120, 136, 136], [0, 0, 256, 256]]])
    y = {"boxes": boxes, "labels": np.int32([[0, 1, 2]]), "ignore": np.zeros((1, 3), bool)}
    labels, matched, positive, _ = map(ops.convert_to_numpy, model.targets(tensors(y)))
    centre = (model.points == 128).all(axis=1)  # a point of every level
    assert labels[0][centre].tolist() == [1, 3, 3, 3, 3]  # at P3 object 0 is a candidate, too, and larger
    assert positive[0].sum() == (labels[0] < 3).sum() == 1 + 8 + 8
    assert (matched[0][labels[0] == 2] == boxes[0, 2]).all()
    assert set(model.strides[labels[0] == 2]) == {32.0}  # P5 learns farthest sides between 128 and 256


def test_centerness_is_one_in_the_middle_and_small_at_the_border():
    points = np.float32([[50, 30], [20, 30], [90, 30]])
    found = ops.convert_to_numpy(centerness(points, np.float32([[[0, 0, 100, 60]] * 3])))[0]
    np.testing.assert_allclose(found, [1.0, (20 / 80) ** 0.5, (10 / 90) ** 0.5], rtol=1e-6)


@pytest.mark.parametrize(("name", "weights"), [("retinanet", 34), ("fcos", 40)])
def test_the_heads_are_shared_by_all_levels(name, weights):
    assert (
        len(BUILD[name]().weights) == weights
    )  # 10 of the backbone, 12 of the pyramid, 4 of P6 and P7; then the heads
