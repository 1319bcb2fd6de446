"""Drawn discs, rectangles, triangles and stars on photographs: data for demos and tests without a download."""

import logging
import zlib
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset, Load
from visionkit.images import read_image
from visionkit.types import Sample

NAMES = ("disc", "rectangle", "triangle", "star")
SEGMENTATION_NAMES = ("background", *NAMES)  # the classes of the segmentation maps
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "gravel.png")
MIN_VISIBLE = 1 / 3  # an object is not drawn if less than this share of any object would stay visible


def shapes(
    count: int,
    image_size: tuple[int, int] = (256, 256),
    seed: int = 0,
    split: str = "train",
    max_objects: int = 5,
    background: str = "photo",
) -> Dataset:
    """Draws a data set of shapes with boxes, masks and segmentation maps that agree to the pixel.

    Sample i depends on (seed, split, i) and the other arguments, not on `count`. Later shapes cover earlier ones; masks
    hold the visible part (at least a third of the shape) and boxes are tight around it.

    Args:
        count: how many samples.
        image_size: (height, width), each at least 32.
        seed: 0 or more.
        split: any name; different splits have different samples.
        max_objects: an image has 1 to this many shapes.
        background: "photo", random crops of the photographs in the scikit-image package (if it is not installed, a
            warning is logged and "noise" is used), or "noise", smooth coloured noise.

    Returns:
        Dataset of 4 classes. A sample has `boxes`, `labels`, `masks` uint8 `[N, H, W]` and `segmentation` int32
        `[H, W]`: 0 is background, class id + 1 a shape (`SEGMENTATION_NAMES`). Records have boxes and labels.

    Raises:
        ValueError: an argument is out of its range.
    """
    if count < 0 or min(image_size) < 32 or not 1 <= max_objects <= 200 or background not in ("photo", "noise"):
        given = f"{count=}, {image_size=}, {max_objects=}, {background=}"
        raise ValueError(f"shapes: expected count >= 0, sides >= 32, 1 to 200 objects, photo or noise; found {given}")
    load = partial(_load, image_size=image_size, seed=seed, split=split, max_objects=max_objects, background=background)
    records = []
    for i in range(count):
        outlines, labels, owner = _geometry(_rng(seed, split, i, 0), image_size, max_objects)
        boxes = npboxes.of_masks(_masks(owner, len(outlines)))
        records.append(Sample(id=f"{split}-{i:06d}", image_size=image_size, boxes=boxes, labels=labels))
    return Dataset(records, NAMES, load, f"drawn shapes, split {split}, seed {seed}")


def shape_maps(count: int, image_size: tuple[int, int] = (256, 256), seed: int = 0, split: str = "train") -> Dataset:
    """Returns the samples of `shapes` for segmentation only; the classes are `SEGMENTATION_NAMES`."""
    data = shapes(count, image_size, seed, split)
    records = [replace(record, boxes=None, labels=None) for record in data.records]
    return Dataset(records, SEGMENTATION_NAMES, partial(_load_map, data.load), data.source)


def _load_map(load: Load, record: Sample) -> Sample:
    return replace(load(record), boxes=None, labels=None, masks=None)


def _load(
    record: Sample, image_size: tuple[int, int], seed: int, split: str, max_objects: int, background: str
) -> Sample:
    i = int(record.id.rpartition("-")[2])
    outlines, labels, owner = _geometry(_rng(seed, split, i, 0), image_size, max_objects)
    rng = _rng(seed, split, i, 1)
    image = _photo(rng, image_size) if background == "photo" and _photos() else _noise(rng, image_size)
    for outline in outlines:
        _paint(image, outline, rng)
    masks = _masks(owner, len(outlines))
    segmentation = np.concatenate([[0], labels + 1]).astype(np.int32)[owner]
    return Sample(
        id=record.id,
        image_size=image_size,
        image=image,
        boxes=npboxes.of_masks(masks),
        labels=labels,
        masks=masks,
        segmentation=segmentation,
    )


def _rng(seed: int, split: str, i: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(split.encode()), i, purpose])


