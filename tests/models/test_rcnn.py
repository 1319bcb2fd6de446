"""Faster and Mask R-CNN: the oracles, the loss's corner cases, and learning a handful of images by heart."""

import keras
import numpy as np
import pytest
from keras import ops
from support.models import BUILD, TWO_STAGES, detections_of, learned, loss_and_gradients
from support.tiny import SIZE, ellipses, random_batch, tiny_backbone

from visionkit.layers.decode import DecodeRegions
from visionkit.layers.proposals import RPN_VARIANCES, Proposals
from visionkit.metrics.detection import DetectionMetric
from visionkit.models import MODELS
from visionkit.models.faster_rcnn import RPN_RULE, VARIANCES
from visionkit.models.mask_rcnn import PickMasks
from visionkit.ops import boxes as box_ops
from visionkit.ops.matching import assign
from visionkit.predict.masks import paste_masks
from visionkit.types import Sample, check_detections


def tensors(y):
    return {key: ops.convert_to_tensor(value) for key, value in y.items()}


def perfect_deltas(y, index, positive, boxes, variances):
    """What a perfect head would answer: the way from `boxes` to the objects, and nothing where there is none."""
    objects = ops.take_along_axis(y["boxes"], index[..., None], axis=1)
    return box_ops.encode(ops.where(positive[..., None], objects, boxes), boxes, variances)


def test_oracles_score_one():
    """Ground truth -> targets of both stages -> perfect outputs -> proposals -> decoding -> masks -> metric."""
    knobs = TWO_STAGES | {"levels": ("C3", "C4", "C5"), "anchor_scales": (1.5, 2.5)}
    model = MODELS["mask_rcnn"](tiny_backbone(), mask_channels=8, **knobs)
    images, y = random_batch(batch=12, seed=3)
    y = tensors(y)
    anchors = np.concatenate(model.rpn_anchors)
    index, positive, negative = assign(anchors, y, **RPN_RULE)
    deltas = perfect_deltas(y, index, positive, ops.convert_to_tensor(anchors)[None], RPN_VARIANCES)
    objectness = ops.where(positive, 9.0, ops.where(negative, -9.0, 0.0))
    propose = Proposals(model.rpn_anchors, SIZE, before=200, keep=100)
    proposals, _ = propose(objectness, deltas)  # [B, P, 4]
    best = ops.convert_to_numpy(ops.max(box_ops.iou(proposals, y["boxes"]), axis=1))  # [B, M]
    assert best[:, :3].min() > 0.99

    index, positive, _ = assign(proposals, y, force=False)
    labels = ops.where(positive, ops.take_along_axis(y["labels"], index, axis=1), 3)
    # An anchor on the border may have shrunk to nothing: it has no way to go.
    sized = ops.where(positive[..., None], proposals, ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0]))
    deltas = perfect_deltas(y, index, positive, sized, VARIANCES)
    deltas = ops.repeat(deltas[:, :, None], 3, axis=2)  # the same for every class
    decode = DecodeRegions(SIZE, VARIANCES, 0.05, 0.5, 300, 100)
    found = decode(20.0 * ops.one_hot(labels, 4), deltas, proposals)

    index, _, _ = assign(found["boxes"], y, force=False)
    masks = model.mask_targets(y["masks"], found["boxes"], index)  # [B, R, 28, 28]
    logits = ops.repeat(20.0 * (masks[..., None] - 0.5), 3, axis=4)
    found["masks"] = PickMasks()(logits, found["labels"])
    metric = DetectionMetric(["a", "b", "c"])
    for i in range(len(images)):
        real = ops.convert_to_numpy(found["labels"][i]) >= 0
        small = ops.convert_to_numpy(found["masks"][i])[real]
        detections = detections_of({key: found[key] for key in ("boxes", "scores", "labels")}, i, str(i))
        pasted = paste_masks(small, detections.boxes, SIZE)
        truth = {key: ops.convert_to_numpy(y[key][i])[:3] for key in ("boxes", "labels", "masks")}
        detections = check_detections(type(detections)(**vars(detections) | {"masks": pasted}))
        metric.update(Sample(id=str(i), image_size=SIZE, **truth), detections)
    scores = metric.result()
    assert scores["mAP"] == pytest.approx(1.0)
    assert scores["mask_mAP"] >= 0.95


