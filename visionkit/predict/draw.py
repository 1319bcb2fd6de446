"""Pictures for people: detections on an image, a segmentation over it, a grid of training samples."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from visionkit import images, resizing
from visionkit.predict.keypoints import SURE, draw_keypoints
from visionkit.predict.palette import INK, PAPER, Colour, colour_of, text_colour
from visionkit.types import IGNORE, PADDING, Classification, Detections, Sample

GREY = (150, 150, 150)  # objects that are neither targets nor mistakes
RED = (230, 30, 40)  # mistakes
CELL = 400  # pixels, width of one sample in a grid

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # images [B, H, W, 3], boxes [B, M, 4], labels [B, M]


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    class_names: Sequence[str],
    min_score: float = 0.3,
    ids: Sequence[int] | None = None,
) -> np.ndarray:
    """Draws boxes with class names and scores, and masks or keypoints if there are any.

    Args:
        image: uint8 `[H, W, 3]`, the image in which the objects were detected.
        detections: in pixels of the image.
        class_names: names of the class ids 0..K-1.
        min_score: detections below it are not drawn.
        ids: numbers of the objects, written beside their names.

    Returns:
        uint8 `[H, W, 3]`, a new array.
    """
    keep = np.flatnonzero(detections.scores >= min_score)
    labels = detections.labels[keep].tolist()
    texts = [f"{class_names[k]} {score:.2f}" for k, score in zip(labels, detections.scores[keep], strict=True)]
    if ids is not None:
        texts = [f"#{ids[i]} {text}" for i, text in zip(keep.tolist(), texts, strict=True)]
    masks = None if detections.masks is None else [detections.masks[i] for i in keep]  # views; an array would be a copy
    colours = [colour_of(k) for k in labels]
    if detections.keypoints is not None and detections.skeleton is not None:
        points = detections.keypoints[keep]
        image = draw_keypoints(image, points, points[..., 2] > SURE, detections.skeleton, colours)
    return _draw(image, detections.boxes[keep], texts, colours, masks)


def draw_mistake(
    image: np.ndarray, box: np.ndarray, text: str, sample: Sample, class_names: Sequence[str]
) -> np.ndarray:
    """Draws one mistake of a detector in red, and the true objects in grey.

    Args:
        image: uint8 `[H, W, 3]`, the image of `sample`.
        box: `[4]`, the box of the wrong detection or of the missed object.
        text: what the plate of the box says.
        sample: the true boxes and labels.
        class_names: names of the class ids 0..K-1.

    Returns:
        uint8 `[H, W, 3]`, a new array.
    """
    assert sample.boxes is not None and sample.labels is not None
    others = [i for i, other in enumerate(sample.boxes) if not np.array_equal(other, box)]
    texts = [text, *(class_names[sample.labels[i]] for i in others)]
    return _draw(image, [box, *sample.boxes[others]], texts, [RED] + [GREY] * len(others))


def draw_segmentation(image: np.ndarray, segmentation: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Draws the classes as translucent colours, and below the image a legend of those that occur, largest first.

    Args:
        image: uint8 `[H, W, 3]`.
        segmentation: int `[H, W]`, class ids 0..K-1; pixels of 255 (ignored) are not coloured.
        class_names: K names.

    Returns:
        uint8 `[H + legend, W, 3]`.
    """
    present, counts = np.unique(segmentation[segmentation != IGNORE], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    entries = []
    for label, share in zip(present[order].tolist(), counts[order] / max(counts.sum(), 1), strict=True):
        percent = f"{share:.0%}" if share >= 0.01 else "<1%"
        entries.append((colour_of(label), f"{class_names[label]} {percent}"))
    return np.concatenate([_tint(image, segmentation), _legend(entries, *image.shape[:2])])


def draw_classification(
    image: np.ndarray, classification: Classification, class_names: Sequence[str], top: int = 3
) -> np.ndarray:
    """Writes the `top` classes with their scores below the image.

    Args:
        image: uint8 `[H, W, 3]`.
        classification: of the image.
        class_names: K names.
        top: number of classes.

    Returns:
        uint8 `[H + legend, W, 3]`.
    """
    scores = classification.scores
    best = scores.argsort(kind="stable")[::-1][:top].tolist()
    entries = [(colour_of(k), f"{class_names[k]} {scores[k]:.0%}") for k in best]
    return np.concatenate([image, _legend(entries, *image.shape[:2])])


def draw_samples_grid(
    samples: Sequence[Sample] | Batch,
    class_names: Sequence[str],
    file: Path,
    limit: int = 16,
    captions: Sequence[str] = (),
) -> None:
    """Writes a picture of samples with their labels, in which people find errors of labels at a glance.

    Args:
        samples: with `image` and any of `boxes` (ignored ones are grey), `masks`, `segmentation`, `label`; or a batch:
            images `[B, H, W, 3]` 0..255, boxes `[B, M, 4]` in their pixels, labels `[B, M]` with -1 for padding.
        class_names: names of the class ids 0..K-1.
        file: .png or .jpg.
        limit: at most this many samples are drawn.
        captions: one for each sample, to stand below it in place of its id.

    Raises:
        ValueError: there are no samples.
    """
    samples = _first_samples(samples, limit)
    if captions:
        samples = [replace(sample, id=caption) for sample, caption in zip(samples, captions, strict=False)]
    if not samples:
        raise ValueError("expected at least one sample to draw, found none")
    columns = math.ceil(math.sqrt(len(samples)))
    tallest = max(sample.image_size[0] / sample.image_size[1] for sample in samples)
    size = round(CELL * min(max(tallest, 0.5), 1.4)), CELL
    cells = [_cell(sample, class_names, size) for sample in samples]
    missing = -len(cells) % columns
    cells += [np.full_like(cells[0], 255)] * missing
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    maps = [np.unique(sample.segmentation) for sample in samples if sample.segmentation is not None]
    if maps:
        labels: list[int] = [k for k in np.unique(np.concatenate(maps)).tolist() if k != IGNORE]
        rows.append(_legend([(colour_of(k), class_names[k]) for k in labels], *rows[0].shape[:2]))
    images.write_image(file, np.concatenate(rows))


def _draw(
    image: np.ndarray,
    boxes: np.ndarray | Sequence[np.ndarray],
    texts: Sequence[str],
    colours: Sequence[Colour],
    masks: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Draws boxes with their texts on plates; the first is the most important one and is on top."""
    h, w = image.shape[:2]
    side = math.sqrt(h * w)
    line, size = max(1, round(0.0055 * side)), max(9, round(0.02 * side + 4))
    if masks is not None:
        image = _draw_masks(image, masks, colours, line)
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas, "RGBA")  # "RGBA": colours with an alpha value are blended
    corners = np.rint(np.asarray(boxes, np.float64).reshape(-1, 4)).astype(int)
    for (x1, y1, x2, y2), colour in reversed(list(zip(corners.tolist(), colours, strict=True))):
        x2, y2 = max(x1, x2 - 1), max(y1, y2 - 1)  # in Pillow the last pixel is inside
        halo = [x1 - 1, y1 - 1, x2 + 1, y2 + 1]
        pen.rectangle(halo, outline=(*INK, 110), width=line + 2)  # a thin dark rim, for light backgrounds
        pen.rectangle([x1, y1, x2, y2], outline=colour, width=line)
    letters = [_letters(text, size) for text in texts]
    plates = np.zeros_like(corners)  # still of size 0 for texts that have no place yet
    for i, (box, mask) in enumerate(zip(corners, letters, strict=True)):
        plates[i] = _plate(mask.size, box, (h, w), plates, corners)
    for (x1, y1, x2, y2), mask, colour in reversed(list(zip(plates.tolist(), letters, colours, strict=True))):
        pen.rectangle([x1, y1, x2 - 1, y2 - 1], fill=(*colour, 235))
        canvas.paste(text_colour(colour), (x1, y1), mask)
    return np.array(canvas)


@lru_cache(maxsize=512)  # shaping letters is slow, and nine in ten texts repeat a class and score of an earlier box
def _letters(text: str, size: int) -> Image.Image:
    """A text, centred on a plate that fits it, as a mask."""
    font = _font(size)
    width, height = math.ceil(font.getlength(text)) + round(0.6 * size), round(1.45 * size)
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).text((width / 2, height / 2), text, font=font, fill=255, anchor="mm")
    return mask


def _plate(
    size: tuple[int, int], box: np.ndarray, image_size: tuple[int, int], plates: np.ndarray, boxes: np.ndarray
) -> np.ndarray:
    """Where the text of a box goes: above it, or else where it hides the least inside the image.

    Args:
        size: (width, height) of the plate.
        box: int `[4]`, the box that the text is about.
        image_size: (height, width).
        plates: int `[N, 4]`, the plates that have a place already.
        boxes: int `[N, 4]`, all boxes.

    Returns:
        int `[4]`, x1, y1, x2, y2.
    """
    width, height = size
    h, w = image_size
    x1, y1, x2, y2 = box
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) < 2 * width * height]  # those small enough to be hidden
    lefts = np.array([x1, x2 - width, x1, x1, x2 - width, x1])
    places = np.empty((len(lefts), 4), int)
    places[:, 0] = np.clip(lefts, 0, max(0, w - width))
    places[:, 1] = [y1 - height, y1 - height, y1, y2, y2, y2 - height]
    places[:, 2:] = places[:, :2] + [width, height]
    hidden = 2 * _overlaps(places, plates) + _overlaps(places, boxes)
    hidden -= 10 * _overlaps(places, np.array([[0, 0, w, h]]))  # beyond the edge of the image nothing can be read
    return places[hidden.argmin()]  # the first of equally good ones


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many pixels of each box of `a` `[N, 4]` lie in the boxes of `b` `[M, 4]`, summed over `b`: `[N]`."""
    sides = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])  # [N, M, 2]
    return np.maximum(sides, 0).prod(axis=2).sum(axis=1)


