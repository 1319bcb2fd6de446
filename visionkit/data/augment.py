"""Augmentation that users already have, on whole samples: an albumentations `Compose`, or layers of Keras.

albumentations changes pixels, boxes, masks and maps; which object is which is our own bookkeeping. Every box carries
its index, so that a box that is dropped takes its mask and its label with it, and a mask of ones goes through all, so
that the parts of a result without image are never class 0.
"""

import copy
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from visionkit import npboxes
from visionkit.data.albumentations_adapter import A, BaseCompose, set_seed
from visionkit.data.keras_layers import KerasLayers, from_saved, is_keras
from visionkit.data.render import Transform
from visionkit.data.views import CentreCrop
from visionkit.resizing import crop_share
from visionkit.types import IGNORE, DataError, Sample, objects_of

# What cannot be kept in step, and why.
REFUSED = {
    "Lambda": "runs a function that may move pixels and not boxes",
    "SelectiveChannelTransform": "would move some channels and not the others",
    "Normalize": "makes numbers of other ranges of the pixels; models normalise in their first layer",
    "ToFloat": "makes numbers of other ranges of the pixels; models normalise in their first layer",
    "FromFloat": "expects images that are not uint8",
    "ToTensorV2": "makes tensors of torch",
    "ToTensor3D": "makes tensors of torch",
    "ConstrainedCoarseDropout": "chooses what to drop by values of a mask or by names of labels",
    "RandomGridShuffle": "tears objects into pieces",
    "MaskDropout": "needs a mask in which every object has a value of its own",
}
OWN_DATA = {"image", "mask", "masks", "bboxes"}  # what a transform may draw its parameters from
NEAREST = {cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT}
_VALID = "valid"  # the mask of ones
_FILTERS = ("min_area", "min_visibility", "min_width", "min_height", "max_accept_ratio")


