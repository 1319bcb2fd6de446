"""Suspicious regions of class maps: where a segmenter contradicts many connected pixels and is sure of it.

As for images and objects, the model is measured by its own habits: a class counts where it gets at least the
probability that its own pixels usually get (confident learning, Northcutt et al., arXiv 1911.00068, section 3.1), and
where the model contradicts more of a class's pixels in the same way than are likely to be wrong, its contradictions
count for less.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import class_ids
from visionkit.predict.vectors import vectors
from visionkit.resizing import best_size, letterbox_factors
from visionkit.suspects.suspect import CLASS, Suspect, ranked
from visionkit.types import IGNORE, DataError, Tensor

AMISS = 0.1  # the share of a class's pixels that may well be wrong; if more are contradicted, it is the model's fault
LEAST = 25  # pixels of the network's map that a region must have


@dataclass(frozen=True, eq=False)
class Contradictions:
    """Where a segmenter contradicts the map of one image.

    Args:
        regions: connected pixels that are annotated as one class and predicted as another; `score` is the sum of the
            margins between both probabilities, as a share of the image.
        own: float64 `[K]`, the sum of the probabilities that the pixels of each class get for it.
        pixels: int64 `[K]`, how many pixels each class has.
        contradicted: int64 `[K, K]`, how many of them are predicted as each other class.
        largest: int64 `[K, K]`, the pixels of the largest of these regions.
    """

    regions: list[Suspect]
    own: np.ndarray
    pixels: np.ndarray
    contradicted: np.ndarray
    largest: np.ndarray


def contradictions(predictor: Any, dataset: Dataset) -> list[Contradictions]:
    """Runs a segmenter on a data set.

    Args:
        predictor: a `Predictor` of a segmenter that has not learned from these images; no export.
        dataset: with class maps.

    Raises:
        DataError: the model is an export, or lacks a class of the data; or a sample has no map.
    """
    if not hasattr(getattr(predictor, "model", None), "backbone"):
        raise DataError("an export does not say how sure it is of pixels; name the run folder or the .keras file")
    ids = class_ids(predictor, dataset)
    looking: Any = vectors(predictor, _probabilities)
    found = []
    maps = _Maps(dataset)
    for image, said in enumerate(looking(maps.samples)):
        size = best_size(said.image_size, looking.sizes)
        h, w = letterbox_factors(said.image_size, size)[0] if looking.resize == "letterbox" else size
        shares = said.scores.reshape(*size, -1)[:h, :w, ids]  # [h, w, K]
        found.append(compare(image, maps.take(image), shares))
    return found


def _probabilities(_model: Any, serving: Any) -> Tensor:
    """`[B, H * W * K]` of a segmenter."""
    from keras import layers

    return layers.Flatten(dtype="float32")(serving.output["probabilities"])


class _Maps:
    """The maps of a data set, kept from when the predictor reads a sample until they are needed.

    Args:
        dataset: with class maps.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        # The records have their numbers as ids, since samples may share an id.
        records = [replace(record, id=str(number)) for number, record in enumerate(dataset.records)]
        self.samples = Dataset(records, dataset.class_names, self._load, dataset.source)
        self._kept: dict[str, np.ndarray] = {}

    def _load(self, record: Any) -> Any:
        sample = self.dataset[int(record.id)]
        if sample.segmentation is None:
            raise DataError(f"sample {sample.id!r}: has no class map, but the model is a segmenter")
        self._kept[record.id] = sample.segmentation
        return replace(sample, id=record.id)

    def take(self, image: int) -> np.ndarray:
        """The map of an image, which is not kept any longer."""
        return self._kept.pop(str(image))


def compare(image: int, segmentation: np.ndarray, shares: np.ndarray) -> Contradictions:
    """Finds the contradictions in one image.

    Args:
        image: its number.
        segmentation: int32 `[H, W]` class ids, 255 = ignore.
        shares: float32 `[h, w, K]`, the probabilities of the classes in the network's pixels.
    """
    h, w, classes = shares.shape
    size = segmentation.shape
    given = cv2.resize(segmentation.astype(np.int32).astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
    known = given != IGNORE
    label = np.where(known, given, 0).astype(np.int64)
    of_label = np.take_along_axis(shares, label[..., None], axis=-1)[..., 0]  # [h, w]
    said = shares.argmax(axis=-1)  # [h, w]
    best = shares.max(axis=-1)
    pixels = np.bincount(label[known], minlength=classes)
    own = np.bincount(label[known], weights=of_label[known], minlength=classes)
    wrong = known & (said != label)
    pairs = label * classes + said
    counts = np.bincount(pairs[wrong], minlength=classes * classes)
    largest = np.zeros_like(counts)
    regions = []
    for pair in np.flatnonzero(counts >= LEAST).tolist():
        here = wrong & (pairs == pair)
        _, parts, places, _ = cv2.connectedComponentsWithStats(here.astype(np.uint8), connectivity=4)
        margin, sure = (np.bincount(parts.ravel(), weights=v.ravel()) for v in (best - of_label, best))
        largest[pair] = places[1:, cv2.CC_STAT_AREA].max()
        for part in range(1, len(places)):
            x, y, width, height, area = places[part].tolist()
            if area < LEAST:
                continue
            scale = np.array([size[1] / w, size[0] / h] * 2)
            regions.append(
                Suspect(
                    image=image,
                    kind=CLASS,
                    score=float(margin[part] / (h * w)),
                    label=pair // classes,
                    box=(np.array([x, y, x + width, y + height]) * scale).astype(np.float32),
                    proposed_label=pair % classes,
                    confidence=float(sure[part] / area),
                )
            )
    square = (classes, classes)
    return Contradictions(regions, own, pixels, counts.reshape(square), largest.reshape(square))


def suspicious_regions(found: Sequence[Contradictions]) -> list[Suspect]:
    """Returns the regions that are probably annotated as a wrong class, the most suspicious first.

    Args:
        found: of each image.
    """
    pixels = np.sum([each.pixels for each in found], axis=0)  # [K]
    contradicted = np.sum([each.contradicted for each in found], axis=0)  # [K, K]
    usual = np.sum([each.own for each in found], axis=0) / np.maximum(pixels, 1)  # [K]
    largest = np.max([each.largest for each in found], axis=0)  # [K, K]: one region may be wrong in any case
    likely = np.maximum(AMISS * pixels[:, None], largest)
    trust = np.minimum(1, likely / np.maximum(contradicted, 1))
    suspects = []
    for each in found:
        for region in each.regions:
            assert region.label is not None and region.proposed_label is not None
            if region.confidence >= usual[region.proposed_label]:
                score = region.score * trust[region.label, region.proposed_label]
                suspects.append(replace(region, score=float(min(score, 1))))
    return ranked(suspects)
