"""Keypoints in COCO's form, read and written, and how they move with their image."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.data.files import number
from visionkit.data.repair import ROUNDING
from visionkit.skeletons import skeleton_of
from visionkit.types import DataError, Sample, Skeleton

MOST = 1000  # keypoints of an object: more than any honest file has


def skeleton_in(categories: Sequence[Mapping[str, Any]], file: Path) -> Skeleton:
    """The skeleton of COCO's categories; those without `keypoints` have objects without keypoints.

    Raises:
        DataError: there is none, they differ, or a list is not as COCO prescribes.
    """
    found: dict[Skeleton, Any] = {}
    for i, category in enumerate(categories):
        names, where = category.get("keypoints"), f"{file}: categories[{i}]"
        if not names:
            continue
        if not isinstance(names, list) or len(set(map(str, names))) != len(names) or len(names) > MOST:
            raise DataError(f"{where}: expected keypoints, a list of {MOST} different names at most")
        limbs = category.get("skeleton") or []
        for limb in limbs if isinstance(limbs, list) else [None]:
            last = max((n for n in limb if type(n) is int), default=0) if isinstance(limb, list) else 0
            if last > len(names):
                text = f"`skeleton` joins keypoint {last}, but `keypoints` has {len(names)} names: is one missing?"
                raise DataError(f"{where}: {text}")
            if not isinstance(limb, list) or len(limb) != 2 or any(n not in range(1, len(names) + 1) for n in limb):
                raise DataError(f"{where}: expected skeleton, pairs of 1 to {len(names)}, found {str(limb)[:40]}")
        pairs = [(int(first) - 1, int(second) - 1) for first, second in limbs]
        found.setdefault(skeleton_of([str(name) for name in names], pairs), category.get("name"))
    if not found:
        raise DataError(f"{file}: no category has `keypoints`, the names of its keypoints")
    if len({skeleton.names for skeleton in found}) > 1:
        kinds = ", ".join(repr(str(name)[:40]) for name in found.values())
        raise DataError(f"{file}: the categories {kinds} have different keypoints; a model learns one kind of skeleton")
    return next(iter(found))


def parse_keypoints(
    value: Any, skeleton: Skeleton, image_size: tuple[int, int], where: str, outside: Callable[[str], None]
) -> np.ndarray:
    """float32 `[P, 3]` of an annotation's `keypoints`, x, y and visibility in a flat list; zeros where it has none.

    Args:
        value: what the file has.
        skeleton: P names.
        image_size: (height, width).
        where: begins every message.
        outside: is called with a message for each keypoint outside its image, which then counts as not annotated.

    Raises:
        DataError: it is not such a list, or a visibility is not 0, 1 or 2.
    """
    count = len(skeleton.names)
    if value is None or value == []:
        return np.zeros((count, 3), np.float32)
    if not isinstance(value, list) or len(value) != 3 * count:
        found = f"{len(value)} numbers" if isinstance(value, list) else str(value)[:40]
        if isinstance(value, list) and len(value) % 3 == 0:
            found += f", so {len(value) // 3} keypoints: does the category name all of them?"
        raise DataError(f"{where}: expected 3 numbers for each of the {count} keypoints, found {found}")
    points = np.array([number(one, where) for one in value], np.float64).reshape(-1, 3)
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        bad = int(np.flatnonzero(~np.isin(points[:, 2], (0, 1, 2)))[0])
        text = f"{where}: the visibility of {skeleton.names[bad]} must be 0, 1 or 2, found {points[bad, 2]:g}"
        raise DataError(text, "keypoint visibility")
    height, width = image_size
    inside = ((points[:, :2] >= -ROUNDING) & (points[:, :2] <= (width + ROUNDING, height + ROUNDING))).all(axis=1)
    for bad in np.flatnonzero(~inside & (points[:, 2] > 0)).tolist():
        x, y, _ = points[bad]
        outside(f"{where}: {skeleton.names[bad]} at {x:g} {y:g} in an image of {width} x {height}")
    points[:, :2] = np.clip(points[:, :2], 0, (width, height))
    points[~inside | (points[:, 2] == 0)] = 0
    return points.astype(np.float32)


def as_annotation(keypoints: np.ndarray) -> dict[str, Any]:
    """COCO's fields for the keypoints `[P, 3]` of one object."""
    return {"keypoints": keypoints.ravel().tolist(), "num_keypoints": int((keypoints[:, 2] > 0).sum())}


def as_category(skeleton: Skeleton) -> dict[str, Any]:
    """COCO's fields for the objects of a category with these keypoints."""
    return {"keypoints": list(skeleton.names), "skeleton": [[a + 1, b + 1] for a, b in skeleton.limbs]}


def moved(
    sample: Sample,
    move: Callable[[np.ndarray], np.ndarray],
    part: tuple[int, int, int, int],
    mirrored: bool,
) -> np.ndarray:
    """The keypoints of a sample in an image that was made of its image; those that it does not show become zeros.

    Args:
        sample: with keypoints `[N, P, 3]`.
        move: takes points `[M, 2]` of the sample's image to pixels of the new one.
        part: left, top, right, bottom of the part of the new image that shows the sample's.
        mirrored: whether left has become right.

    Returns:
        float32 `[N, P, 3]`.

    Raises:
        DataError: it is not known which keypoints change places in a mirror image.
    """
    assert sample.keypoints is not None and sample.skeleton is not None
    keypoints = sample.keypoints.astype(np.float64)
    keypoints[..., :2] = move(keypoints[..., :2].reshape(-1, 2)).reshape(keypoints[..., :2].shape)
    left, top, right, bottom = part
    x, y, visible = np.moveaxis(keypoints, -1, 0)
    shown = (visible > 0) & (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    keypoints[~shown] = 0
    if mirrored:
        if sample.skeleton.mirrored is None:
            few = ", ".join(sample.skeleton.names[:5])
            text = f"which of its keypoints ({few}) are left and which are right; name them so, or do not mirror images"
            raise DataError(f"sample {sample.id!r}: cannot be mirrored, because it is not known {text}")
        keypoints = keypoints[:, list(sample.skeleton.mirrored)]
    return keypoints.astype(np.float32)


def skeleton_of_data(dataset: Dataset, others: Dataset | None = None) -> Skeleton:
    """The skeleton of a data set with keypoints.

    Args:
        dataset: to learn from.
        others: to choose the best epoch by; the skeleton must be the same.

    Raises:
        DataError: it has none, or its samples have different ones, or none of its keypoints is annotated.
    """
    found = {record.skeleton for record in dataset.records}
    skeleton = next(iter(found), None)
    if len(found) != 1 or skeleton is None:
        what = "different keypoints" if len(found) > 1 else "no keypoints"
        raise DataError(f"{dataset.source or 'the data set'}: its images have {what}; expected one skeleton for all")
    if not any((record.keypoints[..., 2] > 0).any() for record in dataset.records if record.keypoints is not None):
        text = f"none of the {len(skeleton.names)} keypoints is annotated in any image: visibility is 0 everywhere"
        raise DataError(f"{dataset.source or 'the data set'}: {text}")
    if others is not None and (theirs := skeleton_of_data(others)).names != skeleton.names:
        names = ", ".join(theirs.names[:5]), ", ".join(skeleton.names[:5])
        raise DataError(f"{others.source or 'the other split'}: its keypoints are {names[0]}, ..., not {names[1]}, ...")
    return skeleton
