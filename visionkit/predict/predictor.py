"""A trained model applied to any number of images; boxes and maps come back in the pixels of each original."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from visionkit import images, resizing
from visionkit.predict.maps import to_map
from visionkit.predict.masks import paste_masks
from visionkit.predict.window import windowed
from visionkit.resizing import crop_share
from visionkit.types import PADDING, Classification, DataError, Detections, Sample, SegmentationMap

Image = Path | str | np.ndarray | Sample
Prediction = Detections | Classification | SegmentationMap
MAP_BYTES = 2**28  # limit for a batch's per-pixel probabilities: with many classes the batches become smaller
DECODERS = min(4, os.cpu_count() or 1)  # threads; Pillow and NumPy release the interpreter lock while they work

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be read.

    Args:
        id: the sample's id or the file's path.
        file: the image file, or None.
        error: one line that says what is wrong with it.
    """

    id: str
    file: Path | None
    error: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Loaded:
    id: str
    file: Path | None
    image_size: tuple[int, int]  # of the original
    factors: tuple[float, float]  # (y, x): pixels of the original times this are pixels of the network
    inner: tuple[int, int]  # (height, width) of the image in `pixels`; what lies beyond is padding
    pixels: np.ndarray  # uint8 [h, w, C] at the network's size, or the original's if windows slide over it


