"""Skeletons of keypoints: which is which in a mirror image, COCO's person, and how exactly each can be marked."""

import re
from collections.abc import Sequence

from visionkit.types import Skeleton

_SIDE = re.compile(r"(?i)(?<![a-z])(left|right|l|r)(?![a-z])")  # a word of its own: left_eye, "Eye (right)", l-hip
_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
SIGMA = 0.05  # of keypoints that COCO has not measured: about the mean of those that it has


def skeleton_of(names: Sequence[str], limbs: Sequence[Sequence[int]] = ()) -> Skeleton:
    """The skeleton of keypoints with these names.

    In a mirror image, left and right change places. Which keypoints these are is told by their names: left_eye becomes
    right_eye, and a name without a side stays. If no name has a side, or one lacks its partner, it is unknown.

    Args:
        names: of the keypoints.
        limbs: pairs of keypoints, counted from 0.
    """
    pairs = tuple((int(first), int(second)) for first, second in limbs)
    return Skeleton(tuple(names), pairs, _mirrored(list(names)))


def sigmas_of(skeleton: Skeleton) -> list[float]:
    """How far people's marks of each keypoint spread, in shares of the object's size: COCO's constants, or `SIGMA`."""
    return [_SIGMAS.get(name, SIGMA) for name in skeleton.names]


def _mirrored(names: list[str]) -> tuple[int, ...] | None:
    partners = [_SIDE.sub(_other, name) for name in names]
    has_sides = partners != names or len(names) == 1
    if not has_sides or not set(partners) <= set(names):
        return None
    return tuple(names.index(partner) for partner in partners)


def _other(side: re.Match[str]) -> str:
    other = _OTHER[side[0].lower()]
    if side[0].isupper() and len(side[0]) > 1:
        return other.upper()
    return other.capitalize() if side[0][0].isupper() else other


# cocodataset.org/#keypoints-eval: 2 sigma is the constant k of each keypoint.
_SIGMAS = {"nose": 0.026} | {
    f"{side}_{part}": sigma
    for side in ("left", "right")
    for part, sigma in (
        *(("eye", 0.025), ("ear", 0.035), ("shoulder", 0.079), ("elbow", 0.072)),
        *(("wrist", 0.062), ("hip", 0.107), ("knee", 0.087), ("ankle", 0.089)),
    )
}
_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO_PERSON = skeleton_of(
    ("nose", *(f"{side}_{part}" for part in _PARTS for side in ("left", "right"))),
    (  # eyes, ears and nose; trunk; arms; legs
        *((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
        *((5, 6), (5, 11), (6, 12), (11, 12)),
        *((5, 7), (7, 9), (6, 8), (8, 10)),
        *((11, 13), (13, 15), (12, 14), (14, 16)),
    ),
)