def _geometry(
    rng: np.random.Generator, image_size: tuple[int, int], max_objects: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Outlines (each `[P, 2]` x, y), their labels int32 `[N]`, and the owner of each pixel.

    The owner is uint8 `[H, W]`: 0 for background, else 1 + the index of the shape visible there.
    """
    h, w = image_size
    owner = np.zeros((h, w), np.uint8)
    outlines: list[np.ndarray] = []
    labels: list[int] = []
    areas: list[float] = []
    for _ in range(rng.integers(1, max_objects + 1)):
        label = int(rng.integers(len(NAMES)))
        radius = min(h, w) * np.exp(rng.uniform(np.log(0.08), np.log(0.27)))
        centre = rng.uniform([0.6 * radius] * 2, [w - 0.6 * radius, h - 0.6 * radius])
        outline = centre + radius * _unit_outline(label, rng)
        drawn = np.where(_coverage(outline, (0, 0, w, h)) >= 128, np.uint8(len(outlines) + 1), owner)
        # The area of the whole shape, so that what the image's edge cuts off counts as hidden too.
        new_areas = [*areas, cv2.contourArea(outline.astype(np.float32))]
        visible = np.bincount(drawn.ravel(), minlength=len(new_areas) + 1)[1:]
        if (visible >= MIN_VISIBLE * np.array(new_areas)).all():
            owner, areas = drawn, new_areas
            outlines.append(outline)
            labels.append(label)
    return outlines, np.array(labels, np.int32), owner


def _unit_outline(label: int, rng: np.random.Generator) -> np.ndarray:
    """A polygon `[P, 2]` of about radius 1 around the origin, randomly rotated."""
    kind, turn = NAMES[label], rng.uniform(0, 2 * np.pi)
    if kind == "rectangle":
        corner = rng.uniform(0.45, np.pi / 4)  # half the angle of the short side; pi / 4 is a square
        angles, radii = np.array([-corner, corner, np.pi - corner, np.pi + corner]), np.ones(4)
    else:
        points = {"disc": 64, "triangle": 3, "star": 10}[kind]
        angles, radii = np.arange(points) * 2 * np.pi / points, np.ones(points)
        if kind == "triangle":
            angles = angles + rng.uniform(-0.3, 0.3, 3)
        if kind == "star":
            radii[1::2] = rng.uniform(0.4, 0.5)
    return radii[:, None] * np.stack([np.cos(angles + turn), np.sin(angles + turn)], axis=1)


def _coverage(outline: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """How much of each pixel of the window (x1, y1, x2, y2) the outline covers, uint8 `[H, W]` 0..255."""
    x1, y1, x2, y2 = window
    canvas = np.zeros((y2 - y1, x2 - x1), np.uint8)
    # Here pixel i covers i..i+1, but for cv2 its centre is at i; shift=4 means sixteenths of a pixel.
    points = np.round((outline - [x1 + 0.5, y1 + 0.5]) * 16).astype(np.int32)
    return cv2.fillPoly(canvas, [points], 255, lineType=cv2.LINE_AA, shift=4)


def _masks(owner: np.ndarray, count: int) -> np.ndarray:
    return (owner == np.arange(1, count + 1, dtype=np.uint8)[:, None, None]).astype(np.uint8)


def _paint(image: np.ndarray, outline: np.ndarray, rng: np.random.Generator) -> None:
    """Draws one shape into the image: a colour that stands out, shaded across, with a darker rim."""
    h, w = image.shape[:2]
    low, high = np.floor(outline.min(axis=0)) - 2, np.ceil(outline.max(axis=0)) + 2
    x1, y1, x2, y2 = (*np.maximum(low, 0).astype(int), *np.minimum(high, [w, h]).astype(int))
    patch = image[y1:y2, x1:x2]
    alpha = _coverage(outline, (x1, y1, x2, y2))[..., None] / np.float32(255)
    under = (patch * alpha).sum(axis=(0, 1)) / max(alpha.sum(), 1)
    hsv = rng.uniform([0, 130, 90], [180, 256, 256], (16, 3)).astype(np.uint8)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0].astype(np.float32)
    contrast = np.linalg.norm(colours - under, axis=1)
    colour = colours[np.argmax(contrast > 130) if contrast.max() > 130 else contrast.argmax()]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-1, 1, x2 - x1) * np.cos(angle) + np.linspace(-1, 1, y2 - y1)[:, None] * np.sin(angle)
    centre = outline.mean(axis=0)
    inner = _coverage(centre + (outline - centre) * 0.86, (x1, y1, x2, y2))[..., None] / np.float32(255)
    filled = colour * (1 + 0.22 * ramp[..., None].astype(np.float32)) * (0.62 + 0.38 * inner)
    image[y1:y2, x1:x2] = np.clip(patch * (1 - alpha) + filled * alpha + 0.5, 0, 255).astype(np.uint8)


@cache
def _photos() -> list[np.ndarray]:
    """The photographs, or [] with one warning in the log if scikit-image is not installed."""
    package = find_spec("skimage")  # finds the folder without importing it; its own loaders may download
    folder = Path(package.origin).parent / "data" if package and package.origin else Path("skimage")
    files = [folder / name for name in PHOTOS if (folder / name).is_file()]
    if not files:
        logging.getLogger(__name__).warning("no photographs in %s (pip install scikit-image): noise instead", folder)
    return [read_image(file) for file in files]


def _photo(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """A crop of a photograph with the image's proportions, mirrored half of the time and slightly darkened."""
    photo = _photos()[rng.integers(len(_photos()))]
    (h, w), (ph, pw) = image_size, photo.shape[:2]
    scale = min(ph / h, pw / w) * rng.uniform(0.5, 1)
    ch, cw = max(1, int(h * scale)), max(1, int(w * scale))
    y, x = rng.integers(ph - ch + 1), rng.integers(pw - cw + 1)
    crop = photo[y : y + ch, x : x + cw][:, :: rng.choice([-1, 1])]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    image = cv2.resize(np.ascontiguousarray(crop), (w, h), interpolation=method)
    return cv2.convertScaleAbs(image, alpha=rng.uniform(0.7, 1))


def _noise(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """Smooth coloured noise of two wavelengths."""
    h, w = image_size
    coarse, fine = (rng.uniform(50, 205, (n, n, 3)).astype(np.float32) for n in (5, 24))
    coarse, fine = (cv2.resize(noise, (w, h), interpolation=cv2.INTER_CUBIC) for noise in (coarse, fine))
    return np.clip(0.75 * coarse + 0.25 * fine, 0, 255).astype(np.uint8)
