"""Do a detector's anchors suit the data? Which boxes none of them fits, and anchors fitted to the boxes instead."""

from collections.abc import Sequence

import numpy as np

from visionkit import resizing
from visionkit.data.dataset import Dataset
from visionkit.types import DataError

LOOKED_AT = 500  # boxes, evenly picked; the share of those is within 2 points of the share of all
ENOUGH = 0.02  # a share of boxes that is not worth advice
OVERLAP = 0.5


def network_boxes(dataset: Dataset, size: tuple[int, int], resize: str = "letterbox"):
    """The objects of a data set at the network's size, as `detection_eval` gives them, without reading an image.

    Args:
        dataset: with boxes; ignored ones are left out.
        size: (height, width) of the network's input.
        resize: "letterbox" or "stretch".

    Returns:
        boxes float32 `[N, 4]` in pixels of the network's input, and labels int32 `[N]`.
    """
    boxes, labels = [np.empty((0, 4), np.float32)], [np.empty(0, np.int32)]
    for record in dataset.records:
        h, w = record.image_size
        fy, fx = resizing.letterbox_factors((h, w), size)[1] if resize == "letterbox" else (size[0] / h, size[1] / w)
        keep = np.ones(len(record.boxes), bool) if record.ignore is None else ~record.ignore
        boxes.append((record.boxes[keep] * [fx, fy, fx, fy]).astype(np.float32))
        labels.append(record.labels[keep])
    return np.concatenate(boxes), np.concatenate(labels)


