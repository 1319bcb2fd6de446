"""Weights and an image that two programs can draw alike without a file: every tensor is seeded by its NAME."""

import hashlib
import re
from collections.abc import Mapping

import numpy as np


def drawn_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values for a torch tensor of this name.

    Kernels are uniform with He's variance 2 / fan_in; norms have means near 0 and variances near 1, so that values
    keep their size through a hundred layers.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)  # 0..1
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        low, high = 0.9, 1.1
    elif len(shape) < 2:
        low, high = -0.1, 0.1
    else:
        high = (6 / np.prod(shape[1:])) ** 0.5
        low = -high
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


class DrawnTensors(Mapping):
    """Tensors by their torch names, each drawn when it is asked for: all at once, VGG's take half a gigabyte.

    Args:
        shapes: of the tensors, by their names.
    """

    def __init__(self, shapes):
        self._shapes = shapes

    def __getitem__(self, name):
        return drawn_tensor(name, tuple(self._shapes[name]))

    def __iter__(self):
        return iter(self._shapes)

    def __len__(self):
        return len(self._shapes)


def drawn_image(image_size: tuple[int, int]) -> np.ndarray:
    """float32 `[1, H, W, 3]`, 0..255."""
    return (drawn_tensor("image", (1, *image_size, 3)) / (6 / (image_size[0] * image_size[1] * 3)) ** 0.5 + 1) * 127.5


def drawn_places(name: str, size: int, count: int = 1000) -> np.ndarray:
    """`count` places in a flattened array of `size` values."""
    return np.floor((drawn_tensor(f"{name}.bias", (count,)) + 0.1) * 5 * size).astype(int).clip(0, size - 1)


