"""Keras' preprocessing layers on whole samples, where they keep boxes right.

Of a layer we use what it does to images, to maps and to boxes, each with the same random draw. Which object is which is
our own bookkeeping, as for albumentations. What Keras 3.15 gets wrong is refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visionkit import npboxes
from visionkit.by_name import nearest
from visionkit.types import IGNORE, DataError, Sample, in_words, objects_of

GEOMETRIC = (
    *("CenterCrop", "RandomFlip", "RandomPerspective", "RandomRotation", "RandomTranslation", "RandomZoom"),
    "Resizing",
)
COLOURS = (
    *("AutoContrast", "Equalization", "RandomBrightness", "RandomColorDegeneration", "RandomContrast", "RandomErasing"),
    *("RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPosterization", "RandomSaturation"),
    *("RandomSharpness", "Solarization"),
)
BOXES = "MaxNumBoundingBoxes"
KNOWN = (*GEOMETRIC, *COLOURS, BOXES)
REFUSED = {
    "RandomCrop": "puts boxes where their objects are not; use CenterCrop, or RandomCrop of albumentations",
    "RandomShear": "puts boxes where their objects are not; use Affine of albumentations",
    "RandomElasticTransform": "does not take boxes",
    "RandAugment": "contains RandomShear, which puts boxes where their objects are not",
    "AugMix": "blends an image with moved copies of itself, whose objects have no boxes",
    "MixUp": "blends two images of a batch; a sample is one image",
    "CutMix": "blends two images of a batch; a sample is one image",
    "RandomColorJitter": "ignores the seed that it is given, so that a run could not be resumed",
    "ContrastLimitedAdaptiveHistogramEqualization": "does not take boxes",
}
_MARK = 1000.0  # in maps for layers; no fill value of an image is that high


def is_keras(pipeline: Any) -> bool:
    """Whether a pipeline is made of Keras layers: one of them, a list of them, a `Sequential` or a `Pipeline`."""
    first = pipeline[0] if isinstance(pipeline, list | tuple) and pipeline else pipeline
    return any(cls.__module__.startswith("keras.") for cls in type(first).__mro__)


class KerasLayers:
    """Keras layers as one step on samples; the same sample and seed give the same bits.

    Args:
        pipeline: see `is_keras`.

    Raises:
        DataError: a layer does not keep boxes, masks and maps in step; names it.
    """

    def __init__(self, pipeline: Any):
        self.layers = _flat(pipeline)
        for layer in self.layers:
            _check(layer)

    @property
    def moves(self) -> str:
        """The name of the first layer that changes more than colours, or ""."""
        return next((name for layer in self.layers if (name := type(layer).__name__) not in (*COLOURS, BOXES)), "")

    def saved(self) -> dict[str, Any]:
        """JSON from which `from_saved` makes the same."""
        return {"keras": [{"layer": type(layer).__name__, "config": _plain(layer)} for layer in self.layers]}

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """The sample after all layers.

        Raises:
            DataError: a layer failed.
        """
        assert sample.image is not None
        image, count = sample.image.astype(np.float32), 0 if sample.boxes is None else len(sample.boxes)
        boxes = np.zeros((0, 4), np.float32) if sample.boxes is None else sample.boxes
        planes, index = _planes(sample), np.arange(count)
        seeds = np.random.default_rng(int(seed)).integers(2**31, size=len(self.layers))
        for layer, own in zip(self.layers, seeds, strict=True):
            try:
                image, planes, boxes, index = _apply(layer, int(own), image, planes, boxes, index)
            except Exception as error:  # whatever a layer raises; its own words come first
                name = type(layer).__name__
                text = f"{name} failed: {type(error).__name__}: {in_words(error)}"
                raise DataError(f"sample {sample.id!r}: {text}") from error
        changed: dict[str, Any] = {"image": np.clip(np.rint(image), 0, 255).astype(np.uint8)}
        changed["image_size"] = changed["image"].shape[:2]
        valid = planes[..., 0] > _MARK / 2
        if sample.segmentation is not None:
            changed["segmentation"] = np.where(valid, np.rint(planes[..., 1]), IGNORE).astype(np.int32)
        if sample.boxes is not None:
            first = 1 if sample.segmentation is None else 2
            masks = None if sample.masks is None else np.moveaxis(planes[..., first:] > _MARK / 2, -1, 0)
            changed |= _objects(sample, boxes, index, masks, changed["image_size"])
        return replace(sample, **changed)


def from_saved(saved: Mapping[str, Any]) -> KerasLayers:
    """What `saved` gave; nothing but the layers above is made.

    Raises:
        DataError: it holds something else.
    """
    import keras

    layers = []
    for one in saved["keras"] if isinstance(saved["keras"], list) else [None]:
        found: Mapping[str, Any] = one if isinstance(one, Mapping) else {}
        name, config = str(found.get("layer")), found.get("config")
        if name not in KNOWN or not isinstance(config, Mapping):
            raise DataError(f"augmentation: {name[:80]!r} is no layer that is taken{nearest(name[:80], KNOWN)}")
        try:
            layers.append(getattr(keras.layers, name)(**config))
        except Exception as error:  # whatever a constructor raises
            raise DataError(f"augmentation: Keras does not take this {name}: {in_words(error)}") from error
    return KerasLayers(layers)


def _flat(pipeline: Any) -> list[Any]:
    """The layers of a pipeline, in order."""
    if isinstance(pipeline, Sequence):
        return [layer for each in pipeline for layer in _flat(each)]
    inner = getattr(pipeline, "layers", None)  # of a Sequential or a Pipeline
    return _flat(list(inner)) if isinstance(inner, list) else [pipeline]


def _check(layer: Any) -> None:
    name = type(layer).__name__
    if name in REFUSED:
        raise DataError(f"augmentation: {name} of Keras {REFUSED[name]}; leave it out")
    if name not in KNOWN or not type(layer).__module__.startswith("keras."):
        raise DataError(f"augmentation: {name} is not a layer of Keras that keeps boxes right{nearest(name, KNOWN)}")
    if getattr(layer, "fill_mode", None) in ("reflect", "wrap"):
        text = f"fill_mode={layer.fill_mode!r} shows objects twice, and the copies have no boxes"
        raise DataError(f"augmentation: {name}: {text}; set fill_mode='constant'")
    if (given := tuple(getattr(layer, "value_range", None) or (0, 255))) != (0, 255):
        raise DataError(f"augmentation: {name}: value_range is {given}; images are 0..255: set value_range=(0, 255)")
    if getattr(layer, "data_format", None) == "channels_first":
        raise DataError(f"augmentation: {name}: images are channels_last; set data_format='channels_last'")


def _plain(layer: Any) -> dict[str, Any]:
    """The arguments that a layer was made with, as JSON; without its own seed, since each sample has one."""
    config = layer.get_config()
    own = {key: value for key, value in config.items() if key not in ("name", "dtype", "trainable", "seed")}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}


def _planes(sample: Sample) -> np.ndarray:
    """[H, W, C]: where there is image, then the class map, then each object's mask."""
    planes = [np.full(sample.image_size, _MARK)]
    if sample.segmentation is not None:
        planes.append(sample.segmentation)
    if sample.masks is not None:
        planes += [mask * _MARK for mask in sample.masks]
    return np.stack(planes, axis=-1).astype(np.float32)


