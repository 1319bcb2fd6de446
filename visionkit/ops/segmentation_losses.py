"""Losses of segmentation maps; pixels of 255 (`types.IGNORE`) neither count nor teach."""

from keras import ops

IGNORE = 255


def _alone(value):
    return value


def pixel_cross_entropy(logits, labels, class_weights=None, focal=0.0, over_devices=_alone):
    """Cross-entropy in nats, averaged over the pixels that are not ignored; 0 if there are none.

    Args:
        logits: float32 `[B, H, W, K]`.
        labels: int32 `[B, H, W]`, 0..K-1 or 255.
        class_weights: K factors by the true class, None for 1; the average is weighted by them, as torch's is.
        focal: gamma of the focal loss (arXiv 1708.02002, eq. 4), which turns to the pixels that are still wrong; 0
            is plain cross-entropy, 2 the paper's.
        over_devices: see `models.task.Task.over_devices`.

    Returns:
        float32 scalar.
    """
    labels = ops.cast(labels, "int32")
    taught = labels != IGNORE  # [B, H, W]
    safe = ops.where(taught, labels, 0)
    # TensorFlow has loss and gradient of this in one kernel: no [B, H, W, K] is kept besides the gradient.
    loss = ops.sparse_categorical_crossentropy(safe, logits, from_logits=True)  # [B, H, W]
    if focal:
        loss = ops.power(1 - ops.exp(-loss), focal) * loss
    weights = ops.cast(taught, "float32")
    if class_weights is not None:
        weights = weights * ops.take(ops.convert_to_tensor(list(class_weights), dtype="float32"), safe)
    # Multiplied, not selected: a pixel of weight 0 has a finite loss, so its gradient is 0.
    return ops.sum(weights * loss) / ops.maximum(over_devices(ops.sum(weights)), 1e-6)


def dice_loss(logits, labels, over_devices=_alone):
    """1 - the Dice coefficient 2 |A and B| / (|A| + |B|) of probabilities and truth, averaged over classes.

    Milletari et al. 2016, arXiv 1606.04797, section 3, but without squares. Pixels are counted over the whole batch,
    and only classes that occur in it: what is absent has no overlap to gain. 0 if every pixel is ignored.

    Args:
        logits: float32 `[B, H, W, K]`.
        labels: int32 `[B, H, W]`, 0..K-1 or 255.
        over_devices: see `models.task.Task.over_devices`.

    Returns:
        float32 scalar in 0..1.
    """
    truth = ops.one_hot(ops.cast(labels, "int32"), logits.shape[-1], dtype="float32")  # a row of zeros where ignored
    taught = ops.sum(truth, axis=-1, keepdims=True)
    probabilities = ops.softmax(logits, axis=-1) * taught  # [B, H, W, K]
    both = over_devices(ops.sum(probabilities * truth, axis=(0, 1, 2)))  # [K]
    sizes = [over_devices(ops.sum(of, axis=(0, 1, 2))) for of in (probabilities, truth)]
    present = ops.cast(sizes[1] > 0, "float32")
    losses = 1 - 2 * both / ops.maximum(sizes[0] + sizes[1], 1e-6)
    return ops.sum(losses * present) / ops.maximum(ops.sum(present), 1.0)
