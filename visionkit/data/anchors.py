"""Do a detector's anchors suit the data? Reports the boxes that no anchor fits, and fits anchors to the boxes."""

from collections.abc import Sequence

import numpy as np

from visionkit import resizing
from visionkit.data.dataset import Dataset
from visionkit.types import DataError, objects_of

MOST_BOXES = 500  # evenly picked; their share of misses is within 2 points of that of all boxes
ENOUGH = 0.02  # a smaller share of missed boxes deserves no advice
OVERLAP = 0.5
STEP = 2e-3  # logarithms are clustered in such steps: two thousandths of a side
ALIKE = 5e-3  # clusterings whose mean distances differ by less are equally good


def network_boxes(dataset: Dataset, size: tuple[int, int], resize: str = "letterbox") -> tuple[np.ndarray, np.ndarray]:
    """Returns the objects of a data set at the network's size, as `detection_eval` does, without reading an image.

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
        objects = objects_of(record)
        keep = ~objects.ignore
        boxes.append((objects.boxes[keep] * [fx, fy, fx, fy]).astype(np.float32))
        labels.append(objects.labels[keep])
    return np.concatenate(boxes), np.concatenate(labels)


def best_overlap(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The IoU of each box `[N, 4]` with its best anchor of `[A, 4]`, float32 `[N]`; 0 without anchors."""
    x1, y1, x2, y2 = np.asarray(anchors, np.float32).T  # [A] each: several times as fast as whole boxes
    areas, best = (x2 - x1) * (y2 - y1), np.zeros(len(boxes), np.float32)
    for i, (bx1, by1, bx2, by2) in enumerate(np.asarray(boxes, np.float32)):
        width = np.maximum(np.minimum(x2, bx2) - np.maximum(x1, bx1), 0)
        shared = width * np.maximum(np.minimum(y2, by2) - np.maximum(y1, by1), 0)
        union = areas + (bx2 - bx1) * (by2 - by1) - shared
        best[i] = (shared / np.maximum(union, 1e-9)).max(initial=0)
    return best


def anchor_report(dataset: Dataset, anchors: np.ndarray, size: tuple[int, int], resize: str = "letterbox") -> str:
    """Reports the share of the objects without an anchor of IoU >= 0.5, their classes and sizes, and a remedy.

    Args:
        dataset: the training data, before augmentation.
        anchors: `[A, 4]` in pixels of the network's input.
        size, resize: see `network_boxes`.

    Returns:
        One line if all is well, otherwise several; without a line break at the end.
    """
    boxes, labels = network_boxes(dataset, size, resize)
    if not len(boxes):
        return "anchors: the data has no object to compare them with"
    some = np.linspace(0, len(boxes) - 1, min(len(boxes), MOST_BOXES)).astype(int)
    boxes, labels = boxes[some], labels[some]
    missed = best_overlap(boxes, anchors) < OVERLAP
    share = missed.mean()
    line = f"anchors: {share:.1%} of {len(boxes)} objects have none of IoU >= {OVERLAP:g} at {size[0]}x{size[1]}"
    if share <= ENOUGH:
        return line
    classes = _missed_classes(labels, missed, dataset.class_names)
    return f"{line}; each of these trains only its best anchor\n{classes}\n{_missed_sides(boxes[missed], anchors)}"


def _missed_classes(labels: np.ndarray, missed: np.ndarray, class_names: Sequence[str]) -> str:
    """A line that names the classes with the most missed objects."""
    missed_counts = np.bincount(labels[missed], minlength=len(class_names))
    counts = np.bincount(labels, minlength=len(class_names))
    worst = [k for k in np.argsort(-missed_counts, kind="stable")[:3].tolist() if missed_counts[k]]
    names = ", ".join(f"{class_names[k]} ({missed_counts[k] / counts[k]:.0%} of its objects)" for k in worst)
    return f"  most of these are: {names}"


def _missed_sides(boxes: np.ndarray, anchors: np.ndarray) -> str:
    """Two lines: how large the missed boxes are beside the anchors, and what would help."""
    sides, anchor_sides = np.exp(_log_shapes(boxes)[0]), np.exp(_log_shapes(anchors)[0])
    low, median, high = np.percentile(sides, [10, 50, 90])
    smallest, largest = anchor_sides.min(), anchor_sides.max()
    if median < smallest:
        advice = "a larger image_size, or a finer level such as C2"
    elif median > largest:
        advice = "a smaller image_size, or one more level"
    else:
        advice = "other sizes or aspect ratios"
    return (
        f"  their sides are {low:.0f}..{high:.0f} pixels (median {median:.0f}), anchors have "
        f"{smallest:.0f}..{largest:.0f}\n"
        f"  {advice} would help; visionkit.data.anchors fits anchors to boxes"
    )


