"""Which anchor answers for which object."""

from keras import ops

from visionkit.ops import boxes as box_ops


def match(overlap, valid, positive_iou=0.5, negative_iou=0.5, force=True, ties=False):
    """Assigns anchors to objects (SSD, arXiv 1512.02325, section 2.2 "Matching strategy").

    Args:
        overlap: IoU of anchors with objects, float32 `[B, A, M]`.
        valid: bool `[B, M]`, False for padding.
        positive_iou: an anchor is positive where its best object overlaps it at least this much.
        negative_iou: and negative where every object overlaps it less than this; between the two it is neither.
        force: every object also claims its best anchor, however little they overlap.
        ties: an object claims all anchors that overlap it as much as its best, if at all, and each of them answers
            for the object that it overlaps most (Faster R-CNN, arXiv 1506.01497, section 3.1.2).

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
            # Where two objects claim one anchor, the one that overlaps it more gets it.
            claim = ops.where(claimed, overlap + 1.0, 0.0)
            taken = ops.max(claim, axis=2) > 0  # [B, A]
            index = ops.where(taken, ops.argmax(claim, axis=2), index)
        positive = ops.logical_or(positive, taken)
        negative = ops.logical_and(negative, ops.logical_not(taken))
    return ops.cast(index, "int32"), positive, negative


def assign(boxes, y, **rule):
    """`match` for the padded ground truth of a batch, where what lies in a crowd is no background.

    Args:
        boxes: anchors `[A, 4]`, or candidates `[B, A, 4]`, one set an image.
        y: "boxes" `[B, M, 4]`, "labels" `[B, M]` with -1 for padding and "ignore" bool `[B, M]`: a box that is
            neither a target nor, when detected, a mistake.
        rule: see `match`.

    Returns:
        index, positive and negative as `match`; an anchor more than half inside an ignored box is not negative.
    """
    boxes = boxes if len(boxes.shape) == 3 else boxes[None]
    objects, ignore = ops.cast(y["boxes"], "float32"), ops.cast(y["ignore"], "bool")
    index, positive, negative = match(box_ops.iou(boxes, objects), real(y), **rule)
    # An anchor that lies half inside a crowd may well hold an object: it is not background.
    inside = box_ops.intersection(boxes, objects) / ops.maximum(box_ops.area(boxes), 1e-9)[..., None]  # [B, A, M]
    crowded = ops.any(ops.logical_and(inside > 0.5, ignore[:, None, :]), axis=2)
    return index, positive, ops.logical_and(negative, ops.logical_not(crowded))


def real(y):
    """bool `[B, M]`: the rows of a padded ground truth that are targets."""
    return ops.logical_and(ops.cast(y["labels"], "int32") >= 0, ops.logical_not(ops.cast(y["ignore"], "bool")))
