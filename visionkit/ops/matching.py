"""Decides which anchor is trained for which object, as in SSD (arXiv 1512.02325, section 2.2) and Faster R-CNN."""

from collections.abc import Mapping

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.ops import boxes as box_ops
from visionkit.types import Tensor


def match(
    overlap: Tensor,
    valid: Tensor,
    positive_iou: float = 0.5,
    negative_iou: float = 0.5,
    force: bool = True,
    ties: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Assigns anchors to objects (SSD, arXiv 1512.02325, section 2.2 "Matching strategy").

    Args:
        overlap: IoU of anchors with objects, float32 `[B, A, M]`.
        valid: bool `[B, M]`, False for padding.
        positive_iou: an anchor is positive if its best object overlaps it at least this much.
        negative_iou: an anchor is negative if every object overlaps it less than this; between the two it is neither.
        force: every object also claims its best anchor, however little they overlap.
        ties: an object claims all anchors that overlap it as much as its best does, provided that they overlap it at
            all; each of them is trained for the object that it overlaps most (Faster R-CNN, arXiv 1506.01497, section
            3.1.2).

    Returns:
        index: int32 `[B, A]`, each anchor's object; meaningful where positive.
        positive: bool `[B, A]`.
        negative: bool `[B, A]`.
    """
    overlap = ops.where(valid[:, None, :], overlap, -1.0)
    best = ops.max(overlap, axis=2)  # [B, A]
    index = ops.argmax(overlap, axis=2)  # [B, A]
    positive = best >= positive_iou
    negative = best < negative_iou
    if force:
        if ties:
            most = ops.maximum(ops.max(overlap, axis=1, keepdims=True), 1e-9)  # [B, 1, M]
            taken = ops.any(overlap >= most, axis=2)  # [B, A]
        else:
            anchors = ops.arange(overlap.shape[1], dtype="int32")
            claimed = ops.cast(ops.argmax(overlap, axis=1), "int32")[:, None, :] == anchors[None, :, None]  # [B, A, M]
            claimed = ops.logical_and(claimed, valid[:, None, :])
            # Where two objects claim one anchor, it goes to the object that overlaps it more.
            claim = ops.where(claimed, overlap + 1.0, 0.0)
            taken = ops.max(claim, axis=2) > 0  # [B, A]
            index = ops.where(taken, ops.argmax(claim, axis=2), index)
        positive = ops.logical_or(positive, taken)
        negative = ops.logical_and(negative, ops.logical_not(taken))
    return ops.cast(index, "int32"), positive, negative


def assign(
    boxes: Tensor,
    y: Mapping[str, Tensor],
    positive_iou: float = 0.5,
    negative_iou: float = 0.5,
    force: bool = True,
    ties: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """`match` for the padded ground truth of a batch, in which anchors inside a crowd are not background.

    Args:
        boxes: anchors `[A, 4]`, or candidates `[B, A, 4]`, one set per image.
        y: "boxes" `[B, M, 4]`, "labels" `[B, M]` with -1 for padding and, if any, "ignore" bool `[B, M]`: such a box is
            not a target, and detecting it is not a mistake.
        positive_iou, negative_iou, force, ties: see `match`.

    Returns:
        index, positive and negative as from `match`; an anchor more than half inside an ignored box is not negative.
    """
    boxes = boxes if len(boxes.shape) == 3 else boxes[None]
    objects, ignore = ops.cast(y["boxes"], "float32"), ignored(y)
    overlap = box_ops.iou(boxes, objects)
    index, positive, negative = match(overlap, real(y), positive_iou, negative_iou, force, ties)
    # An anchor half inside a crowd may well contain an object, so it must not be taught as background.
    inside = box_ops.intersection(boxes, objects) / ops.maximum(box_ops.area(boxes), 1e-9)[..., None]  # [B, A, M]
    crowded = ops.any(ops.logical_and(inside > 0.5, ignore[:, None, :]), axis=2)
    return index, positive, ops.logical_and(negative, ops.logical_not(crowded))


def real(y: Mapping[str, Tensor]) -> Tensor:
    """Returns the rows of a padded ground truth `y` that are targets, bool `[B, M]`."""
    return ops.logical_and(ops.cast(y["labels"], "int32") >= 0, ops.logical_not(ignored(y)))


def ignored(y: Mapping[str, Tensor]) -> Tensor:
    """Returns the rows of a padded ground truth `y` that are "ignore", bool `[B, M]`; none if it was left out."""
    return ops.cast(y["ignore"], "bool") if "ignore" in y else ops.zeros_like(y["labels"], dtype="bool")
