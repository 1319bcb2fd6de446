"""Our detectors find what torchvision's find, with the same weights (drawn by name, see drawn.py)."""

import json
import math

import keras
import numpy as np
import pytest
from support.backbones import first_weights_of_zero
from support.drawn import (
    COCO_GAPS,
    PROPOSALS,
    SCENES,
    drawn_detector_tensor,
    drawn_places,
    drawn_scene,
    drawn_training_batch,
    is_two_stage,
    num_classes,
)
from support.paths import GOLDEN
from support.tiny import SIZE, tiny_backbone

from visionkit.models import MODELS
from visionkit.predict.keypoints import keypoints_of
from visionkit.predict.masks import paste_masks
from visionkit.weights.convert import assign, classes_last
from visionkit.weights.detectors import DETECTORS

FOLDER = GOLDEN / "detectors"
TOLERANCE = 1e-4  # of the output's range
OPTIONS = {  # of `serving`, where torchvision's are others than ours
    "ssd300_vgg16": {"iou_threshold": 0.45},
    "ssdlite320_mobilenet_v3_large": {"iou_threshold": 0.55, "score_threshold": 0.001, "keep": 300},
    "fasterrcnn_mobilenet_v3_large_320_fpn": {},  # its own 150 proposals
}
# torchvision counts 91 classes, which cost 1,025 values each for their scores and four times as many for their boxes;
# and not the scales and offsets of a backbone's frozen norms, 24,400 of MobileNetV3.
_MOBILE = 19_386_354 + 24_400 - 10 * 1025 - 11 * 4 * 1025
PARAMETERS = {
    "fasterrcnn_mobilenet_v3_large_fpn": _MOBILE,
    "fasterrcnn_mobilenet_v3_large_320_fpn": _MOBILE,
    # torchvision also regresses boxes of background, and counts no scales and offsets of ResNet-50's frozen norms.
    "keypointrcnn_resnet50_fpn": 59_137_258 + 53_120 - 4 * 1025,
}
# They are built of the parts of maskrcnn_resnet50_fpn, which make test tries, and take 10 s and more.
SLOW = {"keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"}
# Sampling takes all there are: as many places as anchors, twice over, and as proposals and objects.
EVERYTHING = {"rpn_samples": 13_000, "roi_samples": 320, "train_proposals": PROPOSALS}


