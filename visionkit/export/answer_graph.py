"""From what a network says of its own input to what a caller asked about the original image, as TensorFlow ops.

A function for each kind of network: (found, original, new, names) -> dict of tensors, each with the batch first.
`found` is what `serving()` gives; `original` and `new` are int32 `[B, 2]`, (height, width) before and after the resize;
`names` are the class names, string `[K]`.

This module imports TensorFlow: import it only where a model is exported.
"""

import tensorflow as tf

from visionkit.export.map_graph import maps
from visionkit.types import PADDING


def detections(found, original, new, names):
    """Boxes in original pixels and inside the image, with a name each; what lies beside the image becomes padding."""
    factor = tf.cast(original, tf.float32) / tf.cast(new, tf.float32)  # [B, 2], y and x
    factor, limit = (tf.tile(yx[:, ::-1], [1, 2])[:, None] for yx in (factor, tf.cast(original, tf.float32)))
    whole = found["boxes"] * factor  # [B, M, 4]; the factor is [B, 1, 4]
    boxes = tf.clip_by_value(whole, 0.0, limit)
    # What lay beside the image, in the letterbox's filling, has no area left: it becomes padding, at the end.
    real = (found["labels"] != PADDING) & tf.reduce_all(boxes[..., :2] < boxes[..., 2:], axis=-1)
    found = found | {"boxes": tf.where(real[..., None], boxes, 0.0), "scores": tf.where(real, found["scores"], 0.0)}
    if "masks" in found:
        found["mask_boxes"] = tf.where(real[..., None], whole, 0.0)
    found["labels"] = tf.where(real, found["labels"], PADDING)
    order = tf.argsort(found["scores"], direction="DESCENDING", stable=True)  # [B, M]
    found = {name: tf.gather(values, order, batch_dims=1) for name, values in found.items()}
    named = tf.gather(tf.concat([[""], names], axis=0), found["labels"] + 1)
    return found | {"class_names": named, "image_size": original}


def classes(found, original, new, names):
    """The probabilities, and the best class with its name."""
    label = tf.argmax(found["scores"], axis=-1, output_type=tf.int32)  # [B]
    return {"scores": found["scores"], "label": label, "class_name": tf.gather(names, label), "image_size": original}


# By an output that only this kind of network has.
ANSWERS = {"boxes": detections, "scores": classes, "probabilities": maps}