def drawn_scene(image_size: tuple[int, int], block: int = 20) -> np.ndarray:
    """float32 `[1, H, W, 3]`, 0..255: blocks of one colour each, so that a detector sees more than noise."""
    h, w = image_size
    coarse = drawn_image((-(-h // block), -(-w // block)))
    return coarse.repeat(block, axis=1).repeat(block, axis=2)[:, :h, :w]


# A detector whose values are drawn would put boxes of the size of the image everywhere: residual sums grow a
# thousandfold, and heads answer in proportion. These factors bring each stage back to the size of trained ones.
_CALM = {
    "backbone.fpn.inner_blocks": 1 / 2000,
    "rpn.head.bbox_pred.weight": 0.1,
    "rpn.head.cls_logits.weight": 0.5,
    "roi_heads.box_predictor.bbox_pred.weight": 1.0,
    "roi_heads.box_predictor.cls_score.weight": 2.0,
    "roi_heads.mask_predictor.mask_fcn_logits.weight": 4.0,
    "roi_heads.keypoint_predictor.kps_score_lowres.weight": 4.0,
    "backbone.scale_weight": 20.0,
    "backbone.extra.0.7.1.weight": 1 / 140,
    "head.regression_head.module_list": 0.5,
    "head.classification_head.module_list": 1.5,
    "head.classification_head.cls_logits.weight": 1.2,
    "head.regression_head.bbox_reg.weight": 0.3,
}
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # numbers below 91 that stand for no class


def num_classes(name: str) -> int:
    """Without background: COCO's 80, of which Keypoint R-CNN knows the person alone."""
    return 1 if name.startswith("keypoint") else 80


def is_two_stage(name: str) -> bool:
    """Whether a detector of torchvision has proposals; the others answer for anchors or points."""
    return "rcnn" in name


def drawn_detector_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """As `drawn_tensor`, for torchvision's detectors of 91 classes, which must not find the ten that do not exist."""
    values = drawn_tensor(name, shape)
    if not re.match(r"backbone\.fpn\.\w+\.\d\.1\.", name):  # a norm, which calms by itself
        values *= np.float32(next((factor for start, factor in _CALM.items() if name.startswith(start)), 1.0))
    if name.startswith("backbone.fpn.inner_blocks") and len(shape) == 4 and shape[1] in (160, 960):
        values *= np.float32(40)  # MobileNet's features are smaller
    if name.endswith("extra_blocks.p6.weight") and shape[1] == 2048:  # it takes the backbone's features
        values *= np.float32(1 / 2000)
    classes = "cls_score" in name or "classification_head.module_list" in name
    norm = re.search(r"module_list\.\d\.0\.", name)  # SSDLite has some in its heads
    if classes and name.endswith("bias") and not norm and not len(values) % 91:  # Keypoint R-CNN has one class
        values.reshape(-1, 91)[:, COCO_GAPS] = -100.0
    # Sigmoids: most candidates are unlikely, and there is no background.
    if name == "head.classification_head.cls_logits.bias":
        values -= np.float32(6.0)
        values.reshape(-1, 91)[:, [0, *COCO_GAPS]] = -100.0
    return values


# What the goldens of detectors are made with: the sizes of the two images, and proposals an image.
SCENES = {
    "ssd300_vgg16": ((300, 300), (200, 260)),
    # Doubled without rounding, whose errors drawn weights of such depth would amplify beyond the tolerance.
    "ssdlite320_mobilenet_v3_large": ((320, 320), (160, 320)),
    "retinanet_resnet50_fpn": ((128, 192), (160, 96)),
    "retinanet_resnet50_fpn_v2": ((128, 192), (160, 96)),
    "fcos_resnet50_fpn": ((128, 192), (160, 96)),
    "fasterrcnn_resnet50_fpn": ((128, 192), (160, 96)),
    "fasterrcnn_mobilenet_v3_large_fpn": ((128, 192), (160, 96)),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ((192, 256), (288, 160)),
    "maskrcnn_resnet50_fpn": ((128, 192), (160, 96)),
    "maskrcnn_resnet50_fpn_v2": ((128, 192), (160, 96)),
    "keypointrcnn_resnet50_fpn": ((128, 192), (160, 96)),
}
PROPOSALS = 300


def drawn_training_batch(name: str):
    """What losses are compared on: two images of the detector's first size, with three objects and one.

    Returns:
        images float32 `[2, H, W, 3]`, 0..255, and a dict of boxes float32 `[2, 3, 4]`, labels int32 `[2, 3]` with -1
        for padding, ignore bool `[2, 3]`, masks uint8 `[2, 3, H, W]`, which are left halves of their boxes, and
        keypoints float32 `[2, 3, 17, 3]` of every visibility, which lie in their boxes or on the border.
    """
    h, w = SCENES[name][0]
    scene = drawn_scene((h, w))
    parts = [[[0.1, 0.2, 0.35, 0.6], [0.5, 0.1, 0.95, 0.9], [0.3, 0.55, 0.5, 0.8]], [[0.2, 0.3, 0.8, 0.75]] * 3]
    boxes = (np.float32(parts) * np.float32([w, h, w, h])).round()
    boxes[1, 1:] = 0
    masks = np.zeros((2, 3, h, w), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks.reshape(6, h, w), boxes.reshape(6, 4).astype(int), strict=True):
        mask[y1:y2, x1 : (x1 + x2) // 2] = 1
    labels = np.int32([[0, 40, 79], [17, -1, -1]])
    if num_classes(name) == 1:
        labels = np.minimum(labels, 0)
    shares = np.stack([np.arange(17) * 5 % 17 / 16, np.arange(17) * 3 % 17 / 16], axis=1)  # [17, 2]: 0..1
    keypoints = np.zeros((2, 3, 17, 3), np.float32)
    keypoints[..., :2] = boxes[:, :, None, :2] + shares * (boxes[..., 2:] - boxes[..., :2])[:, :, None]
    keypoints[..., 2] = np.arange(17) % 3
    y = {"boxes": boxes, "labels": labels, "ignore": np.zeros((2, 3), bool), "masks": masks, "keypoints": keypoints}
    return np.concatenate([scene, scene[:, :, ::-1]]), y