class Predictor:
    """Runs a task model over images in batches of a fixed size; decoding, model and postprocessing overlap.

    Several threads decode up to two batches ahead, and one thread does nothing but run the model, while the consumer's
    own thread converts the outputs of the previous batch to original pixels. So the model never waits for either.

    Args:
        model: a Task: `image_size` (height, width) of the network's input, `resize` (a rule of `resizing.fit`),
            `class_names`, and `serving()`, which returns a keras Model from `[B, h, w, C]` to `boxes` `[B, M, 4]` in
            network pixels, `scores` and `labels` `[B, M]` and optionally `masks` `[B, M, m, m]` (see `paste_masks`);
            or to `scores` `[B, K]` alone; or to `probabilities` `[B, h, w, K]` of each pixel's classes.
            C is the model's `channels`: 3 without that attribute, 1 for a network that takes grey images.
        batch_size: images per step; the last batch of a keras Model is filled up with black, so that only one shape is
            compiled.
        score: detections below this are left out, 0..1; ignored for other tasks.
        flip, window: see `look`.
    """

    def __init__(self, model: Any, batch_size: int = 8, score: float = 0.05, flip: bool = False, window: bool = False):
        height, width = model.image_size
        self.model = model
        self.image_size: tuple[int, int] = (height, width)
        self.resize: str = model.resize
        self.channels: int = getattr(model, "channels", 3)
        self.class_names: list[str] = list(model.class_names)
        self.task: str = getattr(model, "task", "detect")
        self.synonyms: dict[str, int] = {}  # further names of classes, such as ImageNet's WordNet ids -> class ids
        self.batch_size, self.score = batch_size, score
        self.look(flip, window)
        if batch_size < 1:
            raise DataError(f"--batch-size: expected 1 or more, found {batch_size}")
        if crop_share(self.resize) and self.task != "classify":
            raise ValueError(f"a crop is for classifiers, not for the task {self.task}; expected letterbox or stretch")
        if self.task == "segment":
            plane = 4 * self.image_size[0] * self.image_size[1] * len(self.class_names)  # bytes
            self.batch_size = max(1, min(batch_size, MAP_BYTES // plane))
        self._serving = model.serving()
        self._compiled = hasattr(self._serving, "jit_compile")  # a keras Model, not an export in another runtime
        if self._compiled:
            import keras  # only where there is a keras Model, so that an export runs without Keras

            if keras.backend.backend() == "tensorflow":
                self._serving.jit_compile = False  # for convolutions XLA is slower, and compiles for minutes

    def look(self, flip: bool, window: bool) -> "Predictor":
        """Sets how a segmenter looks at an image, and returns the predictor itself.

        Args:
            flip: average the predictions for the image and for its mirror image.
            window: slide a window of the network's size over the image at full resolution, instead of shrinking the
                image to that size; see `predict.window`.

        Raises:
            DataError: one of them is set and the model is for another task.
        """
        if (flip or window) and self.task != "segment":
            raise DataError(f"flip and window are for segmenters; this model is for the task {self.task}")
        self.flip, self.window = flip, window
        return self

    def __call__(self, items: Image | Iterable[Image], score: float | None = None) -> Iterator[Prediction | Failure]:
        """Runs the model, lazily and in the order of `items`.

        Args:
            items: file paths, arrays uint8 `[H, W, 3]` RGB, or Samples (their `image` if they have one, else their
                `file`): a single one, a sequence or an iterator. A sequence such as a `Dataset` is indexed inside the
                decoding threads.
            score: replaces the predictor's own threshold.

        Yields:
            For each item its `Detections`, with boxes in original pixels and clipped to the image, its
            `Classification`, or its `SegmentationMap` at the original's size. An image that cannot be read yields a
            `Failure` that names it, and the others go on. At most five batches of network-sized images are in memory
            at a time, however many items there are.

        Raises:
            ValueError: an array that is not uint8 `[H, W, 3]`.
        """
        score = self.score if score is None else score
        per_step = 1 if self.window else self.batch_size  # images
        loaded = ahead(enumerate(getters(items)), lambda job: self._load(*job), depth=2 * per_step)
        for batch, outputs in ahead(_batches(loaded, per_step), self._run, depth=2, threads=1):
            yield from self._finish(batch, outputs, score)

    def _load(self, number: int, get: Callable[[], Image]) -> _Loaded | Failure:
        item = read_item(number, get)
        if isinstance(item, Failure):
            return item
        assert item.image is not None  # read_item has read it
        if self.window:
            pixels, factors, inner = item.image, (1.0, 1.0), item.image_size
        else:
            pixels, factors = resizing.fit(item.image, self.image_size, self.resize)
            inner = self.image_size
            if self.resize == "letterbox":
                inner, _ = resizing.letterbox_factors(item.image_size, self.image_size)
        return _Loaded(
            id=item.id,
            file=item.file,
            image_size=item.image_size,
            factors=factors,
            inner=inner,
            pixels=resizing.to_channels(pixels, self.channels),
        )

    def _run(
        self, items: Sequence[_Loaded | Failure]
    ) -> tuple[Sequence[_Loaded | Failure | SegmentationMap], dict[str, np.ndarray]]:
        """The model's outputs for those items that were read; with sliding windows, items that are finished instead."""
        if self.window:
            return [item if isinstance(item, Failure) else self._slide(item) for item in items], {}
        loaded = [item for item in items if isinstance(item, _Loaded)]
        if not loaded:
            return items, {}
        return items, self._outputs(np.stack([item.pixels for item in loaded]), [item.inner for item in loaded])

    def _finish(
        self, items: Sequence[_Loaded | Failure | SegmentationMap], outputs: dict[str, np.ndarray], score: float
    ) -> Iterator[Prediction | Failure]:
        """The predictions, in original pixels; `outputs` has a row for each item that was loaded."""
        rows = ({key: value[i] for key, value in outputs.items()} for i in count())
        for item in items:
            if not isinstance(item, _Loaded):
                yield item
                continue
            row = next(rows)
            if "boxes" in row:
                yield _in_original_pixels(item, row, score)
            elif "probabilities" in row:
                h, w = item.inner
                yield _segmentation(item, to_map(row["probabilities"][:h, :w], item.image_size))
            else:
                yield Classification(id=item.id, file=item.file, image_size=item.image_size, scores=row["scores"])

    def _outputs(self, pixels: np.ndarray, inners: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        """What the model gives for uint8 `[n, h, w, C]`, n <= `batch_size`; for `inners` see `_mirrored`."""
        batch = pixels
        if self._compiled:
            batch = np.pad(pixels, [(0, self.batch_size - len(pixels)), (0, 0), (0, 0), (0, 0)])  # [B, h, w, C]
        outputs = {key: np.asarray(value) for key, value in self._serving.predict_on_batch(batch).items()}
        if self.flip:
            mirrored = np.asarray(self._serving.predict_on_batch(_mirrored(batch, inners))["probabilities"])
            outputs["probabilities"] = (outputs["probabilities"] + _mirrored(mirrored, inners)) / 2
        return outputs

    def _slide(self, item: _Loaded) -> SegmentationMap:
        """The segmentation of one image by a sliding window."""

        def predict(pixels: np.ndarray) -> np.ndarray:
            return self._outputs(pixels, [self.image_size] * len(pixels))["probabilities"][: len(pixels)]

        strips = windowed(predict, item.pixels, self.image_size, self.batch_size)
        return _segmentation(item, np.concatenate([strip.argmax(axis=-1).astype(np.int32) for strip in strips]))


def _segmentation(item: _Loaded, segmentation: np.ndarray) -> SegmentationMap:
    return SegmentationMap(id=item.id, file=item.file, image_size=item.image_size, segmentation=segmentation)


def _batches(items: Iterator[_Loaded | Failure], size: int) -> Iterator[list[_Loaded | Failure]]:
    """Lists of `size` loaded images, in order, with the failures between them; failures alone do not wait for more."""
    batch: list[_Loaded | Failure] = []
    loaded = 0
    for item in items:
        batch.append(item)
        loaded += isinstance(item, _Loaded)
        if loaded in (0, size):
            yield batch
            batch, loaded = [], 0
    if batch:
        yield batch


def _mirrored(batch: np.ndarray, inners: list[tuple[int, int]]) -> np.ndarray:
    """`[B, h, w, ...]` with the image in each row mirrored left to right.

    Args:
        inners: (height, width) of the image in each row; the padding beyond it stays where it is.
    """
    mirrored = batch.copy()
    for i, (h, w) in enumerate(inners):
        mirrored[i, :h, :w] = batch[i, :h, :w][:, ::-1]
    return mirrored


def _in_original_pixels(item: _Loaded, row: dict[str, np.ndarray], score: float) -> Detections:
    """One row of the model's output in original pixels: no padding, no empty boxes, scores descending."""
    (h, w), (fy, fx) = item.image_size, item.factors
    unclipped = (row["boxes"].astype(np.float64) / [fx, fy, fx, fy]).astype(np.float32)  # [M, 4]
    boxes = np.clip(unclipped, 0, np.array([w, h, w, h], np.float32))
    scores = row["scores"].astype(np.float32)
    keep = (row["labels"] != PADDING) & (scores >= score) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    order = np.flatnonzero(keep)
    order = order[np.argsort(-scores[order], kind="stable")]
    masks = row.get("masks")
    return Detections(
        id=item.id,
        file=item.file,
        image_size=item.image_size,
        boxes=boxes[order],
        scores=scores[order],
        labels=row["labels"][order].astype(np.int32),
        # A mask belongs to the box as the model gave it, not to what is left of it after clipping.
        masks=None if masks is None else paste_masks(masks[order], unclipped[order], item.image_size),
    )


def read_item(number: int, get: Callable[[], Image]) -> Sample | Failure:
    """The item with its pixels, or the reason why it has none.

    Args:
        number: becomes the id of an array; the id of a file is its path.
        get: fetches the item.

    Raises:
        ValueError: an array that is not uint8 `[H, W, 3]`, or a Sample with neither an image nor a file.
    """
    name, file = str(number), None
    try:
        item = get()
        if isinstance(item, Sample):
            name, file, image = item.id, item.file, item.image
        elif isinstance(item, np.ndarray):
            image = item
        else:
            name, file, image = str(item), Path(item), None
        if image is None:
            if file is None:
                raise ValueError(f"sample {name!r}: expected an image or a file, found neither")
            image = images.read_image(file)
    except (DataError, OSError) as error:
        return Failure(id=name, file=file, error=str(error))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image {name}: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
    return Sample(id=name, file=file, image_size=image.shape[:2], image=image)


def getters(items: Image | Iterable[Image]) -> Iterator[Callable[[], Image]]:
    """Functions that fetch one item each: the items of a sequence when they are called, those of an iterator here."""
    if isinstance(items, str | Path | Sample) or (isinstance(items, np.ndarray) and items.ndim == 3):
        items = [items]
    if isinstance(items, Sequence):
        sequence: Sequence[Image] = items
        return ((lambda i=i: sequence[i]) for i in range(len(sequence)))
    return ((lambda item=item: item) for item in items)


def ahead(jobs: Iterable[Job], work: Callable[[Job], Result], depth: int, threads: int = DECODERS) -> Iterator[Result]:
    """`map(work, jobs)` in order, computed in threads up to `depth` jobs ahead of the consumer.

    `jobs` is only advanced in the consumer's thread, so it may be a generator.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    pending: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(work, job))
            if len(pending) >= depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also if the consumer stops early
        pool.shutdown(cancel_futures=True)