def _draw_masks(image: np.ndarray, masks: Sequence[np.ndarray], colours: Sequence[Colour], line: int) -> np.ndarray:
    """Tints the inside of each mask and draws its outline, half as wide as the `line` of a box."""
    image = image.copy()
    for mask, colour in reversed(list(zip(masks, colours, strict=True))):
        inside = mask.astype(bool)
        image[inside] = (0.55 * image[inside] + 0.45 * np.array(colour)).astype(np.uint8)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, outlines, -1, colour, max(1, line // 2), cv2.LINE_AA)
    return image


def _tint(image: np.ndarray, segmentation: np.ndarray) -> np.ndarray:
    """Blends an image with the colours of its classes; pixels of 255 (ignored) keep their own."""
    table = np.array([colour_of(k) for k in range(IGNORE)] + [(0, 0, 0)], np.uint8)  # [256, 3]
    tinted = cv2.addWeighted(image, 0.45, table[segmentation], 0.55, 0.0)  # in integers: a photo has 24 megapixels
    unknown = segmentation == IGNORE
    tinted[unknown] = image[unknown]
    edge = np.zeros(segmentation.shape, bool)  # a light line where two classes meet
    edge[:, 1:] |= segmentation[:, 1:] != segmentation[:, :-1]
    edge[1:] |= segmentation[1:] != segmentation[:-1]
    tinted[edge] = (0.4 * tinted[edge] + 0.6 * 255).astype(np.uint8)
    return tinted


def _legend(entries: Sequence[tuple[Colour, str]], height: int, width: int) -> np.ndarray:
    """A legend to put below an image of this size: uint8 `[legend, W, 3]`, without rows if there are no entries."""
    size = max(11, round(0.02 * math.sqrt(height * width) + 5))
    font, pad, row = _font(size), size // 2, round(1.6 * size)
    places, x, y = [], pad, pad
    for _, text in entries:
        wide = round(1.5 * size + font.getlength(text) + 1.2 * size)
        if x + wide > width and x > pad:
            x, y = pad, y + row
        places.append((x, y))
        x += wide
    canvas = Image.new("RGB", (width, y + row + pad if entries else 0), PAPER)
    pen = ImageDraw.Draw(canvas)
    for (colour, text), (x, y) in zip(entries, places, strict=True):
        pen.rounded_rectangle([x, y + size * 0.15, x + size, y + size * 1.15], radius=size * 0.2, fill=colour)
        pen.text((x + 1.5 * size, y + size * 0.65), text, font=font, fill=INK, anchor="lm")
    return np.asarray(canvas).reshape(-1, width, 3)


def draw_sample(sample: Sample, class_names: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """Draws a sample's boxes, masks, keypoints or class map over its image, which is resized to `size` at most.

    Lines and letters are drawn AFTER the resize, so that they have the same size whatever the image's is.

    Args:
        sample: with `image` and any of `boxes` (ignored ones are grey), `masks`, `keypoints`, `segmentation`.
        class_names: names of the class ids 0..K-1.
        size: (height, width).

    Returns:
        uint8 `[h, w, 3]`.
    """
    assert sample.image is not None
    (new_h, new_w), (fy, fx) = resizing.letterbox_factors(sample.image_size, size)
    image = resizing.resize(sample.image, (new_h, new_w))
    if sample.segmentation is not None:
        small = cv2.resize(sample.segmentation.astype(np.uint8), (new_w, new_h), interpolation=cv2.INTER_NEAREST)
        image = _tint(image, small)
    if sample.boxes is not None and sample.labels is not None:
        ignore = np.zeros(len(sample.boxes), bool) if sample.ignore is None else sample.ignore
        labels: list[int] = sample.labels.tolist()
        colours = [GREY if ignored else colour_of(k) for k, ignored in zip(labels, ignore, strict=True)]
        masks = None
        if sample.masks is not None:
            masks = [cv2.resize(mask, (new_w, new_h), interpolation=cv2.INTER_NEAREST) for mask in sample.masks]
        if sample.keypoints is not None and sample.skeleton is not None:
            points, shown = sample.keypoints * np.array([fx, fy, 1]), sample.keypoints[..., 2] > 0
            image = draw_keypoints(image, points, shown, sample.skeleton, colours)
        boxes = sample.boxes * np.array([fx, fy, fx, fy])
        image = _draw(image, boxes, [class_names[k] for k in labels], colours, masks)
    return image


def _cell(sample: Sample, class_names: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """One cell of a grid, for a sample drawn in `size` (height, width) at most."""
    image = draw_sample(sample, class_names, size)
    new_h, new_w = image.shape[:2]
    cell = np.full((size[0] + 34, size[1] + 8, 3), 255, np.uint8)
    top, left = 4 + (size[0] - new_h) // 2, 4 + (size[1] - new_w) // 2
    cell[top : top + new_h, left : left + new_w] = image
    caption = sample.id if sample.label is None else f"{class_names[sample.label]} · {sample.id}"
    canvas = Image.fromarray(cell)
    place = (canvas.width / 2, top + new_h + 14)
    ImageDraw.Draw(canvas).text(place, _shortened(caption, 48), font=_font(14), fill=INK, anchor="mm")
    return np.asarray(canvas)


def _first_samples(samples: Sequence[Sample] | Batch, limit: int) -> list[Sample]:
    if isinstance(samples, tuple) and isinstance(samples[0], np.ndarray):
        pictures, boxes, labels = cast(Batch, samples)
        rows = zip(pictures[:limit], boxes[:limit], labels[:limit], strict=True)
        return [_of_batch(i, *row) for i, row in enumerate(rows)]
    samples = cast(Sequence[Sample], samples)
    return [samples[i] for i in range(min(limit, len(samples)))]


def _of_batch(number: int, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> Sample:
    real = labels != PADDING
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return Sample(id=str(number), image_size=pixels.shape[:2], image=pixels, boxes=boxes[real], labels=labels[real])


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[1 - length :]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib's DejaVu Sans has Latin, Greek, Cyrillic, Arabic and more; Pillow's own font only Latin.
    spec = find_spec("matplotlib")  # instead of an import, which takes as long as many pictures
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin).parent
    return ImageFont.truetype(str(package / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