class Augment:
    """An albumentations pipeline, or layers of Keras, as the `transform` of a recipe or of `batches`.

    It replaces our own augmentation.

    The pipeline is applied to the original image, and the result is brought to `size` as in prediction. The same sample
    and seed give the same bits in any thread or process.

    A box is dropped where the pipeline leaves nothing of it, or less than the pipeline's `bbox_params` ask for. If
    there are masks, the boxes are those of the masks afterwards. Maps are 255 (ignore) where there is no image. Samples
    with keypoints take changes of colour alone, because no pipeline knows which of them are left and which are right.

    Example: `Augment(A.Compose([A.HorizontalFlip(), A.Rotate(15), A.GaussNoise()]), size=(320, 320))`

    Args:
        pipeline: a `Compose`, another composition, a transform or a list of them. Of `bbox_params` the limits are used
            (min_area, min_visibility, ...); format and labels are not needed. Or a preprocessing layer of Keras, or a
            list, a `Sequential` or a `Pipeline` of such; `data.keras_layers` lists those that keep boxes right.
        size: (height, width) of the network's input.
        resize: how an image is brought to that size, as the model's `resize`: "letterbox", "stretch" or "crop".

    Raises:
        DataError: something in the pipeline cannot be kept in step with boxes, masks and maps; names it.
    """

    def __init__(self, pipeline: Any, size: tuple[int, int], resize: str = "letterbox"):
        self.pipeline = pipeline
        self.size = size
        self.resize = resize
        self._layers = KerasLayers(pipeline) if is_keras(pipeline) else None
        self._composed: Any = None if self._layers else _compose(pipeline, check_pipeline(pipeline))
        self._moves = self._layers.moves if self._layers else _first_that_moves(self._composed)
        share = crop_share(resize)
        views = (CentreCrop(size, float(share)),) if share else ()
        self._fit = Transform(size, "stretch" if share else resize, views)
        self._local = threading.local()

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Returns the sample after the pipeline, in `size`; `seed` decides all that is random, see `augment`."""
        return self._fit(self.augment(sample, seed), seed)

    def __reduce__(self):
        if self._layers:
            return _from_saved, (self._layers.saved(), self.size, self.resize)  # layers hold variables
        return Augment, (self.pipeline, self.size, self.resize)  # a threading.local cannot be pickled

    def augment(self, sample: Sample, seed: int) -> Sample:
        """Runs the pipeline alone.

        Args:
            sample: with its image.
            seed: decides all that is random.

        Returns:
            The sample after the pipeline, in the size that the pipeline gives it.

        Raises:
            DataError: the pipeline failed, did not return uint8 RGB, or would move pixels of a sample with keypoints.
        """
        if sample.keypoints is not None and self._moves:
            text = f"{self._moves} moves pixels, and keypoints cannot be kept in step: left and right would be mixed up"
            raise DataError(f"augmentation: {text}; leave it out, or use the built-in augmentation")
        if self._layers:
            return self._layers(sample, seed)
        # A Compose holds its random state; if threads shared one, they would draw from each other's.
        if not hasattr(self._local, "compose"):
            self._local.compose = copy.deepcopy(self._composed)
        compose = self._local.compose
        set_seed(compose, int(seed))  # Python's random takes no NumPy integer
        try:
            result = compose(**_arguments(sample))
        except Exception as error:  # whatever a transform raises; its own words come first
            raise DataError(
                f"sample {sample.id!r}: the augmentation failed: {type(error).__name__}: {error}"
            ) from error
        image = np.ascontiguousarray(result["image"])
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(
                f"sample {sample.id!r}: the augmentation returned {image.dtype} {image.shape}; expected uint8 (h, w, 3)"
            )
        changed: dict[str, Any] = {"image": image, "image_size": image.shape[:2]}
        if sample.segmentation is not None:
            valid = result[_VALID] == 1
            changed["segmentation"] = np.where(valid, result["mask"], IGNORE).astype(np.int32)
        if sample.boxes is not None:
            changed |= _objects(sample, result, image.shape[:2])
        return replace(sample, **changed)


def _from_saved(saved: dict[str, Any], size: tuple[int, int], resize: str) -> Augment:
    return Augment(from_saved(saved).layers, size, resize)


def _compose(pipeline: Any, transforms: Sequence[Any]) -> Any:
    """A `Compose` of copies of the transforms, with our targets."""
    boxes = A.BboxParams(format="pascal_voc", label_fields=["index"], **_limits_of(pipeline))
    p = pipeline.p if isinstance(pipeline, A.Compose) else 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where no transform moves boxes
        return A.Compose(copy.deepcopy(list(transforms)), p=p, bbox_params=boxes, additional_targets={_VALID: "mask"})


def _arguments(sample: Sample) -> dict[str, Any]:
    """What the pipeline is called with."""
    assert sample.image is not None
    boxes = np.zeros((0, 4), np.float32) if sample.boxes is None else sample.boxes
    arguments = {"image": sample.image, "bboxes": boxes, "index": list(range(len(boxes)))}
    if sample.segmentation is not None:
        arguments["mask"] = sample.segmentation.astype(np.uint8)
    if sample.masks is not None and len(boxes):
        arguments["masks"] = sample.masks
    if "mask" in arguments or "masks" in arguments:
        arguments[_VALID] = np.ones(sample.image_size, np.uint8)
    return arguments


def _objects(sample: Sample, result: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """The fields of the objects that are left."""
    index = np.array(result["index"], np.int64).reshape(-1)
    boxes = np.array(result["bboxes"], np.float32).reshape(-1, 4)
    changed: dict[str, Any] = {}
    if sample.masks is not None:
        masks = np.zeros((0, *size), np.uint8)
        if len(index):
            valid = result[_VALID] == 1
            masks = ((np.asarray(result["masks"])[index] == 1) & valid).astype(np.uint8)
        boxes = npboxes.of_masks(masks).astype(np.float32) if len(index) else boxes
        changed["masks"] = masks
    boxes = npboxes.clip(boxes, size).astype(np.float32)
    keep = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
    if sample.masks is not None:
        changed["masks"] = changed["masks"][keep]
    objects = objects_of(sample)
    changed |= {"boxes": boxes[keep], "labels": objects.labels[index][keep], "areas": None}
    if sample.keypoints is not None:
        changed["keypoints"] = sample.keypoints[index][keep]
    if sample.ignore is not None:
        changed["ignore"] = sample.ignore[index][keep]
    return changed


def check_pipeline(pipeline: Any) -> list[Any]:
    """The transforms of the pipeline, without the outermost `Compose`, whose targets ours replace; or its Keras layers.

    Raises:
        DataError: one of them cannot be kept in step with boxes, masks and maps; names it.
    """
    if is_keras(pipeline):
        return KerasLayers(pipeline).layers
    transforms = _transforms_of(pipeline)
    _check(transforms)
    return transforms


def _transforms_of(pipeline: Any) -> list[Any]:
    if isinstance(pipeline, A.Compose):
        for name in ("keypoint_params", "additional_targets"):
            given = pipeline.processors.get("keypoints") if name == "keypoint_params" else pipeline.additional_targets
            if given:
                raise DataError(f"augmentation: {name} are not taken; a sample has an image, boxes, masks and a map")
        return list(pipeline.transforms)
    return list(pipeline) if isinstance(pipeline, Sequence) else [pipeline]


def _limits_of(pipeline: Any) -> dict[str, Any]:
    """Which boxes a `Compose` drops, as its `bbox_params` say; by default those of which nothing is left."""
    given = pipeline.processors.get("bboxes") if isinstance(pipeline, A.Compose) else None
    return {} if given is None else {name: getattr(given.params, name) for name in _FILTERS}


def _check(transforms: Sequence[Any]) -> None:
    for transform in _flat(transforms):
        name = type(transform).__name__
        if not isinstance(transform, A.BasicTransform | BaseCompose):
            raise DataError(f"augmentation: {name} is not a transform of albumentations {A.__version__}")
        if name in REFUSED:
            raise DataError(f"augmentation: {name} {REFUSED[name]}; leave it out")
        if isinstance(transform, BaseCompose):
            continue
        if isinstance(transform, A.Transform3D):
            raise DataError(f"augmentation: {name} is for volumes, not for images; leave it out")
        if other := sorted(set(transform.targets_as_params) - OWN_DATA):
            raise DataError(f"augmentation: {name} needs more than a sample has ({', '.join(other)}); leave it out")
        if not isinstance(transform, A.ImageOnlyTransform) and "bboxes" not in transform.available_keys:
            raise DataError(f"augmentation: {name} moves pixels and not boxes; leave it out")
        if getattr(transform, "mask_interpolation", cv2.INTER_NEAREST) not in NEAREST:
            raise DataError(
                f"augmentation: {name} would blend the classes of neighbouring pixels; "
                f"set mask_interpolation={cv2.INTER_NEAREST} (nearest)"
            )


def _first_that_moves(composed: Any) -> str:
    """The name of the first transform that changes more than colours, or ""."""
    moving = (one for one in _flat([composed]) if not isinstance(one, BaseCompose | A.ImageOnlyTransform))
    return next((type(one).__name__ for one in moving), "")


def _flat(transforms: Sequence[Any]) -> Iterator[Any]:
    """Every transform, also inside compositions, with the compositions themselves."""
    for transform in transforms:
        yield transform
        if isinstance(transform, BaseCompose):
            yield from _flat(transform.transforms)
