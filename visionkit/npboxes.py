"""Box maths in numpy, and every conversion between foreign box formats and ours.

Ours is x1, y1, x2, y2 in absolute pixels, continuous: width = x2 - x1. The tests also use this file as the reference
for `visionkit.ops.boxes`. Where nothing else is said, `boxes` are float arrays `[..., 4]`, `image_size` is (height,
width) in pixels, and a function returns float32 `[..., 4]`. IoU is that of the PASCAL VOC challenge (Everingham et al.
2010).
"""

import numpy as np

NEAR = 10  # boxes that end in the last fifth of their images, for `may_be_xywh`


def area(boxes: np.ndarray) -> np.ndarray:
    """Areas in square pixels: `[..., 4]` -> `[...]`."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `a` `[N, 4]` with every box of `b` `[M, 4]` -> `[N, M]` in 0..1."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # [N, M, 2]
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])  # [N, M, 2]
    intersection = np.clip(high - low, 0, None).prod(axis=-1)  # [N, M]
    union = area(a)[:, None] + area(b)[None, :] - intersection
    return intersection / np.maximum(union, 1e-9)


def nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression of one class.

    Args:
        boxes: `[N, 4]`.
        scores: `[N]`; of equal scores the earlier box wins.
        iou_threshold: a box is dropped where its IoU with a kept box is ABOVE this.

    Returns:
        int64 `[K]`, the indices of the kept boxes by descending score.
    """
    overlap = iou(boxes, boxes)
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    kept: list[int] = []
    while order:
        best = order.pop(0)
        kept.append(best)
        order = [i for i in order if overlap[best, i] <= iou_threshold]
    return np.array(kept, dtype=np.int64)


def clip(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Boxes clipped to an image of (height, width)."""
    h, w = image_size
    return np.clip(boxes, 0, [w, h, w, h]).astype(np.float32)


def from_xywh(boxes: np.ndarray) -> np.ndarray:
    """From COCO's format: x, y of the top left corner, width and height, in pixels."""
    x, y, w, h = np.moveaxis(np.asarray(boxes, np.float64), -1, 0)
    return np.stack([x, y, x + w, y + h], axis=-1).astype(np.float32)


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """The inverse of `from_xywh`."""
    x1, y1, x2, y2 = np.moveaxis(np.asarray(boxes, np.float64), -1, 0)
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=-1).astype(np.float32)


def fit_as_xywh(boxes: np.ndarray, sizes: np.ndarray | tuple[int, int]) -> np.ndarray:
    """Whether boxes end inside their images if they are read as x, y, width, height.

    Args:
        boxes: `[N, 4]` in pixels.
        sizes: `[N, 2]` or `[2]`, (height, width) of their images.

    Returns:
        bool `[N]`; a pixel outside is explained by rounding.
    """
    inside = boxes[:, :2] + boxes[:, 2:] <= np.asarray(sizes)[..., ::-1] + 1  # [N, 2]
    return np.all(inside, axis=1)


def may_be_xywh(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether boxes that pass for x1, y1, x2, y2 are rather x, y, width, height: evidence from a whole data set.

    Widths end with the image: x + w never exceeds the image's width. For corners, x1 + x2 is the width where a box lies
    in the middle, which is no border at all. So if many boxes come close to that line and none is beyond it, in x as in
    y, it is the border of widths and heights. Boxes that begin at 0 or touch the line count for neither.

    Args:
        boxes: `[N, 4]` in pixels.
        sizes: `[N, 2]`, (height, width) of their images.

    Returns:
        True if they probably are.
    """
    rows = np.unique(np.hstack([boxes, sizes]), axis=0)  # the same box again is no further evidence
    boxes, sides = rows[:, :4], rows[:, [5, 4]]  # width, height
    if not fit_as_xywh(boxes, rows[:, 4:]).all():
        return False
    ends = boxes[:, :2] + boxes[:, 2:]
    near = (boxes[:, :2] > 1) & (ends > 0.8 * sides) & (ends < sides - 1)
    return bool((near.sum(axis=0) >= NEAR).all())


def from_voc(boxes: np.ndarray) -> np.ndarray:
    """From Pascal VOC's: xmin, ymin, xmax, ymax as 1-based indices of the first and last pixel inside the box."""
    return (np.asarray(boxes, np.float64) - [1, 1, 0, 0]).astype(np.float32)


def to_voc(boxes: np.ndarray) -> np.ndarray:
    """The inverse of `from_voc`."""
    return (np.asarray(boxes, np.float64) + [1, 1, 0, 0]).astype(np.float32)


def from_yolo(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """From YOLO's: centre x, centre y, width, height as fractions of an image of (height, width)."""
    h, w = image_size
    cx, cy, bw, bh = np.moveaxis(np.asarray(boxes, np.float64), -1, 0)
    unit = np.stack([cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2], axis=-1)
    return (unit * [w, h, w, h]).astype(np.float32)


def to_yolo(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """The inverse of `from_yolo`."""
    h, w = image_size
    x1, y1, x2, y2 = np.moveaxis(np.asarray(boxes, np.float64) / [w, h, w, h], -1, 0)
    return np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=-1).astype(np.float32)


def from_tf(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """From TensorFlow's: ymin, xmin, ymax, xmax as fractions of an image of (height, width)."""
    h, w = image_size
    return (np.asarray(boxes, np.float64)[..., [1, 0, 3, 2]] * [w, h, w, h]).astype(np.float32)


def to_tf(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """The inverse of `from_tf`."""
    h, w = image_size
    return (np.asarray(boxes, np.float64) / [w, h, w, h])[..., [1, 0, 3, 2]].astype(np.float32)


def of_numbers(numbers: np.ndarray) -> np.ndarray:
    """The tightest boxes `[N, 4]` around the pixels of `numbers` `[H, W]` that are 1, 2, ... N; 0 is background."""
    count = int(numbers.max(initial=0))
    first = np.full((2, count), np.iinfo(np.int64).max)  # x1, y1
    last = np.zeros((2, count), np.int64)  # x2, y2
    step = max(1, 2**20 // max(1, numbers.shape[1]))  # rows at a time: the places of pixels take much more than they
    for top in range(0, len(numbers), step):
        rows, columns = numbers[top : top + step].nonzero()
        index = numbers[top : top + step][rows, columns] - 1
        for axis, places in enumerate((columns, rows + top)):
            np.minimum.at(first[axis], index, places)
            np.maximum.at(last[axis], index, places + 1)
    return np.concatenate([first, last]).T.astype(np.float32)


def of_masks(masks: np.ndarray) -> np.ndarray:
    """The tightest boxes `[N, 4]` around masks `[N, H, W]` of 0 and 1; an empty mask gives a box of zeros."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
