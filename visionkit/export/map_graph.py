"""Class maps at the sizes of the originals as TensorFlow ops, equal to `predict.maps.to_map`.

This module imports TensorFlow: import it only where a model is exported.
"""

from typing import Any

import tensorflow as tf

from visionkit.types import IGNORE


def maps(outputs: dict[str, Any], original: Any, new: Any, names: Any) -> dict[str, Any]:
    """The class of each pixel of each original; where an image is smaller than the batch's largest, 255 beside it.

    Args:
        outputs: {"probabilities": float32 `[B, h, w, K]`}.
        original: int32 `[B, 2]`, (height, width) of the images before they were brought to the network's size.
        new: the same after it; beyond it is padding.
        names: not used; the other functions of `answer_graph.ANSWERS` give names.

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
    rows = (outputs["probabilities"], original, new)
    return {"segmentation": tf.map_fn(one, rows, fn_output_signature=spec), "image_size": original}


@tf.function  # so that the loop becomes a loop of the graph, whoever calls this
def to_map(probabilities: Any, size: Any) -> Any:
    """float32 `[h, w, K]`, int32 `[2]` -> int32 `[H, W]`, class by class, so that one plane is held at a time."""
    best, classes = tf.fill(size, -1.0), tf.zeros(size, tf.int32)
    for label in tf.range(tf.shape(probabilities)[2]):
        tf.autograph.experimental.set_loop_options(
            shape_invariants=[(best, tf.TensorShape([None, None])), (classes, tf.TensorShape([None, None]))]
        )
        plane = tf.image.resize(probabilities[..., label][..., None], size, "bilinear")[..., 0]
        better = plane > best
        best, classes = tf.where(better, plane, best), tf.where(better, label, classes)
    return classes