def some(names):
    """The names as parameters, in order."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in sorted(names)]


@pytest.fixture(scope="module")
def detector(request):
    """(its name, the detector for its first image with the drawn weights, what torchvision made of them)."""
    name = request.param
    golden = np.load(FOLDER / f"{name}.npz")
    shapes = json.loads(golden["tensors"].tobytes())
    tensors = {tensor: drawn_detector_tensor(tensor, tuple(shape)) for tensor, shape in shapes.items()}
    with first_weights_of_zero():
        model = DETECTORS[name](
            num_classes(name), image_size=SCENES[name][0], **(EVERYTHING if is_two_stage(name) else {})
        )
    report = assign(model, tensors, name)
    if name in PARAMETERS:
        assert sum(math.prod(w.shape) for w in model.trainable_weights) == PARAMETERS[name]
    assert (len(report.loaded), report.skipped, report.missing, report.new) == (len(tensors), (), (), ())
    return name, model, golden


@pytest.mark.parametrize("detector", some(SCENES), indirect=True)
def test_raw_outputs_and_detections_equal_torchvisions(detector):
    name, first, golden = detector
    resized, two_stage = name.startswith("ssd"), is_two_stage(name)
    for i, size in enumerate(SCENES[name]):
        model = first if i == 0 or resized else first.for_size(size)
        image = drawn_scene(size)
        if resized:  # torchvision resizes to the network's size itself
            image = keras.ops.convert_to_numpy(keras.ops.image.resize(image, model.image_size, antialias=False))
        options = OPTIONS.get(name, {"proposals": PROPOSALS} if two_stage else {})
        outputs = keras.Model(model.input, {"raw": model.output, "found": serve(model, options)})
        outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, outputs(image))
        raw, found = outputs["raw"], {key: value[0] for key, value in outputs["found"].items()}
        if two_stage:
            features = {level: keras.ops.convert_to_tensor(raw[level]) for level in model.pooled}
            head = model.box_head(model.pool(features, golden[f"proposals_{i}"][None]))
            raw |= {f"box_{key}": keras.ops.convert_to_numpy(value) for key, value in head.items()}
        for key, values in raw.items():
            places = drawn_places(f"{key}_{i}", values[0].size, 400)
            error = np.abs(values[0].ravel()[places] - golden[f"{key}_{i}"]).max() / golden[f"{key}_{i}_range"]
            assert error <= TOLERANCE, (key, size)
        expected = {key: golden[f"found_{key}_{i}"] for key in ("boxes", "scores", "labels")}
        if resized:
            found["boxes"] = found["boxes"] * (np.float32([size[1], size[0]] * 2) / model.image_size[0])
        partners = same_detections(found, expected)
        if f"found_masks_{i}" in golden:
            masks = golden[f"found_masks_{i}"].astype(np.float32)
            both = zip(found["masks"][partners[: len(masks)]], masks, expected["boxes"], strict=False)
            for ours, theirs, box in both:
                a, b = (paste_masks(mask[None], box[None], size)[0] > 0 for mask in (ours, theirs))
                assert b.any()
                assert (a & b).sum() > 0.99 * (a | b).sum()
        if f"found_keypoints_{i}" in golden:
            theirs = golden[f"found_keypoints_{i}"]
            rows = partners[: len(theirs)]
            ours = keypoints_of(found["heatmaps"][rows], found["boxes"][rows])
            assert np.abs(ours[..., :2] - theirs[..., :2]).max() < 0.1  # pixels
            assert np.abs(ours[..., 2] - theirs[..., 2]).max() < 1e-3 * np.ptp(theirs[..., 2])


# torchvision's names of our losses.
LOSSES = {
    "classification": "class_loss",
    "bbox_regression": "box_loss",
    "bbox_ctrness": "centerness_loss",
    "loss_classifier": "class_loss",
    "loss_box_reg": "box_loss",
    "loss_objectness": "rpn_class_loss",
    "loss_rpn_box_reg": "rpn_box_loss",
    "loss_mask": "mask_loss",
    "loss_keypoint": "keypoint_loss",
}
# Its mask targets are cut half a pixel off (roi_align without `aligned`) and with as many samples as pixels.
LOSS_TOLERANCE = {"mask_loss": 3e-3}  # when measured 5e-5, and 2.7e-3 for the second version


# Faster R-CNN's losses are Mask R-CNN's, and in training the two for phones differ in nothing.
SAME_LOSSES = {"fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"}


@pytest.mark.parametrize("detector", some(set(SCENES) - SAME_LOSSES), indirect=True)
def test_training_losses_equal_torchvisions(detector):
    name, model, golden = detector
    images, y = drawn_training_batch(name)
    y = {key: keras.ops.convert_to_tensor(value) for key, value in y.items()}
    model.compute_loss(None, y, model(images), training=False)
    for theirs, expected in zip(golden["loss_names"], golden["losses"], strict=True):
        found = float(getattr(model, LOSSES[theirs]).result())
        assert found == pytest.approx(expected, rel=LOSS_TOLERANCE.get(LOSSES[theirs], 1e-4)), theirs


def serve(model, options):
    return model.serving(**options)(model.input)


def same_detections(found, expected):
    """For each expected detection the row of `found` with the same label within 0.05 px and 0.001 of score."""
    real = found["labels"] >= 0
    assert real.sum() == len(expected["scores"]) >= 10
    rows = []
    for box, score, label in zip(*expected.values(), strict=True):
        near = np.abs(found["boxes"] - box).max(axis=1) < 0.05
        match = np.flatnonzero(real & near & (np.abs(found["scores"] - score) < 1e-3) & (found["labels"] == label))
        assert len(match), (box, score, label)
        rows.append(match[0])
    return rows


def small(num_classes):
    return MODELS["faster_rcnn"](tiny_backbone(), num_classes, image_size=SIZE, levels=("C4", "C5"), head_units=4)


@pytest.mark.parametrize(("classes", "rows"), [(3, 4), (80, 91)])
def test_background_moves_from_first_to_last_and_gaps_close(classes, rows):
    model = small(classes)
    layers = {layer.name: layer for layer in model.box_head.head.layers}
    numbers = [1, 2, 3] if rows == 4 else [n for n in range(1, 91) if n not in COCO_GAPS]
    logits = np.arange(rows)[:, None] * np.ones((1, 4), np.float32)  # each row says its own number
    assert classes_last(logits, "box_logits", layers["box_logits"], model)[:, 0].tolist() == [*numbers, 0]
    deltas = np.repeat(logits, 4, axis=0) + np.tile(np.arange(4) / 10, rows)[:, None]
    moved = classes_last(deltas, "box_deltas", layers["box_deltas"], model)[:, 0].reshape(-1, 4)
    np.testing.assert_allclose(moved, np.array(numbers)[:, None] + np.arange(4) / 10, rtol=1e-6)


def test_other_classes_than_the_files_are_new():
    model = small(5)
    tensors = {
        "roi_heads.box_predictor.cls_score.weight": np.zeros((91, 4), np.float32),
        "roi_heads.box_predictor.bbox_pred.weight": np.zeros((364, 4), np.float32),
    }
    assert assign(model, tensors, "fasterrcnn_resnet50_fpn").new == ("box_logits.kernel", "box_deltas.kernel")
