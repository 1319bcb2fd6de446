"""The smallest model of each kind, and how models are taken apart."""

import keras
import numpy as np
from keras import ops
from support.tiny import SIZE, tiny_backbone

from visionkit.models import MODELS
from visionkit.types import Detections, check_detections

COMMON = {"num_classes": 3, "class_names": ["cat", "dog", "cow"], "image_size": SIZE}


# So many samples that nothing is drawn: backends draw differently, and test_backends compares them.
TWO_STAGES = COMMON | {
    "levels": ("C4", "C5"),
    "pyramid_channels": 8,
    "anchor_scales": (1.5,),
    "head_units": 16,
    "rpn_samples": 512,
    "roi_samples": 288,
    "train_proposals": 60,
}

KEYPOINTS = {"keypoint_names": ["tip", "left", "right"], "keypoint_channels": 8}
HEADS = COMMON | {"pyramid_channels": 8, "head_convs": 1}  # that all levels share

BUILD = {
    "ssd": lambda: MODELS["ssd"](tiny_backbone(), **COMMON),
    "nanodet": lambda: MODELS["nanodet"](tiny_backbone(), pyramid_channels=16, **COMMON),
    "retinanet": lambda: MODELS["retinanet"](tiny_backbone(), **HEADS),
    "fcos": lambda: MODELS["fcos"](tiny_backbone(), **HEADS),
    "faster_rcnn": lambda: MODELS["faster_rcnn"](tiny_backbone(), **TWO_STAGES),
    "mask_rcnn": lambda: MODELS["mask_rcnn"](tiny_backbone(), mask_channels=8, **TWO_STAGES),
    "keypoint_rcnn": lambda: MODELS["keypoint_rcnn"](tiny_backbone(), **KEYPOINTS, **TWO_STAGES),
    # No dropout: backends draw differently.
    "fcn": lambda: MODELS["fcn"](tiny_backbone(), head_units=8, dropout=0.0, **COMMON),
    "deeplabv3": lambda: MODELS["deeplabv3"](tiny_backbone(), units=8, dropout=0.0, **COMMON),
    "lraspp": lambda: MODELS["lraspp"](tiny_backbone(), units=8, **COMMON),
    "unet": lambda: MODELS["unet"](tiny_backbone(), units=(16, 8, 8, 8, 8), **COMMON),
}


def detections_of(served, i, name="0", size=SIZE):
    found = {key: ops.convert_to_numpy(value)[i] for key, value in served.items()}
    real = found["labels"] >= 0
    return check_detections(Detections(id=name, image_size=size, **{key: value[real] for key, value in found.items()}))


def loss_and_gradients(model, images, y):
    """The loss of one batch and the largest absolute gradient, on whichever backend runs."""
    before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    model.compile(optimizer=keras.optimizers.SGD(1.0), run_eagerly=True)  # one step: tracing it takes longer
    loss = float(model.train_on_batch(images, y, return_dict=True)["loss"])
    steps = [np.abs(ops.convert_to_numpy(v) - b).max() for v, b in zip(model.trainable_variables, before, strict=True)]
    return loss, max(steps)


def learned(train, score, portions):
    """Calls `train` again and again until `score()` is 0.9 or more, at most so often; returns the last score."""
    for _ in range(portions):
        train()
        reached = score()
        if reached >= 0.9:
            break
    return reached