def fit_ssd_anchors(boxes: np.ndarray, strides: Sequence[int], ratios: int = 3) -> dict[str, tuple[float, ...]]:
    """Sizes and aspect ratios for `SSD(..., **fit_ssd_anchors(...))`, by clustering on IoU (arXiv 1612.08242, sec. 2).

    Args:
        boxes: `[N, 4]` with positive sides, in pixels of the network's input, see `network_boxes`.
        strides: of the levels with heads, 2**n, ascending.
        ratios: how many aspect ratios besides the square that SSD always has.

    Returns:
        {"anchor_sizes": one per level and one more, in pixels, "aspect_ratios": the square's 1.0 first}.

    Raises:
        DataError: there are no boxes.
    """
    side, ratio = _log_shapes(boxes)
    # Above the finest level an anchor must be large compared with a cell, or boxes between two cells fit neither: half
    # a cell apart in x and y, equal boxes of 2.7 strides a side have an IoU of 0.5.
    least = [0.0, *(2.7 * stride for stride in strides[1:])]
    sizes = np.maximum(np.exp(cluster(side, len(strides))), least)
    largest = max(2 * sizes[-1], np.exp(side.max()))
    return {
        "anchor_sizes": tuple(np.round([*sizes, largest], 1).tolist()),
        "aspect_ratios": (1.0, *np.round(np.exp(cluster(ratio, ratios)), 2).tolist()),
    }


def fit_rcnn_anchors(
    boxes: np.ndarray, strides: Sequence[int], scales: int = 1, ratios: int = 3
) -> dict[str, tuple[float, ...]]:
    """Scales and aspect ratios for `FasterRCNN(..., **fit_rcnn_anchors(...))`, which are the same on all levels.

    Args:
        boxes: see `fit_ssd_anchors`.
        strides: of the levels from which proposals come: with a pyramid one more than `levels`.
        scales, ratios: how many of each.

    Returns:
        {"anchor_scales": in strides, "aspect_ratios": width / height}.

    Raises:
        DataError: there are no boxes.
    """
    side, ratio = _log_shapes(boxes)
    scale = _centres_of_levels(side, scales, np.log(np.asarray(strides, float)))
    return {
        "anchor_scales": tuple(np.round(np.exp(scale), 2).tolist()),
        "aspect_ratios": tuple(np.round(np.exp(cluster(ratio, ratios)), 2).tolist()),
    }


def _log_shapes(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the square root of the area and of width / height, `[N]` each."""
    if not len(boxes):
        raise DataError("no boxes to fit anchors to")
    width, height = np.maximum(np.asarray(boxes, float)[:, 2:] - np.asarray(boxes, float)[:, :2], 1e-3).T
    return np.log(width * height) / 2, np.log(width / height)


def cluster(x: np.ndarray, count: int) -> np.ndarray:
    """The `count` centres with the least mean distance from the numbers `x` `[N]`, ascending float64 `[count]`.

    Of logarithms of sides or ratios these are the best anchors: two squares with one centre have the IoU
    exp(-2 |a - b|), and the IoU of two boxes of equal area and centre also falls with |a - b|.

    In one dimension clusters are intervals, so the least sum is found by dynamic programming (Wang and Song 2011,
    "Ckmeans.1d.dp", with medians). Of clusterings that are `ALIKE` the one with the largest upper clusters is taken, so
    that the centres do not depend on round-off. If there are fewer values than centres, some centres are equal.
    """
    x = np.sort(x)
    steps, counts = np.unique(np.round(x / STEP), return_counts=True)
    values = steps * STEP
    weight, total = (np.concatenate([[0.0], np.cumsum(part)]) for part in (counts, counts * values))  # of the first n
    ends = len(values) + 1
    least = np.full((count + 1, ends), np.inf)  # the sum of distances of the first n values in k clusters
    least[:, 0] = 0.0
    begins = np.zeros((count + 1, ends), int)  # of the last of these clusters, which may be empty
    for end in range(1, ends):
        middle = np.searchsorted(2 * weight[1:], weight[:end] + weight[end])  # the median from each beginning to `end`
        below = values[middle] * (weight[middle] - weight[:end]) - (total[middle] - total[:end])
        above = total[end] - total[middle] - values[middle] * (weight[end] - weight[middle])
        for k in range(1, count + 1):
            sums = least[k - 1, : end + 1] + np.append(below + above, 0.0)
            begins[k, end] = np.argmax(sums <= sums.min() + ALIKE * len(x))  # the first
            least[k, end] = sums[begins[k, end]]
    centres = np.zeros(count)
    end = len(values)
    for k in range(count, 0, -1):
        inside = x[int(weight[begins[k, end]]) : int(weight[end])]
        centres[k - 1] = np.median(inside) if len(inside) else centres[k]  # an empty one is never the last
        end = begins[k, end]
    return centres


def _centres_of_levels(x: np.ndarray, count: int, levels: np.ndarray) -> np.ndarray:
    """`cluster` for centres that occur on every one of `levels`, added to it: by Lloyd's algorithm.

    Returns the best centres met, ascending float64 `[count]`.
    """
    centres = np.quantile(x, (np.arange(count) + 0.5) / count) - np.mean(levels)
    best, least = centres, np.inf
    for _ in range(100):
        distance = np.abs(x[:, None, None] - centres[:, None] - levels)  # [N, count, levels]
        mean_distance = distance.min(axis=(1, 2)).mean()
        if mean_distance >= least:
            break
        best, least = centres, mean_distance
        centre, level = np.unravel_index(distance.reshape(len(x), -1).argmin(axis=1), distance.shape[1:])
        moved = x - levels[level]
        centres = np.array(
            [np.median(moved[centre == k]) if (centre == k).any() else old for k, old in enumerate(centres)]
        )
    return np.sort(best)
