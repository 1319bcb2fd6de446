"""A trained model applied to any number of images; boxes and maps come back in the pixels of each original."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from visionkit import images, resizing
from visionkit.predict.maps import to_map
from visionkit.predict.masks import paste_masks
from visionkit.predict.window import windowed
from visionkit.resizing import crop_share
from visionkit.types import PADDING, Classification, DataError, Detections, Sample, SegmentationMap

Image = Path | str | np.ndarray | Sample
Prediction = Detections | Classification | SegmentationMap
MAP_BYTES = 2**28  # of a batch's probabilities of pixels: many classes make small batches
DECODERS = min(4, os.cpu_count() or 1)  # threads; Pillow and numpy let go of the interpreter while they work


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
    factors: tuple[float, float]  # y and x of the original times these are network pixels
    inner: tuple[int, int]  # (height, width) of the image in `pixels`; beyond is padding
    pixels: np.ndarray  # uint8 [h, w, C], network size; of the original's where windows slide over it


class Predictor:
    """Runs a task model over images, in batches of fixed size: decoding, model and what follows it overlap.

    Threads decode up to two batches ahead, one thread does nothing but run the model, and the consumer's own thread
    brings the answers of the batch before to original pixels, so that the model never waits for either.

    Args:
        model: a Task: `image_size` (height, width) of the network's input, `resize` (a rule of `resizing.fit`),
            `class_names` and `serving()`, a keras Model from `[B, h, w, C]` to `boxes` `[B, M, 4]` in network pixels,
            `scores` and `labels` `[B, M]`, optionally `masks` `[B, M, m, m]` (see `paste_masks`); or to `scores`
            `[B, K]` alone; or to `probabilities` `[B, h, w, K]` of the pixels' classes.
            C is its `channels`: 3 without that attribute, 1 for a network for grey images.
        batch_size: images a step; a keras Model's last batch is filled up with black, so that one shape is compiled.
        score: detections below this are left out, 0..1; of no meaning to the other tasks.
        flip, window: see `look`.
    """

    def __init__(self, model, batch_size: int = 8, score: float = 0.05, flip: bool = False, window: bool = False):
        self.image_size, self.resize = tuple(model.image_size), model.resize
        self.channels = getattr(model, "channels", 3)
        self.class_names, self.task = list(model.class_names), getattr(model, "task", "detect")
        self.synonyms = {}  # further names of class ids: ImageNet's WordNet ids
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
            import keras  # here, where a keras Model exists: an export runs without Keras

            if keras.backend.backend() == "tensorflow":
                self._serving.jit_compile = False  # XLA over the convolutions is slower and compiles for minutes

    def look(self, flip: bool, window: bool) -> "Predictor":
        """Decides how a segmenter looks at an image, and returns itself.

        Args:
            flip: average what it says of the image and of its mirror image.
            window: slide a window of the network's size over the image at its full resolution, instead of shrinking
                the image to that size; see `predict.window`.

        Raises:
            DataError: one of them is asked of another task's model.
        """
        if (flip or window) and self.task != "segment":
            raise DataError(f"flip and window are for segmenters; this model is for the task {self.task}")
        self.flip, self.window = flip, window
        return self

    def __call__(self, items: Image | Iterable[Image], score: float | None = None) -> Iterator[Prediction | Failure]:
        """Runs the model, lazily and in the order of `items`.

        Args:
            items: file paths, arrays uint8 `[H, W, 3]` RGB, or Samples (their `image`, or else their `file`); one, a
                sequence or an iterator. A sequence such as a `Dataset` is indexed inside the decoding threads.
            score: takes the place of the predictor's own threshold.

        Yields:
            For each item its `Detections`, boxes in original pixels and clipped to the image, its `Classification` or
            its `SegmentationMap` at the original's size; or a `Failure` that names an image which cannot be read, and
            the others go on. Five batches of network-sized images are held at a time at most, however many items.

        Raises:
            ValueError: an array that is not uint8 `[H, W, 3]`.
        """
        score = self.score if score is None else score
        wanted = 1 if self.window else self.batch_size  # images a step
        loaded = ahead(enumerate(getters(items)), lambda job: self._load(*job), depth=2 * wanted)
        for waiting, outputs in ahead(_batches(loaded, wanted), self._run, depth=2, threads=1):
            yield from self._finish(waiting, outputs, score)

    def _load(self, number: int, get: Callable[[], Image]) -> _Loaded | Failure:
        item = read_item(number, get)
        if isinstance(item, Failure):
            return item
        if self.window:
            pixels, factors, inner = item.image, (1.0, 1.0), item.image_size
        else:
            pixels, factors = resizing.fit(item.image, self.image_size, self.resize)
            letterboxed = self.resize == "letterbox"
            inner = resizing.letterbox_factors(item.image_size, self.image_size)[0] if letterboxed else self.image_size
        pixels = resizing.to_channels(pixels, self.channels)
        same = {"id": item.id, "file": item.file, "image_size": item.image_size}
        return _Loaded(**same, factors=factors, inner=inner, pixels=pixels)

    def _run(self, items: list[_Loaded | Failure]) -> tuple[list[_Loaded | Failure | SegmentationMap], dict]:
        """`items` and the model's outputs for those that were read; where windows slide, with what became of them."""
        if self.window:
            return [item if isinstance(item, Failure) else self._slide(item) for item in items], {}
        loaded = [item for item in items if isinstance(item, _Loaded)]
        if not loaded:
            return items, {}
        return items, self._outputs(np.stack([item.pixels for item in loaded]), [item.inner for item in loaded])

    def _finish(self, items, outputs, score: float) -> Iterator[Prediction | Failure]:
        rows = ({key: value[i] for key, value in outputs.items()} for i in count())
        for item in items:
            if not isinstance(item, _Loaded):
                yield item
            elif "boxes" in (row := next(rows)):
                yield _in_original_pixels(item, row, score)
            elif "probabilities" in row:
                h, w = item.inner
                found = to_map(row["probabilities"][:h, :w], item.image_size)
                yield SegmentationMap(id=item.id, file=item.file, image_size=item.image_size, segmentation=found)
            else:
                yield Classification(id=item.id, file=item.file, image_size=item.image_size, scores=row["scores"])

    def _outputs(self, pixels: np.ndarray, inners: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        """What the model gives for uint8 `[n, h, w, C]`, n <= `batch_size`; `inners` as in `_mirrored`."""
        batch = pixels
        if self._compiled:
            batch = np.pad(pixels, [(0, self.batch_size - len(pixels)), (0, 0), (0, 0), (0, 0)])
        outputs = {key: np.asarray(value) for key, value in self._serving.predict_on_batch(batch).items()}
        if self.flip:
            mirrored = np.asarray(self._serving.predict_on_batch(_mirrored(batch, inners))["probabilities"])
            outputs["probabilities"] = (outputs["probabilities"] + _mirrored(mirrored, inners)) / 2
        return outputs

    def _slide(self, item: _Loaded) -> SegmentationMap:
        def predict(pixels):
            return self._outputs(pixels, [self.image_size] * len(pixels))["probabilities"][: len(pixels)]

        strips = windowed(predict, item.pixels, self.image_size, self.batch_size)
        found = np.concatenate([strip.argmax(axis=-1).astype(np.int32) for strip in strips])
        return SegmentationMap(id=item.id, file=item.file, image_size=item.image_size, segmentation=found)


def _batches(items: Iterator[_Loaded | Failure], wanted: int) -> Iterator[list[_Loaded | Failure]]:
    """Lists of `wanted` images in order, with the failures between them; failures alone do not wait."""
    waiting, ready = [], 0
    for item in items:
        waiting.append(item)
        ready += isinstance(item, _Loaded)
        if ready in (0, wanted):
            yield waiting
            waiting, ready = [], 0
    if waiting:
        yield waiting


def _mirrored(batch: np.ndarray, inners: list[tuple[int, int]]) -> np.ndarray:
    """`[B, h, w, ...]` with the image in each row, (height, width) in `inners`, mirrored left to right."""
    mirrored = batch.copy()
    for i, (h, w) in enumerate(inners):
        mirrored[i, :h, :w] = batch[i, :h, :w][:, ::-1]
    return mirrored


def _in_original_pixels(item: _Loaded, row: dict, score: float) -> Detections:
    """One row of the model's output in original pixels: no padding, no empty box, scores falling."""
    (h, w), (fy, fx) = item.image_size, item.factors
    whole = (row["boxes"].astype(np.float64) / [fx, fy, fx, fy]).astype(np.float32)  # [M, 4]
    boxes = np.clip(whole, 0, np.float32([w, h, w, h]))
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
        # A mask is spread over the box as the model gave it, not over what the clip left of it.
        masks=None if masks is None else paste_masks(masks[order], whole[order], item.image_size),
    )


