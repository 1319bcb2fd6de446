"""Detectors and segmenters that exist only as the tables of their metrics, drawn for as many images as one likes."""

import numpy as np

from visionkit.metrics.coco_ap import IOU_THRESHOLDS
from visionkit.metrics.matches import Matches
from visionkit.metrics.risk import Found
from visionkit.metrics.weighted import Areas

OBJECTS = (1.5, 0.7, 0.3)  # of each class in an image, on average; the last one is rare


def detector(rng: np.random.Generator, images: int, looks: int = 1, skill: float = 1.0) -> list[Matches]:
    """Draws images of three classes, and what a detector says of them.

    Some images are harder than others: what happens to the objects of one image is not independent, as in photographs.

    Args:
        rng: of all that is drawn.
        images: N.
        looks: how often a detector of the same skill looks at the same images.
        skill: how often it is right.
    """
    ease = rng.normal(0, 1, images)
    counts = rng.poisson(OBJECTS, (images, len(OBJECTS)))  # [N, K]
    return [_look(rng, ease, counts, skill) for _ in range(looks)]


def _look(rng: np.random.Generator, ease: np.ndarray, counts: np.ndarray, skill: float) -> Matches:
    images, num_classes = counts.shape
    image = np.repeat(np.arange(images), counts.sum(axis=1))
    label = np.repeat(np.tile(np.arange(num_classes), images), counts.ravel())
    quality = skill + ease[image] - 0.3 * label + rng.normal(0, 1, len(image))
    found = quality > 0
    invented = rng.poisson(0.6 * np.exp(-0.5 * ease)[:, None], (images, num_classes))
    wrong_image = np.repeat(np.arange(images), invented.sum(axis=1))
    wrong_label = np.repeat(np.tile(np.arange(num_classes), images), invented.ravel())
    raw = np.concatenate([quality[found], rng.normal(-0.3, 1, len(wrong_image))])
    is_hit = np.arange(len(raw)) < found.sum()
    hit = is_hit[:, None] & (raw[:, None] > np.linspace(-9, 3, len(IOU_THRESHOLDS)))
    hit[:, 0] = is_hit
    return Matches(
        images,
        counts.astype(float),
        np.concatenate([image[found], wrong_image]),
        np.concatenate([label[found], wrong_label]),
        1 / (1 + np.exp(-raw)),
        hit,
        np.zeros_like(hit),
    )


def part_of(table: Matches, images: np.ndarray) -> Matches:
    """The table of some of the images, int `[n]` ascending."""
    place = np.full(table.images, -1)
    place[images] = np.arange(len(images))
    rows = place[table.image] >= 0
    return Matches(
        len(images),
        table.objects[images],
        place[table.image[rows]],
        table.label[rows],
        table.score[rows],
        table.hit[rows],
        table.ignored[rows],
    )


def found_objects(rng: np.random.Generator, images: int) -> Found:
    """Draws the objects of images that have some, and how a detector finds them; it never finds 1 % of them."""
    ease = rng.normal(0, 0.7, images)
    image = np.repeat(np.arange(images), 1 + rng.poisson(2, images))
    quality = ease[image] + rng.normal(1, 1, len(image))
    score = np.where(rng.random(len(image)) < 0.01, -1, 1 / (1 + np.exp(-quality))).astype(np.float32)
    beyond = np.where(score < 0, np.nan, np.abs(rng.normal(0, 0.1, len(image)) - 0.02 * ease[image]))
    return Found(image, rng.integers(0, 2, len(image)), score, beyond)


def segmenter(rng: np.random.Generator, images: int) -> Areas:
    """Draws the pixels of four classes in `images` images; the last class is in one image of five."""
    present = rng.random((images, 4)) < [1.0, 0.8, 0.5, 0.2]
    actual = present * rng.lognormal(8, 1, (images, 4))
    ease = rng.normal(1.5, 0.8, (images, 1))
    recall = 1 / (1 + np.exp(-ease - rng.normal(0, 0.7, (images, 4)) + [0, 0.3, 0.6, 0.9]))
    correct = actual * recall
    lost = (actual - correct).sum(axis=1, keepdims=True)
    predicted = correct + lost * rng.dirichlet([2, 2, 1, 0.5], images)
    return Areas(correct, actual, predicted, np.full((images, 4), np.nan))
