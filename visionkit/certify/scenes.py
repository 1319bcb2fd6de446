"""What a certificate's training consists of: settings, drawn weights and drawn scenes, in NumPy alone.

tools/maintenance/make_certificates.py uses this file too, in an environment with torchvision and without Keras. Every
number is drawn from a name, so that two programs begin alike without a file between them.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

STEPS = 30
BATCHES = 5  # that are repeated, so that there is something to learn
OBJECTS = 3  # rows of a batch's padded targets
NUM_CLASSES = 4  # and background, where a model has one
MOMENTUM = 0.9
CHANNELS = 64  # of pyramids: a quarter of the published, and of every other width of a head
PROPOSALS = 60  # of a two-stage detector, per level before suppression and per image after it
RPN_SAMPLES = 64
COLOURS = np.array([[220, 60, 50], [60, 200, 70], [60, 80, 220], [230, 210, 60]], np.float32)  # of the classes
# Names of the last layers of a head. Their kernels are drawn small, as the papers draw them.
_LAST = ("cls_logits", "bbox_reg", "bbox_ctrness", "cls_score", "bbox_pred", "mask_fcn_logits", "module_list")
_LAST += ("classifier.4", "low_classifier", "high_classifier", "kps_score_lowres")
# The places of an object's keypoints, as shares of its box's width and height; the second lies on the border.
KEYPOINTS = np.array([[0.26, 0.3], [0.53, 1.0], [0.77, 0.61]], np.float32)


@dataclass(frozen=True)
class Course:
    """The settings of one training.

    Args:
        name: of the certificate.
        lr: the learning rate of SGD with momentum. It is small, because a course can be chaotic: at 1e-3, five steps of
            RetinaNet differed by 2e-6 between two programs, and thirty by 6 percent.
        image_size: (height, width) in pixels.
        empty: the third image of every batch has no object.
        spread: the relative difference of a norm at which torchvision's own course ended when each weight of its start
            was changed by up to 1e-7 of itself: no other program can be nearer. Twice as much is allowed, but never
            less than `TOLERANCE` in courses.py.
    """

    name: str
    lr: float
    image_size: tuple[int, int] = (96, 128)
    empty: bool = True
    spread: float = 0.0


COURSES = {
    course.name: course
    for course in (
        # An image without objects teaches our SSD background, and torchvision's nothing.
        Course("ssd", 1e-5, (96, 96), empty=False),
        Course("ssdlite", 1e-5, (96, 96), empty=False),
        Course("retinanet", 2e-5),
        Course("retinanet_v2", 2e-5),
        Course("fcos", 2e-5),
        Course("faster_rcnn", 1e-5),
        Course("faster_rcnn_mobile", 5e-6, spread=7.8e-4),
        Course("mask_rcnn", 5e-6),
        Course("keypoint_rcnn", 2e-6),
        Course("fcn", 1e-3),
        Course("deeplabv3", 1e-3, spread=2.0e-3),
        Course("lraspp", 1e-3),
    )
}


def generator(name: str) -> np.random.Generator:
    """The random numbers that belong to a name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def is_drawn(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of the reference begins with drawn values: kernels, and the norms of the backbone.

    All other tensors begin as each program initialises them, so that a bias that should begin elsewhere is noticed.
    """
    return len(shape) > 1 or ".bn" in name or ".downsample.1." in name


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values for a tensor of the reference: kernels with He's variance, norms close to doing nothing."""
    unit = generator(name).random(shape, dtype=np.float32) * 2 - 1  # -1..1
    if len(shape) == 1:
        centre = 1.0 if name.endswith(("weight", "running_var")) else 0.0
        return (centre + 0.1 * unit).astype(np.float32)
    scale = (6 / np.prod(shape[1:])) ** 0.5
    if any(last in name for last in _LAST) and shape[1] > 1:  # SSDLite's depthwise kernels come earlier
        scale *= 0.1
    elif "inner_blocks" in name or "p6" in name:  # the features of a residual network are larger than its input
        scale *= 0.3
    return (scale * unit).astype(np.float32)


def sampling_noise(count: int) -> np.ndarray:
    """What decides, in both programs, which of `count` anchors are sampled: those with the greatest noise."""
    return generator(f"noise{count}").random(count, dtype=np.float32)


def batch(course: Course, step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The batch of one step: three images with coloured rectangles.

    Returns:
        images float32 `[3, H, W, 3]`, 0..255, and a dict of boxes float32 `[3, 3, 4]`, labels int32 `[3, 3]` with -1
        for padding, ignore bool `[3, 3]`, masks uint8 `[3, 3, H, W]`, which are the left halves of their boxes,
        keypoints float32 `[3, 3, 3, 3]`, of which the last one of every second object is not annotated, and
        segmentation int32 `[3, H, W]`, 0 for background, 1 + the label in a box, and 255 in the first rows.
    """
    height, width = course.image_size
    random = generator(f"{course.name}.{course.image_size}.{step % BATCHES}").random
    blocks = random((OBJECTS, height // 8, width // 8, 3), dtype=np.float32)
    images = np.floor(40 + 80 * blocks).repeat(8, axis=1).repeat(8, axis=2)  # [3, H, W, 3]
    boxes = np.zeros((OBJECTS, OBJECTS, 4), np.float32)
    labels = np.full((OBJECTS, OBJECTS), -1, np.int32)
    masks = np.zeros((OBJECTS, OBJECTS, height, width), np.uint8)
    segmentation = np.zeros((OBJECTS, height, width), np.int32)
    for image, count in enumerate((3, 1, 0 if course.empty else 2)):
        for row in range(count):
            x, y, w, h, kind = random(5)
            w, h = int(20 + 0.5 * w * (width - 20)), int(20 + 0.5 * h * (height - 20))
            x, y, label = int(x * (width - w)), int(y * (height - h)), int(kind * NUM_CLASSES)
            boxes[image, row] = x, y, x + w, y + h
            labels[image, row] = label
            masks[image, row, y : y + h, x : x + w // 2] = 1
            images[image, y : y + h, x : x + w] = COLOURS[label]
            segmentation[image, y : y + h, x : x + w] = 1 + label
    segmentation[:, :4] = 255
    keypoints = np.ones((OBJECTS, OBJECTS, len(KEYPOINTS), 3), np.float32)
    keypoints[..., :2] = boxes[:, :, None, :2] + KEYPOINTS * (boxes[..., 2:] - boxes[..., :2])[:, :, None]
    keypoints[:, 1::2, -1] = 0
    y = {"boxes": boxes, "labels": labels, "ignore": np.zeros(labels.shape, bool), "masks": masks}
    return images.astype(np.float32), y | {"keypoints": keypoints, "segmentation": segmentation}