def read_item(number: int, get: Callable[[], Image]) -> Sample | Failure:
    """The item with its pixels, or why there are none; an array has its number for an id, a file its path.

    Raises:
        ValueError: an array that is not uint8 `[H, W, 3]`.
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
            image = images.read_image(file)
    except (DataError, OSError) as error:
        return Failure(id=name, file=file, error=str(error))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image {name}: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
    return Sample(id=name, file=file, image_size=image.shape[:2], image=image)


def getters(items) -> Iterator[Callable[[], Image]]:
    """Functions that fetch one item each: a sequence is indexed by whoever calls, an iterator only here."""
    if isinstance(items, str | Path | Sample) or (isinstance(items, np.ndarray) and items.ndim == 3):
        items = [items]
    if isinstance(items, Sequence):
        return ((lambda i=i: items[i]) for i in range(len(items)))
    return ((lambda item=item: item) for item in items)


def ahead(jobs: Iterator, work: Callable, depth: int, threads: int = DECODERS) -> Iterator:
    """`map(work, jobs)` in order, computed in threads up to `depth` jobs ahead of the consumer.

    `jobs` is drawn from in the consumer's thread alone, so a generator may stand there.
    """
    pool, pending = ThreadPoolExecutor(threads, thread_name_prefix="ahead"), deque()
    try:
        for job in jobs:
            pending.append(pool.submit(work, job))
            if len(pending) >= depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the consumer stops early
        pool.shutdown(cancel_futures=True)
