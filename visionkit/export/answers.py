"""What a model or an export says of an image, and the .npz file in which a fresh process hands it back.

The file holds an array for each field of each answer, `NAME_I` for the I-th image, or `error_I`, a string.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit.predict.inputs import Failure
from visionkit.predict.keypoints import keypoints_of
from visionkit.predict.masks import paste_masks
from visionkit.predict.predictor import Prediction
from visionkit.types import PADDING, Classification, Detections, SegmentationMap


@dataclass(frozen=True, kw_only=True, eq=False)
class Painting:
    """What a style network makes of an image.

    Args:
        id: the image's path.
        file: the image file.
        image_size: (height, width).
        painting: RGB uint8 `[H, W, 3]`.
    """

    id: str
    file: Path | None
    image_size: tuple[int, int]
    painting: np.ndarray


Answer = Prediction | Painting
FIELDS = ("image_size", "boxes", "scores", "labels", "masks", "keypoints", "segmentation", "painting")


def write_answers(file: Path | str, answers: Sequence[Answer | Failure]) -> None:
    """Writes answers to an .npz file that `read_answers` reads."""
    arrays = {}
    for i, answer in enumerate(answers):
        if isinstance(answer, Failure):
            arrays[f"error_{i}"] = np.array(answer.error)
            continue
        for name in FIELDS:
            value = getattr(answer, name, None)
            if value is not None:
                arrays[f"{name}_{i}"] = np.asarray(value)
    np.savez(file, **arrays)


def read_answers(file: Path | str, images: Sequence[Path]) -> list[Answer | str]:
    """Reads what `write_answers` or `run_saved_model.py` wrote of these images: answers, or what was wrong."""
    with np.load(file, allow_pickle=False) as arrays:
        return [answer_of(arrays, i, image) for i, image in enumerate(images)]


def answer_of(arrays: Mapping[str, np.ndarray], i: int, file: Path) -> Answer | str:
    """The answer of the I-th image, in the pixels of the original; or what was wrong with the image.

    Args:
        arrays: by name, as above; or the outputs of a SavedModel, whose detections are padded, whose masks are grids
            over `mask_boxes` and whose keypoints are `heatmaps` over `heatmap_boxes`.
        i: which image.
        file: its path.
    """
    found = {name.removesuffix(f"_{i}"): arrays[name] for name in arrays if name.endswith(f"_{i}")}
    if "error" in found:
        return " ".join(str(found["error"]).split())
    height, width = (int(side) for side in found["image_size"])
    size = (height, width)
    if "painting" in found:
        return Painting(id=str(file), file=file, image_size=size, painting=found["painting"])
    if "segmentation" in found:  # of a batch: as large as its largest image
        segmentation = found["segmentation"][:height, :width]
        return SegmentationMap(id=str(file), file=file, image_size=size, segmentation=segmentation)
    if "boxes" not in found:
        return Classification(id=str(file), file=file, image_size=size, scores=found["scores"])
    real = found["labels"] != PADDING
    masks = found.get("masks")
    if masks is not None:
        masks = masks[real]
        if "mask_boxes" in found:
            masks = paste_masks(masks, found["mask_boxes"][real], size)
    keypoints = found.get("keypoints")
    if keypoints is not None:
        keypoints = keypoints[real]
    elif "heatmaps" in found:
        keypoints = keypoints_of(found["heatmaps"][real], found["heatmap_boxes"][real])
        keypoints[..., :2] = np.clip(
            keypoints[..., :2] * found["heatmap_scale"], 0, np.array([width, height], np.float32)
        )
    return Detections(
        id=str(file),
        file=file,
        image_size=size,
        boxes=found["boxes"][real],
        scores=found["scores"][real],
        labels=found["labels"][real],
        masks=masks,
        keypoints=keypoints,
    )
