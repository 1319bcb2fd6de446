"""A trained model applied to any number of images; boxes and maps come back in the pixels of each original."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from visionkit import resizing
from visionkit.predict.ahead import ahead
from visionkit.predict.inputs import Failure, Failures, Image, OneImage, answer, read_item
from visionkit.predict.keypoints import keypoints_of
from visionkit.predict.maps import mirrored, to_map
from visionkit.predict.masks import paste_masks
from visionkit.predict.window import windowed
from visionkit.resizing import crop_share
from visionkit.types import PADDING, Classification, DataError, Detections, SegmentationMap, Skeleton

Prediction = Detections | Classification | SegmentationMap
_Row = dict[str, np.ndarray]  # a model's outputs for one image
MAP_BYTES = 2**28  # limit for a batch's per-pixel probabilities: with many classes the batches become smaller


@dataclass(frozen=True, kw_only=True, eq=False)
class _Loaded:
    id: str
    file: Path | None
    image_size: tuple[int, int]  # of the original
    network: tuple[int, int]  # (height, width) that the network takes
    factors: tuple[float, float]  # (y, x): pixels of the original times this are pixels of the network
    inner: tuple[int, int]  # (height, width) of the image in `pixels`; what lies beyond is padding
    pixels: np.ndarray  # uint8 [h, w, C] at the network's size, or the original's if windows slide over it


def sizes_of(model: Any) -> tuple[tuple[int, int], ...]:
    """The sizes (height, width) at which a Predictor runs a model, its own first; an export has that one alone."""
    height, width = model.image_size
    turns = model.resize == "letterbox" and getattr(model, "any_size", False)
    return resizing.turned((height, width)) if turns else ((height, width),)


class Predictor:
    """Runs a task model over images in batches of a fixed size; decoding, model and postprocessing overlap.

    A detector or segmenter that is fully convolutional meets landscapes, portraits and squares at one scale: it is
    built and compiled once for each of the `sizes` that occur, with the same weights (see `Task.for_size` and
    `resizing.turned`). Exports and other models have the one size that they were made with.

    Several threads decode up to two batches ahead, and one thread does nothing but run the model, while the consumer's
    own thread converts the outputs of the previous batch to original pixels. So the model never waits for either.

    Args:
        model: a Task: `image_size` (height, width) of the network's input, `resize` (a rule of `resizing.fit`),
            `class_names`, and `serving()`, which returns a keras Model from `[B, h, w, C]` to `boxes` `[B, M, 4]` in
            network pixels, `scores` and `labels` `[B, M]` and optionally `masks` `[B, M, m, m]` (see `paste_masks`) or
            `heatmaps` `[B, M, m, m, P]` of the keypoints of its `skeleton` (see `keypoints_of`);
            or to `scores` `[B, K]` alone; or to `probabilities` `[B, h, w, K]` of each pixel's classes.
            C is the model's `channels`: 3 without that attribute, 1 for a network that takes grey images.
        batch_size: images per step; the last batch of a keras Model is filled up with black, so that only one shape is
            compiled for each of the `sizes`.
        score: detections below this are left out, 0..1; ignored for other tasks.
        flip, window: see `look`.
        one_size: letterbox every image into the model's own `image_size`, as its exports do.

    Raises:
        DataError: `batch_size` is below 1, or as for `look`.
        ValueError: the model crops its images and is no classifier.
    """

    def __init__(
        self,
        model: Any,
        batch_size: int = 8,
        score: float = 0.05,
        flip: bool = False,
        window: bool = False,
        one_size: bool = False,
    ):
        height, width = model.image_size
        self.model = model
        self.image_size: tuple[int, int] = (height, width)
        self.sizes = (self.image_size,) if one_size else sizes_of(model)
        self.resize: str = model.resize
        self.channels: int = getattr(model, "channels", 3)
        self.class_names: list[str] = list(model.class_names)
        self.task: str = getattr(model, "task", "detect")
        self.skeleton: Skeleton | None = getattr(model, "skeleton", None)
        self.runtime: str = getattr(model, "runtime", "keras")  # what computes
        self.calibration: Any = getattr(model, "calibration", None)  # the ScoreCurve that its scores went through
        self.synonyms: dict[str, int] = {}  # further names of classes, such as ImageNet's WordNet ids -> class ids
        self.batch_size, self.score = batch_size, score
        self.least: tuple[int, float] | None = None  # of a segmenter whose map keeps a promise; see `maps.to_map`
        self.look(flip, window)
        if batch_size < 1:
            raise DataError(f"--batch-size: expected 1 or more, found {batch_size}")
        if crop_share(self.resize) and self.task != "classify":
            raise ValueError(f"a crop is for classifiers, not for the task {self.task}; expected letterbox or stretch")
        if self.task == "segment":
            plane = 4 * self.image_size[0] * self.image_size[1] * len(self.class_names)  # bytes
            self.batch_size = max(1, min(batch_size, MAP_BYTES // plane))
        self._serving = _ready(model)
        self._networks = {self.image_size: self._serving}

    def __repr__(self) -> str:
        h, w = self.image_size
        return f"Predictor({type(self.model).__name__}, {self.task}, {len(self.class_names)} classes, {h}x{w})"

    def look(self, flip: bool, window: bool) -> "Predictor":
        """Sets how a segmenter looks at an image.

        Args:
            flip: average the predictions for the image and for its mirror image.
            window: slide a window of the network's size over the image at full resolution, instead of shrinking the
                image to that size; see `predict.window`.

        Returns:
            The predictor itself.

        Raises:
            DataError: one of them is set and the model is for another task.
        """
        if (flip or window) and self.task != "segment":
            raise DataError(f"flip and window are for segmenters; this model is for the task {self.task}")
        self.flip, self.window = flip, window
        return self

    @overload
    def __call__(self, items: OneImage, score: float | None = None, failures: Failures = "raise") -> Any: ...

    @overload
    def __call__(
        self, items: Iterable[Image], score: float | None = None, failures: Literal["raise"] = "raise"
    ) -> Iterator[Prediction]: ...

    @overload
    def __call__(
        self, items: Iterable[Image], score: float | None = None, *, failures: Literal["yield"]
    ) -> Iterator[Prediction | Failure]: ...

    def __call__(self, items: Any, score: float | None = None, failures: Failures = "raise") -> Any:
        """Runs the model, on several images lazily and in their order.

        Args:
            items: an image: a file's path or its encoded bytes, an array uint8 `[H, W]` or `[H, W, 1]` grey,
                `[H, W, 3]` RGB or `[H, W, 4]` RGBA, a Pillow image, or a Sample (its `image` if it has one, else its
                `file`). Or several: a batch `[B, H, W, C]`, a sequence or an iterator of any of these; a sequence such
                as a `Dataset` is indexed inside the decoding threads. Or the path of a video file: its frames.
            score: replaces the predictor's own threshold.
            failures: "raise" raises a `DataError` for an image that cannot be read; "yield" gives a `Failure` that
                names it, and goes on with the others.

        Returns:
            For one image its result, for several an iterator over theirs: `Detections`, with boxes in original pixels
            and clipped to the image, a `Classification`, or a `SegmentationMap` at the original's size. At most seven
            batches of network-sized images are in memory at a time, however many items there are.

        Raises:
            DataError: an image that cannot be read, unless `failures` is "yield"; or a video that cannot be opened.
            ValueError: an array that is none of the above, or a score outside 0..1.
        """
        score = self.score if score is None else score
        if isinstance(score, str) or not 0 <= score <= 1:
            raise ValueError(f"score: expected 0 to 1, found {score!r}")
        return answer(items, failures, lambda getters: self._results(getters, score))

    def probabilities(self, items: Iterable[Image]) -> Iterator[np.ndarray]:
        """The probabilities of the pixels' classes, before `__call__` picks the most probable one.

        Args:
            items: several images, as for `__call__`.

        Returns:
            float32 `[h, w, K]` of each image at the network's size, without padding.

        Raises:
            DataError: an image cannot be read, or the model is no segmenter.
        """
        if self.task != "segment":
            raise DataError(f"probabilities of pixels are those of a segmenter; this model is for the task {self.task}")
        return answer(items, "raise", self._planes)

    def _planes(self, items: Iterator[Callable[[], Image]]) -> Iterator[np.ndarray | Failure]:
        for item, row in self._answered(items):
            if isinstance(item, Failure):
                yield item
            elif isinstance(item, _Loaded):
                yield row["probabilities"][: item.inner[0], : item.inner[1]]

    def _results(self, items: Iterator[Callable[[], Image]], score: float) -> Iterator[Prediction | Failure]:
        yield from self._finish(self._answered(items), score)

    def _answered(self, items: Iterator[Callable[[], Image]]) -> "Iterator[_Answered]":
        per_step = 1 if self.window else self.batch_size  # images
        loaded = ahead(enumerate(items), lambda job: self._load(*job), depth=2 * per_step)
        batches = (self._with_network(batch) for batch in _batches(loaded, per_step))
        yield from _in_order(ahead(batches, self._run, depth=2, threads=1))

    def _with_network(self, batch: "_Batch") -> "_Batch":
        """The batch, once there is a network for it: made in the caller's thread, to which Keras' settings belong."""
        item = batch.items[0]
        if isinstance(item, _Loaded) and item.network not in self._networks:
            self._networks[item.network] = _ready(self.model.for_size(item.network))
        return batch

    def _load(self, number: int, get: Callable[[], Image]) -> _Loaded | Failure:
        item = read_item(number, get)
        if isinstance(item, Failure):
            return item
        assert item.image is not None  # read_item has read it
        network = self.image_size
        if self.window:
            pixels, factors, inner = item.image, (1.0, 1.0), item.image_size
        else:
            network = resizing.best_size(item.image_size, self.sizes)
            pixels, factors = resizing.fit(item.image, network, self.resize)
            inner = network
            if self.resize == "letterbox":
                inner, _ = resizing.letterbox_factors(item.image_size, network)
        return _Loaded(
            id=item.id,
            file=item.file,
            image_size=item.image_size,
            network=network,
            factors=factors,
            inner=inner,
            pixels=resizing.to_channels(pixels, self.channels),
        )

    def _run(self, batch: "_Batch") -> "dict[int, _Answered]":
        """By the number of each item: the item and the model's outputs for it.

        With sliding windows the item is finished instead; like a failure, it has no outputs.
        """
        numbers, items = batch
        loaded = [item for item in items if isinstance(item, _Loaded)]
        if self.window or not loaded:
            finished = [self._slide(item) if isinstance(item, _Loaded) else item for item in items]
            return {number: (item, {}) for number, item in zip(numbers, finished, strict=True)}
        pixels, inners = np.stack([item.pixels for item in loaded]), [item.inner for item in loaded]
        outputs = self._outputs(pixels, inners, loaded[0].network)
        rows = ({key: value[i] for key, value in outputs.items()} for i in range(len(loaded)))
        return dict(zip(numbers, zip(loaded, rows, strict=True), strict=True))

    def _finish(self, answered: "Iterable[_Answered]", score: float) -> Iterator[Prediction | Failure]:
        """The predictions in original pixels, each made when it is asked for, because full-size masks are large."""
        for item, row in answered:
            if not isinstance(item, _Loaded):
                yield item
            elif "boxes" in row:
                yield _in_original_pixels(item, row, score, self.class_names, self.skeleton)
            elif "probabilities" in row:
                h, w = item.inner
                yield self._segmentation(item, to_map(row["probabilities"][:h, :w], item.image_size, self.least))
            else:
                yield Classification(
                    id=item.id,
                    file=item.file,
                    image_size=item.image_size,
                    class_names=self.class_names,
                    scores=row["scores"],
                )

    def _outputs(
        self, pixels: np.ndarray, inners: list[tuple[int, int]], size: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """What the network of `size` gives for uint8 `[n, h, w, C]`, n <= `batch_size`; `inners` are `mirrored`'s."""
        network = self._networks[size]
        batch = pixels
        if hasattr(network, "jit_compile"):  # a keras Model, not an export in another runtime
            batch = np.pad(pixels, [(0, self.batch_size - len(pixels)), (0, 0), (0, 0), (0, 0)])  # [B, h, w, C]
        outputs = {key: np.asarray(value) for key, value in network.predict_on_batch(batch).items()}
        if self.flip:
            flipped = np.asarray(network.predict_on_batch(mirrored(batch, inners))["probabilities"])
            outputs["probabilities"] = (outputs["probabilities"] + mirrored(flipped, inners)) / 2
        return outputs

    def _slide(self, item: _Loaded) -> SegmentationMap:
        """The segmentation of one image by a sliding window."""

        def predict(pixels: np.ndarray) -> np.ndarray:
            inners = [self.image_size] * len(pixels)
            return self._outputs(pixels, inners, self.image_size)["probabilities"][: len(pixels)]

        strips = windowed(predict, item.pixels, self.image_size, self.batch_size)
        return self._segmentation(item, np.concatenate([strip.argmax(axis=-1).astype(np.int32) for strip in strips]))

    def _segmentation(self, item: _Loaded, segmentation: np.ndarray) -> SegmentationMap:
        return SegmentationMap(
            id=item.id,
            file=item.file,
            image_size=item.image_size,
            class_names=self.class_names,
            segmentation=segmentation,
        )