def corner(name):
    """Changes to a batch of two images that a step must survive."""
    boxes, labels = np.zeros((2, 300, 4), np.float32), np.zeros((2, 300), np.int32)
    boxes[..., :2] = np.random.default_rng(0).uniform(0, [80, 50], (2, 300, 2))
    boxes[..., 2:] = boxes[..., :2] + [16, 14]
    many = {"boxes": boxes, "labels": labels, "ignore": np.zeros((2, 300), bool), "masks": ellipses(boxes, SIZE)}
    return {
        "only empty images": {"labels": np.full((2, 8), -1, np.int32)},
        "boxes as large as the image": {"boxes": np.tile(np.float32([0, 0, 96, 64]), (2, 8, 1))},
        "one pixel in the corner": {"boxes": np.tile(np.float32([95, 63, 96, 64]), (2, 8, 1))},
        "only crowds": {"ignore": np.ones((2, 8), bool)},
        "300 boxes an image": many,
    }[name]


CORNERS = ["only empty images", "boxes as large as the image", "one pixel in the corner", "only crowds"]


@pytest.fixture(scope="module")
def step():
    """A function of a batch that takes one step from the same start: the losses, and the change of each variable."""
    model = BUILD["mask_rcnn"]()
    model.compile(optimizer=keras.optimizers.SGD(1.0), run_eagerly=True)  # few steps: tracing takes longer
    start = [ops.convert_to_numpy(v) for v in model.variables]

    def run(images, y):
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
        losses = {key: float(value) for key, value in model.train_on_batch(images, y, return_dict=True).items()}
        after = zip(model.trainable_variables, before, strict=True)
        return losses, {v.path: np.abs(ops.convert_to_numpy(v) - b).max() for v, b in after}

    return run


@pytest.mark.parametrize("name", [*CORNERS, "300 boxes an image"])
def test_corner_cases_give_a_finite_loss_above_zero_and_finite_steps(step, name):
    images, y = random_batch(batch=2)
    losses, steps = step(images, y | corner(name))
    assert 0 < losses["loss"] < 1e3
    assert all(np.isfinite(change) for change in steps.values())
    assert max(steps.values()) > 0
    empty = name in ("only empty images", "only crowds")
    assert (losses["mask_loss"] == 0) == (losses["box_loss"] == 0) == empty


def test_every_weight_learns(step):
    _, steps = step(*random_batch(batch=2))
    assert [path for path, change in steps.items() if not 0 < change < np.inf] == []
    assert len(steps) == len(BUILD["mask_rcnn"]().trainable_variables)


def test_one_level_as_in_the_first_paper():
    knobs = TWO_STAGES | {"levels": ("C4",), "pyramid_channels": 0, "anchor_scales": (1.0, 2.0), "head_dropout": 0.5}
    model = MODELS["faster_rcnn"](tiny_backbone(levels=("C4",)), **knobs)
    assert set(model.output) == {"C4", "objectness", "deltas"}
    assert model.output["deltas"].shape == (None, 4 * 6 * 6, 4)
    images, y = random_batch(batch=2)
    loss, step = loss_and_gradients(model, images, y)
    assert 0 < loss < 1e3
    assert 0 < step < np.inf


def test_a_pyramid_has_one_level_more_for_proposals_with_torchvisions_spacing():
    # 96 pixels in 3 cells at P5 and in 2 at P6, which torchvision spaces at 96 // 2 = 48 and not at 64.
    model = BUILD["faster_rcnn"]()
    assert [len(level) for level in model.rpn_anchors] == [4 * 6 * 3, 2 * 3 * 3, 1 * 2 * 3]
    assert model.rpn_anchors[2][3].tolist() == [48 - 68, -34, 48 + 68, 34]  # side 96, ratio 2: 135.8 x 67.9
    assert model.rpn_anchors[0][0].tolist() == [-17, -8, 17, 8]


