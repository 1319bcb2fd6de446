"""Keypoints in the pixels of the image, from the maps that a network gives; and pictures of them."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from visionkit.predict.palette import INK, PAPER, Colour
from visionkit.types import Skeleton

SURE = 2.0  # keypoints of a higher logit are drawn, as Detectron draws them


def keypoints_of(heatmaps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The most likely place of each keypoint in its box.

    Each map is stretched over its box by bicubic interpolation, to whole pixels; the keypoint is at the centre of the
    pixel with the highest value. So do Detectron and torchvision; Mask R-CNN (arXiv 1703.06870), section 5.

    Args:
        heatmaps: float `[N, m, m, P]`, logits of P keypoints at m x m places of the box.
        boxes: float32 `[N, 4]` x1, y1, x2, y2 in pixels of the network's input; for a shorter side than 1 pixel, 1 is
            taken.

    Returns:
        float32 `[N, P, 3]`: x and y in the same pixels, and the logit there.
    """
    found = np.zeros((len(heatmaps), heatmaps.shape[-1], 3), np.float32)
    for points, maps, (x1, y1, x2, y2) in zip(found, heatmaps.astype(np.float32), boxes, strict=True):
        width, height = max(float(x2 - x1), 1.0), max(float(y2 - y1), 1.0)
        columns, rows = math.ceil(width), math.ceil(height)
        stretched = cv2.resize(np.ascontiguousarray(maps), (columns, rows), interpolation=cv2.INTER_CUBIC)
        stretched = stretched.reshape(rows * columns, -1)  # [pixels, P]
        best = stretched.argmax(axis=0)
        y, x = np.divmod(best, columns)
        points[:, 0] = x1 + (x + 0.5) * width / columns
        points[:, 1] = y1 + (y + 0.5) * height / rows
        points[:, 2] = stretched[best, np.arange(len(best))]
    return found


def draw_keypoints(
    image: np.ndarray, keypoints: np.ndarray, shown: np.ndarray, skeleton: Skeleton, colours: Sequence[Colour]
) -> np.ndarray:
    """Draws limbs in the colour of their object, and a light dot at each keypoint.

    Args:
        image: uint8 `[H, W, 3]`.
        keypoints: `[N, P, 3]`, of which the third numbers are not used.
        shown: bool `[N, P]`; a limb is drawn if both of its ends are.
        skeleton: of the keypoints.
        colours: N.

    Returns:
        uint8 `[H, W, 3]`, a new array.
    """
    image = image.copy()
    line = max(1, round(0.004 * math.sqrt(image.shape[0] * image.shape[1])))
    for points, visible, colour in reversed(list(zip(keypoints, shown, colours, strict=True))):
        places = np.rint((points[:, :2] - 0.5) * 16).astype(int).tolist()  # for cv2, the centre of pixel i is at i
        for first, second in skeleton.limbs:
            if visible[first] and visible[second]:
                cv2.line(image, places[first], places[second], INK, line + 2, cv2.LINE_AA, shift=4)
                cv2.line(image, places[first], places[second], colour, line, cv2.LINE_AA, shift=4)
        for place, is_shown in zip(places, visible, strict=True):
            if is_shown:
                cv2.circle(image, place, 16 * (line + 2), INK, -1, cv2.LINE_AA, shift=4)
                cv2.circle(image, place, 16 * (line + 1), PAPER, -1, cv2.LINE_AA, shift=4)
    return image