_Answered = tuple[_Loaded | Failure | SegmentationMap, _Row]  # an item with the model's outputs for it, if it has any


def _in_order(answers: Iterable[dict[int, _Answered]]) -> Iterator[_Answered]:
    """What was answered, by rising number from 0; each waits for those before it."""
    waiting: dict[int, _Answered] = {}
    following = 0
    for some in answers:
        waiting.update(some)
        while following in waiting:
            yield waiting.pop(following)
            following += 1


class _Batch(NamedTuple):
    """Images for one network, or one failure."""

    numbers: list[int]  # of the items, among all that the predictor was given
    items: Sequence[_Loaded | Failure]


def _batches(items: Iterator[_Loaded | Failure], size: int) -> Iterator[_Batch]:
    """Batches of at most `size` loaded images for one network, and failures, which do not wait for more.

    Where networks take turns, images wait until there are `size` for theirs, or until twice as many have come since.
    """
    # By network, the numbers and images that wait for it; the one with the oldest image comes first.
    waiting: dict[tuple[int, int], tuple[list[int], list[_Loaded]]] = {}
    for number, item in enumerate(items):
        if isinstance(item, Failure):
            yield _Batch([number], [item])
            continue
        numbers, loaded = waiting.setdefault(item.network, ([], []))
        numbers.append(number)
        loaded.append(item)
        if len(loaded) == size:
            yield _Batch(*waiting.pop(item.network))
        for network, (numbers, loaded) in list(waiting.items())[:1]:
            if number - numbers[0] >= 2 * size:
                yield _Batch(numbers, loaded)
                del waiting[network]
    for numbers, loaded in waiting.values():
        yield _Batch(numbers, loaded)