def test_fast_rcnn_learns_and_serves_on_proposals_from_outside():
    """Proposals that are the objects themselves, moved a little: the first stage is neither needed nor taught."""
    model = BUILD["faster_rcnn"]()
    for layer in model.layers:
        layer.trainable = not layer.name.startswith("rpn_")
    images, y = random_batch(batch=2)
    near = np.concatenate([y["boxes"][:, :3] + 1, y["boxes"][:, :3] + [[30, -20, 34, -16]]], axis=1)
    y["proposals"] = np.pad(np.clip(near, 0, [[96, 64] * 2]), [[0, 0], [0, 2], [0, 0]]).astype(np.float32)  # [2, 8, 4]
    rois = model.sample_rois(tensors(y), {})
    drawn = ops.convert_to_numpy(ops.sum(rois["drawn"], axis=1)).tolist()
    assert drawn == [9, 9]  # six proposals and three objects; padding is not drawn
    model.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=True)
    losses = model.train_on_batch(images, y, return_dict=True)
    assert losses["rpn_class_loss"] == losses["rpn_box_loss"] == 0
    assert 0 < losses["box_loss"] < losses["loss"] < 1e3
    served = model.on_proposals(8, score_threshold=0.0, keep=40)
    found = served.predict_on_batch({"images": images, "proposals": y["proposals"]})
    none = served.predict_on_batch({"images": images, "proposals": np.zeros_like(y["proposals"])})
    assert (found["labels"] >= 0).any(axis=1).all()
    assert (none["labels"] == -1).all()
    # A region's answer is the region's: boxes stay by their proposals, whose deltas are small at the start.
    real = ops.convert_to_tensor(found["boxes"][found["labels"] >= 0])
    overlap = box_ops.iou(real, ops.convert_to_tensor(y["proposals"].reshape(-1, 4)))
    assert ops.convert_to_numpy(ops.max(overlap, axis=1)).min() > 0.6


def test_masks_of_padding_are_zero_and_others_are_probabilities():
    images, _ = random_batch(batch=2)
    found = BUILD["mask_rcnn"]().serving(score_threshold=0.3)(images)
    found = {key: ops.convert_to_numpy(value) for key, value in found.items()}
    assert found["masks"].shape == (*found["labels"].shape, 28, 28)
    padding = found["labels"] < 0
    assert padding.any()
    assert (found["masks"][padding] == 0).all()
    assert (found["masks"] <= 1).all()


def test_sampling_is_seeded():
    _, y = random_batch(batch=2)
    raw = {"objectness": np.float32(np.arange(192)[None].repeat(2, 0)), "deltas": np.zeros((2, 192, 4), np.float32)}

    def loss(seed):
        model = MODELS["faster_rcnn"](tiny_backbone(), **TWO_STAGES | {"rpn_samples": 16, "seed": seed})
        count = sum(map(len, model.rpn_anchors))
        return float(model.rpn_losses(tensors(y), {k: v[:, :count] for k, v in raw.items()})["rpn_class_loss"])

    assert loss(1) == loss(1) != loss(2)


@pytest.mark.slow
def test_learns_four_images_by_heart():
    """Bright ellipses of two classes; boxes and masks through serving() and the metric, as a user would score them."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, y = random_batch(batch=4, objects=2, num_classes=2, seed=1)
    images = rng.integers(0, 60, images.shape).astype(np.uint8)
    for image, masks, labels in zip(images, y["masks"], y["labels"], strict=True):
        for mask, label in zip(masks[:2], labels[:2], strict=True):
            image[mask > 0, label] = 255
    knobs = {"num_classes": 2, "image_size": SIZE, "levels": ("C3", "C4"), "pyramid_channels": 16, "mask_channels": 16}
    knobs |= {"anchor_scales": (2.0,), "head_units": 32, "roi_samples": 64, "train_proposals": 60}
    model = MODELS["mask_rcnn"](tiny_backbone(16, ("C3", "C4")), **knobs)
    model.compile(optimizer=keras.optimizers.Adam(5e-3), jit_compile=False)
    serving = model.serving(proposals=60)

    def score():
        served = serving.predict_on_batch(images)
        metric = DetectionMetric(["a", "b"])
        for i in range(4):
            real = served["labels"][i] >= 0
            detections = detections_of({key: served[key] for key in ("boxes", "scores", "labels")}, i, str(i))
            pasted = paste_masks(served["masks"][i][real], detections.boxes, SIZE)
            truth = {key: y[key][i][:2] for key in ("boxes", "labels", "masks")}
            found = type(detections)(**vars(detections) | {"masks": pasted})
            metric.update(Sample(id=str(i), image_size=SIZE, **truth), found)
        scores = metric.result()
        return min(scores["mAP50"], scores["mask_mAP50"])

    assert learned(lambda: model.fit(images, y, batch_size=4, epochs=15, verbose=0), score, 10) >= 0.9
