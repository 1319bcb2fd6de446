"""Losses of segmentation maps; pixels of the value `IGNORE` (255) are left out."""

from collections.abc import Callable, Sequence

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.types import IGNORE, Tensor


def _alone(value: Tensor) -> Tensor:
    return value


def pixel_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Sequence[float] | None = None,
    focal: float = 0.0,
    over_devices: Callable[[Tensor], Tensor] = _alone,
) -> Tensor:
    """Cross-entropy in nats, averaged over the pixels that are not ignored; 0 if there are none.

    Args:
        logits: float32 `[B, H, W, K]`.
        labels: int32 `[B, H, W]`, 0..K-1 or 255.
        class_weights: K factors by the true class, None for 1; the average is weighted by them, as torch's is.
        focal: gamma of the focal loss (arXiv 1708.02002, eq. 4), which concentrates on pixels that are still wrong; 0
            is plain cross-entropy, the paper uses 2.
        over_devices: see `models.task.Task.over_devices`.

    Returns:
        float32 scalar.
    """
    labels = ops.cast(labels, "int32")
    counted = labels != IGNORE  # [B, H, W]
    safe = ops.where(counted, labels, 0)
    # TensorFlow computes this loss and its gradient in one kernel, which keeps no [B, H, W, K] but the gradient.
    loss = ops.sparse_categorical_crossentropy(safe, logits, from_logits=True)  # [B, H, W]
    if focal:
        loss = ops.power(1 - ops.exp(-loss), focal) * loss
    weights = ops.cast(counted, "float32")
    if class_weights is not None:
        weights = weights * ops.take(ops.convert_to_tensor(list(class_weights), dtype="float32"), safe)
    # Multiplied, not selected: a pixel of weight 0 has a finite loss, so its gradient is 0.
    return ops.sum(weights * loss) / ops.maximum(over_devices(ops.sum(weights)), 1e-6)


def dice_loss(logits: Tensor, labels: Tensor, over_devices: Callable[[Tensor], Tensor] = _alone) -> Tensor:
    """1 - the Dice coefficient 2 |A and B| / (|A| + |B|) of probabilities and truth, averaged over classes.

    Milletari et al. 2016, arXiv 1606.04797, section 3, but without squares. Pixels are counted over the whole batch.
    Only classes that occur in it count, because an absent class has no overlap to gain. 0 if every pixel is ignored.

    Args:
        logits: float32 `[B, H, W, K]`.
        labels: int32 `[B, H, W]`, 0..K-1 or 255.
        over_devices: see `models.task.Task.over_devices`.

    Returns:
        float32 scalar in 0..1.
    """
    truth = ops.one_hot(ops.cast(labels, "int32"), logits.shape[-1], dtype="float32")  # a row of zeros where ignored
    counted = ops.sum(truth, axis=-1, keepdims=True)
    probabilities = ops.softmax(logits, axis=-1) * counted  # [B, H, W, K]
    shared = over_devices(ops.sum(probabilities * truth, axis=(0, 1, 2)))  # [K]
    predicted_size = over_devices(ops.sum(probabilities, axis=(0, 1, 2)))  # [K]
    true_size = over_devices(ops.sum(truth, axis=(0, 1, 2)))  # [K]
    present = ops.cast(true_size > 0, "float32")
    losses = 1 - 2 * shared / ops.maximum(predicted_size + true_size, 1e-6)
    return ops.sum(losses * present) / ops.maximum(ops.sum(present), 1.0)
