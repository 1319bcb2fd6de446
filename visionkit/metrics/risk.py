"""Thresholds with a guarantee: conformal risk control.

Angelopoulos et al., "Conformal Risk Control", ICLR 2024 (arXiv 2208.02814), Theorem 1. Every image has a loss between
0 and B that can only fall as the threshold moves to the safe side. With n images, the boldest threshold at which
(sum of the losses + B) / (n + 1) is at most alpha has an EXPECTED loss of at most alpha on the next image, for any
model and any n, provided that the next image is exchangeable with these n: drawn in the same way.

| loss of an image | B | safe side |
|---|---|---|
| the share of its objects that are missed | 1 | a lower threshold |
| its false detections, of which no more than `cap_of` count | `cap_of` | a higher threshold |
| the share of a class's pixels that are missed (section 5 of the paper) | 1 | a lower threshold |

False detections only become fewer as the threshold rises, because both the suppression of doubles and `curves.match`
go from the best score down: what becomes of a detection does not depend on those below it.
"""

import math
from dataclasses import dataclass

import numpy as np

from visionkit import npboxes
from visionkit.metrics.coco_ap import Pairs
from visionkit.metrics.curves import IOU, WRONG, match
from visionkit.types import objects_of


@dataclass(frozen=True, eq=False)
class Found:
    """How each object of a data set was found.

    Args:
        image, label: int `[N]`, of each object that counts.
        score: float32 `[N]`, of the detection that hits it; -1 for an object that is never found.
        beyond: float64 `[N]`, by how much the box must grow to contain the object, as a share of its own width or
            height: the most on any side, 0 if it contains it already; NaN for an object that is never found.
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    beyond: np.ndarray

    def part(self, keep: np.ndarray) -> "Found":
        """Some of the objects, bool `[N]`."""
        return Found(self.image[keep], self.label[keep], self.score[keep], self.beyond[keep])


def found_objects(pairs: Pairs, iou_threshold: float = IOU) -> Found:
    """Matches detections with objects, best score first, so that what is found stays found at lower thresholds.

    Args:
        pairs: the samples, whose ignored objects are left out, and the detections down to a low score.
        iou_threshold: an object is found by a detection of its class that overlaps it so much.
    """
    parts: list[tuple[np.ndarray, ...]] = [(np.empty(0, int), np.empty(0, int), np.empty(0, np.float32), np.empty(0))]
    for i, (sample, detections) in enumerate(pairs):
        boxes, labels, ignore = objects_of(sample)
        scores, beyond = np.full(len(boxes), -1, np.float32), np.full(len(boxes), np.nan)
        matched = match(sample, detections, iou_threshold)
        hits = np.flatnonzero(matched >= 0)
        scores[matched[hits]] = detections.scores[hits]
        beyond[matched[hits]] = _beyond(detections.boxes[hits], boxes[matched[hits]])
        counts = ~ignore
        parts.append((np.full(int(counts.sum()), i), labels[counts], scores[counts], beyond[counts]))
    image, label, score, grow = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Found(image, label, score, grow)


def _beyond(detected: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """By how much boxes `[N, 4]` must grow to contain the objects `[N, 4]`; see `Found`."""
    size = np.maximum(detected[:, 2:] - detected[:, :2], 1e-6).astype(float)  # [N, 2]
    low, high = (detected[:, :2] - objects[:, :2]) / size, (objects[:, 2:] - detected[:, 2:]) / size
    return np.maximum(np.concatenate([low, high], axis=1).max(axis=1, initial=0), 0)  # [N]


def enlarge(boxes: np.ndarray, margin: float, image_size: tuple[int, int]) -> np.ndarray:
    """Moves every side of boxes `[N, 4]` out by `margin` of the width or height, within the image."""
    grow = margin * np.tile(boxes[:, 2:] - boxes[:, :2], 2) * [-1, -1, 1, 1]
    return npboxes.clip(boxes + grow, image_size)


def images_needed(alpha: float, most: float = 1.0) -> int:
    """The least number of images with which a loss of at most `alpha` can be promised at all.

    Args:
        alpha: above 0.
        most: B, the largest loss that an image can have.
    """
    return math.ceil(most / alpha - 1 - 1e-9)


def least_promise(found: Found) -> float:
    """The least alpha that can be promised, at the lowest threshold."""
    losses = _losses(found.image, found.score < 0)
    return float((losses.sum() + 1) / (len(losses) + 1))


def score_threshold(found: Found, alpha: float) -> float | None:
    """The highest threshold at which the expected share of an image's objects that are missed is at most `alpha`.

    Images without objects say nothing about missed ones: the promise is about images that have some.

    Args:
        found: the objects of the calibration images.
        alpha: above 0, below 1.

    Returns:
        A score, of which detections have to have as much or more; None if no threshold can promise it.
    """
    # The loss of an image jumps where an object is lost, by its share of the objects there.
    order = np.argsort(found.score, kind="stable")
    scores, share = found.score[order], _share_of_image(found.image)[order]
    images = len(np.unique(found.image))
    lost = np.concatenate([[0.0], np.cumsum(share)])  # [N + 1]: with the threshold just above the object before
    # At the score of an object as the threshold, that object is found, and so are those of equal scores.
    missed = lost[np.searchsorted(scores, scores, side="left")]
    fits = (missed + 1 <= alpha * (images + 1) + 1e-9) & (scores >= 0)
    return float(scores[fits].max()) if fits.any() else None


def box_margin(found: Found, alpha: float) -> float | None:
    """The least margin with which, of an image's found objects, an expected share of at most `alpha` sticks out.

    Args:
        found: objects that were found, of images that were not used to choose the threshold.
        alpha: above 0, below 1.

    Returns:
        For `enlarge`; None if no margin can promise it: there are too few images.
    """
    order = np.argsort(found.beyond, kind="stable")
    beyond, share = found.beyond[order], _share_of_image(found.image)[order]
    images = len(np.unique(found.image))
    candidates = np.append(0.0, beyond)  # 0, and the objects' own values, at which they just fit
    inside = np.append(0.0, np.cumsum(share))[np.searchsorted(beyond, candidates, side="right")]
    fits = share.sum() - inside + 1 <= alpha * (images + 1) + 1e-9
    return float(candidates[fits].min()) if fits.any() else None


@dataclass(frozen=True, eq=False)
class FalseAlarms:
    """The false detections of a data set.

    Args:
        image, label: int `[N]`, of each.
        score: float32 `[N]`.
        images: how many images there are, with false detections or without.
    """

    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    images: int

    def of_class(self, label: int) -> "FalseAlarms":
        """Those of one class, among the same images."""
        keep = self.label == label
        return FalseAlarms(self.image[keep], self.label[keep], self.score[keep], self.images)


def find_false_alarms(pairs: Pairs, iou_threshold: float = IOU) -> FalseAlarms:
    """The detections that hit neither an object of their class, which no better one has hit, nor an ignored one."""
    parts: list[tuple[np.ndarray, ...]] = [(np.empty(0, int), np.empty(0, np.int32), np.empty(0, np.float32))]
    for i, (sample, detections) in enumerate(pairs):
        wrong = match(sample, detections, iou_threshold) == WRONG
        parts.append((np.full(int(wrong.sum()), i), detections.labels[wrong], detections.scores[wrong]))
    image, label, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return FalseAlarms(image, label, score, len(pairs))


def cap_of(alpha: float) -> float:
    """How many false detections of an image count at most, where `alpha` are promised: 10, or ten times `alpha`.

    Some limit is needed, since an average says nothing of a number that may be as large as it likes, and the lower it
    is, the fewer images the promise needs.
    """
    return 10 * max(1.0, alpha)


def alarm_threshold(alarms: FalseAlarms, alpha: float) -> float | None:
    """The lowest threshold at which the expected number of an image's false detections is at most `alpha`.

    Args:
        alarms: of the calibration images, down to the lowest score that is ever kept.
        alpha: above 0. Of an image's false detections no more than `cap_of(alpha)` count.

    Returns:
        A score, of which detections have to have as much or more: 0 if all may be kept. None if the images are too few
        to promise it.
    """
    cap = cap_of(alpha)
    room = alpha * (alarms.images + 1) - cap + 1e-9
    if room < 0:
        return None
    order = np.argsort(-alarms.score, kind="stable")
    scores, number = alarms.score[order], _number(alarms.image[order])
    adds = np.minimum(number, cap) - np.minimum(number - 1, cap)  # to its image's loss: nothing beyond the cap
    too_many = scores[np.cumsum(adds) > room]
    return float(np.nextafter(too_many[0], np.float32(2))) if len(too_many) else 0.0


def counted_alarms(alarms: FalseAlarms, thresholds: float | np.ndarray, cap: float) -> np.ndarray:
    """How many false detections each image has, no more than `cap`, float64 `[images]`.

    Args:
        alarms: the false detections.
        thresholds: the score from which detections count, for all classes or float `[K]`.
        cap: see `cap_of`.
    """
    limits = np.asarray(thresholds, np.float32)
    kept = alarms.score >= (limits if limits.ndim == 0 else limits[alarms.label])
    return np.minimum(np.bincount(alarms.image[kept], minlength=alarms.images), cap).astype(float)


def _number(image: np.ndarray) -> np.ndarray:
    """Counts the rows of each image: 1 for its first row, 2 for its second, and so on."""
    order = np.argsort(image, kind="stable")
    _, first, counts = np.unique(image[order], return_index=True, return_counts=True)
    number = np.empty(len(image), int)
    number[order] = np.arange(len(image)) - np.repeat(first, counts) + 1
    return number


# Probabilities of a class from which a pixel may count as one of it. They are dense towards 0 and 1, where softmax
# puts most pixels; with 0, everything is of the class.
PROBABILITIES = np.append(0.0, 1 / (1 + np.exp(-np.linspace(-14, 14, 1401)))).astype(np.float32)


def missed_pixels(probabilities: np.ndarray) -> np.ndarray:
    """Which share of a class's pixels is missed at each threshold of `PROBABILITIES`, float64 `[T]`.

    Args:
        probabilities: float32 `[N]` of the class, at the N pixels of an image that are of the class; N is above 0.
    """
    return np.searchsorted(np.sort(probabilities), PROBABILITIES, side="left") / len(probabilities)


def pixel_threshold(missed: np.ndarray, alpha: float) -> float | None:
    """The highest threshold at which the expected share of a class's pixels that are missed is at most `alpha`.

    Args:
        missed: float `[n, T]`, of each calibration image that has the class; see `missed_pixels`.
        alpha: above 0, below 1.

    Returns:
        One of `PROBABILITIES`, which a pixel has to have or more; None if there are too few images.
    """
    fits = missed.sum(axis=0) + 1 <= alpha * (len(missed) + 1) + 1e-9
    return float(PROBABILITIES[fits].max()) if fits.any() else None


def missed_share(found: Found, thresholds: float | np.ndarray) -> np.ndarray:
    """The share of the objects that are missed in each image that has some, float64 `[n]`.

    Args:
        found: the objects.
        thresholds: the score from which detections count, for all classes or float `[K]`.
    """
    limits = np.asarray(thresholds, np.float32)
    return _losses(found.image, found.score < (limits if limits.ndim == 0 else limits[found.label]))


def _share_of_image(image: np.ndarray) -> np.ndarray:
    """For each object 1 / the number of objects in its image."""
    _, place, counts = np.unique(image, return_inverse=True, return_counts=True)
    return 1 / counts[place]


def _losses(image: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """The share of lost objects in each image that has objects."""
    _, place, counts = np.unique(image, return_inverse=True, return_counts=True)
    return np.bincount(place, weights=lost, minlength=len(counts)) / np.maximum(counts, 1)


def split_images(images: np.ndarray, seed: int | list[int] = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of the images, each ascending."""
    mixed = np.random.default_rng(seed).permutation(images)
    half = (len(mixed) + 1) // 2
    return np.sort(mixed[:half]), np.sort(mixed[half:])
