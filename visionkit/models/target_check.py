"""Checks what a task model is trained on, before it trains on it: NumPy on the host, and every refusal is one line."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from visionkit.npboxes import fit_as_xywh, may_be_xywh
from visionkit.types import BOX_TASKS, IGNORE, PADDING, DataError

KEYS = {
    "detect": ("boxes", "labels"),
    "instance": ("boxes", "labels", "masks"),
    "keypoints": ("boxes", "labels", "keypoints"),
    "classify": ("label",),
    "segment": ("segmentation",),
    "style": (),
}
SPILL = 0.05  # of an image's side: a box that reaches further outside is not explained by rounding
_log = logging.getLogger("visionkit")
WATCHED = 1000  # boxes, at most, by which corners are told from x, y, width, height


class TargetCheck:
    """Checks batches for one model; call it with (images, targets) or (images, targets, sample_weight).

    Shapes, labels and boxes are checked in every batch, class maps as well (after the first batch, at every fourth row
    and column), the values of images and masks in the first batch, at every fourth row and column. A
    warning is logged once enough boxes were seen that pass for corners but are rather x, y, width, height.
    It can be sent to another process.

    Args:
        name: of the model's class, for messages.
        task: of the model: "detect", ...
        num_classes: K.
        image_shape: (height, width, channels) of the network's input; None where any size is taken.
        keypoints: of an object.
    """

    def __init__(self, name: str, task: str, num_classes: int, image_shape: tuple[int | None, ...], keypoints: int = 0):
        self.name, self.task, self.num_classes, self.image_shape = name, task, num_classes, image_shape
        self.keypoints = keypoints
        self.checked = 0
        self.errors: list[DataError] = []  # several, where batches are read in parallel
        self.watched: np.ndarray | None = np.zeros((0, 4))  # boxes that may be x, y, width, height; None: they are not

    def __call__(self, batch: Any) -> Any:
        """Returns `batch` as it is.

        Raises:
            DataError: the model cannot learn from it.
        """
        try:
            parts: Any = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
            padded: Any = (*parts, None, None, None)[:3]
            images, targets, weights = padded
            self.check_structure(targets, weights)
            self._check_images(images)
            arrays = {key: np.asarray(targets[key]) for key in self._keys(targets)}
            image_size: Any = tuple(images.shape[1:3])
            if self.task in BOX_TASKS:
                self._check_objects(arrays, image_size)
            elif self.task == "classify":
                self._check_label(arrays["label"])
            elif self.task == "segment":
                self._check_map(arrays["segmentation"], image_size)
        except DataError as error:
            self.errors.append(error)
            raise
        self.checked += 1
        return batch

    def _keys(self, targets: Any) -> list[str]:
        return [key for key in (*KEYS[self.task], "ignore") if key in targets] if KEYS[self.task] else []

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A context for reading batches through the check: what a framework makes of its error is raised as it was."""
        try:
            yield
        except Exception as error:
            if not self.errors or error in self.errors:
                raise
            said = [own for own in self.errors if str(own) in str(error)]
            raise (said or self.errors)[0] from None

    def refuse(self, problem: str) -> None:
        raise DataError(f"{self.name}: {problem}")

    def check_structure(self, targets: Any, weights: Any) -> None:
        """Checks which arrays there are; they may be TensorSpecs."""
        keys = KEYS[self.task]
        wanted = " and ".join(f'"{key}"' for key in keys)
        if keys and not isinstance(targets, Mapping):
            self.refuse(f"the targets must be a dict with {wanted}, found {_described(targets)}")
        if missing := [key for key in keys if key not in targets]:
            there = ", ".join(f'"{key}"' for key in targets) or "none"
            self.refuse(f'the targets lack "{missing[0]}"; there are {there}, expected {wanted}')
        if weights is not None and self.task != "classify":
            self.refuse("sample_weight would not be used: leave it out; only Classifier weights its images")

    def _check_images(self, images: Any) -> None:
        shape = tuple(getattr(images, "shape", ()))
        fits = len(shape) == 4 and all(
            want in (None, have) for want, have in zip(self.image_shape, shape[1:], strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if side is None else str(side) for side in self.image_shape)
            self.refuse(f"images must be [B, {wanted}], found {_described(images)}")
        if self.checked:
            return
        values = np.asarray(images[:, ::4, ::4])
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 255.0)
        if not np.isfinite([low, high]).all():
            self.refuse("an image holds values that are not finite")
        scaled = low < high <= 1  # integers as well: a cast of fractions
        if scaled or low < -50 or (low < -1 and high < 20):
            looks = f"scaled to {'0..1' if low >= 0 else '-1..1'}" if scaled else "normalised"
            self.refuse(
                f"the images look {looks} (values {low:.3g} to {high:.3g}); give 0..255, the model normalises them"
            )

    def _check_objects(self, targets: Mapping[str, np.ndarray], image_size: tuple[int, int]) -> None:
        boxes, labels = targets["boxes"], targets["labels"]
        if boxes.ndim != 3 or boxes.shape[2] != 4 or labels.shape != boxes.shape[:2]:
            wanted = f"boxes [B, M, 4] and labels [B, M], {PADDING} in rows without an object"
            self.refuse(f"expected {wanted}; found {boxes.shape} and {labels.shape}")
        if "ignore" in targets and targets["ignore"].shape != labels.shape:
            self.refuse(f"expected ignore [B, M] like the labels {labels.shape}, found {targets['ignore'].shape}")
        self._check_ids(labels, "labels", PADDING, f" ({PADDING} where there is no object)")
        real = labels >= 0
        if real.any():
            self._check_boxes(boxes[real], np.nonzero(real)[0], image_size)
        if self.task == "instance":
            masks = targets["masks"]
            if masks.shape != (*labels.shape, *image_size):
                self.refuse(f"expected masks {(*labels.shape, *image_size)} for the labels, found {masks.shape}")
            if not self.checked and masks.size and (most := masks[..., ::4, ::4].max()) > 1:
                self.refuse(f"masks must be 0 and 1, found {most}")

        if self.task == "keypoints":
            self._check_keypoints(targets["keypoints"], labels.shape)

    def _check_keypoints(self, keypoints: np.ndarray, rows: tuple[int, ...]) -> None:
        wanted = (*rows, self.keypoints, 3)
        if keypoints.shape != wanted:
            self.refuse(f"expected keypoints {wanted} for the labels, found {keypoints.shape}")
        if not np.isin(keypoints[..., 2], (0, 1, 2)).all():
            bad = keypoints[..., 2][~np.isin(keypoints[..., 2], (0, 1, 2))][0]
            self.refuse(f"the third numbers of keypoints must be 0, 1 or 2, found {bad:g}")

    def _check_boxes(self, boxes: np.ndarray, rows: np.ndarray, image_size: tuple[int, int]) -> None:
        """Checks boxes `[N, 4]` without padding; `rows` `[N]` are the images that they lie in."""
        good = _inside(boxes, image_size)
        if good.all() and boxes.max() > 1:
            self._watch(boxes, image_size)
            return
        looks_like = None
        if 0 < boxes.max() <= 1 and boxes.min() >= 0:
            looks_like = "fractions of the image"
        elif 2 * np.count_nonzero(~good) >= len(boxes):
            corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
            looks_like = "x, y, width, height" if _inside(corners, image_size).all() else None
        if looks_like:
            self.refuse(f"the boxes look like {looks_like}; give x1, y1, x2, y2 in pixels of the images")
        if good.all():
            return
        first = int(np.flatnonzero(~good)[0])
        box, (h, w) = boxes[first], image_size
        corners = " ".join(f"{value:g}" for value in box)
        ordered = np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]
        if not box.any():
            self.refuse(f"row {rows[first]}: a box 0 0 0 0; rows without an object need the label {PADDING}")
        wrong = f"reaches outside of its image of {h}x{w}" if ordered else "has no area; expected x1 < x2 and y1 < y2"
        self.refuse(f"row {rows[first]}: the box {corners} {wrong}")

    def _watch(self, boxes: np.ndarray, image_size: tuple[int, int]) -> None:
        """Warns if all boxes up to now look like x, y, width, height; most data sets are cleared by the first batch."""
        watched = self.watched
        if watched is None:
            return
        if len(watched) > WATCHED or not fit_as_xywh(boxes, np.array(image_size)).all():
            self.watched = None
            return
        self.watched = np.concatenate([watched, boxes])
        if may_be_xywh(self.watched, np.tile(image_size, (len(self.watched), 1))):
            self.watched = None
            text = "%s: the boxes may be x, y, width, height: read so, all of them end inside the images, which is "
            text += "rare for x1, y1, x2, y2, as the model reads them"
            _log.warning(text, self.name)

    def _check_label(self, label: np.ndarray) -> None:
        if label.ndim == 1:
            self._check_ids(label, "label", 0)
            return
        if label.ndim != 2 or label.shape[1] != self.num_classes:
            self.refuse(
                f"label must be [B] class ids or [B, {self.num_classes}] shares of classes, found {label.shape}"
            )
        sums = label.sum(axis=1)
        off = np.flatnonzero(~((abs(sums - 1) < 0.01) & (label >= 0).all(axis=1)))
        if len(off):
            self.refuse(
                f"row {off[0]}: the shares of the classes must be 0..1 and sum to 1, they sum to {sums[off[0]]:g}"
            )

    def _check_map(self, values: np.ndarray, image_size: tuple[int, int]) -> None:
        if values.shape[1:] != image_size:
            self.refuse(f"expected segmentation [B, {image_size[0]}, {image_size[1]}], found {values.shape}")
        if self.checked:
            values = values[:, ::4, ::4]
        elif self.num_classes > 1 and set(np.unique(values).tolist()) == {0, IGNORE}:
            text = (
                "%s: the class maps hold only 0 and %d, and %d is ignored; if it is a class, give its id in its place"
            )
            _log.warning(text, self.name, IGNORE, IGNORE)
        self._check_ids(np.where(values == IGNORE, 0, values), "segmentation", 0, f" ({IGNORE} where nothing is known)")

    def _check_ids(self, ids: np.ndarray, what: str, lowest: int, remark: str = "") -> None:
        """Checks class ids `[B, ...]`, which may be floats that are whole numbers."""
        bad = ~((ids >= lowest) & (ids < self.num_classes))
        if ids.dtype.kind not in "iu":
            bad |= ids != np.floor(ids)
        if bad.any():
            place = np.argwhere(bad)[0]
            found = ids[tuple(place)]
            self.refuse(f"row {place[0]}: {what} must be 0..{self.num_classes - 1}{remark}, found {found}")


def _inside(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """bool `[N]`: corners in order, and no more outside the image than rounding explains."""
    sides = np.array(image_size[::-1])  # width, height
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.all((low < high) & (low >= -SPILL * sides) & (high <= (1 + SPILL) * sides), axis=1)


def _described(value: Any) -> str:
    """What `value` is, on one line: dtype and shape of an array, else its type."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{getattr(value.dtype, 'name', value.dtype)} {tuple(value.shape)}"
    return "nothing" if value is None else type(value).__name__
