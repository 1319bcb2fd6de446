"""The data that flows through visionkit, and the conventions that it follows.

    files --readers--> Sample --augment, batch--> Batch --> Model --decode--> Detections --> metrics | pictures | files

| thing | convention |
|---|---|
| image in a Sample | RGB uint8 `[H, W, 3]`, upright (EXIF applied) |
| image into a model | RGB 0..255 `[B, H, W, 3]`; the model normalises in its first layer |
| image into a grey model | luma 0..255 `[B, H, W, 1]`, computed from RGB by `batches` and the Predictor |
| boxes | float32 `[N, 4]` x1, y1, x2, y2 in absolute pixels, continuous (width = x2 - x1), inside the image |
| class ids | int32 0..K-1; background is never a class id; -1 is padding |
| instance masks | uint8 `[N, H, W]` of 0 and 1 |
| keypoints | float32 `[N, P, 3]` x, y in absolute pixels, and v: 0 not annotated (x and y are 0), 1 hidden, 2 visible |
| segmentation map | int32 `[H, W]`, 255 = ignore |
| sizes | (height, width) |
| scores | float32, descending within an image; fixed-size outputs are padded with score 0 and label -1 |
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

# A tensor of any Keras backend, symbolic or eager, or a NumPy array; Keras has no type that covers them all.
Tensor: TypeAlias = Any

IGNORE = 255  # the value of a segmentation map that is neither trained on nor scored
PADDING = -1  # the label of a row that holds no object
BOX_TASKS = ("detect", "instance", "keypoints")  # the tasks of models that give `Detections`
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069]")


class DataError(ValueError):
    """Something is wrong with the user's data; the message says what, where and what was expected.

    Args:
        kind: a short, fixed phrase under which the dataset doctor counts such errors, or None.
    """

    def __init__(self, message: str = "", kind: str | None = None):
        super().__init__(message)
        self.kind = kind


def plain(text: str) -> str:
    r"""`text` with escapes such as \x1b in place of control characters, which could drive a terminal or end a line."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def in_words(error: Exception) -> str:
    """The first line of what a parser says, without the advice to Python programmers that comes with some."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if "int_max_str_digits" in str(error):
        return "a number of thousands of digits"
    return str(error).partition("\n")[0]


@dataclass(frozen=True)
class Skeleton:
    """The P keypoints of an object; `visionkit.skeletons` makes it from the names.

    Args:
        names: P names.
        limbs: pairs of keypoints, counted from 0, that a picture joins by a line.
        mirrored: for each keypoint the one that becomes it in a mirror image, where left is right; None if unknown.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...] = ()
    mirrored: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One image and what is known about it. Fields that do not apply to the task are None.

    Args:
        id: unique within its data set; readers use the file's path relative to the image folder, without its suffix.
        file: the image file, or None for an image that was never on disk.
        image_size: (height, width) of the upright image in pixels.
        image: uint8 `[H, W, 3]` RGB, or None while the pixels have not been read (see `data.Dataset`).
        boxes: float32 `[N, 4]` x1, y1, x2, y2 in pixels of this image.
        labels: int32 `[N]` class ids 0..K-1 of the boxes.
        ignore: bool `[N]`, True for a COCO crowd region or a VOC `difficult` object: it is not a target, and detecting
            it is not a mistake. None means all False.
        areas: float64 `[N]`, the objects' areas in pixels as the annotation states them, NaN where it states none. COCO
            measures an outline there, and its scores of small, medium and large objects go by it. None means all NaN.
        masks: uint8 `[N, H, W]` of 0 and 1, one for each box.
        keypoints: float32 `[N, P, 3]`, those of each box, as the table above says; with a `skeleton` that names them.
        segmentation: int32 `[H, W]` class ids, 255 = ignore.
        label: the class id of the whole image.
    """

    id: str
    image_size: tuple[int, int]
    file: Path | None = None
    image: np.ndarray | None = None
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    ignore: np.ndarray | None = None
    areas: np.ndarray | None = None
    masks: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    skeleton: Skeleton | None = None
    segmentation: np.ndarray | None = None
    label: int | None = None


Rows: TypeAlias = int | slice | Sequence[int] | np.ndarray  # of a result: a number, a slice, numbers, or bool [N]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """What a model says of one image; a notebook shows it as a picture if it knows the image.

    Args:
        id: the sample's id, the file's name or the number of the image.
        image_size: (height, width) of the image that the result refers to.
        file: the image file, or None.
        class_names: names of the class ids 0..K-1; empty if they have none.
        image: uint8 `[H, W, 3]` RGB, where a single image without a file was predicted; else None.
    """

    id: str
    image_size: tuple[int, int]
    file: Path | None = None
    class_names: Sequence[str] = ()
    image: np.ndarray | None = None

    def name_of(self, label: int) -> str:
        """The name of a class id, or the number itself if the classes have no names."""
        return self.class_names[label] if self.class_names else str(label)

    def plot(self, image: np.ndarray | None = None, **options: Any) -> Any:
        """Draws the result; see `predict.results.plot`.

        Returns:
            A Pillow image, which notebooks show.
        """
        return _above().plot(self, image, **options)

    def to_pandas(self) -> Any:
        """A pandas table of the result; see `predict.results.to_pandas`."""
        return _above().to_pandas(self)

    def to_supervision(self) -> Any:
        """The result as an object of the package `supervision`; see `predict.results.to_supervision`."""
        return _above().to_supervision(self)

    def _repr_png_(self) -> bytes | None:
        return _above().png(self)

    def _named(self, what: str) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.image_size[0]}x{self.image_size[1]}, {what})"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Detections(Result):
    """What a detector found in one image: no padding, scores descending.

    `len` counts the objects. An index, a slice, indices or a mask bool `[N]` picks some of them.

    Args:
        id, image_size, file, class_names, image: see `Result`; boxes are in pixels of that image.
        boxes: float32 `[N, 4]` x1, y1, x2, y2 in pixels.
        scores: float32 `[N]` in 0..1, descending.
        labels: int32 `[N]` class ids 0..K-1.
        masks: uint8 `[N, H, W]` of 0 and 1, or None.
        keypoints: float32 `[N, P, 3]` x, y in pixels, and how sure the model is: a logit, not limited. Or None.
        skeleton: what the keypoints are.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    skeleton: Skeleton | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Rows) -> "Detections":
        picked: Any = [rows] if isinstance(rows, int | np.integer) else rows
        fields = {name: getattr(self, name) for name in ("boxes", "scores", "labels", "masks", "keypoints")}
        return replace(self, **{name: None if rows is None else rows[picked] for name, rows in fields.items()})

    def __repr__(self) -> str:
        best = f", best {self.name_of(self.labels[0])} {self.scores[0]:.2f}" if len(self) else ""
        return self._named(f"{len(self)} objects{best}")

    @property
    def names(self) -> list[str]:
        """The class name of each object."""
        return [self.name_of(label) for label in self.labels.tolist()]

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Returns the objects as COCO's records: `image_id` and the K `category_ids`, by default 1..K, are COCO's."""
        return _above().to_coco(self, image_id, category_ids)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Classification(Result):
    """A classifier's scores for one image. `len` and indices are those of `scores`.

    Args:
        id, image_size, file, class_names, image: see `Result`.
        scores: float32 `[K]`, probabilities in the order of the class ids.
    """

    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Rows) -> Any:
        return self.scores[rows]

    def __repr__(self) -> str:
        label = int(self.scores.argmax())
        return self._named(f"{self.name_of(label)} {self.scores[label]:.2f}")

    @property
    def name(self) -> str:
        """The name of the class with the highest score."""
        return self.name_of(int(self.scores.argmax()))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SegmentationMap(Result):
    """The class that a segmenter assigns to each pixel of one image.

    `len` counts the classes that occur. An index, a slice, indices or a mask bool `[K]` picks class ids: bool `[H, W]`,
    or `[n, H, W]` for several, is True where a pixel is of that class.

    Args:
        id, image_size, file, class_names, image: see `Result`; the map is as large as that image.
        segmentation: int32 `[H, W]`, class ids 0..K-1; never 255, since a segmenter labels every pixel.
    """

    segmentation: np.ndarray

    def __len__(self) -> int:
        return len(np.unique(self.segmentation))

    def __getitem__(self, rows: Rows) -> np.ndarray:
        count = len(self.class_names) or int(self.segmentation.max(initial=-1)) + 1
        return self.segmentation == np.arange(count)[rows][..., None, None]

    def __repr__(self) -> str:
        labels, pixels = np.unique(self.segmentation, return_counts=True)
        most = self.name_of(int(labels[pixels.argmax()]))
        return self._named(f"{len(labels)} classes, mostly {most}")


def _above() -> Any:
    """The module behind the methods of results, by name: it stands above this one, which must not import it."""
    return importlib.import_module("visionkit.predict.results")


class Objects(NamedTuple):
    """The annotated objects of one sample; no field is None.

    Args:
        boxes: float32 `[N, 4]` x1, y1, x2, y2 in pixels of the image.
        labels: int32 `[N]` class ids.
        ignore: bool `[N]`, True for an object that is neither trained on nor scored.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignore: np.ndarray