def _apply(
    layer: Any, seed: int, image: np.ndarray, planes: np.ndarray, boxes: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, planes, boxes and the objects' numbers after one layer, by one random draw."""
    import keras

    name = type(layer).__name__
    if name == "CenterCrop" and (layer.height > image.shape[0] or layer.width > image.shape[1]):
        raise DataError(f"{layer.height} x {layer.width} are more than the image has, {image.shape[:2]}")
    tensor = keras.ops.convert_to_tensor
    images = tensor(image[None])  # [1, H, W, 3]
    draw = layer.get_random_transformation(images, training=True, seed=keras.random.SeedGenerator(seed))
    if name != BOXES:
        image = keras.ops.convert_to_numpy(layer.transform_images(images, draw, training=True))[0]
    if name in GEOMETRIC:
        moved = layer.transform_segmentation_masks(tensor(planes[None]), draw, training=True)
        planes = keras.ops.convert_to_numpy(moved)[0]
    if name not in COLOURS and len(boxes):
        layer.bounding_box_format = "xyxy"
        given = {"boxes": tensor(boxes[None].astype(np.float32)), "labels": tensor(index[None].astype(np.int32))}
        found = layer.transform_bounding_boxes(given, draw, training=True)
        boxes, index = (keras.ops.convert_to_numpy(found[key])[0] for key in ("boxes", "labels"))
        boxes, index = boxes[index >= 0], index[index >= 0].astype(np.int64)
    return image, planes, boxes, index


def _objects(
    sample: Sample, boxes: np.ndarray, index: np.ndarray, masks: np.ndarray | None, size: tuple[int, int]
) -> dict[str, Any]:
    """The fields of the objects of which something is left."""
    changed: dict[str, Any] = {}
    if masks is not None:
        masks = masks[index]
        boxes = npboxes.of_masks(masks.astype(np.uint8)) if len(index) else boxes
    boxes = npboxes.clip(boxes.astype(np.float32), size).astype(np.float32)
    keep = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
    if masks is not None:
        changed["masks"] = masks[keep].astype(np.uint8)
    changed |= {"boxes": boxes[keep], "labels": objects_of(sample).labels[index][keep], "areas": None}
    if sample.keypoints is not None:
        changed["keypoints"] = sample.keypoints[index][keep]
    if sample.ignore is not None:
        changed["ignore"] = sample.ignore[index][keep]
    return changed
