"""Which anchor answers for which object."""

from keras import ops


def match(overlap, valid, positive_iou=0.5, negative_iou=0.5, force=True):
    """Assigns anchors to objects (SSD, arXiv 1512.02325, section 2.2 "Matching strategy").

    Args:
        overlap: IoU of anchors with objects, float32 `[B, A, M]`.
        valid: bool `[B, M]`, False for padding.
        positive_iou: an anchor is positive where its best object overlaps it at least this much.
        negative_iou: and negative where every object overlaps it less than this; between the two it is neither.
        force: every object also claims its best anchor, however little they overlap.

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