def best_overlap(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The IoU of each box `[N, 4]` with its best anchor of `[A, 4]` -> float32 `[N]`; 0 without anchors."""
    x1, y1, x2, y2 = np.asarray(anchors, np.float32).T  # [A] each: planes are several times as fast as pairs
    areas, best = (x2 - x1) * (y2 - y1), np.zeros(len(boxes), np.float32)
    for i, (bx1, by1, bx2, by2) in enumerate(np.asarray(boxes, np.float32)):
        width = np.maximum(np.minimum(x2, bx2) - np.maximum(x1, bx1), 0)
        shared = width * np.maximum(np.minimum(y2, by2) - np.maximum(y1, by1), 0)
        union = areas + (bx2 - bx1) * (by2 - by1) - shared
        best[i] = (shared / np.maximum(union, 1e-9)).max(initial=0)
    return best


def anchor_report(dataset: Dataset, anchors: np.ndarray, size: tuple[int, int], resize: str = "letterbox") -> str:
    """Says which share of the objects has no anchor of IoU >= 0.5, of which classes and sizes they are, and what helps.

    Args:
        dataset: what is trained on, before augmentation.
        anchors: `[A, 4]` in pixels of the network's input.
        size, resize: see `network_boxes`.

    Returns:
        One line where all is well, else some; without a line break at the end.
    """
    boxes, labels = network_boxes(dataset, size, resize)
    if not len(boxes):
        return "anchors: the data has no object to compare them with"
    some = np.linspace(0, len(boxes) - 1, min(len(boxes), LOOKED_AT)).astype(int)
    boxes, labels = boxes[some], labels[some]
    missed = best_overlap(boxes, anchors) < OVERLAP
    share = missed.mean()
    line = f"anchors: {share:.1%} of {len(boxes)} objects have none of IoU >= {OVERLAP:g} at {size[0]}x{size[1]}"
    if share <= ENOUGH:
        return line
    lines = [f"{line}; of those only the best anchor learns"]
    counts, of = (np.bincount(x, minlength=len(dataset.class_names)) for x in (labels[missed], labels))
    shares = counts / np.maximum(of, 1)
    worst = [k for k in np.argsort(-counts, kind="stable")[:3] if counts[k]]
    lines.append(
        "  most are of: " + ", ".join(f"{dataset.class_names[k]} ({shares[k]:.0%} of its objects)" for k in worst)
    )
    sides, known = (np.exp(_log_shapes(x)[0]) for x in (boxes[missed], anchors))
    low, middle, high = np.percentile(sides, [10, 50, 90])
    lines.append(
        f"  their sides are {low:.0f}..{high:.0f} pixels (median {middle:.0f}), anchors have "
        f"{known.min():.0f}..{known.max():.0f}"
    )
    if middle < known.min():
        advice = "a larger image_size, or a finer level such as C2"
    elif middle > known.max():
        advice = "a smaller image_size, or one more level"
    else:
        advice = "other sizes or aspect ratios"
    return "\n".join([*lines, f"  {advice} would help; visionkit.data.anchors fits anchors to boxes"])


def fit_ssd_anchors(boxes: np.ndarray, strides: Sequence[int], ratios: int = 3) -> dict:
    """Sizes and aspect ratios for `SSD(..., **fit_ssd_anchors(...))`, by clustering on IoU (arXiv 1612.08242, sec. 2).

    Args:
        boxes: `[N, 4]` of positive sides in pixels of the network's input, see `network_boxes`.
        strides: of the levels with heads, 2**n, ascending.
        ratios: aspect ratios besides the square that SSD always has.

    Returns:
        {"anchor_sizes": one a level and one more, in pixels, "aspect_ratios": the square's 1.0 first}.

    Raises:
        DataError: there are no boxes.
    """
    side, ratio = _log_shapes(boxes)
    # Beyond the finest level a cell must be small beside its anchors, or boxes between two cells fit neither: at half
    # a cell's distance in x and y, equal boxes of 2.7 strides a side have an IoU of 0.5.
    least = [0.0, *(2.7 * stride for stride in strides[1:])]
    sizes = np.maximum(np.exp(_centres(side, len(strides))), least)
    largest = max(2 * sizes[-1], np.exp(side.max()))
    return {
        "anchor_sizes": tuple(np.round([*sizes, largest], 1).tolist()),
        "aspect_ratios": (1.0, *np.round(np.exp(_centres(ratio, ratios)), 2).tolist()),
    }


def fit_rcnn_anchors(boxes: np.ndarray, strides: Sequence[int], scales: int = 1, ratios: int = 3) -> dict:
    """Scales and aspect ratios for `FasterRCNN(..., **fit_rcnn_anchors(...))`, whose levels all have the same.

    Args:
        boxes: see `fit_ssd_anchors`.
        strides: of the levels that proposals come from: with a pyramid one more than `levels`.
        scales, ratios: how many of each.

    Returns:
        {"anchor_scales": in strides, "aspect_ratios": width / height}.

    Raises:
        DataError: there are no boxes.
    """
    side, ratio = _log_shapes(boxes)
    scale = _centres(side, scales, np.log(np.asarray(strides, float)))
    return {
        "anchor_scales": tuple(np.round(np.exp(scale), 2).tolist()),
        "aspect_ratios": tuple(np.round(np.exp(_centres(ratio, ratios)), 2).tolist()),
    }


def _log_shapes(boxes):
    """Logarithms of the square root of the area and of width / height, `[N]` each."""
    if not len(boxes):
        raise DataError("no boxes to fit anchors to")
    width, height = np.maximum(np.asarray(boxes, float)[:, 2:] - np.asarray(boxes, float)[:, :2], 1e-3).T
    return np.log(width * height) / 2, np.log(width / height)


def _centres(x, count, levels=np.zeros(1)):  # noqa: B008 - never written to
    """`count` centres for logarithms `[N]` of sides or of ratios: Lloyd's algorithm with the IoU as nearness.

    Two squares with one centre have the IoU exp(-2 |a - b|), two boxes of equal area and centre a falling function
    of |a - b| too: the nearest by IoU is the nearest logarithm, and the median is what the most lie near to. Each
    centre stands at every one of `levels`, relative to it. Returns the best ascending float64 `[count]` met.
    """
    centres = np.quantile(x, (np.arange(count) + 0.5) / count) - np.mean(levels)
    best, least = centres, np.inf
    for _ in range(100):
        distance = np.abs(x[:, None, None] - centres[:, None] - levels)  # [N, count, levels]
        if distance.min(axis=(1, 2)).mean() >= least:
            break
        best, least = centres, distance.min(axis=(1, 2)).mean()
        centre, level = np.unravel_index(distance.reshape(len(x), -1).argmin(axis=1), distance.shape[1:])
        moved = x - levels[level]
        centres = np.array(
            [np.median(moved[centre == k]) if (centre == k).any() else old for k, old in enumerate(centres)]
        )
    return np.sort(best)
