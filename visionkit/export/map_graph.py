"""Class maps of the originals' sizes as TensorFlow ops: `predict.maps.to_map` once more.

This module imports TensorFlow: import it only where a model is exported.
"""

import tensorflow as tf

from visionkit.types import IGNORE


def maps(found, original, new, names):
    """The class of each pixel of each original; of smaller images in a batch 255 right and below.

    Args:
        found: {"probabilities": float32 `[B, h, w, K]`}.
        original, new: int32 `[B, 2]`, (height, width) of the images before and after they were brought to the network's
            size; beyond `new` is padding.

    Returns:
        {"segmentation": int32 `[B, H, W]` of the largest height and width in the batch, "image_size": `original`}.
    """
    largest = tf.reduce_max(original, axis=0)

    def one(row):
        probabilities, size, inner = row
        classes = to_map(probabilities[: inner[0], : inner[1]], size)
        room = largest - size
        return tf.pad(classes, [[0, room[0]], [0, room[1]]], constant_values=IGNORE)

    spec = tf.TensorSpec([None, None], tf.int32)
    rows = (found["probabilities"], original, new)
    return {"segmentation": tf.map_fn(one, rows, fn_output_signature=spec), "image_size": original}


@tf.function  # so that the loop below becomes one wherever this is called from
def to_map(probabilities, size):
    """float32 `[h, w, K]`, int32 `[2]` -> int32 `[H, W]`: class by class, so that K planes are never held at once."""
    best, classes = tf.fill(size, -1.0), tf.zeros(size, tf.int32)
    for label in tf.range(tf.shape(probabilities)[2]):
        tf.autograph.experimental.set_loop_options(
            shape_invariants=[(best, tf.TensorShape([None, None])), (classes, tf.TensorShape([None, None]))]
        )
        plane = tf.image.resize(probabilities[..., label][..., None], size, "bilinear")[..., 0]
        better = plane > best
        best, classes = tf.where(better, plane, best), tf.where(better, label, classes)
    return classes