def objects_of(sample: Sample) -> Objects:
    """Returns the objects of a sample; `ignore` is all False where the sample has none.

    Raises:
        DataError: the sample has no boxes or no labels.
    """
    if sample.boxes is None or sample.labels is None:
        raise DataError(f"sample {sample.id!r}: expected boxes with labels, found none")
    ignore = np.zeros(len(sample.boxes), bool) if sample.ignore is None else sample.ignore
    return Objects(sample.boxes, sample.labels, ignore)


def check_sample(sample: Sample, num_classes: int | None = None) -> Sample:
    """Returns `sample` if it follows the conventions above.

    Raises:
        DataError: it does not; names the sample, the convention and the offending value.
    """
    expect = _expectation(f"sample {sample.id!r}")
    h, w = sample.image_size
    expect(h > 0 and w > 0, "image_size (height, width) above zero", sample.image_size)
    if sample.image is not None:
        _check_array(expect, "image", sample.image, "uint8", (h, w, 3))
    if sample.boxes is not None:
        _check_boxes(expect, np.asarray(sample.boxes), sample.labels, sample.image_size, num_classes)
        n = len(sample.boxes)
        if sample.ignore is not None:
            _check_array(expect, "ignore", sample.ignore, "bool", (n,))
        if sample.areas is not None:
            _check_array(expect, "areas", sample.areas, "float64", (n,))
        if sample.masks is not None:
            _check_array(expect, "masks", sample.masks, "uint8", (n, h, w))
            expect(bool(sample.masks.max(initial=0) <= 1), "masks of 0 and 1", sample.masks.max(initial=0))
        if sample.keypoints is not None:
            expect(sample.skeleton is not None, "a skeleton that names the keypoints", None)
            assert sample.skeleton is not None
            _check_keypoints(expect, sample.keypoints, (n, len(sample.skeleton.names)), (h, w))
    if sample.segmentation is not None:
        _check_array(expect, "segmentation", sample.segmentation, "int32", (h, w))
        if num_classes is not None:
            found = sample.segmentation
            bad = np.unique(found[((found < 0) | (found >= num_classes)) & (found != IGNORE)])
            expect(not bad.size, f"map values 0..{num_classes - 1} or {IGNORE}", bad[:5].tolist())
    if sample.label is not None and num_classes is not None:
        expect(0 <= sample.label < num_classes, f"label 0..{num_classes - 1}", sample.label)
    return sample