def _ready(model: Any) -> Any:
    """What runs for a model: its serving model, or an export."""
    serving = model.serving()
    if hasattr(serving, "jit_compile"):
        import keras  # only where there is a keras Model, so that an export runs without Keras

        if keras.backend.backend() == "tensorflow":
            serving.jit_compile = False  # for convolutions XLA is slower, and compiles for minutes
    return serving


def _in_original_pixels(
    item: _Loaded, row: _Row, score: float, class_names: Sequence[str] = (), skeleton: Skeleton | None = None
) -> Detections:
    """One row of the model's output in original pixels: no padding, no empty boxes, scores descending."""
    (h, w), (fy, fx) = item.image_size, item.factors
    unclipped = (row["boxes"].astype(np.float64) / [fx, fy, fx, fy]).astype(np.float32)  # [M, 4]
    boxes = np.clip(unclipped, 0, np.array([w, h, w, h], np.float32))
    scores = row["scores"].astype(np.float32)
    keep = (row["labels"] != PADDING) & (scores >= score) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    order = np.flatnonzero(keep)
    order = order[np.argsort(-scores[order], kind="stable")]
    masks, keypoints = row.get("masks"), None
    if "heatmaps" in row:
        keypoints = keypoints_of(row["heatmaps"][order], row["boxes"][order])  # in network pixels, as they are learned
        keypoints[..., :2] = np.clip(
            keypoints[..., :2] / np.array([fx, fy], np.float32), 0, np.array([w, h], np.float32)
        )
    return Detections(
        id=item.id,
        file=item.file,
        image_size=item.image_size,
        class_names=class_names,
        boxes=boxes[order],
        scores=scores[order],
        labels=row["labels"][order].astype(np.int32),
        # A mask belongs to the box as the model gave it, not to what is left of it after clipping.
        masks=None if masks is None else paste_masks(masks[order], unclipped[order], item.image_size),
        keypoints=keypoints,
        skeleton=skeleton,
    )