def check_detections(detections: Detections, num_classes: int | None = None) -> Detections:
    """Returns `detections` if they follow the conventions above; a box may have no area.

    Raises:
        DataError: they do not; names the image, the convention and the offending value.
    """
    expect = _expectation(f"detections of {detections.id!r}")
    _check_boxes(expect, detections.boxes, detections.labels, detections.image_size, num_classes, allow_empty_area=True)
    scores = detections.scores
    _check_array(expect, "scores", scores, "float32", (len(detections.boxes),))
    expect(bool(np.all((scores >= 0) & (scores <= 1))), "scores in 0..1", scores[:5])
    expect(bool(np.all(np.diff(scores) <= 0)), "scores descending", scores[:5])
    return detections


_Expect: TypeAlias = Callable[[bool, str, object], None]  # does the convention hold, what it says, what was found


def _expectation(subject: str) -> _Expect:
    def expect(ok: bool, what: str, value: object) -> None:
        if not ok:
            raise DataError(f"{subject}: expected {what}, found {value}")

    return expect


def _check_array(expect: _Expect, name: str, array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> None:
    how = f"; .astype({dtype!r}) casts it" if array.shape == shape and dtype != "uint8" else ""  # images may be 0..1
    expect((array.dtype, array.shape) == (dtype, shape), f"{name} {dtype} {shape}", f"{array.dtype} {array.shape}{how}")


def _check_keypoints(expect: _Expect, keypoints: np.ndarray, rows: tuple[int, int], size: tuple[int, int]) -> None:
    _check_array(expect, "keypoints", keypoints, "float32", (*rows, 3))
    x, y, visible = keypoints[..., 0], keypoints[..., 1], keypoints[..., 2]
    h, w = size
    expect(bool(np.isin(visible, (0, 1, 2)).all()), "visibility 0, 1 or 2", np.unique(visible)[:5].tolist())
    good = np.where(visible > 0, (x >= 0) & (x <= w) & (y >= 0) & (y <= h), (x == 0) & (y == 0))
    what = f"keypoints with x 0..{w} and y 0..{h}, and 0 0 0 where none is annotated"
    expect(bool(good.all()), what, keypoints[~good][:1].tolist())


def _check_boxes(
    expect: _Expect,
    boxes: np.ndarray,
    labels: np.ndarray | None,
    image_size: tuple[int, int],
    num_classes: int | None,
    allow_empty_area: bool = False,
) -> None:
    h, w = image_size
    _check_array(expect, "boxes", boxes, "float32", (len(boxes) if boxes.ndim else 0, 4))
    expect(labels is not None, f"labels int32 ({len(boxes)},)", labels)
    assert labels is not None
    _check_array(expect, "labels", np.asarray(labels), "int32", (len(boxes),))
    if not len(boxes):
        return
    x1, y1, x2, y2 = boxes.T
    ordered = (x1 <= x2) & (y1 <= y2) if allow_empty_area else (x1 < x2) & (y1 < y2)
    good = np.isfinite(boxes).all(axis=1) & ordered & (x1 >= 0) & (y1 >= 0) & (x2 <= w) & (y2 <= h)
    fits = ((boxes > 0).all(axis=1) & (x1 + x2 <= w) & (y1 + y2 <= h))[~good][:1].any()
    box = f"box {boxes[~good][:1].tolist()}{'; as x, y, width, height it would fit' if fits else ''}"
    expect(bool(good.all()), f"boxes x1 < x2 <= {w}, y1 < y2 <= {h}, all >= 0", box)
    top = labels.max() if num_classes is None else num_classes - 1
    expect(bool(0 <= labels.min() <= labels.max() <= top), f"labels 0..{top}", f"{labels.min()}..{labels.max()}")
